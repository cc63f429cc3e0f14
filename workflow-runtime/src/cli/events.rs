//! `events`: the history of a run.

use clap::Args;
use futures_util::TryStreamExt;
use serde_json::Value;

use super::context::Context;
use super::exit::Exit;
use super::json;
use super::output::{Format, Output};
use super::report::{Outcome, Stop};
use super::table::Paint;
use crate::error::{Code, Error};
use crate::history::RunEvent;
use crate::steering::text::shortened;

/// Show the events of a run
#[derive(Args)]
pub(super) struct Events {
    /// The id of the run
    run: String,
    /// Which events, by their indexes: 5, 1..3, 90.., ..10, or -20.. for the last twenty
    #[arg(value_parser = range, default_value = "..", allow_hyphen_values = true)]
    range: Range,
    /// Wait for further events, until the end of the run
    #[arg(short, long)]
    follow: bool,
    /// Events of this type only, such as step_failed; can be repeated
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Show payloads as a whole
    #[arg(short, long)]
    payloads: bool,
}

/// Indexes of events: from the first, before the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    from: Option<i64>,
    before: Option<u64>,
}

fn range(text: &str) -> std::result::Result<Range, String> {
    let wrong = || format!("`{text}` is no range: expected for example 5, 1..3, 90.., ..10, or -20..");
    let Some((from, to)) = text.split_once("..") else {
        let index: u64 = text.parse().map_err(|_| wrong())?;
        return Ok(Range { from: Some(index.cast_signed()), before: index.checked_add(1) });
    };
    let from = if from.is_empty() { None } else { Some(from.parse().map_err(|_| wrong())?) };
    // Both ends belong to the range.
    let last: Option<u64> = if to.is_empty() { None } else { Some(to.parse().map_err(|_| wrong())?) };
    Ok(Range { from, before: last.map(|last| last.saturating_add(1)) })
}

const CHARACTERS: usize = 160;

impl Events {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let run = context.run(&self.run).await?;
        let mut events = run.events();
        if let Some(from) = self.range.from {
            events = events.from(from);
        }
        if !self.follow {
            events = events.so_far();
        }
        let output = &mut context.output;
        let mut all = Vec::new();
        while let Some(event) = events.try_next().await? {
            if self.range.before.is_some_and(|before| event.index >= before) {
                break;
            }
            let value = json::part(&event);
            if !self.types.is_empty() && !self.types.iter().any(|wanted| value["type"] == **wanted) {
                continue;
            }
            match output.format() {
                Format::Json if self.follow => return Err(endless()),
                Format::Json => all.push(value),
                Format::Jsonl => output.document(value)?,
                Format::Ids => output.line(event.index.to_string())?,
                Format::Table => line(output, &event, value, self.payloads)?,
            }
            if self.follow {
                output.flush()?;
            }
        }
        if output.format() == Format::Json {
            output.document(serde_json::json!({ "run": self.run, "events": all }))?;
        }
        Ok(Exit::Ok)
    }
}

fn endless() -> Stop {
    let error = Error::coded(Code::InvalidArguments, "events that are followed cannot be one JSON document");
    Stop::usage(error.help("use -o jsonl, which prints a document for each event"))
}

/// An event in one line: its fields follow its type.
fn line(output: &mut Output, event: &RunEvent, value: Value, payloads: bool) -> Outcome<()> {
    let Value::Object(mut fields) = value else { return Ok(()) };
    for shown in ["index", "at", "generation"] {
        fields.remove(shown);
    }
    let kind = fields.remove("type").and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
    let details = fields.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| match value {
        Value::String(text) => format!("{name}={text}"),
        value => format!("{name}={}", json::text(value, false)),
    });
    let details = details.collect::<Vec<_>>().join(" ");
    let details = if payloads { details } else { shortened(&details, CHARACTERS) };
    let paint = match kind.as_str() {
        "step_failed" | "step_retrying" | "hook_refused" => Paint::Bad,
        "step_completed" | "ended" => Paint::Good,
        _ => Paint::Plain,
    };
    let kind = format!("{kind:<16}");
    let line = format!(
        "{:>5}  {}  {}  {}",
        event.index,
        output.time(event.at),
        paint.on(&kind, output.has_color()),
        output.text(&details)
    );
    output.line(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(range("5"), Ok(Range { from: Some(5), before: Some(6) }));
        assert_eq!(range("1..3"), Ok(Range { from: Some(1), before: Some(4) }));
        assert_eq!(range("-20.."), Ok(Range { from: Some(-20), before: None }));
        assert_eq!(range("..10"), Ok(Range { from: None, before: Some(11) }));
        assert!(range("a..").is_err() && range("").is_err());
    }
}
