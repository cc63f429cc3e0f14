//! The exit codes: one table for all commands.

use std::process::ExitCode;

use crate::error::{Code, Error};
use crate::model::Status;
use crate::steering::errors;

/// How a command ended. The codes are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Exit {
    Ok = 0,
    Error = 1,
    Usage = 2,
    Refused = 3,
    NotFound = 4,
    Failed = 5,
    Cancelled = 6,
    Stuck = 7,
    Timeout = 8,
}

const TABLE: [(Exit, &str); 9] = [
    (Exit::Ok, "done"),
    (Exit::Error, "an error, such as a store that cannot be read"),
    (Exit::Usage, "wrong options or arguments"),
    (Exit::Refused, "refused, not confirmed, or done for a part of the runs only"),
    (Exit::NotFound, "no such run or hook"),
    (Exit::Failed, "the run that was waited for has failed"),
    (Exit::Cancelled, "the run that was waited for was cancelled"),
    (Exit::Stuck, "the run that was waited for is stuck"),
    (Exit::Timeout, "the time given to wait is over"),
];

/// The table for the help text.
pub(super) fn table() -> String {
    let lines = TABLE.map(|(exit, meaning)| format!("  {}  {meaning}", exit as u8));
    format!("Exit codes:\n{}", lines.join("\n"))
}

impl Exit {
    /// The exit code of an error.
    pub fn of(error: &Error) -> Exit {
        match error.code() {
            code if errors::is_missing(code) => Exit::NotFound,
            code if errors::is_refusal(code) => Exit::Refused,
            Code::Timeout => Exit::Timeout,
            Code::InvalidUrl | Code::InvalidName | Code::InvalidCursor | Code::InvalidArguments => Exit::Usage,
            Code::CannotYield => Exit::Refused,
            _ => Exit::Error,
        }
    }

    /// The exit code for the end of a run that was waited for.
    pub fn of_status(status: Status) -> Exit {
        match status {
            Status::Failed => Exit::Failed,
            Status::Cancelled => Exit::Cancelled,
            Status::Stuck => Exit::Stuck,
            Status::Completed | Status::Pending | Status::Running | Status::Suspended => Exit::Ok,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_what_they_were() {
        assert_eq!(TABLE.map(|(exit, _)| exit as u8), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let of = |code| Exit::of(&Error::coded(code, "")) as u8;
        assert_eq!([Code::Store, Code::InvalidUrl, Code::NotEnded, Code::RunNotFound].map(of), [1, 2, 3, 4]);
        let ends = [Status::Completed, Status::Failed, Status::Cancelled, Status::Stuck];
        assert_eq!(ends.map(|status| Exit::of_status(status) as u8), [0, 5, 6, 7]);
    }
}
