//! The cases on PostgreSQL. The application and the database share the machine.

pub mod check;
pub mod idle;
pub mod sequential;
pub mod start;
pub mod start_to_result;
pub mod starts_in_a_row;
pub mod throughput;
pub mod workers;

use futures_util::future::try_join_all;
use tokio::runtime::Runtime;
use workflow_runtime::{Engine, Result as RunResult, workflow};

use super::{Case, no_op};
use crate::Result;
use crate::process::Helper;

const RUNS: u32 = 1_000;
const STEPS: u32 = 10;

#[workflow]
async fn many_steps(steps: u32) -> RunResult<u32> {
    for number in 0..steps {
        no_op(number).await?;
    }
    Ok(steps)
}

/// Starts runs of [`STEPS`] steps together, and waits for their ends.
async fn run_all(engine: &Engine, runs: u32) -> RunResult<()> {
    let runs = try_join_all((0..runs).map(|_| engine.start(many_steps, STEPS).into_future())).await?;
    try_join_all(runs.into_iter().map(IntoFuture::into_future)).await.map(drop)
}

pub const WORK: &str = "work-on-postgres";

/// A worker process: it executes runs, and starts as many as each task says.
pub fn work(url: &str) -> Result<()> {
    let runtime = Runtime::new()?;
    let engine = runtime.block_on(Engine::open(url))?;
    Helper::serve(|runs| Ok(runtime.block_on(run_all(&engine, runs.parse()?))?))?;
    Ok(runtime.block_on(engine.shutdown())?)
}
