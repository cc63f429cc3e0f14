//! The time from a start in one process to the first step in another.

use std::time::{Duration, SystemTime};

use tokio::runtime::Runtime;
use workflow_runtime::{Client, Result as RunResult, step, workflow};

use super::{Case, WORK};
use crate::Result;
use crate::disk::Disk;
use crate::pairs::{self, Spent, median, percentile};
use crate::postgres::{Raw, schema};
use crate::process::Helper;
use crate::report::{self, Bar, Row};

pub const CASE: Case = Case {
    name: "postgres_start",
    about: "200 starts by a client on PostgreSQL, one after the other: how long until the first step begins in a worker of \
            another process, against as many raw commits of one row",
    measure,
};

const STARTS: usize = 200;
/// The size of a raw row's body in bytes, about that of a turn.
const BODY: usize = 100;

/// The time since `time`, in microseconds.
#[step]
async fn since(time: SystemTime) -> RunResult<u64> {
    Ok(SystemTime::now().duration_since(time).unwrap_or_default().as_micros() as u64)
}

#[workflow]
async fn first_step(time: SystemTime) -> RunResult<u64> {
    since(time).await
}

fn measure(disk: &Disk) -> Result<Row> {
    let url = schema()?;
    let _worker = Helper::start(WORK, &url)?;
    let runtime = Runtime::new()?;
    let client = runtime.block_on(Client::connect(&url))?;
    runtime.block_on(start(&client))?;
    let mut raw = Raw::open(schema()?, BODY)?;
    let mut late = Vec::new();
    let ours = || {
        let mut times = runtime.block_on(start(&client))?;
        late.push(percentile(&mut times, 99));
        Ok(Spent::once(percentile(&mut times, 50)))
    };
    let commits = || Ok(Spent::once(percentile(&mut raw.commits(STARTS)?, 50)));
    let pairs = pairs::measure(disk, milliseconds, ours, commits)?;
    let late = median(late.into_iter().map(|time| milliseconds(Spent::once(time))));
    let most = 2.0 * pairs.raw + 3.0;
    Ok(Row::counted(CASE.name, "ms, p50", pairs.ours, Bar::AtMost(most))
        .with_bar("p99_ms", late, Bar::AtMost(4.0 * most))
        .with("commit_p50_ms", report::number(pairs.raw))
        .with_noise(&pairs))
}

async fn start(client: &Client) -> RunResult<Vec<Duration>> {
    let mut times = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        times.push(Duration::from_micros(client.start(first_step, SystemTime::now()).await?.await?));
    }
    Ok(times)
}

fn milliseconds(spent: Spent) -> f64 {
    spent.micros_per_unit() / 1e3
}
