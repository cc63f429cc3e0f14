//! The workers, all of them in this process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::Shared;
use super::rows::State;
use crate::host;
use crate::store::{Deploy, DeploymentRow, NewWorker, Registration, WorkerRow};

#[derive(Clone, Debug, Default)]
pub(super) struct Workers {
    workers: BTreeMap<u64, WorkerRow>,
    deployments: BTreeMap<Arc<str>, DeploymentRow>,
}

impl Workers {
    pub(super) fn register(&mut self, worker: &NewWorker, needed: impl Fn(&str) -> bool) {
        let NewWorker { owner, deployment, serves, catalogue, now, since, .. } = worker;
        let row = WorkerRow {
            owner: *owner,
            kind: "engine".into(),
            deployment: Some(deployment.clone()),
            host: host::name().map(Into::into),
            pid: Some(std::process::id()),
            started_at: *now,
            draining: false,
            serves: Some(serves.clone()),
            is_alive: true,
            executes: false,
            yields: false,
        };
        let is_of = |row: &WorkerRow, id: &str| row.deployment.as_deref() == Some(id);
        let was_active = self.workers.values().any(|row| row.owner != *owner && is_of(row, deployment));
        self.workers.insert(*owner, row);
        let before = self.deployments.get(deployment);
        let row = DeploymentRow {
            id: deployment.clone(),
            catalogue: catalogue.clone(),
            published_at: *now,
            activated_at: match before.and_then(|row| row.activated_at) {
                Some(at) if was_active => Some(at),
                before => before.max(Some(since.unwrap_or(*now))),
            },
            draining: before.is_some_and(|row| row.draining),
            promoted: before.is_some_and(|row| row.promoted),
            required_by: 0,
        };
        self.deployments.insert(deployment.clone(), row);
        let workers = &self.workers;
        self.deployments.retain(|id, deployment| {
            let is_kept = deployment.promoted || deployment.is_drained_at(*now);
            is_kept || workers.values().any(|row| is_of(row, id)) || needed(id)
        });
    }

    pub(super) fn workers(&self, executing: Option<u64>) -> Vec<WorkerRow> {
        let row = |row: &WorkerRow| WorkerRow {
            executes: executing == Some(row.owner),
            draining: row.deployment.as_ref().is_some_and(|id| self.is_draining(id)),
            ..row.clone()
        };
        self.workers.values().map(row).collect()
    }

    /// Whether this worker was asked to yield the right to execute.
    pub(super) fn yields(&self, owner: u64) -> bool {
        self.workers.get(&owner).is_some_and(|row| row.yields)
    }

    pub(super) fn is_draining(&self, deployment: &str) -> bool {
        self.deployments.get(deployment).is_some_and(|row| row.draining)
    }
}

/// Removes the worker when it is dropped.
pub(super) struct Registered {
    pub shared: Arc<Shared>,
    pub owner: u64,
}

impl Registration for Registered {
    fn leave(self: Box<Self>) -> BoxFuture<'static, ()> {
        drop(self);
        Box::pin(std::future::ready(()))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.lock().workers.workers.remove(&self.owner);
    }
}

impl State {
    pub(super) fn register(&mut self, worker: &NewWorker) {
        let required: BTreeSet<Arc<str>> = self.required().collect();
        self.workers.register(worker, |deployment| required.contains(deployment));
    }

    pub(super) fn deployments(&self) -> Vec<DeploymentRow> {
        let mut required: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        self.required().for_each(|deployment| *required.entry(deployment).or_default() += 1);
        let row = |row: &DeploymentRow| DeploymentRow {
            required_by: required.get(&row.id).copied().unwrap_or_default(),
            ..row.clone()
        };
        self.workers.deployments.values().map(row).collect()
    }

    pub(super) fn deploy(&mut self, change: &Deploy) -> u64 {
        match change {
            Deploy::Drain { deployment, on } => match self.workers.deployments.get_mut(deployment) {
                Some(row) => {
                    row.draining = *on;
                    1
                }
                None => 0,
            },
            Deploy::Promote { deployment } => {
                if !self.workers.deployments.contains_key(deployment) {
                    return 0;
                }
                self.workers.deployments.values_mut().for_each(|row| row.promoted = row.id == *deployment);
                1
            }
            Deploy::Release { deployment, limit } => self.release_from(deployment, *limit),
            Deploy::Yield { asked } => match self.workers.workers.get_mut(&self.executing) {
                Some(row) => {
                    row.yields = *asked;
                    1
                }
                None => 0,
            },
            Deploy::ReleaseRun { run } => self.release_one(run),
        }
    }
}
