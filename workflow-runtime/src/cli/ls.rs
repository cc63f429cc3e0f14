//! `ls` and `count`: the runs that match a filter.

use std::time::{Duration, Instant};

use clap::Args;
use futures_util::StreamExt;
use serde_json::{Map, Value, json};

use super::context::{AnyRun, Context};
use super::exit::Exit;
use super::filter::{Errors, Filter};
use super::groups::{self, By};
use super::output::{Column, Format, Output, Row, hidden, shown};
use super::report::Outcome;
use super::table::{Cell, Paint};
use super::{json, watch};
use crate::engine::Client;
use crate::handles::runs::{Cursor, Runs};
use crate::limits::COUNTED_RUNS_MAX;
use crate::model::{Attempt, RunInfo, Status, Waiting};
use crate::steering::text::shortened;

/// How many runs are listed unless `--limit` is given; all, if only ids or lines are printed.
const RUNS: usize = 50;
const ERROR_CHARACTERS: usize = 200;
const PAGE: usize = 200;
/// How long a table reads what its runs wait for, and how many journals at the same time. The rest of the rows has what is known
/// without reading.
const READ_MAX: Duration = Duration::from_millis(60);
const READS: usize = 16;
/// How many runs a search for a text in errors reads at most.
const SEARCHED: usize = 10_000;

/// List runs, the latest first
#[derive(Args)]
#[command(visible_alias = "list")]
pub(super) struct Ls {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    errors: Errors,
    /// Count the newest 10,000 matching runs by this instead of listing them
    #[arg(long, value_enum, value_name = "WHAT")]
    group_by: Option<By>,
    /// How many runs to list [default: 50, or all with -o ids and -o jsonl]
    #[arg(short, long)]
    limit: Option<usize>,
    /// Begin after this position, which a list before has given as `next`
    #[arg(long, value_name = "CURSOR")]
    after: Option<Cursor>,
    /// List again after each change, until interrupted
    #[arg(short, long)]
    watch: bool,
}

/// Count runs by status, of each up to 10,000
#[derive(Args)]
pub(super) struct Count {
    #[command(flatten)]
    filter: Filter,
    /// Count all of them, which takes seconds for millions of runs
    #[arg(long)]
    exact: bool,
    /// Count again after each change, until interrupted
    #[arg(short, long)]
    watch: bool,
}

const COLUMNS: [Column; 13] = [
    shown("run"),
    shown("workflow"),
    shown("status"),
    shown("waiting_for"),
    shown("created"),
    shown("error"),
    hidden("error_code"),
    hidden("parent"),
    hidden("generation"),
    hidden("started"),
    hidden("ended"),
    hidden("wakes"),
    hidden("failing_since"),
];

impl Ls {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let client = context.client().await?;
        let watches = self.watch;
        watch::draw(context, watches, async |context| {
            match self.group_by {
                Some(by) => groups::print(&mut context.output, &client, &self.filter, by).await?,
                None => self.list(&mut context.output, &client).await?,
            }
            Ok(None)
        })
        .await
    }

    async fn list(&self, output: &mut Output, client: &Client) -> Outcome<()> {
        let is_endless = matches!(output.format(), Format::Ids | Format::Jsonl);
        let limit = self.limit.unwrap_or(if is_endless { usize::MAX } else { RUNS });
        let (mut found, mut listed, mut searched) = (Vec::new(), 0, 0);
        let (mut after, mut next) = (self.after, None);
        while listed < limit {
            let scans = !self.errors.is_empty() || self.filter.not_failing;
            let most = if scans { PAGE } else { PAGE.min(limit - listed) };
            let mut query = self.filter.runs(client);
            if let Some(after) = after {
                query = query.after(after);
            }
            let page = query.clone().limit(most).await?;
            searched += page.runs.len();
            // A page of a search for a text in ids has what was found in its time.
            let is_short = page.runs.len() < most;
            next = page.next;
            for (at, info) in page.runs.into_iter().enumerate() {
                if listed == limit {
                    // The page has further runs: the next list begins with this one.
                    next = query.limit(at).await?.next;
                    break;
                }
                if self.filter.matches(&info) && self.errors.matches(&info) {
                    listed += 1;
                    found.push(info);
                }
            }
            if is_endless {
                let rows = found.drain(..).map(|info| row(output, &info)).collect();
                output.list("runs", &COLUMNS, rows, Map::new())?;
                output.flush()?;
            }
            after = match next {
                Some(next) => Some(next),
                None => break,
            };
            if is_short && self.filter.id.is_some() && !is_endless {
                break;
            }
            if scans && searched >= SEARCHED {
                eprintln!(
                    "searched the newest {searched} runs; continue with --after {}",
                    next.map_or_else(String::new, |next| next.to_string())
                );
                break;
            }
        }
        if is_endless {
            return Ok(());
        }
        if output.format() == Format::Table {
            found = explained(client, found).await;
        }
        let rows = found.iter().map(|info| row(output, info)).collect();
        let next = next.map(|next| next.to_string());
        if let (Some(next), Format::Table) = (&next, output.format()) {
            eprintln!("there are more: --limit N, or --after {next}");
        }
        output.list("runs", &COLUMNS, rows, Map::from_iter([("next".to_owned(), json!(next))]))
    }
}

/// A run that tries again what has failed does not look like one that runs.
pub(super) fn status(info: &RunInfo) -> Cell {
    match info.failing_since {
        Some(_) if !info.status.is_terminal() && info.status != Status::Stuck => {
            Cell { text: "failing".to_owned(), paint: Paint::Bold }
        }
        _ => Cell { text: info.status.to_string(), paint: paint(info.status) },
    }
}

/// The colour of a status.
pub(super) fn paint(status: Status) -> Paint {
    match status {
        Status::Completed => Paint::Good,
        Status::Failed | Status::Stuck => Paint::Bad,
        Status::Running => Paint::Busy,
        Status::Pending | Status::Suspended => Paint::Plain,
        Status::Cancelled => Paint::Quiet,
    }
}

/// Adds to each run why it does not move, as far as there is time to read it.
async fn explained(client: &Client, runs: Vec<RunInfo>) -> Vec<RunInfo> {
    let deadline = Instant::now() + READ_MAX;
    let explain = |info: RunInfo| async move {
        let is_known = info.status.is_terminal() || info.status == Status::Stuck;
        if is_known || Instant::now() > deadline {
            return info;
        }
        let run: AnyRun = client.get_run(&info.id);
        match run.waiting().await.map(|waiting| waiting.into_iter().next()) {
            Ok(Some(reason)) => RunInfo { reason: Some(reason), ..info },
            // It was deleted, or its journal cannot be read: the others are listed all the same.
            Ok(None) | Err(_) => info,
        }
    };
    futures_util::stream::iter(runs).map(explain).buffered(READS).collect().await
}

/// What a list says of the reason: as much as other columns do not.
fn reason(output: &Output, info: &RunInfo) -> String {
    match &info.reason {
        Some(Waiting::Ended { .. } | Waiting::Stuck { .. }) | None => String::new(),
        Some(Waiting::Timer { until }) => format!("a time, {}", output.time(*until)),
        // The error has a column of its own.
        Some(Waiting::Retrying { step, attempt, attempts_max, next_at, .. }) => {
            format!("{} of `{step}`, {}", Attempt(*attempt, *attempts_max), output.time(*next_at))
        }
        Some(reason) => reason.to_string(),
    }
}

fn row(output: &Output, info: &RunInfo) -> Row {
    let error = info.error.as_ref();
    let cells = vec![
        info.id.clone().into(),
        info.workflow.clone().into(),
        status(info),
        reason(output, info).into(),
        output.time(info.created_at).into(),
        error.map_or_else(String::new, |error| shortened(&error.text, ERROR_CHARACTERS)).into(),
        error.map_or_else(String::new, |error| error.code.clone()).into(),
        info.parent.clone().unwrap_or_default().into(),
        info.generation.to_string().into(),
        output.optional_time(info.started_at).into(),
        output.optional_time(info.completed_at).into(),
        output.optional_time(info.wakes_at).into(),
        output.optional_time(info.failing_since).into(),
    ];
    Row { id: info.id.clone(), json: json::part(info), cells }
}

impl Count {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let client = context.client().await?;
        watch::draw(context, self.watch, async |context| {
            let (runs, most) = (self.filter.runs(&client), COUNTED_RUNS_MAX as u64);
            let count = async |runs: Runs| match self.exact {
                true => runs.count().await,
                false => runs.count_up_to(COUNTED_RUNS_MAX + 1).await,
            };
            let mut counts = count(runs.clone()).await?;
            if self.filter.not_failing {
                for (status, failing) in count(runs.failing()).await? {
                    // If not all were counted, the number stays that of at least so many.
                    let all = counts.entry(status).or_default();
                    if self.exact || *all <= most {
                        *all = all.saturating_sub(failing);
                    }
                }
                counts.retain(|_, runs| *runs > 0);
            }
            // The count, and whether it is that of all runs.
            let counted = |runs: u64| if self.exact || runs <= most { (runs, true) } else { (most, false) };
            let is_exact = counts.values().all(|runs| counted(*runs).1);
            let total: u64 = counts.values().map(|runs| counted(*runs).0).sum();
            let output = &mut context.output;
            let cells = |status: &str, paint, (runs, is_exact): (u64, bool)| {
                let text = format!("{runs}{}", if is_exact { "" } else { "+" });
                vec![Cell { text: status.to_owned(), paint }, text.into()]
            };
            let row = |(status, runs): (&Status, &u64)| {
                let (runs, is_exact) = counted(*runs);
                Row {
                    id: status.to_string(),
                    json: json!({ "status": status.as_str(), "runs": runs, "exact": is_exact }),
                    cells: cells(status.as_str(), paint(*status), (runs, is_exact)),
                }
            };
            let mut rows: Vec<Row> = counts.iter().map(row).collect();
            if output.format() == Format::Table {
                let cells = cells("all", Paint::Bold, (total, is_exact));
                rows.push(Row { id: String::new(), json: Value::Null, cells });
            }
            let more = [("total".to_owned(), json!(total)), ("exact".to_owned(), json!(is_exact))];
            let more = Map::from_iter(more);
            output.list("counts", &[shown("status"), shown("runs")], rows, more)?;
            Ok(None)
        })
        .await
    }
}
