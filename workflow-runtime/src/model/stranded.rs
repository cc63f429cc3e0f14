//! Runs that no live worker can execute.

use serde::Serialize;

/// Unfinished runs that no live worker can execute: see [`Builder::on_stranded`](crate::Builder::on_stranded).
///
/// In JSON the variants are distinguished by `"what"`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stranded {
    /// Runs of a workflow that no worker has which takes runs of any deployment.
    NoWorkflow {
        /// The id of the workflow.
        workflow: String,
    },
    /// Runs that are [bound](crate::Start::deployment) to a deployment without live workers.
    NoDeployment {
        /// The id of the deployment.
        deployment: String,
    },
    /// Steps of a queue that no worker serves, or whose workers do not have the step.
    NoQueue {
        /// The name of the queue.
        queue: String,
    },
}

impl std::fmt::Display for Stranded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stranded::NoWorkflow { workflow } => write!(f, "no live worker takes the runs of workflow `{workflow}`"),
            Stranded::NoDeployment { deployment } => {
                write!(f, "deployment `{deployment}`, to which runs are bound, has no live worker")
            }
            Stranded::NoQueue { queue } => write!(f, "no live worker takes the steps of queue `{queue}`"),
        }
    }
}
