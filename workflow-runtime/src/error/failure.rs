//! The error types of steps and workflows.

use std::time::Duration;

use serde::Serialize;

use super::Error;

/// The error type of a step or a workflow: [`Error`], or a type of the user's own, whose implementation determines how
/// the engine treats it.
///
/// `From<Error>` converts the engine's own failures (a panic, a timeout, a value that does not encode) into the type.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use workflow_runtime::{Error, Failure};
///
/// #[derive(Debug, Serialize, Deserialize)]
/// enum BankError { Declined, Other(String) }
///
/// impl From<Error> for BankError {
///     fn from(error: Error) -> Self { BankError::Other(error.to_string()) }
/// }
///
/// impl Failure for BankError {
///     fn is_fatal(&self) -> bool { matches!(self, BankError::Declined) }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error type of a step or a workflow",
    label = "needs `impl Failure for {Self}`",
    note = "use `workflow_runtime::Error`, or `#[derive(Serialize, Deserialize)]`, `impl From<workflow_runtime::Error> for {Self}` and `impl workflow_runtime::Failure for {Self} {{}}`"
)]
pub trait Failure: Serialize + serde::de::DeserializeOwned + From<Error> + Send + 'static {
    /// Whether a step that fails with this error is not retried.
    fn is_fatal(&self) -> bool {
        false
    }

    /// The delay before the next attempt, in place of the step's backoff.
    fn retry_after(&self) -> Option<Duration> {
        None
    }

    /// Combines the error of a run with the error of one of its [rollbacks](crate::StepCall::rollback) that has failed. By
    /// default the error of the run does not change; the failure is logged in any case.
    #[must_use]
    fn rollback_failed(self, rollback: &Error) -> Self {
        let _ = rollback;
        self
    }
}

impl Failure for Error {
    fn is_fatal(&self) -> bool {
        Error::is_fatal(self)
    }

    fn retry_after(&self) -> Option<Duration> {
        self.delay()
    }

    fn rollback_failed(self, rollback: &Error) -> Self {
        self.because(format!("and a rollback failed: {rollback}"))
    }
}
