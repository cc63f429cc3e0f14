//! The command line in a program without workflows, like the binary `workflow`.

use std::process::ExitCode;

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    workflow_runtime::cli::main(workflow_runtime::Engine::builder()).await
}
