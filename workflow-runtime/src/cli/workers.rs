//! `workers` and `deployments`: which processes execute, and what their builds have.

use clap::Args;
use serde_json::Map;

use super::context::Context;
use super::exit::Exit;
use super::json;
use super::output::{Column, Row, hidden, shown};
use super::report::Outcome;
use super::table::{Cell, Paint};

/// List the workers: the processes that execute runs, or are ready to
#[derive(Args)]
pub(super) struct Workers {}

const WORKERS: [Column; 7] = [
    shown("process"),
    shown("host"),
    shown("deployment"),
    shown("state"),
    shown("opened"),
    shown("queues"),
    hidden("kind"),
];

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
            Row {
                json: json::part(&worker),
                cells: vec![
                    process.clone().into(),
                    worker.host.unwrap_or_default().into(),
                    worker.deployment.unwrap_or_default().into(),
                    Cell { text: state.into(), paint },
                    output.time(worker.started_at).into(),
                    worker.queues.join(", ").into(),
                    worker.kind.into(),
                ],
                id: process,
            }
        });
        let rows = rows.collect();
        output.list("workers", &WORKERS, rows, Map::new())?;
        Ok(Exit::Ok)
    }
}

/// List the deployments: builds that count as the same version of a program
#[derive(Args)]
pub(super) struct Deployments {}

const DEPLOYMENTS: [Column; 6] = [
    shown("deployment"),
    shown("workers"),
    shown("workflows"),
    shown("published"),
    hidden("activated"),
    hidden("steps"),
];

impl Deployments {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let deployments = context.client().await?.deployments().await?;
        let output = &mut context.output;
        let rows = deployments.into_iter().map(|deployment| Row {
            json: json::part(&deployment),
            cells: vec![
                deployment.id.clone().into(),
                deployment.workers.to_string().into(),
                deployment.catalogue.workflows.len().to_string().into(),
                output.time(deployment.published_at).into(),
                output.optional_time(deployment.activated_at).into(),
                deployment.catalogue.steps.len().to_string().into(),
            ],
            id: deployment.id,
        });
        let rows = rows.collect();
        output.list("deployments", &DEPLOYMENTS, rows, Map::new())?;
        Ok(Exit::Ok)
    }
}
