//! The commands.

use clap::{Parser, Subcommand};

use super::context::Context;
use super::exit::{self, Exit};
use super::global::Global;
use super::report::Outcome;
#[cfg(feature = "web")]
use super::ui;
use super::{
    actions, backup, check, completions, deployments, doctor, events, explain, export, fork, hooks, ls, queues, result,
    resume, send, show, start, steps, stream, trace, vacuum, worker, workers, workflows, yield_execution,
};

/// List, explain and steer the runs of a workflow store.
#[derive(Parser)]
#[command(name = "workflow", version, after_help = exit::table(), disable_help_subcommand = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub(super) enum Command {
    Ls(ls::Ls),
    Count(ls::Count),
    Show(show::Show),
    Steps(steps::Steps),
    Events(events::Events),
    Trace(trace::Trace),
    Stream(stream::Stream),
    Result(result::Result),
    Start(start::Start),
    Send(send::Send),
    Hooks(hooks::Hooks),
    Cancel(actions::Cancel),
    Retry(actions::Retry),
    Fork(fork::Fork),
    Wake(actions::Wake),
    Resume(resume::Resume),
    Delete(actions::Delete),
    Workflows(workflows::Workflows),
    Workers(workers::Workers),
    Deployments(deployments::Deployments),
    Yield(yield_execution::Yield),
    Queues(queues::Queues),
    Backup(backup::Backup),
    Vacuum(vacuum::Vacuum),
    Doctor(doctor::Doctor),
    Explain(explain::Explain),
    Export(export::Export),
    Check(check::Check),
    Worker(worker::Worker),
    #[cfg(feature = "web")]
    Ui(ui::Ui),
    #[cfg(feature = "web")]
    Dev(ui::Dev),
    Completions(completions::Completions),
}

impl Command {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        match self {
            Command::Ls(command) => command.execute(context).await,
            Command::Count(command) => command.execute(context).await,
            Command::Show(command) => command.execute(context).await,
            Command::Steps(command) => command.execute(context).await,
            Command::Events(command) => command.execute(context).await,
            Command::Trace(command) => command.execute(context).await,
            Command::Stream(command) => command.execute(context).await,
            Command::Result(command) => command.execute(context).await,
            Command::Start(command) => command.execute(context).await,
            Command::Send(command) => command.execute(context).await,
            Command::Hooks(command) => command.execute(context).await,
            Command::Cancel(command) => command.execute(context).await,
            Command::Retry(command) => command.execute(context).await,
            Command::Fork(command) => command.execute(context).await,
            Command::Wake(command) => command.execute(context).await,
            Command::Resume(command) => command.execute(context).await,
            Command::Delete(command) => command.execute(context).await,
            Command::Workflows(command) => command.execute(context).await,
            Command::Workers(command) => command.execute(context).await,
            Command::Deployments(command) => command.execute(context).await,
            Command::Yield(command) => command.execute(context).await,
            Command::Queues(command) => command.execute(context).await,
            Command::Backup(command) => command.execute(context).await,
            Command::Vacuum(command) => command.execute(context).await,
            Command::Doctor(command) => command.execute(context).await,
            Command::Explain(command) => command.execute(context),
            Command::Export(command) => command.execute(context).await,
            Command::Check(command) => command.execute(context).await,
            Command::Worker(command) => command.execute(context).await,
            #[cfg(feature = "web")]
            Command::Ui(command) => command.execute(context).await,
            #[cfg(feature = "web")]
            Command::Dev(command) => command.execute(context).await,
            Command::Completions(command) => command.execute::<Cli>(context),
        }
    }
}
