//! The cases, each in the file of its name.

pub mod check;
mod compile;
mod fan_out;
mod flat;
#[cfg(feature = "web")]
mod lists;
mod memory;
pub mod parked;
#[cfg(all(unix, feature = "postgres"))]
pub mod postgres;
mod replay;
#[cfg(all(unix, feature = "web"))]
mod run_page;
mod sequential;
mod start;
mod throughput;
mod timers;
mod workers;
#[cfg(feature = "testing")]
mod year;

use workflow_runtime::{Result as RunResult, step};

use super::Result;
use super::disk::Disk;
use super::report::Row;

pub struct Case {
    pub name: &'static str,
    pub about: &'static str,
    pub measure: fn(&Disk) -> Result<Row>,
}

pub static CASES: &[Case] = &[
    sequential::CASE,
    throughput::CASE,
    workers::CASE,
    start::CASE,
    fan_out::CASE,
    flat::CASE,
    replay::CASE,
    memory::CASE,
    parked::CASE,
    timers::CASE,
    #[cfg(feature = "web")]
    lists::CASE,
    #[cfg(all(unix, feature = "web"))]
    run_page::CASE,
    check::CASE,
    compile::CASE,
    #[cfg(feature = "testing")]
    year::CASE,
    #[cfg(all(unix, feature = "postgres"))]
    postgres::throughput::CASE,
    #[cfg(all(unix, feature = "postgres"))]
    postgres::workers::CASE,
    #[cfg(all(unix, feature = "postgres"))]
    postgres::sequential::CASE,
    #[cfg(all(unix, feature = "postgres"))]
    postgres::start::CASE,
    #[cfg(all(unix, feature = "postgres"))]
    postgres::start_to_result::CASE,
    #[cfg(all(unix, feature = "postgres"))]
    postgres::starts_in_a_row::CASE,
    #[cfg(all(unix, feature = "postgres"))]
    postgres::check::CASE,
    #[cfg(all(unix, feature = "postgres"))]
    postgres::idle::CASE,
    #[cfg(all(unix, feature = "postgres", feature = "web"))]
    lists::POSTGRES,
];

/// A step that does nothing, so that the case measures only its recording.
#[step]
async fn no_op(number: u32) -> RunResult<u32> {
    Ok(number)
}
