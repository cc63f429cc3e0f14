//! What the command line and the web page have in common: actions on runs, the errors of runs and what
//! helps, times and texts for people.

#![cfg_attr(
    not(all(feature = "cli", feature = "web")),
    allow(dead_code, reason = "one front end does not use all of it")
)]

pub(crate) mod bulk;
pub(crate) mod errors;
pub(crate) mod fits;
#[cfg(feature = "cli")]
pub(crate) mod payloads;
pub(crate) mod text;
pub(crate) mod time;

use crate::engine::Client;
use crate::error::Result;
use crate::handles::catalog::JsonError;
use crate::handles::run::Run;
use crate::model::CatalogueWorkflow;

/// A run of any workflow: its result and its error are JSON.
pub(crate) type AnyRun = Run<serde_json::Value, JsonError>;

/// What the deployment that was published last and has the workflow says of it.
pub(crate) async fn published(client: &Client, id: &str) -> Result<Option<CatalogueWorkflow>> {
    let mut deployments = client.deployments().await?;
    deployments.sort_by_key(|deployment| std::cmp::Reverse(deployment.published_at));
    let mut workflows = deployments.into_iter().flat_map(|deployment| deployment.catalogue.workflows);
    Ok(workflows.find(|workflow| workflow.id == id))
}
