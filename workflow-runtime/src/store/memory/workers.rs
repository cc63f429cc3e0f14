//! The workers, all of them in this process.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::Shared;
use super::state::State;
use crate::host;
use crate::store::{DeploymentRow, NewWorker, Registration, WorkerRow};

#[derive(Clone, Debug, Default)]
pub(super) struct Workers {
    workers: BTreeMap<u64, WorkerRow>,
    deployments: BTreeMap<Arc<str>, DeploymentRow>,
}

impl Workers {
    pub(super) fn register(&mut self, worker: &NewWorker, needed: impl Fn(&str) -> bool) {
        let NewWorker { owner, deployment, serves, catalogue, now, .. } = worker;
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
        };
        let is_of = |row: &WorkerRow, id: &str| row.deployment.as_deref() == Some(id);
        let was_active = self.workers.values().any(|row| row.owner != *owner && is_of(row, deployment));
        self.workers.insert(*owner, row);
        let before = self.deployments.get(deployment);
        let row = DeploymentRow {
            id: deployment.clone(),
            catalogue: catalogue.clone(),
            published_at: *now,
            activated_at: if was_active { before.and_then(|row| row.activated_at) } else { Some(*now) },
            draining: before.is_some_and(|row| row.draining),
        };
        self.deployments.insert(deployment.clone(), row);
        let workers = &self.workers;
        self.deployments.retain(|id, _| workers.values().any(|row| is_of(row, id)) || needed(id));
    }

    pub(super) fn workers(&self, executing: Option<u64>) -> Vec<WorkerRow> {
        let row = |row: &WorkerRow| WorkerRow { executes: executing == Some(row.owner), ..row.clone() };
        self.workers.values().map(row).collect()
    }

    pub(super) fn deployments(&self) -> Vec<DeploymentRow> {
        self.deployments.values().cloned().collect()
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
        // No run is bound to a deployment yet.
        self.workers.register(worker, |_| false);
    }
}
