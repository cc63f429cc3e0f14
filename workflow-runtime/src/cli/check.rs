//! `check`: whether this program can continue the unfinished runs of a store, before it is deployed.

use clap::Args;
use serde_json::Map;

use super::context::Context;
use super::exit::Exit;
use super::json;
use super::output::{Column, Format, Row, hidden, shown};
use super::report::{Outcome, Stop};
use super::table::{Cell, Paint};
use crate::error::{Code, Error};
use crate::handles::catalog::workflows;
use crate::handles::check::Incompatible;

/// Replay the unfinished runs with the workflows of this program, and execute nothing; only in a program with workflows
#[derive(Args)]
pub(super) struct Check {
    /// Check the runs of this workflow only, by its id; can be given more than once
    #[arg(short, long, value_name = "ID")]
    workflow: Vec<String>,
}

const COLUMNS: [Column; 5] = [shown("run"), shown("workflow"), shown("code"), shown("error"), hidden("generation")];

impl Check {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        if workflows().is_empty() {
            let error = Error::coded(Code::NotRegistered, "this program has no workflows to check runs with");
            return Err(Stop::refused(error.help(
                "put `workflow_runtime::cli::main(Engine::builder()).await` into the main of your own program",
            )));
        }
        let runs = context.client().await?.runs();
        let report = self.workflow.iter().fold(runs, |runs, id| runs.workflow(id)).check().await?;
        let output = &mut context.output;
        match output.format() {
            Format::Json => output.document(json::part(&report))?,
            Format::Table => {
                for line in report.to_string().lines() {
                    output.line(output.text(line))?;
                }
            }
            Format::Ids | Format::Jsonl => {
                output.list("runs", &COLUMNS, report.runs.iter().map(row).collect(), Map::new())?;
            }
        }
        Ok(if report.is_compatible() { Exit::Ok } else { Exit::Refused })
    }
}

fn row(run: &Incompatible) -> Row {
    let cells = vec![
        run.run.clone().into(),
        run.workflow.clone().into(),
        Cell { text: run.error.code().to_string(), paint: Paint::Bad },
        run.error.to_string().into(),
        run.generation.to_string().into(),
    ];
    Row { id: run.run.clone(), json: json::part(run), cells }
}
