//! Three processes on one PostgreSQL execute many runs together. One is killed in the middle, and another one joins.
//!
//! `cargo run --bin cluster [RUNS]` uses the database of `DATABASE_URL` (in a schema that it removes afterwards), else
//! a server that it starts from the installed binaries and removes.
//!
//! The program starts copies of itself as workers. It is a client of the same database: it starts the runs, waits for
//! them, and executes nothing. Each execution of a step appends a line to a log. At the end the program prints how many
//! steps each worker executed, and checks that no recorded step ran again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use workflow_harness::postgres;
use workflow_runtime::{Client, Engine, Error, Result, Run, step, step_info, workflow};

const RUNS: usize = 300;
const STEPS: u32 = 10;
const STEP_MILLISECONDS: u64 = 20;
const WORKERS: usize = 3;

/// The log to which each execution of a step appends a line.
struct Log(File);

/// Draws a random number. The result of the run has the numbers of the recorded executions.
#[step]
async fn draw(#[resource] log: &Log, number: u32) -> Result<u64> {
    let value = fastrand::u64(..);
    let run = step_info().map(|info| info.run).unwrap_or_default();
    // One write in append mode: the whole line is in the file, even if this process is killed right after it.
    (&log.0).write_all(format!("{} {run} {number} {value}\n", std::process::id()).as_bytes())?;
    tokio::time::sleep(Duration::from_millis(STEP_MILLISECONDS)).await;
    Ok(value)
}

#[workflow]
async fn draws(count: u32) -> Result<Vec<u64>> {
    let mut values = Vec::new();
    for number in 0..count {
        values.push(draw(number).await?);
    }
    Ok(values)
}

/// Executes due runs until the standard input is closed.
async fn work(url: &str, log: &Path) -> Result<()> {
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    let engine = Engine::builder().url(url).resource(Log(log)).concurrency(32).open().await?;
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    engine.shutdown().await
}

/// Starts a worker process. It stops when its standard input is closed, also by the end of this process.
fn worker(url: &str, log: &Path) -> Result<Child> {
    let program = std::env::current_exe()?;
    Ok(Command::new(program).arg("work").arg(url).arg(log).stdin(Stdio::piped()).spawn()?)
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["work", url, log] => work(url, Path::new(log)).await.map(|()| ExitCode::SUCCESS),
        [] => show(RUNS).await,
        [runs] => show(runs.parse()?).await,
        _ => Err(Error::new("usage: cluster [RUNS]")),
    }
}

async fn show(runs: usize) -> Result<ExitCode> {
    if let Some(lacking) = postgres::lacking() {
        return Err(Error::new(format!("there is no PostgreSQL here: {lacking}")));
    }
    let shown = tokio::task::spawn_blocking(postgres::url).await?;
    let log = std::env::temp_dir().join(format!("workflow-cluster-{}.log", std::process::id()));
    let shown = share(&shown, &log, runs).await;
    let _ = std::fs::remove_file(&log);
    tokio::task::spawn_blocking(postgres::stop).await?;
    shown
}

async fn share(url: &str, log: &Path, runs: usize) -> Result<ExitCode> {
    let client = Client::connect(url).await?;
    let mut workers = (0..WORKERS).map(|_| worker(url, log)).collect::<Result<Vec<_>>>()?;
    println!("{WORKERS} workers, {runs} runs of {STEPS} steps");

    let begun = Instant::now();
    let mut started: Vec<Run<Vec<u64>>> = Vec::new();
    for number in 0..runs {
        started.push(client.start(draws, STEPS).id(format!("run {number}")).await?);
    }
    let bar = ProgressBar::new(runs as u64);
    bar.set_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} runs have ended  {msg}")
            .unwrap_or(ProgressStyle::default_bar()),
    );
    let mut ends: FuturesUnordered<_> =
        started.into_iter().map(|run| async { (run.id().to_owned(), run.await) }).collect();
    let mut results = BTreeMap::new();
    let mut killed = None;
    while let Some((id, result)) = ends.next().await {
        results.insert(id, result?);
        bar.inc(1);
        if results.len() == runs.div_ceil(3) {
            // SIGKILL: the worker cannot give its runs back.
            workers[0].kill()?;
            workers[0].wait()?;
            killed = Some(workers[0].id());
            bar.set_message(format!("worker {} was killed", workers[0].id()));
            workers.push(worker(url, log)?);
        }
    }
    bar.finish();
    for mut worker in workers {
        drop(worker.stdin.take());
        worker.wait()?;
    }
    println!("all ended after {:.1} s", begun.elapsed().as_secs_f64());
    report(&std::fs::read_to_string(log)?, &results, killed)
}

/// Prints how many steps each worker executed, and checks that no recorded step ran again.
fn report(log: &str, results: &BTreeMap<String, Vec<u64>>, killed: Option<u32>) -> Result<ExitCode> {
    let mut executed: BTreeMap<u32, usize> = BTreeMap::new();
    let mut attempts: BTreeMap<(String, usize), Vec<(u32, u64)>> = BTreeMap::new();
    for line in log.lines() {
        // The id of a run contains a space.
        let parts: Vec<&str> = line.split(' ').collect();
        let [process, word, run, number, value] = parts[..] else { continue };
        let process = process.parse()?;
        *executed.entry(process).or_default() += 1;
        let step = (format!("{word} {run}"), number.parse()?);
        attempts.entry(step).or_default().push((process, value.parse()?));
    }
    for (process, steps) in &executed {
        let end = if killed == Some(*process) { ", until it was killed" } else { "" };
        println!("worker {process}: {steps} executions of steps{end}");
    }
    let (mut again, mut wrong) = (0, BTreeSet::new());
    for ((run, number), executions) in &attempts {
        let Some((last, before)) = executions.split_last() else { continue };
        again += before.len();
        // Only steps that the killed process had not recorded may run again; the last execution is recorded.
        let is_right = results[run].get(*number) == Some(&last.1);
        if !is_right || before.iter().any(|(process, _)| Some(*process) != killed) {
            wrong.insert(run);
        }
    }
    println!("{again} steps were under way in the worker that was killed, and ran again in others");
    if !wrong.is_empty() || attempts.len() != results.len() * STEPS as usize {
        println!("runs in which a recorded step ran again, or one is missing: {wrong:?}");
        return Ok(ExitCode::FAILURE);
    }
    println!("no step that was recorded ran again, and none is missing");
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
#[path = "tests/cluster.rs"]
mod tests;
