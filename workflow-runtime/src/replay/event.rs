//! The classification of events. Each function is one exhaustive match, so that a new event must be classified.

use super::journal::{Event, Visit, each_text};

/// The effect of an event on its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The event concerns the run, and no operation.
    OfRun,
    /// The operation continues.
    Progress(u64),
    /// The operation has its result.
    Result(u64),
}

impl Event {
    /// The operation of the event.
    pub fn op(&self) -> Option<u64> {
        match self.class() {
            Class::OfRun => None,
            Class::Progress(op) | Class::Result(op) => Some(op),
        }
    }

    /// The effect of the event on its operation.
    pub fn class(&self) -> Class {
        match self {
            Event::Started { .. } | Event::WakeUp | Event::Cancel { .. } | Event::Reopened { .. } => Class::OfRun,
            Event::Attempt { op, .. }
            | Event::Suspended { op, .. }
            | Event::Finished { op, .. }
            | Event::Payload { op, .. }
            | Event::Conflict { op, .. } => Class::Progress(*op),
            Event::Completed { op, .. }
            | Event::Failed { op, .. }
            | Event::Timer { op }
            | Event::Woken { op }
            | Event::Ended { op, .. } => Class::Result(*op),
        }
    }

    /// The number of the row format that introduced it.
    pub fn format(&self) -> u32 {
        match self {
            Event::Ended { end: of, .. } => of.format(),
            Event::Reopened { reopening, .. } => reopening.format(),
            Event::Started { .. }
            | Event::Completed { .. }
            | Event::Failed { .. }
            | Event::Attempt { .. }
            | Event::Suspended { .. }
            | Event::Finished { .. }
            | Event::Timer { .. }
            | Event::Woken { .. }
            | Event::WakeUp
            | Event::Payload { .. }
            | Event::Conflict { .. }
            | Event::Cancel { .. } => 1,
        }
    }

    /// The same event for another operation. An event that concerns the run does not change.
    pub fn with_op(mut self, other: u64) -> Self {
        match &mut self {
            Event::Started { .. } | Event::WakeUp | Event::Cancel { .. } | Event::Reopened { .. } => {}
            Event::Attempt { op, .. }
            | Event::Suspended { op, .. }
            | Event::Finished { op, .. }
            | Event::Payload { op, .. }
            | Event::Conflict { op, .. }
            | Event::Completed { op, .. }
            | Event::Failed { op, .. }
            | Event::Timer { op }
            | Event::Woken { op }
            | Event::Ended { op, .. } => *op = other,
        }
        self
    }

    /// Visits the payloads of the event.
    pub fn each_payload(&mut self, visit: Visit<'_>) {
        match self {
            Event::Started { args, carried, .. } => {
                visit(args);
                carried.iter_mut().for_each(|carried| carried.each_payload(visit));
            }
            Event::Completed { value: payload, .. }
            | Event::Failed { error: payload, .. }
            | Event::Attempt { error: payload, .. }
            | Event::Suspended { payload, .. }
            | Event::Finished { value: payload, .. }
            | Event::Payload { value: payload, .. } => visit(payload),
            Event::Ended { end, .. } => end.each_payload(visit),
            Event::Cancel { reason } => *reason = each_text(reason, visit),
            Event::Timer { .. }
            | Event::Woken { .. }
            | Event::WakeUp
            | Event::Conflict { .. }
            | Event::Reopened { .. } => {}
        }
    }

    /// The size of the event's payload.
    pub fn bytes(&self) -> usize {
        match self {
            Event::Started { args, carried, .. } => {
                args.as_str().len() + carried.as_ref().map_or(0, |carried| carried.bytes())
            }
            Event::Completed { value: payload, .. }
            | Event::Failed { error: payload, .. }
            | Event::Attempt { error: payload, .. } => payload.as_str().len(),
            Event::Payload { value: payload, .. }
            | Event::Suspended { payload, .. }
            | Event::Finished { value: payload, .. } => payload.as_str().len(),
            Event::Conflict { owner: text, .. } | Event::Cancel { reason: text } => text.len(),
            Event::Ended { end, .. } => end.bytes(),
            Event::Timer { .. } | Event::Woken { .. } | Event::WakeUp | Event::Reopened { .. } => 0,
        }
    }
}
