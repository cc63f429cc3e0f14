//! The cases, each in a file of its name.

mod fan_out;
mod flat;
mod memory;
pub mod parked;
mod replay;
mod sequential;
mod start;
mod throughput;
mod timers;

use workflow_runtime::{Result as RunResult, step};

use super::Result;
use super::disk::Disk;
use super::report::Row;

pub struct Case {
    pub name: &'static str,
    pub about: &'static str,
    pub measure: fn(&Disk) -> Result<Row>,
}

pub static CASES: [Case; 9] = [
    sequential::CASE,
    throughput::CASE,
    start::CASE,
    fan_out::CASE,
    flat::CASE,
    replay::CASE,
    memory::CASE,
    parked::CASE,
    timers::CASE,
];

/// A step that does nothing, so that what is measured is the recording of it.
#[step]
async fn no_op(number: u32) -> RunResult<u32> {
    Ok(number)
}
