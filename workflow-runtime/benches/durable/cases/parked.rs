//! Very many runs that wait for a long time, evicted from memory.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::try_join_all;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use workflow_runtime::{Engine, Error, Result as RunResult, Run, hook, sleep, sleep_until, workflow};

use super::{Case, no_op};
use crate::Result;
use crate::disk::Disk;
use crate::process::{Resident, ask};
use crate::report::{self, Bar, Row};

pub const CASE: Case = Case {
    name: "parked",
    about: "1,000,000 runs that wait, half for a time and half for a hook: what they take in memory once the store is \
            opened again, and how long until 10,000 of them that are woken together have ended",
    measure,
};

const RUNS: u32 = 1_000_000;
const VARIABLE: &str = "WORKFLOW_BENCH_PARKED";
/// How many runs are woken: half of them by a deadline, the others by the test.
const WOKEN: u32 = 10_000;
const CALLERS: u32 = 512;
const EVICT_AFTER: Duration = Duration::from_millis(100);
/// From the start of the runs with a near deadline until that deadline. Meanwhile they are evicted, and the store is
/// reopened.
const LEAD: Duration = Duration::from_secs(10);
/// How long before the deadline the calls that wait for the ends begin.
const QUEUEING: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(300);

#[workflow]
async fn asleep(number: u32) -> RunResult<u32> {
    sleep(Duration::from_secs(365 * 24 * 3_600)).await;
    Ok(number)
}

#[workflow]
async fn asks(number: u32) -> RunResult<u32> {
    Ok(hook::<u32>().token(token(number)).await? + number)
}

#[workflow]
async fn appointed(time: SystemTime) -> RunResult<()> {
    sleep_until(time).await;
    Ok(())
}

#[workflow]
async fn trivial() -> RunResult<u32> {
    no_op(1).await
}

fn token(number: u32) -> String {
    format!("answer-{number}")
}

/// The task of the first process: start all runs, and exit when they are evicted.
#[derive(Serialize, Deserialize)]
pub struct Fill {
    path: PathBuf,
    runs: u32,
}

pub const FILL: &str = "fill";

#[derive(Serialize, Deserialize)]
pub struct Filled {
    seconds: f64,
    /// The peak resident memory minus that of an idle engine. `None` where the system does not report it.
    megabytes: Option<f64>,
    /// When the runs with a near deadline are due.
    due: SystemTime,
}

/// The task of the second process: reopen the store and wake some runs.
#[derive(Serialize, Deserialize)]
pub struct Wake {
    path: PathBuf,
    runs: u32,
    due: SystemTime,
}

pub const WAKE: &str = "wake";

#[derive(Serialize, Deserialize)]
pub struct Woken {
    /// From the opening of the store until a new run has ended.
    open_seconds: f64,
    /// The resident memory with all runs evicted, minus that of an idle engine.
    megabytes: Option<f64>,
    /// The resident memory with all runs evicted.
    all_megabytes: Option<f64>,
    seconds: f64,
    /// The peak resident memory while the runs were woken, minus that of an idle engine.
    wake_megabytes: Option<f64>,
}

fn measure(disk: &Disk) -> Result<Row> {
    let runs = match std::env::var(VARIABLE) {
        Ok(runs) => runs.parse().map_err(|error| format!("{VARIABLE}: {error}"))?,
        Err(_) => RUNS,
    };
    if runs < 2 * WOKEN {
        return Err(format!("{VARIABLE}: give at least {}", 2 * WOKEN).into());
    }
    let directory = disk.directory()?;
    let path = directory.path().join("runs.db");
    let filled: Filled = ask(FILL, &Fill { path: path.clone(), runs })?;
    eprintln!("  parked after {:.1} s", filled.seconds);
    let bytes = std::fs::metadata(&path)?.len();
    let woken: Woken = ask(WAKE, &Wake { path, runs, due: filled.due })?;
    Ok(Row::counted(CASE.name, "MB resident", known(woken.megabytes), Bar::AtMost(64.0))
        .with("runs", runs)
        .with("with_idle_mb", report::number(known(woken.all_megabytes)))
        .with_bar("creating_mb", known(filled.megabytes), Bar::AtMost(64.0))
        .with_bar("open_s", woken.open_seconds, Bar::AtMost(2.0))
        .with("woken", WOKEN)
        .with("woken_s", report::number(woken.seconds))
        .with("waking_mb", report::number(known(woken.wake_megabytes)))
        .with("file_bytes_per_run", report::number(bytes as f64 / f64::from(runs)))
        .with("starts_per_s", report::number(f64::from(runs) / filled.seconds)))
}

/// An unknown figure meets no bar.
fn known(megabytes: Option<f64>) -> f64 {
    megabytes.unwrap_or(f64::NAN)
}

fn above(idle: Resident, megabytes: Option<f64>) -> Option<f64> {
    Some(megabytes? - idle.now?)
}

/// Opens an engine, and waits until a first run has ended.
async fn ready(path: &Path) -> Result<Engine> {
    let url = format!("sqlite:{}", path.display());
    let engine = Engine::builder().url(url).evict_after(EVICT_AFTER).open().await?;
    engine.start(trivial, ()).await?.await?;
    Ok(engine)
}

/// The memory of a process whose engine is idle.
async fn idle(beside: &Path) -> Result<Resident> {
    let engine = ready(&beside.with_file_name(format!("empty-{}.db", std::process::id()))).await?;
    let resident = Resident::measure();
    engine.shutdown().await?;
    Ok(resident)
}

pub fn fill(task: Fill) -> Result<Filled> {
    let runtime = Runtime::new()?;
    let idle = runtime.block_on(idle(&task.path))?;
    let engine = runtime.block_on(ready(&task.path))?;
    let start = Instant::now();
    let due = runtime.block_on(start_all(&engine, task.runs))?;
    wait_until_parked(&task.path)?;
    let seconds = start.elapsed().as_secs_f64();
    let megabytes = above(idle, Resident::measure().peak);
    // The process exits without closing its engine, as in a crash.
    std::mem::forget((engine, runtime));
    Ok(Filled { seconds, megabytes, due })
}

/// Starts all runs. Returns the deadline of those with a near one.
async fn start_all(engine: &Engine, runs: u32) -> RunResult<SystemTime> {
    let call = async |caller: u32| -> RunResult<()> {
        for number in (caller..runs - WOKEN / 2).step_by(CALLERS as usize) {
            // Only the runs that are looked up later get an id, because a start with an id first looks the id up.
            let named = number < WOKEN / 2;
            match number % 2 {
                0 if named => drop(engine.start(asks, number).id(name(number)).await?),
                0 => drop(engine.start(asks, number).await?),
                _ if named => drop(engine.start(asleep, number).id(name(number)).await?),
                _ => drop(engine.start(asleep, number).await?),
            }
        }
        Ok(())
    };
    try_join_all((0..CALLERS).map(call)).await?;
    let due = SystemTime::now() + LEAD;
    let appoint = |number| engine.start(appointed, due).id(appointment(number)).into_future();
    try_join_all((0..WOKEN / 2).map(appoint)).await?;
    Ok(due)
}

fn name(number: u32) -> String {
    format!("parked-{number}")
}

fn appointment(number: u32) -> String {
    format!("appointed-{number}")
}

/// Waits until all runs are evicted.
fn wait_until_parked(path: &Path) -> Result<()> {
    let start = Instant::now();
    let connection = Connection::open(path)?;
    let held = "SELECT EXISTS (SELECT 1 FROM runs WHERE owner > 0 AND wake_at IS NOT NULL)
        OR EXISTS (SELECT 1 FROM runs WHERE owner < 0 AND wake_at IS NOT NULL)";
    while connection.query_row(held, (), |row| row.get::<_, bool>(0))? {
        if start.elapsed() > PATIENCE {
            return Err("the runs do not leave memory".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

pub fn wake(task: Wake) -> Result<Woken> {
    let runtime = Runtime::new()?;
    let idle = runtime.block_on(idle(&task.path))?;
    let start = Instant::now();
    let engine = runtime.block_on(ready(&task.path))?;
    let open_seconds = start.elapsed().as_secs_f64();
    let Some(left) = until(task.due).checked_sub(QUEUEING) else {
        return Err("the time of those that are to be woken came before the store was open again".into());
    };
    // The engine finishes the work that it has deferred when it opened.
    std::thread::sleep(left);
    let all_megabytes = Resident::measure().now;
    let megabytes = above(idle, all_megabytes);
    let seconds = runtime.block_on(wake_together(&engine, task.due))?;
    let wake_megabytes = above(idle, Resident::measure().peak);
    Ok(Woken { open_seconds, megabytes, all_megabytes, seconds, wake_megabytes })
}

/// The time from the deadline, at which the other half of the runs is woken, until all these runs have ended.
async fn wake_together(engine: &Engine, due: SystemTime) -> RunResult<f64> {
    let names = (0..WOKEN / 2).map(name);
    let woken: Vec<Run<u32>> = names.map(|name| engine.get_run(name)).collect();
    let appointed = (0..WOKEN / 2).map(|number| engine.get_run::<(), Error>(appointment(number)).into_future());
    // The waits begin before the deadline, so that the look-up of ended runs is not measured.
    let ends =
        async { tokio::try_join!(try_join_all(appointed), try_join_all(woken.iter().map(IntoFuture::into_future))) };
    let tell = async {
        tokio::time::sleep(until(due)).await;
        let start = Instant::now();
        let answers = (0..WOKEN / 2).step_by(2).map(|number| engine.resume_hook(token(number), &1).into_future());
        let calls = woken.iter().skip(1).step_by(2).map(Run::wake_up);
        tokio::try_join!(try_join_all(answers), try_join_all(calls))?;
        Ok(start)
    };
    let (_, start) = tokio::try_join!(ends, tell)?;
    Ok(start.elapsed().as_secs_f64())
}

fn until(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::now()).unwrap_or_default()
}
