//! Errors: the whole error of a run that has ended, whose row has the beginning only, and the kinds of errors that have an
//! exit code or a status of their own.

use crate::engine::{Client, Finished};
use crate::error::{Code, Result};
use crate::model::{RunError, RunInfo, Status};

/// Whether what the call names does not exist.
pub(crate) fn is_missing(code: Code) -> bool {
    matches!(code, Code::RunNotFound | Code::HookNotFound | Code::DeploymentNotFound)
}

/// Whether the run or the hook is in a state in which the call is refused.
pub(crate) fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::NotRepairable
            | Code::NotEnded
            | Code::NotSuspended
            | Code::AlreadyResumed
            | Code::HookDisposed
            | Code::HookFinished
            | Code::KeyReused
            | Code::RunExists
    )
}

/// The error of a run, if it has one now.
pub(crate) async fn of(client: &Client, info: &RunInfo) -> Result<Option<RunError>> {
    if !matches!(info.status, Status::Failed | Status::Cancelled) {
        return Ok(info.error.clone());
    }
    Ok(match client.inner().end_so_far(&info.id).await {
        Ok(Some(Ok(Finished::Failed(error)))) => Some(RunError::recorded(error.as_str())),
        Ok(Some(Ok(Finished::Cancelled(reason)))) => Some(RunError::new(Code::Cancelled.as_str(), &reason)),
        // The run was continued since it was read.
        Ok(_) => info.error.clone(),
        // The run was deleted since it was listed.
        Err(error) if error.code() == Code::RunNotFound => None,
        Err(error) => Some(RunError::new(error.code().as_str(), &error.to_string())),
    })
}
