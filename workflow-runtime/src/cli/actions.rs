//! `cancel`, `retry`, `wake` and `delete`.

use std::time::Duration;

use clap::Args;

use super::bulk::{self, Targets};
use super::context::{AnyRun, Context};
use super::exit::Exit;
use super::report::Outcome;
use crate::error::{Code, Error, Result};
use crate::steering::bulk::{CANCEL, DELETE, Done, RETRY, Verb, WAKE, ended_before, request_cancel};
use crate::steering::time::duration;

/// Cancel runs; returns once the request is durable
#[derive(Args)]
pub(super) struct Cancel {
    #[command(flatten)]
    targets: Targets,
    /// Why; workflows and people see it
    #[arg(long, value_name = "TEXT", default_value = "cancelled on the command line")]
    reason: String,
    /// Wait for the end of each run, which needs a worker
    #[arg(short, long)]
    wait: bool,
    /// How long to wait for each run
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "wait")]
    timeout: Option<Duration>,
}

impl Cancel {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let verb = if self.wait { Verb { done: "cancelled", ..CANCEL } } else { CANCEL };
        let action = async |run: AnyRun| {
            if !self.wait {
                return request_cancel(&run, &self.reason).await;
            }
            let cancel = run.cancel(&self.reason);
            let is_cancelled = match self.timeout {
                Some(timeout) => tokio::time::timeout(timeout, cancel).await.unwrap_or_else(|_| Err(too_late(&run)))?,
                None => cancel.await?,
            };
            Ok(if is_cancelled { Done::Done } else { ended_before() })
        };
        bulk::act(context, self.targets, &verb, action).await
    }
}

fn too_late(run: &AnyRun) -> Error {
    Error::coded(Code::Timeout, "the run has not ended in the time that was given to wait; the request is durable")
        .run(run.id())
        .help("`workflow show` says what it waits for; a run ends when a worker with its workflow is running")
}

/// Retry runs that have failed, were cancelled or are stuck: steps that succeeded do not run again
#[derive(Args)]
pub(super) struct Retry {
    #[command(flatten)]
    targets: Targets,
}

impl Retry {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        bulk::act(context, self.targets, &RETRY, async |run: AnyRun| run.retry().await.map(|()| Done::Done)).await
    }
}

/// End the sleeps of runs before their deadlines, and try again now what waits for a retry
#[derive(Args)]
pub(super) struct Wake {
    #[command(flatten)]
    targets: Targets,
}

impl Wake {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        bulk::act(context, self.targets, &WAKE, async |run: AnyRun| run.wake_up().await.map(|()| Done::Done)).await
    }
}

/// Delete runs that have ended, with all their data
#[derive(Args)]
pub(super) struct Delete {
    #[command(flatten)]
    targets: Targets,
}

impl Delete {
    pub async fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let action = async |run: AnyRun| -> Result<Done> { run.delete().await.map(|()| Done::Done) };
        bulk::act(context, self.targets, &DELETE, action).await
    }
}
