//! The list of workers, and what their builds have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use serde::{Deserialize, Serialize};

use super::Inner;
use crate::error::Result;
use crate::model::{Catalogue, DeploymentInfo, Schema, WorkerInfo, time};
use crate::registry::{catalogue, queue, registry};
use crate::store::{NewWorker, WorkerRow};
use crate::text::excerpt;

/// What a worker executes, as it is published.
#[derive(Serialize, Deserialize)]
pub(super) struct Serves {
    workflows: Vec<String>,
    queues: Vec<String>,
    /// The name under which its build refuses runs.
    #[serde(default)]
    pub(super) build: Option<String>,
}

impl Serves {
    fn has(&self, workflow: &str) -> bool {
        match queue::parse_id(workflow) {
            Some((queue, _)) => self.queues.iter().any(|name| name == queue),
            None => self.workflows.iter().any(|id| id == workflow),
        }
    }
}

/// The workers of a store at one moment.
pub(super) struct Roster(Vec<(WorkerRow, Option<Serves>)>);

/// Who has what a run needs.
pub(super) enum Has {
    /// A worker that executes, or one that will when the executing worker is gone, and none executes now.
    Yes,
    /// No live worker.
    Nobody,
    /// Workers that do not execute, while another one does: their processes, and its process.
    Others { executes: u32, candidates: Vec<u32> },
}

impl WorkerRow {
    /// Whether it takes runs that require this deployment, or none.
    fn takes(&self, required: Option<&str>) -> bool {
        match required {
            Some(required) => self.deployment.as_deref().is_none_or(|own| own == required),
            None => !self.draining,
        }
    }
}

impl Roster {
    fn live(&self) -> impl Iterator<Item = &(WorkerRow, Option<Serves>)> {
        self.0.iter().filter(|(row, _)| row.is_alive)
    }

    /// Whether a live worker holds the runs of this owner.
    pub fn holds(&self, owner: u64) -> bool {
        self.live().any(|(row, _)| row.owner == owner && row.executes)
    }

    /// What the workers execute that have a workflow for runs that require this deployment, or none, and the right to execute.
    pub fn executing(&self, workflow: &str, required: Option<&str>) -> impl Iterator<Item = &Serves> {
        let executing = self
            .live()
            .filter(move |(row, _)| row.executes && row.takes(required))
            .filter_map(|(_, serves)| serves.as_ref());
        executing.filter(move |serves| serves.has(workflow))
    }

    /// Whether a live worker of a deployment has a workflow.
    pub fn has_in(&self, workflow: &str, deployment: &str) -> bool {
        let has = |serves: &Option<Serves>| serves.as_ref().is_some_and(|serves| serves.has(workflow));
        self.live().any(|(row, serves)| row.deployment.as_deref() == Some(deployment) && has(serves))
    }

    /// The deployments that have live workers.
    pub fn deployments(&self) -> impl Iterator<Item = &str> {
        let ids: BTreeSet<&str> = self.live().filter_map(|(row, _)| row.deployment.as_deref()).collect();
        ids.into_iter()
    }

    /// Who has a workflow for runs that require this deployment, or none. A worker that has not published what it has may have
    /// it.
    pub fn has(&self, workflow: &str, required: Option<&str>) -> Has {
        let has = |serves: &Option<Serves>| serves.as_ref().is_none_or(|serves| serves.has(workflow));
        let able: Vec<&WorkerRow> =
            self.live().filter(|(row, it)| row.takes(required) && has(it)).map(|(row, _)| row).collect();
        if able.is_empty() {
            return Has::Nobody;
        }
        let executing = self.live().find(|(row, _)| row.executes);
        match executing {
            Some((row, _)) if !able.iter().any(|able| able.executes) => Has::Others {
                executes: row.pid.unwrap_or_default(),
                candidates: able.iter().filter_map(|row| row.pid).collect(),
            },
            _ => Has::Yes,
        }
    }
}

impl Inner {
    /// Publishes this engine under its present number, once for each number. A failure is logged: the engine executes all the
    /// same.
    pub(super) async fn register(&self) {
        let owner = self.owner();
        let former = {
            let mut entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
            if entry.owner == owner {
                return;
            }
            entry.owner = owner;
            entry.registration.take()
        };
        if let Some(former) = former {
            former.leave().await;
        }
        let serves = Serves {
            workflows: self.workflows.iter().map(|id| (*id).to_owned()).collect(),
            queues: self.queues.names().map(str::to_owned).collect(),
            build: Some(self.refuser.to_string()),
        };
        let (body, digest) = catalogue::encoded();
        let worker = NewWorker {
            owner,
            deployment: self.settings.deployment.clone(),
            serves: serde_json::to_string(&serves).unwrap_or_default().into(),
            catalogue: body.clone(),
            digest: *digest,
            now: self.clock.now(),
        };
        match self.store.register(&worker).await {
            Ok(registration) => {
                let mut entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
                // The engine may have been stopped, or have lost its right, meanwhile.
                if entry.owner == owner && !self.stopped.is_cancelled() {
                    entry.registration = registration;
                }
            }
            Err(error) => tracing::warn!(?error, "this process is missing in the list of workers"),
        }
    }

    /// Ends this engine's entry without a write: it no longer counts as alive.
    pub(super) fn drop_entry(&self) {
        drop(self.entry.lock().unwrap_or_else(PoisonError::into_inner).registration.take());
    }

    /// Removes this engine from the list of workers.
    pub(super) async fn leave(&self) {
        let registration = self.entry.lock().unwrap_or_else(PoisonError::into_inner).registration.take();
        if let Some(registration) = registration {
            registration.leave().await;
        }
    }

    /// Warns of a program that opens a store and can execute none of its runs: probably it is not the program for that store,
    /// or the crate with the workflows is not linked.
    pub(super) async fn warn_of_foreign_runs(&self) {
        if !self.settings.executes {
            return;
        }
        let Ok(claimable) = self.store.claimable(&self.settings.deployment).await else { return };
        let claimable = claimable.due;
        let known = self.queues.with(&self.workflows);
        if claimable.is_empty() || claimable.keys().any(|workflow| known.contains(&&**workflow)) {
            return;
        }
        let (queues, workflows): (Vec<_>, Vec<_>) =
            claimable.keys().map(|id| excerpt(id)).partition(|id| queue::parse_id(id).is_some());
        let help = match registry().workflow_ids().next() {
            None => {
                "this program has no workflow at all: a crate that no path of the program mentions is not linked; \
                 `use that_crate as _;` links it"
            }
            Some(_) => {
                "open the store that this program belongs to, or link the crate that defines the workflows (`use that_crate \
                 as _;`), or keep renamed functions alive with `was = \"…\"`; a queue needs `Engine::builder().queue(..)`"
            }
        };
        tracing::warn!(
            workflows = workflows.join(", "),
            queues = queues.join(", "),
            help,
            "this program can execute none of the unfinished runs of its store"
        );
    }

    pub(super) async fn roster(&self) -> Result<Roster> {
        let rows = self.store.workers().await?;
        let serves = |row: &WorkerRow| row.serves.as_deref().and_then(|serves| serde_json::from_str(serves).ok());
        Ok(Roster(rows.into_iter().map(|row| (serves(&row), row)).map(|(serves, row)| (row, serves)).collect()))
    }

    /// The workers of the store.
    pub(crate) async fn workers(&self) -> Result<Vec<WorkerInfo>> {
        let info = |(row, serves): (WorkerRow, Option<Serves>)| WorkerInfo {
            kind: row.kind.to_string(),
            host: row.host.map(|host| host.to_string()),
            pid: row.pid,
            deployment: row.deployment.map(|deployment| deployment.to_string()),
            started_at: time(row.started_at),
            is_alive: row.is_alive,
            is_draining: row.draining,
            executes: row.executes,
            queues: serves.map(|serves| serves.queues).unwrap_or_default(),
            schema: Schema,
        };
        Ok(self.roster().await?.0.into_iter().map(info).collect())
    }

    /// The deployments whose catalogues are stored.
    pub(crate) async fn deployments(&self) -> Result<Vec<DeploymentInfo>> {
        let mut live: BTreeMap<_, usize> = BTreeMap::new();
        for row in self.store.workers().await?.into_iter().filter(|row| row.is_alive) {
            *live.entry(row.deployment.unwrap_or_default()).or_default() += 1;
        }
        let deployments = self.store.deployments().await?;
        let info = |row: crate::store::DeploymentRow| DeploymentInfo {
            workers: live.get(&row.id).copied().unwrap_or_default(),
            id: row.id.to_string(),
            published_at: time(row.published_at),
            activated_at: row.activated_at.map(time),
            is_draining: row.draining,
            is_promoted: row.promoted,
            runs: row.required_by,
            // A catalogue of a later version may be unreadable; the deployment is listed all the same.
            catalogue: serde_json::from_str::<Catalogue>(&row.catalogue).unwrap_or_default(),
            schema: Schema,
        };
        Ok(deployments.into_iter().map(info).collect())
    }
}
