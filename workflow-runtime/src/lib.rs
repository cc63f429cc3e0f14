//! Durable workflows: annotate async functions and start them. After a crash of the process they continue after the last
//! recorded step.
//!
//! ```
//! use std::time::Duration;
//! use workflow_runtime::{Engine, Result, sleep, step, workflow};
//!
//! #[step]
//! async fn charge(order: u64, cents: u32) -> Result<String> {
//!     Ok(format!("receipt-{order}-{cents}")) // any side effect: retried on errors, its result recorded once
//! }
//!
//! #[workflow]
//! async fn checkout(order: u64, cents: u32) -> Result<String> {
//!     let receipt = charge(order, cents).await?;
//!     sleep(Duration::from_millis(5)).await; // survives restarts
//!     Ok(receipt)
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<()> {
//! let engine = Engine::open("memory:").await?; // or "sqlite:orders.db"
//! let run = engine.start(checkout, (1, 4200)).id("order-1").await?; // durable once this returns
//! assert_eq!(run.await?, "receipt-1-4200");
//! # Ok(())
//! # }
//! ```
//!
//! A **workflow** is executed by replay: after a crash the engine calls it again from its beginning, and each operation
//! that has a recorded result returns that result instead of being executed. So a workflow must be deterministic. Its
//! attribute rejects code that is not: a workflow can only await [`Durable`] operations, and calls such as
//! `SystemTime::now()` are compile errors that name the replacement. A **step** contains everything else. It is executed at
//! least once, and not again once its result is recorded.
//!
//! | to | use |
//! |---|---|
//! | execute a side effect | a [`#[step]`](macro@step) |
//! | wait for a time | [`sleep`], [`sleep_until`], [`timeout`] |
//! | get the time, random values, ids | [`now`], [`random`], [`uuid`](uuid()) |
//! | run operations concurrently | `join!`, `select!`, `join_all`, `FuturesUnordered`, `buffer_unordered`, [`spawn`] |
//! | wait for a payload from outside | [`hook`], [`resume_hook`] |
//! | run another workflow and wait for it | call it: an [`Invocation`]; any [`Run`] can be awaited |
//! | publish progress | [`set_state`], [`set_attribute`], [`writer`] |
//! | accept HTTP requests, show streams to browsers | the module `http` (with the feature `http`) |
//! | read and change runs from a terminal | the module `cli` and the binary `workflow` (with the feature `cli`) |
//! | read and change runs in a browser | the module `web` (with the feature `web`) |
//! | stream output | [`writer`], read by [`Run::stream`] |
//! | undo a step if the run fails | [`StepCall::rollback`] |
//! | list, count and delete runs | [`runs`](runs()), [`Run::delete`], [`Retention`] |
//! | await any other future, once | [`nondeterministic`] |
//! | split a workflow into functions | a [`#[durable]`](macro@durable) helper |
//! | test a workflow without its steps | the module `testing` (with the feature `testing`) |
//! | change the code of a workflow that has unfinished runs | [`patched`], [`Runs::check`] |
//! | monitor runs | [`Run::waiting`], [`Client::workers`], [OpenTelemetry](#opentelemetry) (with the feature `otel`) |
//!
//! [`coming_from`] maps the names of other systems to this library: parallel, branch, loops and nesting are plain Rust.
//!
//! # OpenTelemetry
//!
//! With the feature `otel`, `Builder::span_processor` exports spans to OpenTelemetry; [`TracingOptions`] set the trace of a
//! run. A run keeps its trace over suspensions, crashes and processes; spans of children are part of their parent's trace.
//!
//! | span | of | parent |
//! |---|---|---|
//! | `workflow NAME` | a run, once it has ended | as set by its [`TracingOptions`] |
//! | `step NAME` | a call of a step, retries included | the run |
//! | `attempt NUMBER of NAME` | an attempt of a step: [`traceparent`] passes this span to other services | the step |
//! | `wait LABEL` | a step that has suspended itself | the step |
//! | `wait sleep`, `wait hook`, `wait run` | a sleep; each payload of a hook; another run | the run |
//! | `child NAME` | a child run; it is the parent of the child's own span | the run |
//!
//! Every span has `workflow.run.id` and the metadata of its start, `workflow.metadata.KEY`. A failed span has an event
//! `exception` and `error.type`, the [`Code`] of the error. Other attributes are `workflow.name`, `workflow.status`,
//! `workflow.tags`, `workflow.input`, `workflow.output`, `workflow.step.id`, `workflow.step.attempt`,
//! `workflow.wait.seconds`, `workflow.wait.run` and `workflow.child.run.id`. A wait that is still
//! open when the run ends has no status.
//!
//! The engine records metrics with the global meter provider that is set when the engine is opened. They measure this
//! process, except for the depth of queues, which measures the store: each engine that serves a queue reports it.
//!
//! | metric | kind, unit | attributes | counts or measures |
//! |---|---|---|---|
//! | `workflow.runs.started` | counter, `{run}` | `workflow.name` | runs that were started or retried |
//! | `workflow.runs.ended` | counter, `{run}` | `workflow.name`, `workflow.status` | `completed`, `failed` and `cancelled` runs |
//! | `workflow.runs.stuck` | counter, `{run}` | `workflow.name` | transitions of a run to stuck |
//! | `workflow.step.duration` | histogram, `s` | `workflow.step.id`, `error.type` | from the call to the end, only if spans are exported |
//! | `workflow.attempt.duration` | histogram, `s` | `workflow.step.id`, `workflow.queue.name`, `error.type` | attempts that have ended, except abandoned ones |
//! | `workflow.attempt.delay` | histogram, `s` | `workflow.step.id`, `workflow.queue.name` | from the time at which an attempt could begin to its beginning |
//! | `workflow.attempts.active` | up-down counter, `{attempt}` | `workflow.step.id`, `workflow.queue.name` | running attempts |
//! | `workflow.attempts.waiting` | up-down counter, `{attempt}` | `workflow.step.id`, `workflow.queue.name` | attempts that wait for a permit: [`Builder::concurrency`] |
//! | `workflow.queue.depth` | gauge, `{step}` | `workflow.queue.name` | steps of a queue that no process has begun, at the previous collection |
//! | `workflow.commit.writes` | histogram, `{write}` | | turns, starts and other writes of one group commit |
//!
//! `workflow.name` and `workflow.step.id` are ids of definitions; `error.type` is present on failures, and
//! `workflow.queue.name` if a step has a queue. The internal runs that execute steps of queues are not counted as runs.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// ARCHITECTURE.md has the order in which modules may import one another.
mod boottime;
#[cfg(feature = "cli")]
#[cfg_attr(docsrs, doc(cfg(feature = "cli")))]
pub mod cli;
mod codec;
mod context;
mod definition;
mod durable;
pub mod engine;
mod environment;
mod error;
mod failpoint;
mod handles;
mod history;
mod host;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod http;
mod keys;
mod limits;
mod model;
mod names;
mod panics;
mod probe;
mod registry;
mod replay;
#[cfg(any(feature = "cli", feature = "web"))]
mod steering;
pub mod store;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
mod text;
#[cfg(any(feature = "cli", feature = "web"))]
mod timeline;
#[cfg(feature = "web")]
#[cfg_attr(docsrs, doc(cfg(feature = "web")))]
pub mod web;

pub mod coming_from;

/// The SQL types and errors of a [`Transaction`].
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use ::tokio_postgres;
/// The token that [`cancellation`] returns.
pub use ::tokio_util::sync::CancellationToken;
/// The id that [`uuid()`] returns.
pub use ::uuid::Uuid;

// The examples of the attributes are here, because `workflow-macros` cannot compile them.
/// ```
/// # use workflow_runtime::{Result, durable, step, workflow};
/// # #[step] async fn charge(order: u64) -> Result<u32> { Ok(order as u32) }
/// #[durable]
/// async fn pay_all(orders: &[u64]) -> Result<u32> {
///     let mut total = 0;
///     for order in orders {
///         total += charge(*order).await?;
///     }
///     Ok(total)
/// }
///
/// #[workflow]
/// async fn settle(orders: Vec<u64>) -> Result<u32> {
///     pay_all(&orders).await
/// }
/// ```
pub use workflow_macros::durable;
/// ```standalone_crate
/// # use workflow_runtime::{Result, step, workflow};
/// # struct Bank;
/// # impl Bank { async fn charge(&self, order: u64) -> Result<String> { Ok(order.to_string()) } }
/// #[step(retries = 5, backoff = "100ms..30s", timeout = "10s")]
/// async fn charge(#[resource] bank: &Bank, order: u64) -> Result<String> {
///     bank.charge(order).await
/// }
///
/// #[workflow]
/// async fn checkout(order: u64) -> Result<String> {
///     charge(order).await // pass the bank to the engine's builder: `.resource(bank)`
/// }
/// ```
pub use workflow_macros::step;
/// ```
/// # use std::time::Duration;
/// # use workflow_runtime::{Result, sleep, start, step, workflow};
/// # #[step] async fn charge(order: u64, cents: u32) -> Result<String> { Ok(String::new()) }
/// #[workflow]
/// async fn checkout(order: u64, cents: u32) -> Result<String> {
///     let receipt = charge(order, cents).await?;
///     sleep(Duration::from_secs(24 * 3600)).await;
///     Ok(receipt)
/// }
///
/// # async fn example() -> Result<()> {
/// let run = start(checkout, (1, 4200)).id("order-1").await?;
/// # Ok(())
/// # }
/// ```
pub use workflow_macros::workflow;

pub use self::context::invocation::{ChildWithId, Detach, Invocation};
pub use self::context::step::StepCall;
pub use self::context::suspend::{Finish, Suspend, Suspending, finish, suspend, suspend_data};
pub use self::context::{
    ContinueAsNew, Elapsed, Hook, HookBuilder, JoinHandle, Nondeterministic, Sleep, Timeout, WriteChunk, Writer,
    continue_as_new_suggested, deprecated_patch, hook, nondeterministic, now, patched, random, remove_attribute,
    request_context, run_id, set_attribute, set_state, sleep, sleep_until, spawn, state, timeout, uuid, writer,
};
pub use self::definition::{Fallible, Returned, Workflow, WorkflowFn};
pub use self::durable::{Durable, DurableExt, DurableStream};
pub use self::engine::{Builder, Client, Engine, StepInfo, cancellation, heartbeat, step_info, traceparent};
pub use self::error::{Code, Error, Failure, IntoWorkflowError, Result};
pub use self::handles::catalog::{AnyWorkflow, ArgumentInfo, JsonError, WorkflowInfo, start_by_id, workflows};
pub use self::handles::check::{CheckReport, Incompatible, PatchedRuns};
pub use self::handles::events::Events;
pub use self::handles::journal::Journal;
pub use self::handles::outcome::{GetOutcome, Outcome};
pub use self::handles::repair::Fork;
pub use self::handles::resume::{ResumeHook, get_hook, resume_hook};
pub use self::handles::resume_run::Resume;
pub use self::handles::run::{Run, RunEnd, RunOf, get_run};
pub use self::handles::runs::{Cursor, Page, Runs, runs};
pub use self::handles::start::{CreateRun, CreatedRun, Start, Starting, create_run, start};
pub use self::handles::stream::{Chunk, ChunkWriter, Reader};
pub use self::history::{Ending, RunEvent, RunEventKind, StepOutcome, StepStatus};
pub use self::model::{
    Catalogue, CatalogueStep, CatalogueWorkflow, Deployment, DeploymentInfo, Health, HookInfo, IfExists, OutputChunk,
    RequestContext, Retention, RunError, RunInfo, Status, Stranded, Suspended, TracingOptions, Waiting, WorkerInfo,
};
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use self::store::Transaction;

/// The items that code generated by the attributes uses. Not part of the API: it changes without notice.
#[doc(hidden)]
pub mod __private {
    /// The first version.
    pub mod v1 {
        pub use inventory;
        pub use serde;

        pub use crate::__described as described;
        pub use crate::context::invocation::Invocation;
        pub use crate::context::step::{StepCall, call};
        pub use crate::definition::Described;
        #[cfg(feature = "schema")]
        pub use crate::definition::PayloadDefinition;
        pub use crate::definition::{Attempt, Execution, Item, Policy, StepDefinition, WorkflowDefinition};
        #[cfg(feature = "schema")]
        pub use crate::definition::{NoSchema, ResultSchemaOf, SchemaOf, schema};
        pub use crate::definition::{One, Tuple, Workflow};
        pub use crate::definition::{Requirement, Resources};
        pub use crate::durable::{Durable, DurableBlock, durable, is_durable};
        pub use crate::error::Error;
        pub use crate::probe::*;
        #[cfg(feature = "schema")]
        pub use crate::registry::payload_key;
        #[cfg(feature = "postgres")]
        pub use crate::store::Transaction;
        #[cfg(feature = "testing")]
        pub use crate::testing::corpus::{corpus_is_complete, replay_file};
    }
}
