//! `workers`: which processes execute.

use clap::Args;
use serde_json::Map;

use super::context::Context;
use super::exit::Exit;
use super::json;
use super::output::{Column, Row, hidden, shown};
use super::report::Outcome;
use super::table::{Cell, Paint};
use crate::model::WorkerInfo;

/// List the workers: the processes that execute runs, or are ready to
#[derive(Args)]
pub(super) struct Workers {}

const WORKERS: [Column; 9] = [
    shown("process"),
    shown("host"),
    shown("deployment"),
    shown("state"),
    shown("opened"),
    shown("queues"),
    hidden("kind"),
    hidden("concurrency"),
    hidden("blocking_concurrency"),
];

/// Its queues, each with the number of its steps that are executed at a time.
fn queues(worker: &WorkerInfo) -> String {
    let places =
        |queue: &String| worker.queue_concurrency.get(queue).map_or_else(String::new, |most| format!(" ({most})"));
    let queues: Vec<String> = worker.queues.iter().map(|queue| format!("{queue}{}", places(queue))).collect();
    queues.join(", ")
}

impl Workers {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let workers = context.client().await?.workers().await?;
        let output = &mut context.output;
        let rows = workers.into_iter().map(|worker| {
            let (state, paint) = match (worker.is_alive, worker.is_draining, worker.executes) {
                (false, ..) => ("dead", Paint::Bad),
                (true, true, _) => ("draining", Paint::Quiet),
                (true, false, true) => ("executes", Paint::Good),
                (true, false, false) => ("ready", Paint::Plain),
            };
            let process = worker.pid.map(|pid| pid.to_string()).unwrap_or_default();
            let queues = queues(&worker);
            Row {
                json: json::part(&worker),
                cells: vec![
                    process.clone().into(),
                    worker.host.unwrap_or_default().into(),
                    worker.deployment.unwrap_or_default().into(),
                    Cell { text: state.into(), paint },
                    output.time(worker.started_at).into(),
                    queues.into(),
                    worker.kind.into(),
                    worker.concurrency.map(|steps| steps.to_string()).unwrap_or_default().into(),
                    worker.blocking_concurrency.map(|steps| steps.to_string()).unwrap_or_default().into(),
                ],
                id: process,
            }
        });
        let rows = rows.collect();
        output.list("workers", &WORKERS, rows, Map::new())?;
        Ok(Exit::Ok)
    }
}
