//! The workers of a store at one moment, and what they execute.

use std::collections::BTreeSet;

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
pub struct Roster(Vec<(WorkerRow, Option<Serves>)>);

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
        let serves = |row: &WorkerRow| row.serves.as_deref().and_then(|serves| serde_json::from_str(serves).ok());
        Roster(rows.into_iter().map(|row| (serves(&row), row)).map(|(serves, row)| (row, serves)).collect())
    }

    /// The workers, each with what it executes, if it has published that.
    pub fn workers(self) -> impl Iterator<Item = (WorkerRow, Option<Serves>)> {
        self.0.into_iter()
    }

    fn live(&self) -> impl Iterator<Item = &(WorkerRow, Option<Serves>)> {
        self.0.iter().filter(|(row, _)| row.is_alive)
    }

    /// Whether a live worker holds the runs of this owner.
    pub fn holds(&self, owner: u64) -> bool {
        self.live().any(|(row, _)| row.owner == owner && row.executes)
    }

    /// The worker that executes, if one does, and the live ones that wait for the right to execute.
    pub fn executing_and_waiting(&self) -> (Option<&WorkerRow>, Vec<&WorkerRow>) {
        let (executing, waiting): (Vec<_>, Vec<_>) = self.live().map(|(row, _)| row).partition(|row| row.executes);
        (executing.first().copied(), waiting)
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
                deployment: row.deployment.as_deref().map(str::to_owned),
                candidates: able.iter().filter_map(|row| row.pid).collect(),
            },
            _ => Has::Yes,
        }
    }
}
