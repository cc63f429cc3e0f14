//! `start`: a new run.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::context::{AnyRun, Context};
use super::exit::Exit;
use super::report::{Outcome, Stop};
use super::{input, result};
use crate::error::Code;
use crate::handles::catalog::workflows;
use crate::handles::start::Start as Starts;
use crate::steering::published;
use crate::steering::time::duration;

/// Start a run of a workflow
#[derive(Args)]
pub(super) struct Start {
    /// The id of the workflow
    workflow: String,
    /// The arguments: JSON, @FILE, or - for the standard input; an object or an array if there are several
    #[arg(value_name = "JSON", default_value = "null", allow_hyphen_values = true)]
    args: String,
    /// The id of the run, so that the command can be repeated
    #[arg(long)]
    id: Option<String>,
    /// An attribute of the run; can be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = super::filter::pair)]
    attribute: Vec<(String, String)>,
    /// Wait for the end of the run and print its result, as `workflow result` does
    #[arg(short, long)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "wait")]
    timeout: Option<Duration>,
}

impl Start {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let args = input::value(&self.args)?;
        let client = context.client().await?;
        let is_here = workflows().iter().any(|workflow| workflow.id == self.workflow);
        let published = if is_here { None } else { published(&client, &self.workflow).await? };
        let mut start = match published {
            Some(workflow) => {
                if workflow.arguments.iter().any(|(_, schema)| schema.is_none()) {
                    eprintln!(
                        "arguments without a schema are checked by their names only: this program does not have the workflow"
                    );
                }
                Starts::published(client.clone(), workflow, args)
            }
            None => client.start_by_id(&self.workflow, args),
        };
        if let Some(id) = &self.id {
            start = start.id(id);
        }
        for (key, value) in self.attribute {
            start = start.attribute(key, value);
        }
        let started = start.await.map_err(|error| match error.code() {
            Code::NotRegistered => Stop::usage(error.help(
                "neither this program nor a deployment of the store has the workflow: `workflow workflows` lists those that can \
                 be started",
            )),
            _ => error.into(),
        })?;
        let run: AnyRun = client.get_run(started.id());
        let output = &mut context.output;
        if self.wait {
            return result::print(output, &run, self.timeout).await;
        }
        if output.format().is_json() {
            output.document(json!({ "run": run.id(), "workflow": self.workflow }))?;
        } else {
            output.line(output.text(run.id()))?;
        }
        Ok(Exit::Ok)
    }
}
