//! Kills a workflow repeatedly, at random instants, and shows that no recorded step ran again.
//!
//! `cargo run --bin crash [SEED [KILLS]]`: the seed determines the times of the kills; without one it is drawn, and
//! printed.
//!
//! The program starts itself as a child that runs the workflow, waits until the child has begun a step or two, and
//! kills it some milliseconds later. After that number of kills the child may finish. Every execution of a step is a
//! line in an append-only log. A step begins once the one before it is recorded, so the log must never go back to an
//! earlier step, and a step may repeat only where a process was killed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use workflow_runtime::{Engine, Result, Run, step, workflow};

const STEPS: usize = 20;
const STEP_MILLISECONDS: u64 = 10;
const KILLS: usize = 25;

/// The log to which the steps write that they ran. Steps get it from the engine, so it is not part of any recorded
/// input.
struct Log(File);

/// Draws a number that no other execution draws, so that the result shows which execution was recorded.
#[step]
async fn draw(#[resource] log: &Log, number: usize) -> Result<u64> {
    let value = fastrand::u64(..);
    // One write to an append-only file: the line survives the kill of this process, and is never incomplete.
    let line = format!("{} {number} {value}\n", std::process::id());
    (&log.0).write_all(line.as_bytes())?;
    println!("{number}");
    tokio::time::sleep(Duration::from_millis(STEP_MILLISECONDS)).await;
    Ok(value)
}

#[workflow]
async fn draws(count: usize) -> Result<Vec<u64>> {
    let mut values = Vec::new();
    for number in 0..count {
        values.push(draw(number).await?);
    }
    Ok(values)
}

/// The whole durable program: open, start or continue, wait. Parent and child do the same.
async fn run(directory: &Path) -> Result<Vec<u64>> {
    let log = OpenOptions::new().create(true).append(true).open(log_path(directory))?;
    let engine = Engine::builder()
        .url(format!("sqlite:{}", directory.join("runs.db").display()))
        .resource(Log(log))
        // A run whose process crashes five times without progress would be stuck. Here the crashes are intended.
        .recoveries(u32::MAX)
        .open()
        .await?;
    let run: Run<Vec<u64>> = engine.start(draws, STEPS).id("draws").await?;
    run.await
}

fn log_path(directory: &Path) -> PathBuf {
    directory.join("steps.log")
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    if first.as_deref() == Some("child") {
        run(Path::new(&arguments.next().unwrap_or_default())).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let seed = first.map_or_else(|| Ok(fastrand::u64(..)), |text| text.parse())?;
    let kills_max = arguments.next().map_or(Ok(KILLS), |text| text.parse())?;

    let directory = std::env::temp_dir().join(format!("workflow-crash-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    println!("seed {seed}, in {}", directory.display());
    let kills = kill_until_done(&directory, seed, kills_max)?;
    // The run has ended, so this executes nothing: it reads the result.
    let result = run(&directory).await?;
    let executions = executions(&directory)?;
    match check(&executions, &result, kills) {
        Ok(()) => {
            fs::remove_dir_all(&directory)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(violation) => {
            eprintln!("VIOLATION: {violation}; see {}", directory.display());
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Runs the child until it ends by itself. Returns the number of kills.
fn kill_until_done(directory: &Path, seed: u64, kills_max: usize) -> Result<usize> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut kills = 0;
    loop {
        let mut child =
            Command::new(std::env::current_exe()?).arg("child").arg(directory).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().map(BufReader::new);
        let mut lines = output.into_iter().flat_map(BufRead::lines);
        if kills < kills_max {
            let begun = random.usize(1..=2);
            lines.by_ref().take(begun).for_each(drop);
            std::thread::sleep(Duration::from_micros(random.u64(0..2_000 * STEP_MILLISECONDS)));
            child.kill()?; // SIGKILL on Unix: nothing of the child runs any more
        }
        lines.for_each(drop);
        let status = child.wait()?;
        match status.code() {
            Some(0) => return Ok(kills),
            // On Unix a process that was killed has no exit code.
            _ if kills < kills_max => kills += 1,
            _ => return Err(workflow_runtime::Error::new(format!("the child ended with {status}"))),
        }
    }
}

/// A line of the log.
struct Execution {
    process: u32,
    number: usize,
    value: u64,
}

fn executions(directory: &Path) -> Result<Vec<Execution>> {
    let text = fs::read_to_string(log_path(directory))?;
    text.lines()
        .map(|line| {
            let mut words = line.split(' ');
            let mut word = || words.next().unwrap_or_default();
            Ok(Execution { process: word().parse()?, number: word().parse()?, value: word().parse()? })
        })
        .collect()
}

fn check(executions: &[Execution], result: &[u64], kills: usize) -> Result<(), String> {
    let mut counts = BTreeMap::<usize, usize>::new();
    let mut recorded = BTreeMap::<usize, u64>::new();
    for execution in executions {
        *counts.entry(execution.number).or_default() += 1;
        recorded.insert(execution.number, execution.value);
    }
    for (number, count) in &counts {
        println!("step {number:2} ran {count} {}", if *count == 1 { "time" } else { "times" });
    }
    let repeats = executions.len() - counts.len();
    println!(
        "{kills} kills; {STEPS} steps ran {} times, {repeats} of them interrupted and so repeated",
        executions.len()
    );

    for pair in executions.windows(2) {
        let [before, after] = pair else { continue };
        if after.number < before.number {
            return Err(format!(
                "step {} ran after step {} had begun, so it was recorded",
                after.number, before.number
            ));
        }
        if after.number == before.number && after.process == before.process {
            return Err(format!("step {} ran twice in a process that nobody had killed in between", after.number));
        }
    }
    if repeats > kills {
        return Err(format!("{repeats} executions were repeated by {kills} kills"));
    }
    // The last execution of each step is the recorded one, so the workflow must have seen its value and no other.
    if !recorded.into_iter().eq(result.iter().copied().enumerate()) {
        return Err("the result is not made of what the last execution of each step returned".into());
    }
    println!("no recorded step ran again, and the result is that of {STEPS} recorded steps");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[(u32, usize, u64)]) -> Vec<Execution> {
        lines.iter().map(|&(process, number, value)| Execution { process, number, value }).collect()
    }

    #[test]
    fn a_step_may_repeat_where_its_process_was_killed() {
        let executions = log(&[(1, 0, 10), (1, 1, 11), (2, 1, 12), (2, 2, 13)]);
        assert_eq!(check(&executions, &[10, 12, 13], 1), Ok(()));
    }

    #[test]
    fn repeated_recorded_steps_are_detected() {
        let went_back = log(&[(1, 0, 10), (1, 1, 11), (2, 0, 12), (2, 1, 13)]);
        assert!(check(&went_back, &[12, 13], 9).unwrap_err().contains("was recorded"));
        let nobody_killed = log(&[(1, 0, 10), (1, 0, 11)]);
        assert!(check(&nobody_killed, &[11], 9).unwrap_err().contains("nobody had killed"));
        let too_many = log(&[(1, 0, 10), (2, 0, 11), (3, 0, 12)]);
        assert!(check(&too_many, &[12], 1).unwrap_err().contains("by 1 kills"));
        let other_result = log(&[(1, 0, 10), (2, 0, 11)]);
        assert!(check(&other_result, &[10], 1).unwrap_err().contains("last execution"));
    }
}
