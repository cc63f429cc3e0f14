//! The command line: list, explain and steer the runs of a store. A front end that uses the public API.
//!
//! The binary `workflow` of this crate (`cargo install --path workflow-runtime --features cli`) needs a store and none of
//! your code: it executes no run, takes no lock, and creates, migrates and publishes nothing. [`main`] puts the same
//! commands, and `worker`, into a program of yours. The guide has a chapter on the commands.
//!
//! Each command is a file, with its options and the function that executes it. `args` lists them.

mod actions;
mod args;
mod backup;
mod bulk;
mod check;
mod completions;
mod context;
mod deployments;
mod doctor;
mod events;
mod exit;
mod explain;
mod export;
mod filter;
mod fork;
mod global;
mod groups;
mod hooks;
mod input;
mod json;
mod ls;
mod output;
mod queues;
mod redaction;
mod report;
mod result;
mod resume;
mod send;
mod show;
mod start;
mod steps;
mod store;
mod stream;
mod table;
mod trace;
mod tree;
#[cfg(feature = "web")]
mod ui;
mod vacuum;
mod watch;
mod worker;
mod workers;
mod workflows;
mod yield_execution;

use std::process::ExitCode;

use clap::Parser;

use self::args::Cli;
use self::context::Context;
use crate::engine::Builder;

/// Executes the command line of this process, and returns its exit code.
///
/// The commands are those of the binary `workflow`, with the workflows of this program: `start` checks arguments against
/// their types, `check` replays the unfinished runs with them, and `worker` opens the builder's engine, with its resources and settings, and executes runs until it is
/// interrupted, as `dev` does beside the web page, with the feature `web`. All other commands open a [`Client`](crate::Client) on a store that exists, and execute nothing. The store
/// is that of `--store`, else of the environment variable `WORKFLOW_URL`, else the nearest `.workflow/workflow.db` in this
/// directory and those above it.
///
/// Errors are written to the standard error, and not returned.
///
/// ```no_run
/// use std::process::ExitCode;
/// use workflow_runtime::Engine;
///
/// #[tokio::main]
/// async fn main() -> ExitCode {
///     workflow_runtime::cli::main(Engine::builder()).await
/// }
/// ```
pub async fn main(builder: Builder) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refused) => return report::usage(&refused).into(),
    };
    let mut context = Context::new(cli.global, builder);
    let done = cli.command.execute(&mut context).await;
    report::end(&mut context.output, done).into()
}
