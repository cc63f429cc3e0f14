//! `resume`: answers the suspensions of runs.

use clap::Args;

use super::bulk::{self, Targets};
use super::context::{AnyRun, Context};
use super::exit::Exit;
use super::input;
use super::report::Outcome;
use crate::model::Suspended;
use crate::steering::bulk::{Done, Verb};
use crate::steering::payloads;

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
    /// Do not check the value against the JSON Schema that a deployment has published
    #[arg(long)]
    unchecked: bool,
}

impl Resume {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let value = input::value(&self.value)?;
        let verb = Verb { name: "resume", done: "resumed", applies: |status| !status.is_terminal(), is_final: false };
        let client = context.client().await?;
        let is_asked = |asked: &&Suspended| match (&self.of, &self.label) {
            (Some(id), _) => asked.id == *id,
            (None, Some(label)) => asked.label == *label,
            (None, None) => true,
        };
        let action = async |run: AnyRun| {
            let suspended = if self.unchecked { Vec::new() } else { run.suspended().await? };
            let own = |asked: &&Suspended| asked.run == run.id();
            if let Some(asked) = suspended.iter().filter(own).find(is_asked) {
                let what = format!("the suspension `{}`", asked.label);
                payloads::check(&client, &what, &asked.type_name, &value).await?;
            }
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
