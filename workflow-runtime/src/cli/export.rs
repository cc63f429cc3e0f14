//! `export`: the journal of a run, for a file.

use clap::Args;

use super::context::Context;
use super::exit::Exit;
use super::json;
use super::output::Format;
use super::redaction::Redaction;
use super::report::Outcome;

/// Print the journal of a run as JSON: for the tests of `replay_corpus!`, or for another build to replay
#[derive(Args)]
pub(super) struct Export {
    /// The id of the run
    run: String,
    /// Replace texts and numbers, so that the journal can be given to other people; ids, tokens and names stay
    #[arg(long)]
    redact: bool,
}

impl Export {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let mut journal = context.run(&self.run).await?.export().await?;
        if self.redact {
            let mut redaction = Redaction::default();
            journal.redact(|value| redaction.redact(value))?;
        }
        let output = &mut context.output;
        let is_pretty = output.format() != Format::Jsonl;
        output.line(json::text(&serde_json::to_value(journal).unwrap_or_default(), is_pretty))?;
        Ok(Exit::Ok)
    }
}
