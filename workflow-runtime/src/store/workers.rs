//! The workers of a store, and what their builds have.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::limits::DRAINED_KEPT;

/// An engine that executes runs, or is ready to, as it is published to other processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWorker {
    /// The engine.
    pub owner: u64,
    /// The id of its deployment.
    pub deployment: Arc<str>,
    /// The workflows and queues that it executes, encoded by the engine.
    pub serves: Arc<str>,
    /// What the build has, encoded by the engine.
    pub catalogue: Arc<str>,
    /// SHA-256 of the catalogue: deployments with equal catalogues share one copy.
    pub digest: [u8; 32],
    /// The current time, in milliseconds since 1970.
    pub now: u64,
    /// When the engine was first registered, if it was: it is registered again, under another number, after it has lost the
    /// right to execute. That does not make its deployment the latest.
    pub since: Option<u64>,
}

/// A worker that was [registered](super::Store::register).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRow {
    /// The engine.
    pub owner: u64,
    /// What it is: `engine`.
    pub kind: Arc<str>,
    /// The id of its deployment; `None` if it has not published it yet.
    pub deployment: Option<Arc<str>>,
    /// The name of its machine.
    pub host: Option<Arc<str>>,
    /// Its process.
    pub pid: Option<u32>,
    /// When it was started, in milliseconds since 1970.
    pub started_at: u64,
    /// Whether its deployment takes no runs but those that require it.
    pub draining: bool,
    /// [`NewWorker::serves`]; `None` if it has not published it yet.
    pub serves: Option<Arc<str>>,
    /// Whether it is alive: its lease has not ended, or its process exists.
    pub is_alive: bool,
    /// Whether it has the right to execute.
    pub executes: bool,
    /// Whether it was asked to [yield](Deploy::Yield) that right.
    pub yields: bool,
}

/// A deployment whose catalogue is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentRow {
    /// The id of the deployment.
    pub id: Arc<str>,
    /// [`NewWorker::catalogue`].
    pub catalogue: Arc<str>,
    /// When the catalogue was last published, in milliseconds since 1970.
    pub published_at: u64,
    /// When a worker of it was registered while no other worker of it was alive.
    pub activated_at: Option<u64>,
    /// Whether it takes no runs but those that require it.
    pub draining: bool,
    /// Whether it counts as the latest deployment, whichever was activated last.
    pub promoted: bool,
    /// The number of unfinished runs that require it.
    pub required_by: u64,
}

impl DeploymentRow {
    /// Whether it is still known that it takes no runs, after its last worker has gone.
    pub(super) fn is_drained_at(&self, now: u64) -> bool {
        self.draining && now < self.published_at.saturating_add(DRAINED_KEPT.as_millis() as u64)
    }
}

/// A change of the deployments of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deploy {
    /// The workers of the deployment take no runs but those that require it, or they take all runs again.
    Drain {
        /// The deployment.
        deployment: Arc<str>,
        /// Whether it takes no others.
        on: bool,
    },
    /// The deployment counts as the latest, until another one is promoted.
    Promote {
        /// The deployment.
        deployment: Arc<str>,
    },
    /// Some unfinished runs that require the deployment can be claimed by any deployment.
    Release {
        /// The deployment.
        deployment: Arc<str>,
        /// Maximum number of runs.
        limit: usize,
    },
    /// The worker that executes is asked to yield the right to execute to another one, or is asked no more. Changes nothing in a
    /// store on which all workers execute.
    Yield {
        /// Whether it is asked to.
        asked: bool,
    },
    /// The run, if it has not ended, can be claimed by any deployment.
    ReleaseRun {
        /// The run's id.
        run: Arc<str>,
    },
}

/// What can be claimed now or later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimable {
    /// The workflows of the runs that a deployment can claim and that no build has refused, each with the earliest `wake_at`.
    pub due: BTreeMap<Arc<str>, u64>,
    /// Whether the deployment takes no runs but those that require it.
    pub draining: bool,
    /// Whether the worker that executes was asked to [yield](Deploy::Yield).
    pub yields: bool,
    /// The refusers of all refused runs, and the workflows of these.
    pub refused: Vec<Refused>,
}

/// Runs of one workflow that the same builds have refused. At least one exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// [`RowChange::refused_by`](super::RowChange::refused_by).
    pub by: Arc<str>,
    /// The workflow.
    pub workflow: Arc<str>,
    /// Whether one of the runs is stuck.
    pub stuck: bool,
}

/// The registration of a worker in a store without leases. When it is dropped, the worker no longer counts as alive.
pub trait Registration: Send + Sync {
    /// Removes the worker from the list.
    fn leave(self: Box<Self>) -> BoxFuture<'static, ()>;
}
