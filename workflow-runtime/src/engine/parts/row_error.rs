//! The error in a run's row: of its end, or of the step that has been failing for the longest time.

use crate::error::Code;
use crate::limits::ROW_ERROR_BYTES;
use crate::model::RunError;
use crate::replay::{End, Failing, Shared};
use crate::store::RowError;

/// The error with which a run ends.
pub fn of_end(end: &End) -> Option<RowError> {
    match end {
        End::Completed(_) | End::Continued(_) => None,
        End::Failed(error) => Some(row_error(RunError::recorded(error.as_str()), None)),
        End::Cancelled(reason) => Some(row_error(RunError::new(Code::Cancelled.as_str(), reason), None)),
    }
}

/// The error of the step that has been failing for the longest time, if the last attempt of one has failed.
pub fn of_run(run: &Shared) -> Option<RowError> {
    let Failing { since, error } = run.failing()?;
    Some(row_error(RunError::recorded(error.as_str()), Some(since)))
}

fn row_error(error: RunError, failing_since: Option<u64>) -> RowError {
    let RunError { text, class, .. } = error.shortened(ROW_ERROR_BYTES);
    RowError { failing_since, class: class.into(), text: text.into() }
}

/// Whether two rows show the same kind of error since the same time: a row is not written for another text alone.
pub fn is_same(one: Option<&RowError>, other: Option<&RowError>) -> bool {
    let kind = |error: &RowError| (error.failing_since, error.class.clone());
    one.map(kind) == other.map(kind)
}

/// The error that a row shows.
pub fn shown(error: &RowError) -> RunError {
    let code = error.class.split_once(": ").map_or("", |(code, _)| code);
    RunError { code: code.to_owned(), text: error.text.to_string(), class: error.class.to_string() }
}
