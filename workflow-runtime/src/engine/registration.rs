//! This engine in the list of workers, and the lists of workers and deployments.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use super::inner::Inner;
use super::parts::roster::{Roster, Serves};
use crate::error::Result;
use crate::model::{Catalogue, DeploymentInfo, Schema, WorkerInfo, time};
use crate::registry::{catalogue, queue, registry};
use crate::store::{NewWorker, WorkerRow};
use crate::text::excerpt;

pub(super) fn info(row: &WorkerRow, serves: Option<&Serves>) -> WorkerInfo {
    let places = serves.and_then(|serves| serves.places.as_ref());
    WorkerInfo {
        #[cfg(feature = "web")]
        owner: row.owner,
        kind: row.kind.to_string(),
        host: row.host.as_ref().map(|host| host.to_string()),
        pid: row.pid,
        deployment: row.deployment.as_ref().map(|deployment| deployment.to_string()),
        started_at: time(row.started_at),
        is_alive: row.is_alive,
        is_draining: row.draining,
        executes: row.executes,
        queues: serves.map(|serves| serves.queues.clone()).unwrap_or_default(),
        concurrency: places.map(|places| places.steps),
        blocking_concurrency: places.map(|places| places.blocking_steps),
        queue_concurrency: places.map(|places| places.queues.clone()).unwrap_or_default(),
        schema: Schema,
    }
}

impl Inner {
    /// Publishes this engine under its present number, once for each number. A failure is logged: the engine executes all the
    /// same.
    pub(super) async fn register(&self) {
        let owner = self.owner();
        let now = self.clock.now();
        let (former, since) = {
            let mut entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
            if entry.owner == owner {
                return;
            }
            entry.owner = owner;
            let since = entry.since;
            entry.since.get_or_insert(now);
            (entry.registration.take(), since)
        };
        if let Some(former) = former {
            former.leave().await;
        }
        let serves = Serves {
            workflows: self.workflows.iter().map(|id| (*id).to_owned()).collect(),
            queues: self.queues.names().map(str::to_owned).collect(),
            build: Some(self.refuser.to_string()),
            places: Some(self.places.clone()),
        };
        let (body, digest) = catalogue::encoded();
        let worker = NewWorker {
            owner,
            deployment: self.settings.deployment.clone(),
            serves: serde_json::to_string(&serves).unwrap_or_default().into(),
            catalogue: body.clone(),
            digest: *digest,
            now,
            since,
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

    /// Logs which process executes while this one waits; a warning if it is of another deployment.
    pub(super) async fn name_who_executes(&self) {
        let Ok(roster) = self.roster().await else { return };
        let Some(executing) = roster.executing_and_waiting().0 else { return };
        let pid = executing.pid.unwrap_or_default();
        match executing.deployment.as_deref() {
            Some(deployment) if *deployment != *self.settings.deployment => tracing::warn!(
                process = std::process::id(),
                executes = pid,
                deployment = %excerpt(deployment),
                help = "it executes what its build has; `workflow yield` lets another process execute",
                "a process of another deployment executes the runs of the store; this one executes when that one ends or yields"
            ),
            _ => tracing::info!(
                process = std::process::id(),
                executes = pid,
                "another engine executes the runs of the store; this one takes over when it ends"
            ),
        }
    }

    pub(super) async fn roster(&self) -> Result<Roster> {
        Ok(Roster::of(self.store.workers().await?))
    }

    /// The workers of the store.
    pub(crate) async fn workers(&self) -> Result<Vec<WorkerInfo>> {
        Ok(self.roster().await?.workers().map(|(row, serves)| info(row, serves)).collect())
    }

    /// The worker with this number, if it is listed.
    #[cfg(any(feature = "cli", feature = "web"))]
    pub(crate) async fn worker(&self, owner: u64) -> Result<Option<WorkerInfo>> {
        let roster = self.roster().await?;
        let found = roster.workers().find(|(row, _)| row.owner == owner);
        Ok(found.map(|(row, serves)| info(row, serves)))
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
