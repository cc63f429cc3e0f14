//! `stream`: the values that a run writes while it executes.

use clap::Args;
use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use super::context::Context;
use super::exit::Exit;
use super::json;
use super::output::{Format, Output};
use super::report::Outcome;
use crate::handles::stream::Chunk;

/// Show the chunks of a stream of a run
#[derive(Args)]
pub(super) struct Stream {
    /// The id of the run
    run: String,
    /// The name of the stream; without it, the names are listed
    name: Option<String>,
    /// Wait for further chunks, until the end of the stream
    #[arg(short, long)]
    follow: bool,
    /// The index of the first chunk; negative: counted from the end
    #[arg(long, value_name = "N", default_value_t = 0, allow_hyphen_values = true)]
    from: i64,
}

impl Stream {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let run = context.run(&self.run).await?;
        let output = &mut context.output;
        let Some(name) = self.name else {
            let names = run.streams().await?;
            if output.format().is_json() {
                output.document(json!({ "run": self.run, "streams": names }))?;
            } else {
                for name in names {
                    output.line(output.text(&name))?;
                }
            }
            return Ok(Exit::Ok);
        };
        let reader = run.stream::<Value>(&*name);
        let last = match self.follow {
            true => None,
            false => match reader.tail().await? {
                Some(last) => Some(last),
                None => return Ok(Exit::Ok),
            },
        };
        let mut chunks = reader.from(self.from).boxed();
        while let Some(chunk) = chunks.try_next().await? {
            if last.is_some_and(|last| chunk.index > last) {
                break;
            }
            print(output, &chunk)?;
            if self.follow {
                output.flush()?;
            }
            if last == Some(chunk.index) {
                break;
            }
        }
        Ok(Exit::Ok)
    }
}

fn print(output: &mut Output, chunk: &Chunk<Value>) -> Outcome<()> {
    match (output.format(), &chunk.value) {
        (Format::Json | Format::Jsonl, value) => {
            let document = json!({ "index": chunk.index, "value": value, "discarded": chunk.discarded });
            output.line(json::text(&json::with_schema(document), false))
        }
        (Format::Ids, _) => output.line(chunk.index.to_string()),
        // As it was written: a model's tokens have their own line breaks.
        (Format::Table, Value::String(text)) if output.is_raw() => output.write(text),
        (Format::Table, Value::String(text)) => output.line(output.text(text)),
        (Format::Table, value) => output.line(json::text(value, false)),
    }
}
