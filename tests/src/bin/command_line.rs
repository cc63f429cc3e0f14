//! The command line in a program without workflows, which is what the binary `workflow` is.

use std::process::ExitCode;

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    workflow_runtime::cli::main(workflow_runtime::Engine::builder()).await
}
