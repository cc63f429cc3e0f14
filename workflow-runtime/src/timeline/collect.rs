//! From events to calls: those of a window, so that the memory is that of the window.

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::branch::{Branch, Call, Kind, Place, State};
use crate::history::{Ending, RunEvent, RunEventKind};
use crate::keys;

/// How values are written in a row: shortened, and as the reader may see them.
pub(crate) trait Excerpts {
    /// The arguments of a call, without the parentheses.
    fn arguments(&self, input: &Value) -> String;
    /// A result or a payload.
    fn value(&self, value: &Value) -> String;
    /// An error.
    fn error(&self, error: &Value) -> String;
}

/// The calls that a collector keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// The first call; `None`: the last ones are kept.
    pub from: Option<Place>,
    /// How many.
    pub most: usize,
    /// Only calls of which an attempt has failed, and those that have not ended.
    pub failures: bool,
}

/// The calls of a window.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// In the order in which they were called.
    pub calls: Vec<Branch>,
    /// Calls among the events before the window, and behind it.
    pub before: u64,
    pub after: u64,
    /// When the first event happened, and the last one.
    pub began: u64,
    pub last: u64,
    /// Whether the run has ended with the last event.
    pub is_over: bool,
}

/// Collects the calls of a window from the events of a run, in their order. The events can begin anywhere: ends of calls whose
/// beginning was not seen change nothing.
pub(crate) struct Collector<'a, E> {
    run: &'a str,
    excerpts: E,
    window: Window,
    calls: BTreeMap<u64, Branch>,
    /// The calls of this generation that have not ended, by their operations: their places in `calls`.
    open: HashMap<u64, u64>,
    next: u64,
    generation: u64,
    unwinds: bool,
    began: Option<u64>,
    /// How many events were added.
    events: u64,
    before: Before,
    collected: Collected,
}

/// Calls before the window, by their generations.
#[derive(Clone, Copy, Default)]
struct Before {
    earlier: u64,
    previous: u64,
    current: u64,
}

pub(crate) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl<'a, E: Excerpts> Collector<'a, E> {
    /// A collector for the events of the run with this id.
    pub fn new(run: &'a str, excerpts: E, window: Window) -> Self {
        Collector {
            run,
            excerpts,
            window,
            calls: BTreeMap::new(),
            open: HashMap::new(),
            next: 0,
            generation: 0,
            unwinds: false,
            began: None,
            events: 0,
            before: Before::default(),
            collected: Collected::default(),
        }
    }

    /// Whether the window is full and nothing in it is open: later events change nothing but the counts.
    #[cfg(feature = "web")]
    pub fn is_complete(&self) -> bool {
        self.window.from.is_some() && self.calls.len() >= self.window.most && self.open.is_empty()
    }

    pub fn finish(self) -> Collected {
        let calls = self.calls.into_values().collect();
        let Before { earlier, previous, current } = self.before;
        let before = earlier + previous + current;
        Collected { calls, before, began: self.began.unwrap_or_default(), ..self.collected }
    }

    fn begin(&mut self, branch: Branch) -> Option<&mut Branch> {
        let is_before = self.window.from.is_some_and(|from| branch.place < from);
        if is_before {
            self.before.current += 1;
            return None;
        }
        if self.calls.len() >= self.window.most {
            if self.window.from.is_some() {
                self.collected.after += 1;
                return None;
            }
            if let Some((place, left_out)) = self.calls.pop_first() {
                match self.generation.saturating_sub(left_out.place.generation) {
                    0 => self.before.current += 1,
                    1 => self.before.previous += 1,
                    _ => self.before.earlier += 1,
                }
                let operation = left_out.place.operation;
                if self.open.get(&operation) == Some(&place) {
                    self.open.remove(&operation);
                }
            }
        }
        let place = self.next;
        self.next += 1;
        self.open.insert(branch.place.operation, place);
        Some(self.calls.entry(place).or_insert(Branch { undoes: self.unwinds, events: (self.events, None), ..branch }))
    }

    fn change(&mut self, operation: u64, change: impl FnOnce(&mut Branch, &E)) {
        let branch = self.open.get(&operation).and_then(|place| self.calls.get_mut(place));
        if let Some(branch) = branch {
            change(branch, &self.excerpts);
        }
    }

    fn end(&mut self, operation: u64, at: u64, end: impl FnOnce(&mut Branch, &E)) {
        let event = self.events;
        self.change(operation, |branch, excerpts| {
            end(branch, excerpts);
            if branch.spans.last().is_some_and(|last| last.to.is_none_or(|to| to > at)) {
                branch.close(at);
            }
            branch.ended = Some(at);
            branch.events.1 = Some(event);
        });
        if let Some(place) = self.open.remove(&operation)
            && self.window.failures
            && self.calls.get(&place).is_some_and(|branch| !branch.has_failed())
        {
            self.calls.remove(&place);
        }
    }

    /// Adds the next event.
    pub fn add(&mut self, event: &RunEvent) {
        let at = milliseconds(event.at);
        self.events += 1;
        self.began.get_or_insert(at);
        self.collected.last = self.collected.last.max(at);
        if event.generation != self.generation {
            self.generation = event.generation;
            self.open.clear();
            self.unwinds = false;
            let Before { earlier, previous, current } = self.before;
            self.before = Before { earlier: earlier + previous, previous: current, current: 0 };
        }
        self.collected.is_over = matches!(
            &event.kind,
            RunEventKind::Ended { end } if !matches!(end, Ending::Continued { .. })
        );
        match &event.kind {
            // A retry continues with the calls of the previous generation, which are in the events of this one.
            RunEventKind::Reopened { source: None } => {
                self.before.previous = 0;
                self.calls.retain(|_, branch| branch.place.generation + 1 != event.generation);
            }
            RunEventKind::RollingBack { .. } => self.unwinds = true,
            // Calls that have not ended end with the workflow.
            RunEventKind::Ended { .. } => {
                let open: Vec<u64> = self.open.keys().copied().collect();
                for operation in open {
                    self.end(operation, at, |branch, _| branch.state = dropped(branch));
                }
            }
            kind => self.operation(kind, event.generation, at),
        }
    }

    fn operation(&mut self, kind: &RunEventKind, generation: u64, at: u64) {
        let place = |operation: &u64| Place { generation, operation: *operation };
        match kind {
            RunEventKind::StepStarted { operation, step, name, input, run } => {
                let call = Call::Step { step: step.clone(), name: name.clone() };
                let kind = if run.is_some() { Kind::Child } else { Kind::Work };
                let input = self.excerpts.arguments(input);
                if let Some(branch) = self.begin(Branch::new(place(operation), call, input, at, kind)) {
                    branch.run = run.clone();
                }
            }
            RunEventKind::ChildStarted { operation, workflow, run, input, detached } => {
                let call = Call::Child { workflow: workflow.clone(), detached: *detached };
                let input = self.excerpts.arguments(input);
                if let Some(branch) = self.begin(Branch::new(place(operation), call, input, at, Kind::Child)) {
                    branch.run = Some(run.clone());
                }
                if *detached {
                    self.end(*operation, at, |branch, _| {
                        (branch.state, branch.detail) = (State::Done, "detached".into());
                    });
                }
            }
            RunEventKind::Sleeping { operation, until } => {
                let until = milliseconds(*until);
                let branch = Branch::new(place(operation), Call::Sleep { until }, String::new(), at, Kind::Timer);
                if let Some(branch) = self.begin(branch)
                    && let Some(span) = branch.spans.first_mut()
                {
                    span.to = Some(until);
                }
            }
            RunEventKind::HookOpened { operation, token, metadata } => {
                let call = match keys::suspension_label(self.run, token) {
                    Some(label) => Call::Suspend { label: label.to_owned() },
                    None => Call::Hook { token: token.clone() },
                };
                let input = metadata.as_ref().map(|metadata| self.excerpts.value(metadata)).unwrap_or_default();
                self.begin(Branch::new(place(operation), call, input, at, Kind::Person));
            }
            RunEventKind::WaitingForRun { operation, run } => {
                let branch = Branch::new(place(operation), Call::Run, String::new(), at, Kind::Child);
                if let Some(branch) = self.begin(branch) {
                    (branch.run, branch.state) = (Some(run.clone()), State::Waiting);
                }
            }
            kind => self.progress(kind, at),
        }
    }

    fn progress(&mut self, kind: &RunEventKind, at: u64) {
        match kind {
            RunEventKind::StepRetrying { operation, attempt, attempts_max, error, next_at } => {
                let next = milliseconds(*next_at).max(at);
                self.change(*operation, |branch, excerpts| {
                    let error = excerpts.error(error);
                    branch.detail.clone_from(&error);
                    branch.fail(at, Kind::Failed, error);
                    branch.push(Kind::Retry, at, Some(next));
                    branch.attempt(attempt + 1, next);
                    (branch.state, branch.attempts_max) = (State::Retrying, *attempts_max);
                });
            }
            RunEventKind::StepSuspended { operation, label, .. } => self.change(*operation, |branch, _| {
                branch.close(at);
                branch.push(Kind::Person, at, None);
                (branch.state, branch.detail) = (State::Waiting, format!("suspended as `{label}`"));
            }),
            RunEventKind::StepResumed { operation, .. } => self.change(*operation, |branch, _| {
                branch.close(at);
                let number = branch.attempts.last().map_or(1, |attempt| attempt.number + 1);
                branch.attempt(number, at);
                // An attempt that was suspended does not count.
                branch.attempts_max = branch.attempts_max.map(|most| most + 1);
                (branch.state, branch.detail) = (State::Active, String::new());
            }),
            RunEventKind::StepCompleted { operation, output } => self.end(*operation, at, |branch, excerpts| {
                (branch.state, branch.detail) = (State::Done, format!("→ {}", excerpts.value(output)));
            }),
            RunEventKind::StepFailed { operation, error } => {
                self.end(*operation, at, |branch, excerpts| fail(branch, at, excerpts.error(error)));
            }
            RunEventKind::Awake { operation, early } => self.end(*operation, at, |branch, _| {
                let detail = if *early { "woken early" } else { "" };
                (branch.state, branch.detail) = (State::Done, detail.into());
                if let Some(span) = branch.spans.last_mut() {
                    span.to = Some(at);
                }
            }),
            RunEventKind::HookReceived { operation, value } => self.change(*operation, |branch, excerpts| {
                branch.detail = format!("received {}", excerpts.value(value));
            }),
            RunEventKind::HookRefused { operation, owner } => self.end(*operation, at, |branch, _| {
                (branch.state, branch.detail) = (State::Failed, format!("the token belongs to {owner}"));
            }),
            RunEventKind::RunEnded { operation, end } => self.end(*operation, at, |branch, excerpts| match end {
                Ending::Failed { error } => fail(branch, at, excerpts.error(error)),
                Ending::Cancelled { reason } => (branch.state, branch.detail) = (State::Dropped, reason.clone()),
                Ending::Completed { output } => {
                    (branch.state, branch.detail) = (State::Done, format!("→ {}", excerpts.value(output)));
                }
                Ending::Continued { .. } | Ending::Unknown => branch.state = State::Done,
            }),
            RunEventKind::Dropped { operation } => {
                self.end(*operation, at, |branch, _| branch.state = dropped(branch));
            }
            _ => {}
        }
    }
}

/// The state of a call that the workflow has dropped: a hook that has received something is done.
fn dropped(branch: &Branch) -> State {
    let is_hook = matches!(branch.call, Call::Hook { .. } | Call::Suspend { .. });
    if is_hook && !branch.detail.is_empty() { State::Done } else { State::Dropped }
}

fn fail(branch: &mut Branch, at: u64, error: String) {
    branch.state = State::Failed;
    branch.detail.clone_from(&error);
    branch.fail(at, Kind::Final, error);
}
