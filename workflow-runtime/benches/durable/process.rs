//! Work in its own process, so that its memory can be measured separately.

use std::fs;
#[cfg(all(unix, feature = "postgres"))]
use std::io::{BufRead, BufReader, Write};
#[cfg(all(unix, feature = "postgres"))]
use std::process::{Child, ChildStdin, ChildStdout};
use std::process::{Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Result;
use super::cases::parked;
#[cfg(all(unix, feature = "postgres"))]
use super::cases::postgres;

const ARGUMENT: &str = "--process";

/// Executes the work that the command line names, if this is such a process.
pub fn serve(mut arguments: impl Iterator<Item = String>) -> Option<Result<()>> {
    if arguments.next()? != ARGUMENT {
        return None;
    }
    Some(match (arguments.next().as_deref(), arguments.next()) {
        (Some(parked::FILL), Some(task)) => answer(&task, parked::fill),
        (Some(parked::WAKE), Some(task)) => answer(&task, parked::wake),
        #[cfg(all(unix, feature = "postgres"))]
        (Some(postgres::WORK), Some(url)) => postgres::work(&url),
        _ => Err("there is no such work".into()),
    })
}

fn answer<T: DeserializeOwned, A: Serialize>(task: &str, work: fn(T) -> Result<A>) -> Result<()> {
    let answer = work(serde_json::from_str(task)?)?;
    println!("{}", serde_json::to_string(&answer)?);
    Ok(())
}

/// Starts a process with this work, and waits for its answer.
pub fn ask<A: DeserializeOwned>(work: &str, task: &impl Serialize) -> Result<A> {
    let asked = Command::new(std::env::current_exe()?)
        .args([ARGUMENT, work, &serde_json::to_string(task)?])
        .stderr(Stdio::inherit())
        .output()?;
    if !asked.status.success() {
        return Err(format!("the process for {work:?} ended with {}", asked.status).into());
    }
    Ok(serde_json::from_slice(&asked.stdout)?)
}

/// A process that executes one task after the other, each from a line of its input, and reports when it is done.
#[cfg(all(unix, feature = "postgres"))]
pub struct Helper {
    process: Child,
    tasks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

#[cfg(all(unix, feature = "postgres"))]
impl Helper {
    /// Starts the process, and waits until it is ready.
    pub fn start(work: &str, task: &str) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args([ARGUMENT, work, task])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(tasks), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("the process has no input or no output".into());
        };
        let mut helper = Helper { process, tasks: Some(tasks), answers: BufReader::new(answers) };
        helper.wait()?;
        Ok(helper)
    }

    /// Sends a task.
    pub fn tell(&mut self, task: &str) -> Result<()> {
        let tasks = self.tasks.as_mut().ok_or("the process is ending")?;
        writeln!(tasks, "{task}")?;
        Ok(tasks.flush()?)
    }

    /// Waits until the task is done.
    pub fn wait(&mut self) -> Result<()> {
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        match answer.trim_end() {
            "done" => Ok(()),
            other => Err(format!("the process said {other:?}").into()),
        }
    }

    /// The main loop of a process that [`start`](Helper::start) has started: executes the task of each line.
    pub fn serve(mut work: impl FnMut(&str) -> Result<()>) -> Result<()> {
        println!("done");
        for task in std::io::stdin().lines() {
            work(&task?)?;
            println!("done");
        }
        Ok(())
    }
}

#[cfg(all(unix, feature = "postgres"))]
impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.tasks.take());
        let _ = self.process.wait();
    }
}

/// The resident memory of this process in megabytes, current and peak. `None` where the system does not report it.
#[derive(Clone, Copy)]
pub struct Resident {
    pub now: Option<f64>,
    pub peak: Option<f64>,
}

impl Resident {
    pub fn measure() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let megabytes = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field))?;
            Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? / 1024.0)
        };
        Resident { now: megabytes("VmRSS:"), peak: megabytes("VmHWM:") }
    }
}
