//! `deployments`: what the builds of the workers have, and which runs they execute.

use clap::{Args, Subcommand};
use serde_json::{Map, json};

use super::context::Context;
use super::exit::Exit;
use super::json;
use super::output::{Column, Row, hidden, shown};
use super::report::Outcome;
use super::table::{Cell, Paint};
#[cfg(feature = "web")]
use crate::engine::Client;
#[cfg(feature = "web")]
use crate::model::DeploymentInfo;
#[cfg(feature = "web")]
use crate::steering::text::safe;

/// List the deployments, builds that count as the same version of a program, or change which runs they execute
#[derive(Args)]
pub(super) struct Deployments {
    #[command(subcommand)]
    change: Option<Change>,
}

#[derive(Subcommand)]
enum Change {
    Drain(Drain),
    Promote(Promote),
    Release(Release),
}

/// Let a deployment take no runs any more but those that are bound to it
#[derive(Args)]
struct Drain {
    /// The deployment
    #[arg(value_name = "ID")]
    id: String,
    /// Let it take all runs again
    #[arg(long)]
    undo: bool,
}

/// Make a deployment the latest one, until another one is promoted
#[derive(Args)]
struct Promote {
    /// The deployment
    #[arg(value_name = "ID")]
    id: String,
}

/// Let other deployments execute runs that are bound to one
#[derive(Args)]
struct Release {
    /// The deployment all of whose unfinished runs are released
    #[arg(value_name = "ID", required_unless_present = "run")]
    id: Option<String>,
    /// Release this run instead; may be given several times
    #[arg(long, value_name = "RUN", conflicts_with = "id")]
    run: Vec<String>,
}

const COLUMNS: [Column; 8] = [
    shown("deployment"),
    shown("workers"),
    shown("runs"),
    shown("state"),
    shown("workflows"),
    shown("published"),
    hidden("activated"),
    hidden("steps"),
];

impl Deployments {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        match self.change {
            None => list(context).await,
            Some(Change::Drain(Drain { id, undo })) => {
                let client = context.client().await?;
                if undo {
                    client.undrain(&id).await?;
                } else {
                    client.drain(&id).await?;
                }
                let done =
                    if undo { "takes all runs again" } else { "is drained: it takes no runs but those bound to it" };
                said(context, &id, done, json!({ "deployment": id, "is_draining": !undo }))
            }
            Some(Change::Promote(Promote { id })) => {
                context.client().await?.promote(&id).await?;
                said(context, &id, "is the latest deployment", json!({ "deployment": id, "is_promoted": true }))
            }
            Some(Change::Release(Release { id: Some(id), .. })) => {
                let runs = context.client().await?.release(&id).await?;
                let done = format!("has released {}", counted(runs));
                said(context, &id, &done, json!({ "deployment": id, "released": runs }))
            }
            Some(Change::Release(Release { id: None, run })) => {
                let client = context.client().await?;
                let mut released = 0;
                for run in &run {
                    released += u64::from(client.release_run(run).await?);
                }
                let skipped = run.len() as u64 - released;
                let output = &mut context.output;
                if output.format().is_json() {
                    output.document(json!({ "released": released, "skipped": skipped }))?;
                } else {
                    output
                        .line(format!("{released} released, {skipped} not bound to a deployment, ended or unknown"))?;
                }
                Ok(if skipped == 0 { Exit::Ok } else { Exit::Refused })
            }
        }
    }
}

/// Reports the runs that are bound to deployments without a live worker, or releases them.
#[cfg(feature = "web")]
pub(super) async fn orphans(client: &Client, release: bool) -> Outcome<()> {
    let deployments = client.deployments().await?.into_iter();
    for DeploymentInfo { id, runs, .. } in deployments.filter(|it| it.workers == 0 && it.runs > 0) {
        let name = safe(&id);
        if release {
            let released = client.release(&id).await?;
            eprintln!("released {} from deployment {name}, which has no live worker", counted(released));
        } else {
            eprintln!(
                "deployment {name} has no live worker, and {} bound to it. To release them: `dev --release`, or `workflow \
                 deployments release {name}`",
                counted(runs)
            );
        }
    }
    Ok(())
}

fn counted(runs: u64) -> String {
    format!("{runs} {}", if runs == 1 { "run" } else { "runs" })
}

fn said(context: &mut Context, id: &str, done: &str, document: serde_json::Value) -> Outcome<Exit> {
    let output = &mut context.output;
    if output.format().is_json() {
        output.document(document)?;
    } else {
        output.line(format!("{id} {done}"))?;
    }
    Ok(Exit::Ok)
}

async fn list(context: &mut Context) -> Outcome<Exit> {
    let deployments = context.client().await?.deployments().await?;
    let output = &mut context.output;
    let rows = deployments.into_iter().map(|deployment| {
        let (state, paint) = match (deployment.is_draining, deployment.is_promoted, deployment.workers) {
            (true, ..) => ("drained", Paint::Quiet),
            (false, true, _) => ("promoted", Paint::Good),
            (false, false, 0) if deployment.runs > 0 => ("no worker", Paint::Bad),
            (false, false, _) => ("", Paint::Plain),
        };
        Row {
            json: json::part(&deployment),
            cells: vec![
                deployment.id.clone().into(),
                deployment.workers.to_string().into(),
                deployment.runs.to_string().into(),
                Cell { text: state.into(), paint },
                deployment.catalogue.workflows.len().to_string().into(),
                output.time(deployment.published_at).into(),
                output.optional_time(deployment.activated_at).into(),
                deployment.catalogue.steps.len().to_string().into(),
            ],
            id: deployment.id,
        }
    });
    let rows = rows.collect();
    output.list("deployments", &COLUMNS, rows, Map::new())?;
    Ok(Exit::Ok)
}
