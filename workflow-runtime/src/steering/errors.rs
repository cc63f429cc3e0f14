//! The whole error of a run that has ended: its row has the beginning only.

use crate::engine::{Client, Finished};
use crate::error::{Code, Result};
use crate::model::{RunError, RunInfo, Status};

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
