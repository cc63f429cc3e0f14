//! `resume`: answers the suspensions of runs.

use clap::Args;

use super::bulk::{self, Targets};
use super::context::{AnyRun, Context};
use super::exit::Exit;
use super::input;
use super::report::Outcome;
use crate::steering::bulk::{Done, Verb};

/// Resume suspended runs with a value
#[derive(Args)]
pub(super) struct Resume {
    #[command(flatten)]
    targets: Targets,
    /// The value: JSON, @FILE, or - for the standard input
    #[arg(long, value_name = "JSON", default_value = "null", allow_hyphen_values = true)]
    value: String,
    /// The label of the suspension, if a run has several
    #[arg(long)]
    label: Option<String>,
    /// The id of the suspension, which `workflow hooks RUN` shows: this one and no later one
    #[arg(long, value_name = "ID", conflicts_with = "label")]
    of: Option<String>,
}

impl Resume {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let value = input::value(&self.value)?;
        let verb = Verb { name: "resume", done: "resumed", applies: |status| !status.is_terminal(), is_final: false };
        let action = async |run: AnyRun| {
            let mut resume = run.resume(&value);
            if let Some(label) = &self.label {
                resume = resume.label(label);
            }
            if let Some(id) = &self.of {
                resume = resume.of(id);
            }
            resume.await.map(|()| Done::Done)
        };
        bulk::act(context, self.targets, &verb, action).await
    }
}
