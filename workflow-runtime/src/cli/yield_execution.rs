//! `yield`: another process executes.

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::exit::Exit;
use super::json;
use super::report::Outcome;
use crate::steering::text::safe;

/// Let another process execute, on a SQLite store, where one process does; returns when it executes
#[derive(Args)]
pub(super) struct Yield {}

impl Yield {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let executing = context.client().await?.yield_execution().await?;
        let output = &mut context.output;
        if output.format().is_json() {
            output.document(json!({ "executes": json::part(&executing) }))?;
        } else {
            let pid = executing.pid.unwrap_or_default();
            let deployment = safe(executing.deployment.as_deref().unwrap_or("unknown"));
            output.line(format!("process {pid} of deployment {deployment} executes now"))?;
        }
        Ok(Exit::Ok)
    }
}
