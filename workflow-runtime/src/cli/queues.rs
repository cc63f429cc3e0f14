//! `queues`: the queues of steps, how much waits in each, and which workers serve it.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde_json::{Map, json};

use super::context::Context;
use super::exit::Exit;
use super::output::{Column, Row, hidden, shown};
use super::report::Outcome;
use super::table::{Cell, Paint};
use crate::keys::queue_workflow;
use crate::model::Status;

/// List the queues: the steps that wait in each, and the workers that serve it
#[derive(Args)]
pub(super) struct Queues {}

const COLUMNS: [Column; 8] = [
    shown("queue"),
    shown("waiting"),
    shown("executing"),
    shown("places"),
    shown("suspended"),
    shown("stuck"),
    shown("workers"),
    hidden("steps"),
];

/// A queue: the ids of its steps, and the processes that serve it.
#[derive(Default)]
struct Queue {
    steps: BTreeSet<String>,
    workers: BTreeSet<String>,
    /// How many of its steps they execute at a time.
    places: usize,
}

impl Queues {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let client = context.client().await?;
        let mut queues: BTreeMap<String, Queue> = BTreeMap::new();
        for deployment in client.deployments().await? {
            for step in deployment.catalogue.steps {
                if let Some(queue) = step.queue {
                    queues.entry(queue).or_default().steps.insert(step.id);
                }
            }
        }
        for worker in client.workers().await?.into_iter().filter(|worker| worker.is_alive) {
            let process = worker.pid.map(|pid| pid.to_string()).unwrap_or_default();
            for name in worker.queues {
                let places = worker.queue_concurrency.get(&name).copied().unwrap_or_default();
                let queue = queues.entry(name).or_default();
                queue.workers.insert(process.clone());
                queue.places += places;
            }
        }
        let mut rows = Vec::new();
        for (id, Queue { steps, workers, places }) in queues {
            let mut counts = BTreeMap::new();
            if !steps.is_empty() {
                let runs = steps.iter().fold(client.runs(), |runs, step| runs.workflow(queue_workflow(&id, step)));
                let unfinished = [Status::Pending, Status::Running, Status::Suspended, Status::Stuck];
                counts = unfinished.into_iter().fold(runs, |runs, status| runs.status(status)).count().await?;
            }
            let count = |status| counts.get(&status).copied().unwrap_or(0);
            let (waiting, executing) = (count(Status::Pending), count(Status::Running));
            // A step that was suspended, or waits for its next attempt, queues again when it is resumed or due.
            let (suspended, stuck) = (count(Status::Suspended), count(Status::Stuck));
            let is_served = !workers.is_empty();
            let served_by = match is_served {
                true => workers.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
                false => "none".to_owned(),
            };
            let paint = |bad: bool| if bad { Paint::Bad } else { Paint::Plain };
            rows.push(Row {
                json: json!({
                    "queue": id, "waiting": waiting, "executing": executing, "places": places, "suspended": suspended, "stuck": stuck, "workers": workers,
                    "steps": steps,
                }),
                cells: vec![
                    id.clone().into(),
                    waiting.to_string().into(),
                    executing.to_string().into(),
                    places.to_string().into(),
                    suspended.to_string().into(),
                    Cell { text: stuck.to_string(), paint: paint(stuck > 0) },
                    Cell { text: served_by, paint: paint(!is_served) },
                    steps.into_iter().collect::<Vec<_>>().join(", ").into(),
                ],
                id,
            });
        }
        context.output.list("queues", &COLUMNS, rows, Map::new())?;
        Ok(Exit::Ok)
    }
}
