//! `worker`: executes the runs of the workflows of this program.

use clap::Args;

use super::context::Context;
use super::exit::Exit;
use super::report::{Outcome, Stop};
use super::store;
use crate::engine::Engine;
use crate::error::{Code, Error};
use crate::handles::catalog::workflows;

/// Execute runs until interrupted; only in a program with workflows. Creates the store if it does not exist
#[derive(Args)]
pub(super) struct Worker {}

impl Worker {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let workflows = workflows().len();
        // Before the engine opens, so that no signal ends the process in between.
        let interrupted = interrupted()?;
        let engine = engine(context).await?;
        eprintln!("executing runs of {workflows} workflows; interrupt to stop");
        interrupted.await;
        eprintln!("stopping: waiting for running steps");
        engine.shutdown().await?;
        Ok(Exit::Ok)
    }
}

/// The engine of this program, which must have workflows.
pub(super) async fn engine(context: &mut Context) -> Outcome<Engine> {
    if workflows().is_empty() {
        let error = Error::coded(Code::NotRegistered, "this program has no workflows to execute");
        return Err(Stop::refused(
            error.help("put `workflow_runtime::cli::main(Engine::builder()).await` into the main of your own program"),
        ));
    }
    let mut builder = context.take_builder();
    if let Some(named) = context.named_store() {
        builder = builder.url(store::completed(named));
    }
    Ok(builder.open().await?.install()?)
}

/// Resolves when the process is asked to end.
#[cfg(unix)]
pub(super) fn interrupted() -> Outcome<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
pub(super) fn interrupted() -> Outcome<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
