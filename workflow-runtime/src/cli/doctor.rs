//! `doctor`: what is wrong with a store.

use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::{Map, json};

use super::context::Context;
use super::exit::Exit;
use super::output::{Row, shown};
use super::report::Outcome;
use super::store;
use super::table::{Cell, Paint};
use crate::engine::Client;
use crate::error::Result;
use crate::model::Status;
use crate::steering::text::bytes;
use crate::steering::time::short;

/// Check a store: what is stuck, what no process takes, sizes, clocks. Exit code 1 if something is wrong
#[derive(Args)]
pub(super) struct Doctor {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    /// Worth a look.
    Notice,
    Wrong,
}

struct Check {
    name: &'static str,
    verdict: Verdict,
    text: String,
}

/// A run that is due for so long is taken by no process.
const DUE_MAX: Duration = Duration::from_secs(60);
const SKEW_MAX: Duration = Duration::from_secs(2);
const LOG_BYTES_MAX: u64 = 256 << 20;

impl Doctor {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let url = context.url()?;
        let client = context.client().await?;
        let mut checks = vec![good("store", "can be read, and its tables are those of this version".to_owned())];
        checks.push(stuck(&client).await?);
        checks.extend(due(&client).await?);
        checks.extend(bound(&client).await?);
        checks.push(clock(&client));
        if let Some(store) = store::sqlite(&url)? {
            let sizes = store.sizes().await?;
            checks.push(size(sizes.bytes, sizes.free_bytes));
            checks.push(log(sizes.log_bytes));
        }
        let is_wrong = checks.iter().any(|check| check.verdict == Verdict::Wrong);
        let rows = checks.into_iter().map(row).collect();
        context.output.list("checks", &[shown("check"), shown("verdict"), shown("what")], rows, Map::new())?;
        Ok(if is_wrong { Exit::Error } else { Exit::Ok })
    }
}

fn row(check: Check) -> Row {
    let (word, paint) = match check.verdict {
        Verdict::Good => ("good", Paint::Good),
        Verdict::Notice => ("notice", Paint::Plain),
        Verdict::Wrong => ("wrong", Paint::Bad),
    };
    Row {
        id: check.name.to_owned(),
        json: json!({ "check": check.name, "verdict": word, "text": check.text }),
        cells: vec![check.name.into(), Cell { text: word.into(), paint }, check.text.into()],
    }
}

fn good(name: &'static str, text: String) -> Check {
    Check { name, verdict: Verdict::Good, text }
}

async fn stuck(client: &Client) -> Result<Check> {
    let runs = client.runs().status(Status::Stuck).count().await?.values().sum::<u64>();
    Ok(match runs {
        0 => good("stuck", "no run is stuck".to_owned()),
        runs => Check {
            name: "stuck",
            verdict: Verdict::Wrong,
            text: format!("{runs} runs are stuck: workflow ls --status stuck"),
        },
    })
}

/// The workflows whose runs are due, and that no process takes.
async fn due(client: &Client) -> Result<Vec<Check>> {
    let now = client.inner().store_time();
    let mut late = Vec::new();
    for (workflow, at) in client.inner().claimable().await? {
        let since = Duration::from_millis(now.saturating_sub(at));
        if since > DUE_MAX {
            // A message makes a run due since the beginning of time.
            let since = if at == 0 { String::new() } else { format!(" since {}", short(since)) };
            let text = format!("a run of {workflow} is due{since}, and no process takes it");
            late.push(Check { name: "due", verdict: Verdict::Wrong, text });
        }
    }
    if late.is_empty() {
        late.push(good("due", "processes take the runs that are due".to_owned()));
    }
    Ok(late)
}

/// The deployments without a live worker that unfinished runs are bound to.
async fn bound(client: &Client) -> Result<Vec<Check>> {
    let deployments = client.deployments().await?.into_iter().filter(|it| it.workers == 0 && it.runs > 0);
    let wrong = deployments.map(|deployment| Check {
        name: "deployment",
        verdict: Verdict::Wrong,
        text: format!(
            "{} runs are bound to {}, which has no live worker: workflow deployments release {}",
            deployment.runs, deployment.id, deployment.id
        ),
    });
    Ok(wrong.collect())
}

fn clock(client: &Client) -> Check {
    let (theirs, ours) = (crate::model::time(client.inner().store_time()), SystemTime::now());
    let skew = theirs.duration_since(ours).unwrap_or_else(|behind| behind.duration());
    match skew > SKEW_MAX {
        true => Check {
            name: "clock",
            verdict: Verdict::Notice,
            text: format!("the clock of this machine and that of the store differ by {}", short(skew)),
        },
        false => good("clock", "that of this machine and that of the store agree".to_owned()),
    }
}

fn size(all: u64, free: u64) -> Check {
    let text = format!("{}, of which {} are free", bytes(all), bytes(free));
    match free > all / 2 && free > LOG_BYTES_MAX {
        true => Check { name: "size", verdict: Verdict::Notice, text: format!("{text}: workflow vacuum") },
        false => good("size", text),
    }
}

fn log(size: u64) -> Check {
    let text = format!("the write-ahead log has {}", bytes(size));
    match size > LOG_BYTES_MAX {
        true => Check {
            name: "log",
            verdict: Verdict::Notice,
            text: format!("{text}: a program reads the file for long, or cannot write into it"),
        },
        false => good("log", text),
    }
}
