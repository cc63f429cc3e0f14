//! The command line in a program that has a workflow of its own.

use std::process::ExitCode;

use workflow_runtime::{Engine, Result, step, workflow};

#[step]
async fn receipt(order: u64, cents: u32) -> Result<String> {
    Ok(format!("receipt-{order}-{cents}"))
}

#[workflow(id = "own")]
#[allow(dead_code, reason = "the run is started by id")]
async fn own(order: u64, cents: u32) -> Result<String> {
    receipt(order, cents).await
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    workflow_runtime::cli::main(Engine::builder()).await
}
