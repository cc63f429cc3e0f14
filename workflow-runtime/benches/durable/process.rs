//! Work in a process of its own, whose memory is then nobody else's, and how much of it there is.

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

/// Does what the command line asks for, if this is such a process.
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

/// Has a process do this, and waits for its answer.
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

/// A process that does one piece of work after the other, each for a line, and says when it is done.
#[cfg(all(unix, feature = "postgres"))]
pub struct Helper {
    process: Child,
    tasks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

#[cfg(all(unix, feature = "postgres"))]
impl Helper {
    /// Starts it, and waits until it is ready.
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

    /// Gives it something to do.
    pub fn tell(&mut self, task: &str) -> Result<()> {
        let tasks = self.tasks.as_mut().ok_or("the process is ending")?;
        writeln!(tasks, "{task}")?;
        Ok(tasks.flush()?)
    }

    /// Waits until it has done it.
    pub fn wait(&mut self) -> Result<()> {
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        match answer.trim_end() {
            "done" => Ok(()),
            other => Err(format!("the process said {other:?}").into()),
        }
    }

    /// What [`start`](Helper::start) has started does this: the work of each line.
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

/// This process's resident memory in megabytes, now and at its most; nothing where the system does not tell.
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
