//! `workflows`: what the deployments of a store have.

use clap::Args;
use serde_json::Map;

use super::context::Context;
use super::exit::Exit;
use super::json;
use super::output::{Column, Row, hidden, shown};
use super::report::Outcome;
use crate::model::CatalogueWorkflow;

/// List the workflows that the deployments of the store have
#[derive(Args)]
pub(super) struct Workflows {}

const COLUMNS: [Column; 4] = [shown("workflow"), shown("arguments"), shown("deployment"), hidden("place")];

impl Workflows {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let deployments = context.client().await?.deployments().await?;
        let rows = deployments.into_iter().flat_map(|deployment| {
            let id = deployment.id;
            deployment.catalogue.workflows.into_iter().map(move |workflow| row(&id, workflow))
        });
        let rows = rows.collect();
        context.output.list("workflows", &COLUMNS, rows, Map::new())?;
        Ok(Exit::Ok)
    }
}

fn row(deployment: &str, workflow: CatalogueWorkflow) -> Row {
    let arguments: Vec<&str> = workflow.arguments.iter().map(|(name, _)| name.as_str()).collect();
    let mut json = json::part(&workflow);
    json["deployment"] = deployment.into();
    let place = format!("{}:{}", workflow.file, workflow.line);
    let cells = vec![workflow.id.clone().into(), arguments.join(", ").into(), deployment.into(), place.into()];
    Row { id: workflow.id, json, cells }
}
