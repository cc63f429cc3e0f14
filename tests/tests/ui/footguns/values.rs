//! Functions that are values before they are called, and other ways to write a call.

use std::env::var;
use std::time::{Instant, SystemTime};

use workflow_runtime::{Result, durable, workflow};

type Clock = SystemTime;

struct Tools {
    clock: fn() -> SystemTime,
}

#[workflow]
async fn a_variable() -> Result<SystemTime> {
    let clock = SystemTime::now;
    Ok(clock())
}

#[workflow]
async fn of_the_type() -> Result<SystemTime> {
    Ok(<SystemTime>::now())
}

#[workflow]
async fn of_the_type_spelled_out() -> Result<SystemTime> {
    Ok(<std::time::SystemTime>::now())
}

#[workflow]
async fn of_an_alias() -> Result<bool> {
    Ok(Clock::now() < <Clock>::now())
}

#[workflow]
async fn in_parentheses() -> Result<SystemTime> {
    Ok((SystemTime::now)())
}

#[workflow]
async fn in_a_structure() -> Result<SystemTime> {
    let tools = Tools { clock: SystemTime::now };
    Ok((tools.clock)())
}

#[durable]
async fn in_an_array() -> Result<usize> {
    let clocks = [Instant::now, Instant::now];
    Ok(clocks.len())
}

#[workflow]
async fn chosen() -> Result<SystemTime> {
    let clock: fn() -> SystemTime = match 1 + 1 {
        2 => SystemTime::now,
        _ => workflow_runtime::now,
    };
    Ok(clock())
}

#[workflow]
async fn imported_and_passed_on(keys: Vec<String>) -> Result<usize> {
    Ok(keys.iter().map(var).filter(|value| value.is_ok()).count())
}

#[workflow]
async fn imported_and_kept() -> Result<bool> {
    let read = var;
    Ok(read("HOME").is_ok())
}

#[workflow]
async fn assigned() -> Result<SystemTime> {
    let mut clock: fn() -> SystemTime = workflow_runtime::now;
    if clock() > SystemTime::UNIX_EPOCH {
        clock = SystemTime::now;
    }
    Ok(clock())
}

#[workflow]
async fn of_a_builder() -> Result<()> {
    use std::fs::DirBuilder;
    DirBuilder::new().create("orders")?;
    Ok(())
}

#[workflow]
async fn in_a_closure() -> Result<SystemTime> {
    let clock = || <SystemTime>::now();
    Ok(clock())
}

fn main() {}
