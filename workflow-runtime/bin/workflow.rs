//! The command line for any store: see `workflow_runtime::cli`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    workflow_runtime::cli::main(workflow_runtime::Engine::builder()).await
}
