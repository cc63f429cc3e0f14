//! How a run ended.

use crate::codec::Payload;
use crate::error::{Code, Error};
use crate::replay::End;

/// How a run ended, with its encoded value.
#[derive(Clone)]
pub(crate) enum Finished {
    Completed(Payload),
    Failed(Payload),
    Cancelled(String),
}

impl Finished {
    /// `None` if the run continues as a new generation.
    pub fn of(end: End) -> Option<Self> {
        match end {
            End::Completed(value) => Some(Finished::Completed(value)),
            End::Failed(error) => Some(Finished::Failed(error)),
            End::Cancelled(reason) => Some(Finished::Cancelled(reason)),
            End::Continued(_) => None,
        }
    }
}

/// The error if a run awaits its own end.
pub(crate) fn awaits_itself(run: &str) -> Error {
    Error::coded(Code::AwaitsItself, "the run waits for its own end, which can therefore never occur")
        .run(run)
        .help("return the result from the workflow, or await another run")
        .into_fatal()
}
