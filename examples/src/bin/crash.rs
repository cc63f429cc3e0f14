//! Kills a workflow again and again, at random instants, and checks that no recorded step ran again.
//!
//! `cargo run --bin crash [SEED [KILLS]]`: the seed determines the instants of the kills. The default is a random seed,
//! which the program prints, and up to 25 kills.
//!
//! The program starts a copy of itself as a child that executes the workflow, waits until the child has begun a step or
//! two, and kills it some milliseconds later. After the last kill it lets the child finish. Each execution of a step
//! appends a line to a log. A step begins once the previous one is recorded, so the log must never go back to an
//! earlier step, and a step may be repeated only where a process was killed.

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

/// The log to which each execution of a step appends a line. As a resource it is not part of the recorded arguments.
struct Log(File);

/// Draws a random number, which identifies this execution in the result of the run.
#[step]
async fn draw(#[resource] log: &Log, number: usize) -> Result<u64> {
    let value = fastrand::u64(..);
    // One write in append mode: the whole line is in the file, even if this process is killed right after it.
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

/// Opens the engine, starts or continues the run, and waits for its result. Parent and child both call this.
async fn run(directory: &Path) -> Result<Vec<u64>> {
    let log = OpenOptions::new().create(true).append(true).open(log_path(directory))?;
    let engine = Engine::builder()
        .url(format!("sqlite:{}", directory.join("runs.db").display()))
        .resource(Log(log))
        // By default a run becomes stuck when its process has died six times without progress. Here the parent kills
        // it.
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
    // The run has ended, so this only reads its result.
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
            child.kill()?; // SIGKILL on Unix
        }
        lines.for_each(drop);
        let status = child.wait()?;
        match status.code() {
            Some(0) => return Ok(kills),
            // On Unix a killed process has no exit code.
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
    // The last execution of each step is the recorded one, so the result must have its value.
    if !recorded.into_iter().eq(result.iter().copied().enumerate()) {
        return Err("the result is not made of what the last execution of each step returned".into());
    }
    println!("no recorded step ran again, and the result is that of {STEPS} recorded steps");
    Ok(())
}

#[cfg(test)]
mod tests {
    use workflow_runtime::Error;
    use workflow_runtime::testing::{Builder, TestEngine, explore, fail_first};

    use super::*;

    fn squares() -> Builder {
        TestEngine::builder().mock(draw, |number| Ok(number as u64 * number as u64)).deny_unmocked().deny_unawaited()
    }

    #[tokio::test]
    async fn no_crash_repeats_a_recorded_draw_or_changes_the_values() -> Result<()> {
        let explored = explore(draws, STEPS).engine(squares).await?;
        assert!(explored.crashes > STEPS as u64, "a crash behind each draw");
        assert!(explored.one()?.into_iter().eq((0..STEPS as u64).map(|number| number * number)));
        Ok(())
    }

    #[tokio::test]
    async fn a_draw_begins_once_the_one_before_it_has_succeeded() -> Result<()> {
        let flaky = fail_first(3, || Error::new("the disk is full"), |number| Ok(number as u64));
        let engine = squares().mock(draw, flaky).open().await?;
        assert_eq!(engine.start(draws, 3).await?.await?, [0, 1, 2]);
        assert_eq!(engine.calls(draw), [0, 0, 0, 0, 1, 2]);
        Ok(())
    }

    fn log(lines: &[(u32, usize, u64)]) -> Vec<Execution> {
        lines.iter().map(|&(process, number, value)| Execution { process, number, value }).collect()
    }

    #[test]
    fn a_step_may_repeat_where_its_process_was_killed() {
        let executions = log(&[(1, 0, 10), (1, 1, 11), (2, 1, 12), (2, 2, 13)]);
        assert_eq!(check(&executions, &[10, 12, 13], 1), Ok(()));
    }

    #[test]
    fn a_repeated_recorded_step_or_another_result_is_a_violation() {
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
