//! Actions on runs: on ids, on ids from the standard input, or on all runs that match a filter.
//!
//! A filter is evaluated once: the newest matching run is looked up first, and runs that are created later do not belong to
//! it. The runs are read page by page, so that any number of them needs little memory, and the status of each is read again
//! before it is acted on: a run that no longer matches is skipped and counted.

use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::context::{AnyRun, Context};
use super::exit::Exit;
use super::filter::Filter;
use super::json;
use super::output::{Format, Output};
use super::report::{Outcome, Stop};
use super::text::safe;
use crate::engine::Client;
use crate::error::{Code, Error, Result};
use crate::handles::runs::{Cursor, Runs};
use crate::model::Status;

const PAGE: usize = 100;
/// A run that is created in the millisecond of the newest matching one belongs to the filter.
const MILLISECOND: Duration = Duration::from_millis(1);

/// The runs to act on.
#[derive(Args)]
pub(super) struct Targets {
    /// Ids of runs; - reads them from the standard input, one a line
    #[arg(value_name = "RUN", required_unless_present = "all")]
    runs: Vec<String>,
    #[command(flatten)]
    filter: Filter,
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

/// What an action is called, and which runs it is for.
pub(super) struct Verb {
    pub name: &'static str,
    /// What a run is afterwards.
    pub done: &'static str,
    /// Whether a run with this status can be acted on.
    pub applies: fn(Status) -> bool,
    /// Whether what it does cannot be repaired, so that a person has to type how many runs it is done to.
    pub is_final: bool,
}

/// What an action has done to a run.
pub(super) enum Done {
    Done,
    /// Nothing, for this reason.
    Skipped(String),
}

/// The counts of a bulk action.
#[derive(Default)]
struct Tally {
    done: u64,
    skipped: u64,
    failed: u64,
    interrupted: bool,
}

/// Acts on the runs, one after the other, and prints what was done to each.
pub(super) async fn act(
    context: &mut Context,
    targets: Targets,
    verb: &Verb,
    action: impl AsyncFn(AnyRun) -> Result<Done>,
) -> Outcome<Exit> {
    let client = context.client().await?;
    if !targets.all && !targets.filter.is_empty() {
        let text = format!("{} on a filter needs --all", verb.name);
        let help = "a filter and ids cannot be combined; `workflow ls` with the same filter shows the runs";
        return Err(Stop::usage(Error::coded(Code::InvalidArguments, text).help(help)));
    }
    let mut source = match targets.all {
        false => Source::Ids(targets.runs.clone().into_iter()),
        true => match bounded(&client, &targets.filter).await? {
            Some(runs) => {
                if !targets.dry_run {
                    confirm(verb, &targets, runs.clone().count().await?.values().sum())?;
                }
                Source::Filter(Pages { query: runs, page: Vec::new().into_iter(), next: Next::First })
            }
            None => Source::Ids(Vec::new().into_iter()),
        },
    };
    let mut printer = Printer::new(&mut context.output, verb, targets.dry_run)?;
    let mut pace = targets.rate.map(|rate| tokio::time::interval(Duration::from_secs_f64(1.0 / rate)));
    let (mut tally, mut last) = (Tally::default(), None);
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
                tally.interrupted = true;
                break;
            }
            next = next => match next? {
                Some(id) => id,
                None => break,
            },
        };
        // It is not interrupted: what was begun has an answer.
        let result = once(&client, &targets, verb, &action, &id).await;
        match &result {
            Ok(Done::Done) => tally.done += 1,
            Ok(Done::Skipped(_)) => tally.skipped += 1,
            Err(_) => tally.failed += 1,
        }
        printer.print(&id, &result)?;
        last = result.err();
    }
    printer.end(&tally)?;
    let is_single = !targets.all && tally.done + tally.skipped + tally.failed == 1;
    Ok(match last {
        Some(error) if is_single => return Err(error.into()),
        _ if tally.failed > 0 || tally.interrupted => Exit::Refused,
        _ if tally.skipped > 0 && !targets.all => Exit::Refused,
        _ => Exit::Ok,
    })
}

/// The runs that match now; `None` if there are none.
async fn bounded(client: &Client, filter: &Filter) -> Result<Option<Runs>> {
    let newest = filter.runs(client).limit(1).await?.runs.into_iter().next();
    Ok(newest.map(|newest| filter.runs(client).created_before(newest.created_at + MILLISECOND).limit(PAGE)))
}

/// Asks whether to go on, at a terminal; elsewhere `--yes` is needed.
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
        true => eprint!("{} {runs} runs for good? Type the number of runs to go on: ", verb.name),
        false => eprint!("{} {runs} runs? [y/N] ", verb.name),
    }
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    let answer = answer.trim();
    let is_yes = if verb.is_final { answer == runs.to_string() } else { ["y", "yes"].contains(&answer) };
    if is_yes { Ok(()) } else { Err(refused(format!("{} was not confirmed", verb.name))) }
}

async fn once(
    client: &Client,
    targets: &Targets,
    verb: &Verb,
    action: &impl AsyncFn(AnyRun) -> Result<Done>,
    id: &str,
) -> Result<Done> {
    let run: AnyRun = client.get_run(id);
    let status = match run.status().await {
        Ok(status) => status,
        Err(error) if targets.all && error.code() == Code::RunNotFound => {
            return Ok(Done::Skipped("it was deleted".to_owned()));
        }
        Err(error) => return Err(error),
    };
    let matches = targets.filter.status.is_empty() || targets.filter.status.contains(&status);
    if !matches || !(verb.applies)(status) {
        return Ok(Done::Skipped(format!("it is {status}")));
    }
    if targets.dry_run {
        return Ok(Done::Done);
    }
    match action(run).await {
        // It has changed between the look and the action.
        Err(error)
            if [Code::NotRepairable, Code::NotEnded, Code::RunNotFound].contains(&error.code()) && targets.all =>
        {
            Ok(Done::Skipped(error.message().to_owned()))
        }
        done => done,
    }
}

/// Where the ids are from.
enum Source {
    Ids(std::vec::IntoIter<String>),
    Stdin,
    Filter(Pages),
}

struct Pages {
    query: Runs,
    page: std::vec::IntoIter<String>,
    next: Next,
}

enum Next {
    First,
    After(Cursor),
    End,
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

impl Pages {
    async fn next(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(id) = self.page.next() {
                return Ok(Some(id));
            }
            let query = match self.next {
                Next::First => self.query.clone(),
                Next::After(cursor) => self.query.clone().after(cursor),
                Next::End => return Ok(None),
            };
            let page = query.await?;
            self.next = page.next.map_or(Next::End, Next::After);
            self.page = page.runs.into_iter().map(|run| run.id).collect::<Vec<_>>().into_iter();
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

    fn end(self, tally: &Tally) -> Outcome<()> {
        let Tally { done, skipped, failed, interrupted } = tally;
        if self.output.format() == Format::Json {
            self.output.line(format!(
                "\n],\"done\":{done},\"skipped\":{skipped},\"failed\":{failed},\"interrupted\":{interrupted}}}"
            ))?;
        } else if self.count != 1 {
            let what = if self.dry_run { "dry run, nothing was done: " } else { "" };
            let end = if *interrupted { ", then interrupted" } else { "" };
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
