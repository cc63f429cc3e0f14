//! The engine: it owns runs, executes their turns, and executes their steps.
//!
//! A run in memory is an `active_run::ActiveRun`: a mailbox, and the state of its driver. What happens to the run (an
//! attempt ended, a timer is due) becomes an arrival in the mailbox. The first arrival starts a driver (`turn`), which
//! delivers arrivals, polls the workflow, commits the turn through the `batcher`, and then performs its actions (`attempt`,
//! whose code runs in a `scope`; `timers`). `claims` claims the runs that are due in the store; `load` replays them. Input
//! from outside (`messages`: payloads, cancels, wake-ups) and effects of runs on other runs (`effects`) pass through the
//! store. `lifecycle` calls the completion callbacks. A step of a queue is a run of its own, which an engine that serves
//! the queue claims (`queues`). `streams` stores the chunks that a run writes. `removal` deletes runs whose retention has
//! passed. `eviction` removes a run that waits for long from memory. `telemetry` exports metrics and the spans of runs.
//!
//! There are three layers: `parts`, the data of an engine; `inner`, which holds it; and the other modules, which use it.

mod ambient;
mod assembly;
mod attempt;
mod builder;
pub(crate) mod check;
mod claims;
mod client;
mod commit;
mod counts;
mod create;
mod create_later;
mod cycle;
mod deployments;
mod effects;
mod end;
mod events;
mod eviction;
#[cfg(feature = "otel")]
mod export;
#[cfg(not(feature = "otel"))]
mod export_off;
mod health;
pub(crate) mod history;
mod inner;
mod lifecycle;
mod load;
mod messages;
mod new_run;
mod open;
mod other_builds;
mod output;
mod park;
mod parts;
mod permit;
mod plain;
mod queries;
#[cfg(feature = "otel")]
mod queue_depth;
mod refusals;
mod registration;
mod removal;
mod repair;
mod replay_journal;
mod replays;
mod scope;
mod shutdown;
mod stranded;
mod streams;
mod suspended;
mod timers;
#[cfg(feature = "postgres")]
mod transaction;
mod turn;
mod wait;
mod waiting;
mod yield_execution;

use std::ops::Deref;

pub(crate) use self::ambient::{ambient, given_or_ambient};
pub use self::builder::Builder;
pub use self::client::Client;
#[cfg(feature = "web")]
pub(crate) use self::counts::hour;
pub(crate) use self::history::Next;
pub(crate) use self::messages::HookPayload;
pub(crate) use self::new_run::Asked;
pub(crate) use self::parts::finished::{Finished, awaits_itself};
pub(crate) use self::plain::plain_attempt;
pub(crate) use self::repair::At;
pub(crate) use self::scope::{
    AttemptWriter, InStep, attempt_writer, current, finish, in_this_step, inherited, last_payload, path_of_call,
    suspend,
};
pub use self::scope::{StepInfo, cancellation, heartbeat, step_info, traceparent};
pub(crate) use self::suspended::Which;
#[cfg(feature = "web")]
pub(crate) use self::waiting::Surroundings;
pub use crate::environment::{Environment, System};

use crate::error::Result;

/// A [`Client`] that also executes workflows. Cheap to clone; all clones share one engine.
///
/// When the last clone (and the last [`Run`](crate::Run) handle) is dropped, it stops at once, like a killed process:
/// no data is lost, and the next engine repeats the attempts that were running. [`Engine::shutdown`] first waits for running
/// steps to end.
///
/// Several engines may be open on one SQLite file, in one process or in several: one of them executes, the others start
/// runs and wait for results. When the executing engine is gone, another takes over. On one PostgreSQL database any number
/// of engines execute: each has a lease, and if an engine cannot renew its lease, other engines continue its runs.
///
/// ```
/// # use workflow_runtime::{Engine, Result, workflow};
/// # #[workflow] async fn hello(name: String) -> Result<String> { Ok(format!("hello {name}")) }
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// let engine = Engine::open("memory:").await?;
/// let run = engine.start(hello, "world".to_owned()).await?;
/// assert_eq!(run.await?, "hello world");
/// engine.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Engine {
    client: Client,
}

impl Engine {
    /// Opens an engine on `sqlite:PATH`, on `postgres://USER@HOST/DATABASE` (with the feature `postgres`), or on `memory:`,
    /// for tests. The engine claims unfinished runs at once.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidUrl`](crate::Code::InvalidUrl), [`Code::Store`](crate::Code::Store), [`Code::NewerStore`](crate::Code::NewerStore) or [`Code::StoreReplaced`](crate::Code::StoreReplaced) if the store cannot be used, and
    /// [`Code::MissingResource`](crate::Code::MissingResource) if a step of this build declares a resource: pass it to [`Engine::builder`].
    pub async fn open(url: &str) -> Result<Engine> {
        Engine::builder().url(url).open().await
    }

    /// Returns a builder, to set options and resources.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Makes this the engine behind the free functions, such as [`start`](crate::start). Servers call this once, when they
    /// start, so that unfinished runs resume at the restart and not at the first call.
    ///
    /// A process has one such engine. Without an installed one, the first free function opens an engine from
    /// `WORKFLOW_URL`, in the tokio runtime of its caller, and all others use it, whatever runtime they run in. When that
    /// runtime ends, the engine ends with it: callers that still wait for it get [`Code::Closed`](crate::Code::Closed), and the next call of
    /// a free function opens another engine in its own runtime. An *installed* engine that has ended is not replaced in
    /// this way, since the new one could be on another store: the free functions return [`Code::Closed`](crate::Code::Closed) until another is
    /// installed. Each test has a runtime of its own, so tests should call the methods of an engine of their own:
    ///
    /// ```
    /// # use workflow_runtime::{Engine, Result, workflow};
    /// # #[workflow] async fn hello(name: String) -> Result<String> { Ok(format!("hello {name}")) }
    /// #[tokio::test]
    /// # async fn hidden() {}
    /// async fn greets() -> Result<()> {
    ///     let engine = Engine::open("memory:").await?;
    ///     assert_eq!(engine.start(hello, "world".to_owned()).await?.await?, "hello world");
    ///     Ok(())
    /// }
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> { greets().await }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Code::Closed`](crate::Code::Closed) if another engine or client is installed and still open; the error names the thread that
    /// opened it.
    pub fn install(self) -> Result<Engine> {
        ambient::install(self.client.clone())?;
        Ok(self)
    }

    /// Stops the engine: it claims no more runs, waits for running attempts of steps (for up to ten seconds, then
    /// it aborts them), records their results, and releases its runs to the store. The next engine continues unfinished
    /// runs. Calling it again, or after the engine was dropped, does nothing.
    ///
    /// A store in SQLite is then one file: the log beside it is written into it and removed, unless another process or
    /// another engine has the file open.
    ///
    /// # Errors
    ///
    /// If the store does not accept the remaining writes. Nothing that was recorded is lost.
    pub async fn shutdown(&self) -> Result<()> {
        self.inner().shutdown().await
    }
}

impl Deref for Engine {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("owner", &self.inner().owner()).finish_non_exhaustive()
    }
}
