//! What has happened to a run, told from its journal.
//!
//! A journal holds the events that were delivered and, behind each, what the workflow asked for. Told in order, each of them is
//! an event of the run's history, whose number is the same whoever reads it and whenever.

use std::collections::HashMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::codec::Payload;
use crate::error::{Code, Error};
use crate::replay::{Command, Delivery, End, Event};
use crate::run::time;

/// Something that has happened to a run: see [`Run::events`](crate::Run::events).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunEvent {
    /// Its place in the history of the run: from 0, without gaps, the same for every reader.
    pub index: u64,
    /// How often the run had [continued as new](crate::Invocation::continue_as_new) before.
    pub generation: u64,
    /// When it happened, by the run's own clock.
    pub at: SystemTime,
    /// What it is.
    #[serde(flatten)]
    pub kind: RunEventKind,
}

/// What has happened. Operations are numbered from 0 within a generation, in the order in which the workflow asked for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunEventKind {
    /// The run, or a generation of it, began.
    Started {
        /// The arguments of its workflow.
        input: Value,
    },
    /// The run goes on with what is told before, which has happened in another run or before the run had ended: it was
    /// [forked](crate::Run::fork) or is [retried](crate::Run::retry).
    Reopened {
        /// The id of the run that it was forked from.
        source: Option<String>,
    },
    /// The workflow called a step. Its first attempt begins.
    StepStarted {
        /// The number of the operation.
        operation: u64,
        /// The id of the step.
        step: String,
        /// The name of the call, if it was given one.
        name: Option<String>,
        /// The arguments, as an array.
        input: Value,
        /// The id of the run that executes it, if it is executed for a queue.
        run: Option<String>,
    },
    /// An attempt of a step failed, and there is another one.
    StepRetrying {
        /// The number of the operation.
        operation: u64,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// Its error.
        error: Value,
        /// When the next attempt begins at the earliest.
        next_at: SystemTime,
    },
    /// An attempt of a step [suspended](crate::suspend) itself.
    StepSuspended {
        /// The number of the operation.
        operation: u64,
        /// What it is resumed by.
        label: String,
        /// What it told.
        payload: Value,
    },
    /// A step that had suspended itself was resumed: its next attempt begins.
    StepResumed {
        /// The number of the operation.
        operation: u64,
        /// What it was resumed with.
        value: Value,
    },
    /// A step succeeded.
    StepCompleted {
        /// The number of the operation.
        operation: u64,
        /// What it returned.
        output: Value,
    },
    /// A step failed for good.
    StepFailed {
        /// The number of the operation.
        operation: u64,
        /// Its error.
        error: Value,
    },
    /// The workflow waits for a time.
    Sleeping {
        /// The number of the operation.
        operation: u64,
        /// Until when.
        until: SystemTime,
    },
    /// A sleep or a timeout ended.
    Awake {
        /// The number of the operation.
        operation: u64,
        /// Whether somebody [ended it early](crate::Run::wake_up).
        early: bool,
    },
    /// The workflow opened a hook, or suspended itself.
    HookOpened {
        /// The number of the operation.
        operation: u64,
        /// The token.
        token: String,
        /// What the workflow gave it.
        metadata: Option<Value>,
    },
    /// A payload came for a hook.
    HookReceived {
        /// The number of the operation.
        operation: u64,
        /// The payload.
        value: Value,
    },
    /// The token of a hook, or the label of a suspension, is somebody else's.
    HookRefused {
        /// The number of the operation.
        operation: u64,
        /// The id of the run that has it.
        owner: String,
    },
    /// The workflow started a child run.
    ChildStarted {
        /// The number of the operation.
        operation: u64,
        /// The id of the child's workflow.
        workflow: String,
        /// The id of the child.
        run: String,
        /// Its arguments.
        input: Value,
        /// Whether the workflow does not wait for it.
        detached: bool,
    },
    /// The workflow waits for the end of a run that it has not started.
    WaitingForRun {
        /// The number of the operation.
        operation: u64,
        /// The id of the run.
        run: String,
    },
    /// A run ended that the workflow waited for.
    RunEnded {
        /// The number of the operation.
        operation: u64,
        /// How.
        end: Ending,
    },
    /// The workflow dropped an operation before its end.
    Dropped {
        /// The number of the operation.
        operation: u64,
    },
    /// The workflow set the run's state.
    State {
        /// The state.
        value: Value,
    },
    /// The workflow set an attribute, or took it away.
    Attribute {
        /// The key.
        key: String,
        /// The value; nothing if it was taken away.
        value: Option<String>,
    },
    /// The workflow wrote to a stream. What steps write is in the streams only.
    Output {
        /// The name of the stream.
        stream: String,
        /// The chunk.
        value: Value,
    },
    /// The workflow closed a stream.
    OutputClosed {
        /// The name of the stream.
        stream: String,
    },
    /// The workflow ended, and what its steps did is undone before the run does.
    RollingBack {
        /// How it ended.
        end: Ending,
    },
    /// The run ended, or its generation did.
    Ended {
        /// How.
        end: Ending,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ending {
    /// It returned `Ok`.
    Completed {
        /// Its result.
        output: Value,
    },
    /// It returned `Err`.
    Failed {
        /// Its error.
        error: Value,
    },
    /// It was cancelled.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// It goes on as a new generation.
    Continued {
        /// The arguments of that.
        input: Value,
    },
}

/// Where a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepStatus {
    /// It is executed, or is to be.
    Running,
    /// It has [suspended](crate::suspend) itself.
    Suspended,
    /// It succeeded.
    Completed,
    /// It failed for good.
    Failed,
    /// The workflow dropped it, or ended before it.
    Cancelled,
}

/// A step of a run, or a child run that it has called: see [`Outcome::steps`](crate::Outcome::steps).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepOutcome {
    /// The id of the step, or of the child's workflow.
    pub step: String,
    /// The name of the call, if it was given one.
    pub name: Option<String>,
    /// The number of the operation in its generation, from 0.
    pub operation: u64,
    /// How often the run had continued as new before.
    pub generation: u64,
    /// The index of the [event](crate::Run::events) at which it was called.
    pub event: u64,
    /// The id of the run that executes it: of a child, or of a step of a queue.
    pub run: Option<String>,
    /// Where it is.
    pub status: StepStatus,
    /// How many attempts have begun. Those of a step of a queue are told by the run that executes it.
    pub attempts: u32,
    /// The arguments: of a step as an array.
    pub input: Value,
    /// What it returned.
    pub output: Option<Value>,
    /// Its error, or that of its latest attempt.
    pub error: Option<Value>,
    /// What it told when it suspended itself last.
    pub suspended: Option<Value>,
    /// What it was resumed with last.
    pub resumed: Option<Value>,
    /// When the workflow called it.
    pub started_at: SystemTime,
    /// When its end reached the run.
    pub ended_at: Option<SystemTime>,
}

fn value(payload: &Payload) -> Result<Value, Error> {
    serde_json::from_str(payload.as_str())
        .map_err(|error| Error::coded(Code::Damaged, "a value of the journal is no JSON").because(error))
}

impl Ending {
    pub(crate) fn of(end: &End) -> Result<Self, Error> {
        Ok(match end {
            End::Completed(output) => Ending::Completed { output: value(output)? },
            End::Failed(error) => Ending::Failed { error: value(error)? },
            End::Cancelled(reason) => Ending::Cancelled { reason: reason.clone() },
            End::Continued(input) => Ending::Continued { input: value(input)? },
        })
    }
}

/// What an operation is whose events are not told apart by themselves.
enum Waits {
    Step,
    /// A step that has suspended itself.
    SuspendedStep,
    Run,
}

/// Tells journals, generation by generation.
pub(crate) struct Teller {
    next: u64,
    generation: u64,
    operations: HashMap<u64, Waits>,
}

impl Teller {
    pub fn new() -> Self {
        Teller { next: 0, generation: 0, operations: HashMap::new() }
    }

    pub fn next_generation(&mut self) {
        self.generation += 1;
        self.operations.clear();
    }

    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// What a delivery tells, in order.
    pub fn tell(&mut self, delivery: &Delivery, events: &mut impl Extend<RunEvent>) -> Result<(), Error> {
        let event = self.event(&delivery.event)?;
        let commands = delivery.commands.iter().map(|command| self.command(command)).collect::<Result<Vec<_>, _>>()?;
        let unwinds = delivery.unwinds.as_ref().map(Ending::of).transpose()?;
        let end = delivery.end.as_ref().map(Ending::of).transpose()?;
        let kinds = event
            .into_iter()
            .chain(commands.into_iter().flatten())
            .chain(unwinds.map(|end| RunEventKind::RollingBack { end }))
            .chain(end.map(|end| RunEventKind::Ended { end }));
        let (generation, at) = (self.generation, time(delivery.at));
        for kind in kinds {
            events.extend([RunEvent { index: self.next, generation, at, kind }]);
            self.next += 1;
        }
        Ok(())
    }

    fn event(&mut self, event: &Event) -> Result<Option<RunEventKind>, Error> {
        Ok(Some(match event {
            Event::Started { args, .. } => RunEventKind::Started { input: value(args)? },
            Event::Completed { op, value: output } => {
                RunEventKind::StepCompleted { operation: *op, output: value(output)? }
            }
            // A run that is waited for and is not there ends so as well.
            Event::Failed { op, error } if matches!(self.operations.get(op), Some(Waits::Run)) => {
                RunEventKind::RunEnded { operation: *op, end: Ending::Failed { error: value(error)? } }
            }
            Event::Failed { op, error } => RunEventKind::StepFailed { operation: *op, error: value(error)? },
            Event::Attempt { op, attempt, error, not_before } => RunEventKind::StepRetrying {
                operation: *op,
                attempt: *attempt,
                error: value(error)?,
                next_at: time(*not_before),
            },
            Event::Suspended { op, label, payload, .. } => {
                self.operations.insert(*op, Waits::SuspendedStep);
                RunEventKind::StepSuspended { operation: *op, label: label.to_string(), payload: value(payload)? }
            }
            Event::Finished { op, value: output } => {
                RunEventKind::StepCompleted { operation: *op, output: value(output)? }
            }
            Event::Timer { op } => RunEventKind::Awake { operation: *op, early: false },
            Event::Woken { op } => RunEventKind::Awake { operation: *op, early: true },
            Event::Payload { op, value: payload } => match self.operations.get_mut(op) {
                Some(step @ Waits::SuspendedStep) => {
                    *step = Waits::Step;
                    RunEventKind::StepResumed { operation: *op, value: value(payload)? }
                }
                _ => RunEventKind::HookReceived { operation: *op, value: value(payload)? },
            },
            Event::Conflict { op, owner } => RunEventKind::HookRefused { operation: *op, owner: owner.clone() },
            Event::Ended { op, end } => match (self.operations.get(op), end) {
                (Some(Waits::Step), End::Completed(output)) => {
                    RunEventKind::StepCompleted { operation: *op, output: value(output)? }
                }
                (Some(Waits::Step), End::Failed(error)) => {
                    RunEventKind::StepFailed { operation: *op, error: value(error)? }
                }
                (_, end) => RunEventKind::RunEnded { operation: *op, end: Ending::of(end)? },
            },
            Event::Reopened { source, .. } => RunEventKind::Reopened { source: source.clone() },
            // What comes of them is told behind them.
            Event::Cancel { .. } | Event::WakeUp => return Ok(None),
        }))
    }

    fn command(&mut self, command: &Command) -> Result<Option<RunEventKind>, Error> {
        Ok(Some(match command {
            Command::Step { op, step, name, input, run, given, .. } => {
                self.operations.insert(*op, Waits::Step);
                RunEventKind::StepStarted {
                    operation: *op,
                    step: step.to_string(),
                    name: name.as_deref().map(str::to_owned),
                    input: value(given.as_ref().unwrap_or(input))?,
                    run: run.as_deref().map(str::to_owned),
                }
            }
            Command::Timer { op, until } => RunEventKind::Sleeping { operation: *op, until: time(*until) },
            Command::Hook { op, token, metadata, .. } => RunEventKind::HookOpened {
                operation: *op,
                token: token.to_string(),
                metadata: metadata.as_ref().map(value).transpose()?,
            },
            Command::Child { op, workflow, run, input, detached, .. } => {
                self.operations.insert(*op, Waits::Run);
                RunEventKind::ChildStarted {
                    operation: *op,
                    workflow: workflow.to_string(),
                    run: run.to_string(),
                    input: value(input)?,
                    detached: *detached,
                }
            }
            Command::Watch { op, run } => {
                self.operations.insert(*op, Waits::Run);
                RunEventKind::WaitingForRun { operation: *op, run: run.to_string() }
            }
            Command::State { value: state } => RunEventKind::State { value: value(state)? },
            Command::Attribute { key, value } => {
                RunEventKind::Attribute { key: key.to_string(), value: value.as_deref().map(str::to_owned) }
            }
            Command::Cancel { op } => RunEventKind::Dropped { operation: *op },
            Command::Write { stream, value: chunk } => {
                RunEventKind::Output { stream: stream.to_string(), value: value(chunk)? }
            }
            Command::CloseStream { stream } => RunEventKind::OutputClosed { stream: stream.to_string() },
            Command::Suggested => return Ok(None),
        }))
    }
}

/// The steps that a history tells of.
#[derive(Default)]
pub(crate) struct Steps {
    steps: Vec<StepOutcome>,
    /// Where the open ones of this generation are in it.
    open: HashMap<u64, usize>,
    /// The arguments of the first generation.
    pub input: Value,
}

impl Steps {
    pub fn into_steps(self) -> Vec<StepOutcome> {
        self.steps
    }

    fn begin(&mut self, event: &RunEvent, operation: u64, step: String, input: Value, run: Option<String>) {
        self.open.insert(operation, self.steps.len());
        self.steps.push(StepOutcome {
            step,
            name: None,
            operation,
            generation: event.generation,
            event: event.index,
            run,
            status: StepStatus::Running,
            attempts: 1,
            input,
            output: None,
            error: None,
            suspended: None,
            resumed: None,
            started_at: event.at,
            ended_at: None,
        });
    }

    /// Finds the open steps of a generation again.
    fn reindex(&mut self, generation: u64) {
        let open = |(at, step): (usize, &StepOutcome)| {
            let is_open = step.generation == generation && self.open.contains_key(&step.operation);
            is_open.then_some((step.operation, at))
        };
        self.open = self.steps.iter().enumerate().filter_map(open).collect();
    }

    fn change(&mut self, operation: u64, change: impl FnOnce(&mut StepOutcome)) {
        if let Some(step) = self.open.get(&operation).and_then(|at| self.steps.get_mut(*at)) {
            change(step);
        }
    }

    fn end(&mut self, event: &RunEvent, operation: u64, status: StepStatus, change: impl FnOnce(&mut StepOutcome)) {
        self.change(operation, |step| {
            step.status = status;
            step.ended_at = Some(event.at);
            change(step);
        });
        self.open.remove(&operation);
    }

    pub fn add(&mut self, event: RunEvent) {
        match event.kind.clone() {
            RunEventKind::Started { input } if event.generation == 0 => self.input = input,
            // It has the steps of the generation before that it goes on with.
            RunEventKind::Reopened { source: None } => {
                self.steps.retain(|step| step.generation + 1 != event.generation);
                self.reindex(event.generation);
            }
            RunEventKind::StepStarted { operation, step, name, input, run } => {
                self.begin(&event, operation, step, input, run);
                self.change(operation, |step| step.name = name);
            }
            RunEventKind::ChildStarted { operation, workflow, run, input, detached } => {
                self.begin(&event, operation, workflow, input, Some(run));
                if detached {
                    self.open.remove(&operation);
                }
            }
            RunEventKind::StepRetrying { operation, error, .. } => self.change(operation, |step| {
                step.attempts += 1;
                step.error = Some(error);
            }),
            RunEventKind::StepSuspended { operation, payload, .. } => self.change(operation, |step| {
                step.status = StepStatus::Suspended;
                step.suspended = Some(payload);
            }),
            RunEventKind::StepResumed { operation, value } => self.change(operation, |step| {
                step.status = StepStatus::Running;
                step.attempts += 1;
                step.resumed = Some(value);
            }),
            RunEventKind::StepCompleted { operation, output }
            | RunEventKind::RunEnded { operation, end: Ending::Completed { output } } => {
                self.end(&event, operation, StepStatus::Completed, |step| {
                    step.error = None;
                    step.output = Some(output);
                });
            }
            RunEventKind::StepFailed { operation, error }
            | RunEventKind::RunEnded { operation, end: Ending::Failed { error } } => {
                self.end(&event, operation, StepStatus::Failed, |step| step.error = Some(error));
            }
            RunEventKind::RunEnded { operation, end: Ending::Cancelled { .. } }
            | RunEventKind::Dropped { operation } => {
                self.end(&event, operation, StepStatus::Cancelled, |_| ());
            }
            // What is under way ends with the workflow.
            RunEventKind::Ended { .. } => {
                for at in std::mem::take(&mut self.open).into_values() {
                    if let Some(step) = self.steps.get_mut(at) {
                        step.status = StepStatus::Cancelled;
                        step.ended_at = Some(event.at);
                    }
                }
            }
            _ => {}
        }
    }
}
