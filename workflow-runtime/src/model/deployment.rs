//! The deployment that executes a run.

use std::sync::Arc;

/// Which deployments may execute a run: see [`Start::deployment`](crate::Start::deployment).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deployment {
    /// Each deployment that has the workflow. A run may move from one to another whenever it waits.
    #[default]
    Any,
    /// The deployment of the process that starts the run.
    Current,
    /// The deployment that was activated last among those that have the workflow and a live worker, and that are not
    /// [drained](crate::Client::drain); or the one that was [promoted](crate::Client::promote), if it is one of them. It is
    /// determined when the run is created, and does not change afterwards.
    Latest,
    /// The deployment with this [id](crate::Builder::deployment).
    Id(Arc<str>),
}

impl From<&str> for Deployment {
    fn from(id: &str) -> Self {
        Deployment::Id(id.into())
    }
}

impl From<String> for Deployment {
    fn from(id: String) -> Self {
        Deployment::Id(id.into())
    }
}
