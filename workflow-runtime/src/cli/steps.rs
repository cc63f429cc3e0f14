//! `steps`: what a run has called.

use clap::Args;
use serde_json::{Map, json};

use super::context::Context;
use super::exit::Exit;
use super::json;
use super::output::{Column, Output, Row, hidden, shown};
use super::report::Outcome;
use super::table::{Cell, Paint};
use super::watch;
use crate::history::{StepOutcome, StepStatus};
use crate::model::causes_text;
use crate::steering::text::shortened;
use crate::steering::time::short;

/// Show the steps and the child runs of a run, with their attempts
#[derive(Args)]
pub(super) struct Steps {
    /// The id of the run
    run: String,
    /// Show again after each change, until interrupted or the end of the run
    #[arg(short, long)]
    watch: bool,
}

const COLUMNS: [Column; 11] = [
    shown("event"),
    shown("step"),
    shown("status"),
    shown("attempts"),
    shown("started"),
    shown("took"),
    shown("error"),
    hidden("name"),
    hidden("input"),
    hidden("output"),
    hidden("run"),
];
const CHARACTERS: usize = 200;

impl Steps {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let run = context.run(&self.run).await?;
        watch::draw(context, self.watch, async |context| {
            let status = run.status().await?;
            let steps = run.steps().await?;
            let output = &mut context.output;
            let rows = steps.iter().map(|step| row(output, step)).collect();
            output.list("steps", &COLUMNS, rows, Map::from_iter([("run".to_owned(), json!(self.run))]))?;
            Ok(status.is_terminal().then_some(Exit::Ok))
        })
        .await
    }
}

/// The status of a step, with its colour.
pub(super) fn status(status: StepStatus) -> Cell {
    let (text, paint) = match status {
        StepStatus::Running => ("running", Paint::Busy),
        StepStatus::Suspended => ("suspended", Paint::Plain),
        StepStatus::Completed => ("completed", Paint::Good),
        StepStatus::Failed => ("failed", Paint::Bad),
        StepStatus::Cancelled => ("cancelled", Paint::Quiet),
        StepStatus::Unknown => ("unknown", Paint::Plain),
    };
    Cell { text: text.to_owned(), paint }
}

fn row(output: &Output, step: &StepOutcome) -> Row {
    let took = step.ended_at.and_then(|ended| ended.duration_since(step.started_at).ok());
    let error = step.error.as_ref().map(causes_text).unwrap_or_default();
    let cells = vec![
        step.event.to_string().into(),
        step.step.clone().into(),
        status(step.status),
        step.attempts.to_string().into(),
        output.time(step.started_at).into(),
        took.map(short).unwrap_or_default().into(),
        shortened(&error, CHARACTERS).into(),
        step.name.clone().unwrap_or_default().into(),
        shortened(&json::text(&step.input, false), CHARACTERS).into(),
        step.output.as_ref().map(|output| shortened(&json::text(output, false), CHARACTERS)).unwrap_or_default().into(),
        step.run.clone().unwrap_or_default().into(),
    ];
    Row { id: step.event.to_string(), json: json::part(step), cells }
}
