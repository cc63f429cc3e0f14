//! Converts a journal to events.

use std::collections::HashMap;

use super::{Ending, RunEvent, RunEventKind, arguments, value};
use crate::error::Error;
use crate::model::{Schema, time};
use crate::replay::{Command, Delivery, End, Event};
use crate::store::RunRow;

/// Kinds of operations that share journal events.
enum Waits {
    Step,
    /// A step that is suspended.
    SuspendedStep,
    Run,
}

/// Converts journals to events, generation by generation.
pub(crate) struct HistoryReader {
    next: u64,
    generation: u64,
    operations: HashMap<u64, Waits>,
}

impl HistoryReader {
    /// A reader that begins with the first event that is kept of a run.
    pub fn new(run: &RunRow) -> Self {
        HistoryReader { next: run.first_event, generation: run.first_generation, operations: HashMap::new() }
    }

    /// A reader that begins within a generation, at an event with this index.
    #[cfg(feature = "web")]
    pub fn within(generation: u64, index: u64) -> Self {
        HistoryReader { next: index, generation, operations: HashMap::new() }
    }

    pub fn begin_generation(&mut self, generation: u64) {
        self.generation = generation;
        self.operations.clear();
    }

    /// The index of the next event.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The events of a delivery, in order.
    pub fn read(&mut self, delivery: &Delivery, events: &mut impl Extend<RunEvent>) -> Result<(), Error> {
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
            events.extend([RunEvent { index: self.next, generation, at, kind, schema: Schema }]);
            self.next += 1;
        }
        Ok(())
    }

    fn event(&mut self, event: &Event) -> Result<Option<RunEventKind>, Error> {
        Ok(Some(match event {
            Event::Started { args, .. } => RunEventKind::Started { input: value(args)? },
            // A detached run was started under the chosen id.
            Event::Completed { op, .. } if matches!(self.operations.get(op), Some(Waits::Run)) => return Ok(None),
            Event::Completed { op, value: output } => {
                RunEventKind::StepCompleted { operation: *op, output: value(output)? }
            }
            // The awaited run does not exist: this ends the wait as well.
            Event::Failed { op, error } if matches!(self.operations.get(op), Some(Waits::Run)) => {
                RunEventKind::RunEnded { operation: *op, end: Ending::Failed { error: value(error)? } }
            }
            Event::Failed { op, error } => RunEventKind::StepFailed { operation: *op, error: value(error)? },
            Event::Attempt { op, attempt, error, not_before, attempts_max } => RunEventKind::StepRetrying {
                operation: *op,
                attempt: *attempt,
                attempts_max: *attempts_max,
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
            Event::Reopened { reopening, .. } => RunEventKind::Reopened { source: reopening.source.clone() },
            // The events that result from these follow.
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
                    input: arguments(value(given.as_ref().unwrap_or(input))?),
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
            Command::Suggested | Command::Patch { .. } => return Ok(None),
        }))
    }
}
