//! Work in a process of its own, whose memory is then nobody else's, and how much of it there is.

use std::fs;
use std::process::{Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Result;
use super::cases::parked;

const ARGUMENT: &str = "--process";

/// Does what the command line asks for, if this is such a process.
pub fn serve(mut arguments: impl Iterator<Item = String>) -> Option<Result<()>> {
    if arguments.next()? != ARGUMENT {
        return None;
    }
    Some(match (arguments.next().as_deref(), arguments.next()) {
        (Some(parked::FILL), Some(task)) => answer(&task, parked::fill),
        (Some(parked::WAKE), Some(task)) => answer(&task, parked::wake),
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
