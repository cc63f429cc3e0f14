//! What each event is about. Each question is one exhaustive match, so that a new event has to answer all of them.

use super::journal::Event;

/// What an event does to the operation that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// It is about the run, and about no operation of it.
    OfRun,
    /// The operation goes on.
    Progress(u64),
    /// The operation has its result.
    Result(u64),
}

impl Event {
    /// The operation that it is about.
    pub fn op(&self) -> Option<u64> {
        match self.class() {
            Class::OfRun => None,
            Class::Progress(op) | Class::Result(op) => Some(op),
        }
    }

    /// What it does to its operation.
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

    /// The same event about another operation. One that is about the run stays as it is.
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
}
