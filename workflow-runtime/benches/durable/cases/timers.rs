//! The delay of timers.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::try_join_all;
use tokio::runtime::Runtime;
use workflow_runtime::{Engine, Result as RunResult, sleep_until, step, workflow};

use super::Case;
use crate::Result;
use crate::disk::Disk;
use crate::pairs::{self, Pairs, Spent, percentile};
use crate::raw::Raw;
use crate::report::{self, Bar, Row};

pub const CASE: Case = Case {
    name: "timers",
    about: "5 times 2,000 runs that each sleep once, due a millisecond apart: how late the step begins that comes after \
            the sleep, which includes a commit; against 2,000 raw commits of one row, 99th percentiles",
    measure,
};

const RUNS: u32 = 2_000;
/// The interval between the deadlines: 1,000 per second.
const APART: Duration = Duration::from_millis(1);
/// From the starts until the first deadline: runs that are to be evicted are evicted by then.
const LEAD: Duration = Duration::from_secs(1);
/// The size of a raw row's body in bytes, about that of a turn.
const BODY: usize = 100;

/// The delay after the deadline, in microseconds.
#[step]
async fn late(deadline: SystemTime) -> RunResult<u64> {
    Ok(SystemTime::now().duration_since(deadline).unwrap_or_default().as_micros() as u64)
}

#[workflow]
async fn alarm(deadline: SystemTime) -> RunResult<u64> {
    sleep_until(deadline).await;
    late(deadline).await
}

fn measure(disk: &Disk) -> Result<Row> {
    let (stay, stay_p50) = lateness(disk, Duration::MAX)?;
    let (leave, leave_p50) = lateness(disk, Duration::from_millis(100))?;
    let bar = |pairs: &Pairs| Bar::AtMost(2.0 * pairs.raw + 5.0);
    Ok(Row::counted(CASE.name, "ms late, p99", stay.ours, bar(&stay))
        .with("commit_p99_ms", report::number(stay.raw))
        .with("p50_ms", report::number(stay_p50))
        .with_bar("parked_p99_ms", leave.ours, bar(&leave))
        .with("parked_commit_p99_ms", report::number(leave.raw))
        .with("parked_p50_ms", report::number(leave_p50))
        .with_noise(&stay)
        .with_noise(&leave))
}

/// The delays of runs that stay in memory for at most `evict_after`: 99th percentiles, and the median of all, in
/// milliseconds.
fn lateness(disk: &Disk, evict_after: Duration) -> Result<(Pairs, f64)> {
    let directory = disk.directory()?;
    let runtime = Runtime::new()?;
    let engine = runtime.block_on(open(&directory.path().join("ours.db"), evict_after))?;
    let mut raw = Raw::open(directory.path(), BODY)?;
    let mut all = Vec::new();
    let ours = || {
        let mut late = runtime.block_on(ring(&engine))?;
        all.extend_from_slice(&late);
        Ok(Spent::once(percentile(&mut late, 99)))
    };
    let commits = || Ok(Spent::once(percentile(&mut raw.commits(RUNS as usize)?, 99)));
    let pairs = pairs::measure(disk, milliseconds, ours, commits)?;
    let median = percentile(&mut all, 50);
    Ok((pairs, milliseconds(Spent::once(median))))
}

async fn open(path: &Path, evict_after: Duration) -> RunResult<Engine> {
    Engine::builder().url(format!("sqlite:{}", path.display())).evict_after(evict_after).open().await
}

/// The delay of each run.
async fn ring(engine: &Engine) -> RunResult<Vec<Duration>> {
    // Whole milliseconds, the resolution of recorded deadlines.
    let first = (SystemTime::now() + LEAD).duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let deadline = |run: u32| UNIX_EPOCH + Duration::from_millis(first) + APART * run;
    let runs = try_join_all((0..RUNS).map(|run| engine.start(alarm, deadline(run)).into_future())).await?;
    let late = try_join_all(runs.into_iter().map(IntoFuture::into_future)).await?;
    Ok(late.into_iter().map(Duration::from_micros).collect())
}

fn milliseconds(spent: Spent) -> f64 {
    spent.micros_per_unit() / 1e3
}
