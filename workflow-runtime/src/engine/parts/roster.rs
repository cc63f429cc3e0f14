//! The workers of a store at one moment, and what they execute.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::registry::queue;
use crate::store::WorkerRow;

/// What a worker executes, as it is published.
#[derive(Serialize, Deserialize)]
pub struct Serves {
    pub workflows: Vec<String>,
    pub queues: Vec<String>,
    /// The name under which its build refuses runs.
    #[serde(default)]
    pub build: Option<String>,
    /// `None` in the entry of an earlier version.
    #[serde(default)]
    pub places: Option<Places>,
}

/// How many attempts an engine executes at the same time.
#[derive(Clone, Serialize, Deserialize)]
pub struct Places {
    pub steps: usize,
    pub blocking_steps: usize,
    /// By the names of the queues that it serves.
    pub queues: BTreeMap<String, usize>,
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
pub struct Roster(Vec<Worker>);

struct Worker {
    row: WorkerRow,
    /// Decoded when it is first read: a build may have very many workflows.
    serves: OnceLock<Option<Serves>>,
}

impl Worker {
    /// What it executes, if it has published that.
    fn serves(&self) -> Option<&Serves> {
        let decode = || self.row.serves.as_deref().and_then(|serves| serde_json::from_str(serves).ok());
        self.serves.get_or_init(decode).as_ref()
    }
}

/// Who has what a run needs.
pub enum Has {
    /// A worker that executes, or one that will when the executing worker is gone, and none executes now.
    Yes,
    /// No live worker.
    Nobody,
    /// Workers that do not execute, while another one does: their processes, and its process and deployment.
    Others { executes: u32, deployment: Option<String>, candidates: Vec<u32> },
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
    pub fn of(rows: Vec<WorkerRow>) -> Self {
        Roster(rows.into_iter().map(|row| Worker { row, serves: OnceLock::new() }).collect())
    }

    /// The workers, each with what it executes, if it has published that.
    pub fn workers(&self) -> impl Iterator<Item = (&WorkerRow, Option<&Serves>)> {
        self.0.iter().map(|worker| (&worker.row, worker.serves()))
    }

    fn live(&self) -> impl Iterator<Item = &Worker> {
        self.0.iter().filter(|worker| worker.row.is_alive)
    }

    /// Whether a live worker holds the runs of this owner.
    pub fn holds(&self, owner: u64) -> bool {
        self.live().any(|worker| worker.row.owner == owner && worker.row.executes)
    }

    /// The worker that executes, if one does, and the live ones that wait for the right to execute.
    pub fn executing_and_waiting(&self) -> (Option<&WorkerRow>, Vec<&WorkerRow>) {
        let (executing, waiting): (Vec<_>, Vec<_>) =
            self.live().map(|worker| &worker.row).partition(|row| row.executes);
        (executing.first().copied(), waiting)
    }

    /// What the workers execute that have a workflow for runs that require this deployment, or none, and the right to execute.
    pub fn executing(&self, workflow: &str, required: Option<&str>) -> impl Iterator<Item = &Serves> {
        let executing = self.live().filter(move |worker| worker.row.executes && worker.row.takes(required));
        executing.filter_map(Worker::serves).filter(move |serves| serves.has(workflow))
    }

    /// Whether a live worker of a deployment has a workflow.
    pub fn has_in(&self, workflow: &str, deployment: &str) -> bool {
        let mut of_deployment = self.live().filter(|worker| worker.row.deployment.as_deref() == Some(deployment));
        of_deployment.any(|worker| worker.serves().is_some_and(|serves| serves.has(workflow)))
    }

    /// The deployments that have live workers.
    pub fn deployments(&self) -> impl Iterator<Item = &str> {
        let ids: BTreeSet<&str> = self.live().filter_map(|worker| worker.row.deployment.as_deref()).collect();
        ids.into_iter()
    }

    /// Who has a workflow for runs that require this deployment, or none. A worker that has not published what it has may have
    /// it.
    pub fn has(&self, workflow: &str, required: Option<&str>) -> Has {
        let has = |worker: &Worker| worker.serves().is_none_or(|serves| serves.has(workflow));
        let able: Vec<&WorkerRow> =
            self.live().filter(|worker| worker.row.takes(required) && has(worker)).map(|worker| &worker.row).collect();
        if able.is_empty() {
            return Has::Nobody;
        }
        let executing = self.live().map(|worker| &worker.row).find(|row| row.executes);
        match executing {
            Some(row) if !able.iter().any(|able| able.executes) => Has::Others {
                executes: row.pid.unwrap_or_default(),
                deployment: row.deployment.as_deref().map(str::to_owned),
                candidates: able.iter().filter_map(|row| row.pid).collect(),
            },
            _ => Has::Yes,
        }
    }
}
