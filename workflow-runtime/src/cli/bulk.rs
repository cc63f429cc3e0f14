//! Actions on runs: on ids, on ids from the standard input, or on all runs that match a filter: see `steering::bulk`.

use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use clap::Args;
use futures_util::TryStreamExt;
use serde_json::{Value, json};

use super::context::{AnyRun, Context};
use super::exit::Exit;
use super::filter::{Errors, Filter};
use super::json;
use super::output::{Format, Output};
use super::report::{Outcome, Stop};
use crate::error::{Code, Error, Result};
use crate::handles::runs::Runs;
use crate::model::RunInfo;
use crate::steering::bulk::{Done, Due, Limits, Pages, Tally, Verb, bounded, due, settled};
use crate::steering::text::safe;

/// The runs to act on.
#[derive(Args)]
pub(super) struct Targets {
    /// Ids of runs; - reads them from the standard input, one a line
    #[arg(value_name = "RUN", required_unless_present = "all")]
    runs: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    errors: Errors,
    /// Act on all runs that match the filter
    #[arg(long, conflicts_with = "runs")]
    all: bool,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// At most so many runs a second
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
}

fn rate(text: &str) -> std::result::Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "expected a number above 0".to_owned())
}

/// Acts on the runs, one after the other, and prints what was done to each.
pub(super) async fn act(
    context: &mut Context,
    targets: Targets,
    verb: &Verb,
    action: impl AsyncFn(AnyRun) -> Result<Done>,
) -> Outcome<Exit> {
    let client = context.client().await?;
    let has_filter = !targets.filter.is_empty() || !targets.errors.is_empty();
    if has_filter && !targets.all {
        let text = format!("{} on a filter needs --all", verb.name);
        let help = "a filter and ids cannot be combined; `workflow ls` with the same filter shows the runs";
        return Err(Stop::usage(Error::coded(Code::InvalidArguments, text).help(help)));
    }
    let mut source = match targets.all {
        false => Source::Ids(targets.runs.clone().into_iter()),
        true => {
            let runs = bounded(&client, targets.filter.runs(&client), targets.filter.until);
            if !targets.dry_run {
                confirm(verb, &targets, count(&targets, runs.clone()).await?)?;
            }
            let (filter, errors) = (targets.filter.clone(), targets.errors.clone());
            let matches = move |info: &RunInfo| filter.matches(info) && errors.matches(info);
            Source::Filter(Box::new(Pages::of(runs, matches)))
        }
    };
    let mut printer = Printer::new(&mut context.output, verb, targets.dry_run)?;
    let mut pace = targets.rate.map(|rate| tokio::time::interval(Duration::from_secs_f64(1.0 / rate)));
    let limits = Limits { statuses: &targets.filter.status, is_filter: targets.all, is_dry_run: targets.dry_run };
    let (mut tally, mut last, mut interrupted) = (Tally::default(), None, false);
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    loop {
        let next = async {
            if let Some(pace) = &mut pace {
                pace.tick().await;
            }
            source.next().await
        };
        let id = tokio::select! {
            biased;
            _ = &mut interrupt => {
                interrupted = true;
                break;
            }
            next = next => match next? {
                Some(id) => id,
                None => break,
            },
        };
        // It is not interrupted: what was begun has an answer.
        let result = match due(&client, &id, verb, limits).await {
            Ok(Due::Act(run)) => settled(action(run).await, limits),
            Ok(Due::Nothing(done)) => Ok(done),
            Err(error) => Err(error),
        };
        tally.add(&result);
        printer.print(&id, &result)?;
        last = result.err();
    }
    printer.end(&tally, interrupted)?;
    let is_single = !targets.all && tally.done + tally.skipped + tally.failed == 1;
    Ok(match last {
        Some(error) if is_single => return Err(error.into()),
        _ if tally.failed > 0 || interrupted => Exit::Refused,
        _ if tally.skipped > 0 && !targets.all => Exit::Refused,
        _ => Exit::Ok,
    })
}

/// How many runs match.
async fn count(targets: &Targets, runs: Runs) -> Outcome<u64> {
    if targets.errors.is_empty() && !targets.filter.not_failing {
        return Ok(runs.count().await?.values().sum());
    }
    let (mut all, mut matching) = (runs.stream(), 0);
    while let Some(info) = all.try_next().await? {
        matching += u64::from(targets.filter.matches(&info) && targets.errors.matches(&info));
    }
    Ok(matching)
}

/// Asks for a confirmation, at a terminal; elsewhere `--yes` is needed.
fn confirm(verb: &Verb, targets: &Targets, runs: u64) -> Outcome<()> {
    if targets.yes || runs == 0 {
        return Ok(());
    }
    let refused = |text: String| {
        let help = "nothing was done; --dry-run shows the runs, and --yes does not ask";
        Stop::refused(Error::coded(Code::InvalidArguments, text).help(help))
    };
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(refused(format!("{} of {runs} runs needs a confirmation", verb.name)));
    }
    match verb.is_final {
        true => eprint!("{} {runs} runs? This cannot be undone. Type the number of runs to confirm: ", verb.name),
        false => eprint!("{} {runs} runs? [y/N] ", verb.name),
    }
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    let answer = answer.trim();
    let is_yes = if verb.is_final { answer == runs.to_string() } else { ["y", "yes"].contains(&answer) };
    if is_yes { Ok(()) } else { Err(refused(format!("{} was not confirmed", verb.name))) }
}

/// Where the ids are from.
enum Source {
    Ids(std::vec::IntoIter<String>),
    Stdin,
    Filter(Box<Pages>),
}

impl Source {
    async fn next(&mut self) -> Outcome<Option<String>> {
        loop {
            match self {
                Source::Ids(ids) => match ids.next() {
                    Some(id) if id == "-" => *self = Source::Stdin,
                    id => return Ok(id),
                },
                Source::Stdin => match line().await? {
                    Some(line) if line.trim().is_empty() => {}
                    line => return Ok(line.map(|line| line.trim().to_owned())),
                },
                Source::Filter(pages) => return Ok(pages.next().await?),
            }
        }
    }
}

/// The next line of the standard input.
async fn line() -> Outcome<Option<String>> {
    let read = || {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|bytes| (bytes > 0).then_some(line))
    };
    let line = tokio::task::spawn_blocking(read).await;
    Ok(line.map_err(|error| Error::coded(Code::Closed, "the standard input could not be read").because(error))??)
}

/// Prints the result for each run as it comes.
struct Printer<'a> {
    output: &'a mut Output,
    verb: &'a Verb,
    dry_run: bool,
    count: u64,
}

impl<'a> Printer<'a> {
    fn new(output: &'a mut Output, verb: &'a Verb, dry_run: bool) -> Outcome<Self> {
        if output.format() == Format::Json {
            output.write(&format!(
                "{{\"schema\":{},\"action\":\"{}\",\"dry_run\":{dry_run},\"results\":[",
                json::SCHEMA,
                verb.name
            ))?;
        }
        Ok(Printer { output, verb, dry_run, count: 0 })
    }

    fn print(&mut self, id: &str, result: &Result<Done>) -> Outcome<()> {
        let done = if self.dry_run { format!("would {}", self.verb.name) } else { self.verb.done.to_owned() };
        match self.output.format() {
            Format::Table => {
                let text = match result {
                    Ok(Done::Done) => done,
                    Ok(Done::Skipped(reason)) => format!("skipped: {}", self.output.text(reason)),
                    Err(error) => format!("error: {}", self.output.text(&error.to_string())),
                };
                let id = self.output.text(id);
                self.output.line(format!("{id}  {text}"))?;
            }
            Format::Ids if matches!(result, Ok(Done::Done)) => self.output.line(safe(id))?,
            Format::Ids => {}
            Format::Json | Format::Jsonl => {
                let value = value(id, result, self.dry_run);
                if self.output.format() == Format::Jsonl {
                    self.output.document(value)?;
                } else {
                    let comma = if self.count > 0 { "," } else { "" };
                    self.output.write(&format!("{comma}\n  {}", json::text(&value, false)))?;
                }
            }
        }
        self.count += 1;
        self.output.flush()
    }

    fn end(self, tally: &Tally, interrupted: bool) -> Outcome<()> {
        let Tally { done, skipped, failed } = tally;
        if self.output.format() == Format::Json {
            self.output.line(format!(
                "\n],\"done\":{done},\"skipped\":{skipped},\"failed\":{failed},\"interrupted\":{interrupted}}}"
            ))?;
        } else if self.count != 1 {
            let what = if self.dry_run { "dry run, nothing was done: " } else { "" };
            let end = if interrupted { ", then interrupted" } else { "" };
            eprintln!("{}: {what}{done} done, {skipped} skipped, {failed} failed{end}", self.verb.name);
        }
        Ok(())
    }
}

fn value(id: &str, result: &Result<Done>, dry_run: bool) -> Value {
    match result {
        Ok(Done::Done) => json!({ "run": id, "result": if dry_run { "would" } else { "done" } }),
        Ok(Done::Skipped(reason)) => json!({ "run": id, "result": "skipped", "reason": reason }),
        Err(error) => json!({ "run": id, "result": "failed", "error": error }),
    }
}
