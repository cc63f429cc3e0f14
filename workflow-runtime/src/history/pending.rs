//! The operations of a run without a result, collected from its journal without executing its code.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::codec::{Payload, exact};
use crate::model::{Status, error_text};
use crate::replay::{Class, Command, Delivery, End, Event, Suspension, TurnRecord};

/// An operation without a result.
#[derive(Debug)]
pub(crate) struct Pending {
    pub work: Work,
    /// When it was issued, or a step was suspended or resumed.
    pub since: u64,
    /// Whether it was begun before the rollbacks of the run, which wait for its end.
    pub precedes_rollbacks: bool,
    /// The delivery after which it was issued.
    delivery: u64,
}

/// What an operation waits for.
#[derive(Debug)]
pub(crate) enum Work {
    Step(PendingStep),
    Timer {
        until: u64,
    },
    Hook {
        token: String,
        /// The label, if it is a suspension of the workflow.
        label: Option<String>,
        metadata: Option<Value>,
    },
    Child {
        run: String,
        workflow: String,
        /// Whether it is cancelled with the run, and then awaited.
        is_own: bool,
    },
    Run {
        run: String,
    },
    /// The confirmation of the store that a detached run was started under the chosen id.
    Start,
}

#[derive(Debug)]
pub(crate) struct PendingStep {
    pub step: String,
    pub name: Option<String>,
    /// The run that executes it, if it has a queue.
    pub run: Option<String>,
    pub attempt: u32,
    /// The greatest number of attempts, once one has failed.
    pub attempts_max: Option<u32>,
    /// The error of the last attempt, and when the next one is due.
    pub failed: Option<(String, u64)>,
    /// The label of its suspension.
    pub suspended: Option<String>,
    pub has_rollback: bool,
}

/// The operations of a generation without a result.
#[derive(Default)]
pub(crate) struct PendingOperations {
    run: String,
    /// Whether the run executes a step for another run, which may undo the step.
    is_step: bool,
    open: BTreeMap<u64, Pending>,
    /// Steps that the workflow has dropped and that may have to be undone.
    dropped: BTreeMap<u64, Pending>,
    /// The child runs that the workflow has dropped, for whose ends the rollbacks wait.
    dropped_children: BTreeSet<String>,
    /// How the workflow has ended, if the run is rolling back.
    pub unwinds: Option<Status>,
    /// The greatest number of attempts, if the run executes a step for another run.
    pub attempts_max: Option<u32>,
    deliveries: u64,
}

fn json(payload: &Payload) -> Value {
    exact::shown(payload.as_str()).unwrap_or_default()
}

fn status(end: &End) -> Status {
    match end {
        End::Completed(_) => Status::Completed,
        End::Failed(_) => Status::Failed,
        End::Cancelled(_) => Status::Cancelled,
        End::Continued(_) => Status::Running,
    }
}

impl PendingOperations {
    pub fn of(run: &str, is_step: bool) -> Self {
        PendingOperations { run: run.to_owned(), is_step, ..PendingOperations::default() }
    }

    /// The operations, in the order in which they were issued.
    pub fn into_open(self) -> BTreeMap<u64, Pending> {
        self.open
    }

    /// The runs that the run waits for, each with the time since when.
    pub fn awaited(&self) -> impl Iterator<Item = (&str, u64)> {
        self.open.values().filter_map(|pending| match &pending.work {
            Work::Child { run, .. } | Work::Run { run } => Some((&**run, pending.since)),
            _ => None,
        })
    }

    /// The result of an operation is known, in the journal or in the inbox.
    pub fn ended(&mut self, op: u64) {
        self.open.remove(&op);
        self.dropped.remove(&op);
    }

    /// Adds a turn.
    pub fn add(&mut self, turn: &TurnRecord) {
        for delivery in &turn.deliveries {
            self.deliveries += 1;
            self.event(&delivery.event, delivery.at);
            for command in &delivery.commands {
                self.command(command, delivery.at);
            }
            if let Some(end) = &delivery.unwinds {
                self.unwind(end, delivery);
            }
            if delivery.end.is_some() {
                self.open.clear();
                self.dropped.clear();
            }
        }
    }

    fn step(&mut self, op: u64, change: impl FnOnce(&mut PendingStep)) -> Option<&mut Pending> {
        let pending = match self.open.get_mut(&op) {
            Some(pending) => pending,
            None => self.dropped.get_mut(&op)?,
        };
        match &mut pending.work {
            Work::Step(step) => {
                change(step);
                Some(pending)
            }
            _ => None,
        }
    }

    fn event(&mut self, event: &Event, at: u64) {
        if let Class::Result(op) = event.class() {
            return self.ended(op);
        }
        match event {
            Event::Started { args, .. } if self.is_step => {
                let retries = json(args).pointer("/policy/retries").and_then(Value::as_u64);
                self.attempts_max = retries.and_then(|retries| u32::try_from(retries + 1).ok());
            }
            Event::Attempt { op, attempt, error, not_before, attempts_max } => {
                self.step(*op, |step| {
                    (step.attempt, step.attempts_max) = (attempt + 1, *attempts_max);
                    step.failed = Some((error_text(&json(error)), *not_before));
                });
            }
            Event::Suspended { op, label, .. } => {
                let suspended = self.step(*op, |step| step.suspended = Some(label.to_string()));
                if let Some(pending) = suspended {
                    pending.since = at;
                }
            }
            Event::Payload { op, .. } => {
                let resumed = self.step(*op, |step| {
                    step.attempt += 1;
                    // An attempt that was suspended does not count.
                    step.attempts_max = step.attempts_max.map(|most| most + 1);
                    (step.suspended, step.failed) = (None, None);
                });
                if let Some(pending) = resumed {
                    pending.since = at;
                }
            }
            // Another operation has the token: this one fails.
            Event::Conflict { op, .. } => self.ended(*op),
            _ => {}
        }
    }

    fn command(&mut self, command: &Command, at: u64) {
        let (op, work) = match command {
            Command::Step { op, step, name, run, rollback, .. } => {
                let step = PendingStep {
                    step: step.to_string(),
                    name: name.as_deref().map(str::to_owned),
                    run: run.as_deref().map(str::to_owned),
                    attempt: 1,
                    attempts_max: None,
                    failed: None,
                    suspended: None,
                    has_rollback: *rollback || self.is_step,
                };
                (*op, Work::Step(step))
            }
            Command::Timer { op, until } => (*op, Work::Timer { until: *until }),
            Command::Hook { op, token, metadata, .. } => {
                let label = Suspension::label(&self.run, token).map(str::to_owned);
                (*op, Work::Hook { token: token.to_string(), label, metadata: metadata.as_ref().map(json) })
            }
            Command::Child { op, workflow, run, detached: false, abandoned, own, .. } => {
                let is_own = !abandoned && own.is_none();
                (*op, Work::Child { run: run.to_string(), workflow: workflow.to_string(), is_own })
            }
            Command::Child { op, detached: true, own: Some(_), .. } => (*op, Work::Start),
            Command::Watch { op, run } => (*op, Work::Run { run: run.to_string() }),
            Command::Cancel { op } => {
                let Some(pending) = self.open.remove(op) else { return };
                let is_begun = pending.delivery < self.deliveries;
                match &pending.work {
                    Work::Step(step) if step.has_rollback && is_begun => drop(self.dropped.insert(*op, pending)),
                    Work::Child { run, .. } => drop(self.dropped_children.insert(run.clone())),
                    _ => {}
                }
                return;
            }
            Command::Child { .. }
            | Command::State { .. }
            | Command::Attribute { .. }
            | Command::Suggested
            | Command::Patch { .. }
            | Command::Write { .. }
            | Command::CloseStream { .. } => return,
        };
        self.open.insert(op, Pending { work, since: at, precedes_rollbacks: false, delivery: self.deliveries });
    }

    /// The workflow has ended and its future is dropped: what remains are operations whose ends the rollbacks wait for, and
    /// the first operation of the rollbacks, which may have been issued at once.
    fn unwind(&mut self, end: &End, delivery: &Delivery) {
        let fails = matches!(end, End::Failed(_) | End::Cancelled(_));
        let (now, issued) = (self.deliveries, delivery.commands.iter().rev().find_map(issues));
        self.open.append(&mut self.dropped);
        let named = self.open.values().filter_map(|pending| match &pending.work {
            Work::Child { run, is_own: false, .. } => Some(run.clone()),
            _ => None,
        });
        self.dropped_children.extend(named);
        self.open.retain(|_, pending| {
            pending.delivery < now
                && match &pending.work {
                    Work::Step(step) => step.has_rollback && step.suspended.is_none(),
                    Work::Child { is_own, .. } => fails && *is_own,
                    _ => false,
                }
        });
        for command in &delivery.commands {
            if let Command::Watch { run, .. } = command
                && self.dropped_children.contains(&**run)
            {
                self.command(command, delivery.at);
            }
        }
        self.open.values_mut().for_each(|pending| pending.precedes_rollbacks = true);
        if self.open.is_empty()
            && let Some(command) = issued
        {
            self.command(command, delivery.at);
        }
        self.unwinds = Some(status(end));
    }
}

/// The command, if it issues an operation.
fn issues(command: &Command) -> Option<&Command> {
    matches!(command, Command::Step { .. } | Command::Child { .. } | Command::Watch { .. } | Command::Timer { .. })
        .then_some(command)
}
