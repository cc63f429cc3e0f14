//! The codes of errors.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of an error, as a stable code to match on. The text of an error may change; its code does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// An error of the user's own, returned by a step or a workflow.
    User,
    /// A step or a workflow panicked.
    Panic,
    /// An attempt of a step took longer than its timeout.
    Timeout,
    /// A value does not survive the round trip through JSON, or stored JSON does not fit the requested type.
    Payload,
    /// A payload is larger than the limit.
    PayloadTooLarge,
    /// A resource that a step declares was not given to the engine.
    MissingResource,
    /// The run needs a person or a deploy: see the error's text. It resumes once the cause is fixed.
    Stuck,
    /// For the time that the caller has set, no live worker could execute the run that it waits for. The run is unfinished.
    Stranded,
    /// The code issued another operation than the journal records.
    Nondeterminism,
    /// The workflow awaits a future that is not a durable operation.
    ForeignFuture,
    /// A durable operation was polled outside the turn of its own run.
    OutsideRun,
    /// A run cannot continue as this workflow, or not at this point.
    InvalidContinuation,
    /// The run was cancelled.
    Cancelled,
    /// No hook has this token.
    HookNotFound,
    /// The hook with this token was dropped.
    HookDisposed,
    /// The run of the hook with this token has ended.
    HookFinished,
    /// The token belongs to another hook.
    HookConflict,
    /// Another payload was delivered to the token under this idempotency key.
    KeyReused,
    /// No suspension of the run has this label or id, or it has none any more.
    NotSuspended,
    /// The suspension was already resumed.
    AlreadyResumed,
    /// The error that a step returns after it has suspended itself or has ended its run.
    Suspended,
    /// The operation is not supported here.
    Unsupported,
    /// The stream was closed, or its run has ended.
    StreamClosed,
    /// The attempt of the step that writes is over, or another engine now owns its run.
    AttemptOver,
    /// A workflow, or a step of it, awaits the end of its own run, which could never occur.
    AwaitsItself,
    /// No run has this id.
    RunNotFound,
    /// A run with this id exists, but with other arguments or of another workflow, or the start may not reuse it.
    RunExists,
    /// A run that was created has already been started.
    AlreadyStarted,
    /// The workflow's own check rejected the arguments.
    InvalidArguments,
    /// The run cannot be retried or forked in this way.
    NotRepairable,
    /// The run has not ended yet.
    NotEnded,
    /// The requested events were removed with the journals of old generations: the error names the first event that is kept.
    EventsRemoved,
    /// No workflow or step with this id is registered in this build.
    NotRegistered,
    /// No live deployment fits a start that names one, or the store does not know the deployment.
    DeploymentNotFound,
    /// No other process can take over the execution of the runs: see
    /// [`Client::yield_execution`](crate::Client::yield_execution).
    CannotYield,
    /// Two definitions have the same id.
    DuplicateId,
    /// A name or an id is not valid.
    InvalidName,
    /// The text is not a cursor that a page of runs returned.
    InvalidCursor,
    /// The URL of a store is not valid.
    InvalidUrl,
    /// A stored row is damaged.
    Damaged,
    /// A stored row was written by a newer build, in a format that this one does not know.
    /// A run that has such a row is stuck until an engine of such a build executes it.
    NewerFormat,
    /// The store failed: full, read-only, locked, unreachable, or not a database.
    Store,
    /// A newer version of this library has changed the tables of the store, so that this version cannot use them.
    NewerStore,
    /// The open database file, or one of those beside it, was removed, renamed, replaced, restored from a copy, or linked under
    /// another name; or a database is to be opened whose log (`-wal`) belongs to another one.
    StoreReplaced,
    /// It is unknown whether the write took place.
    InDoubt,
    /// The engine is shut down.
    Closed,
    /// A limit of the engine was exceeded.
    Limit,
    /// The process died too often while it executed the run.
    Recoveries,
    /// A stored error has a code that this build does not know: a newer build wrote it.
    #[serde(other)]
    Unknown,
}

impl Code {
    /// The code as text, as it is stored and logged.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::User => "user",
            Code::Panic => "panic",
            Code::Timeout => "timeout",
            Code::Payload => "payload",
            Code::PayloadTooLarge => "payload_too_large",
            Code::MissingResource => "missing_resource",
            Code::Stuck => "stuck",
            Code::Stranded => "stranded",
            Code::Nondeterminism => "nondeterminism",
            Code::ForeignFuture => "foreign_future",
            Code::OutsideRun => "outside_run",
            Code::InvalidContinuation => "invalid_continuation",
            Code::Cancelled => "cancelled",
            Code::HookNotFound => "hook_not_found",
            Code::HookDisposed => "hook_disposed",
            Code::HookFinished => "hook_finished",
            Code::HookConflict => "hook_conflict",
            Code::KeyReused => "key_reused",
            Code::NotSuspended => "not_suspended",
            Code::AlreadyResumed => "already_resumed",
            Code::Suspended => "suspended",
            Code::Unsupported => "unsupported",
            Code::StreamClosed => "stream_closed",
            Code::AttemptOver => "attempt_over",
            Code::AwaitsItself => "awaits_itself",
            Code::RunNotFound => "run_not_found",
            Code::RunExists => "run_exists",
            Code::AlreadyStarted => "already_started",
            Code::InvalidArguments => "invalid_arguments",
            Code::NotRepairable => "not_repairable",
            Code::NotEnded => "not_ended",
            Code::EventsRemoved => "events_removed",
            Code::NotRegistered => "not_registered",
            Code::DeploymentNotFound => "deployment_not_found",
            Code::CannotYield => "cannot_yield",
            Code::DuplicateId => "duplicate_id",
            Code::InvalidName => "invalid_name",
            Code::InvalidCursor => "invalid_cursor",
            Code::InvalidUrl => "invalid_url",
            Code::Damaged => "damaged",
            Code::NewerFormat => "newer_format",
            Code::Store => "store",
            Code::NewerStore => "newer_store",
            Code::StoreReplaced => "store_replaced",
            Code::InDoubt => "in_doubt",
            Code::Closed => "closed",
            Code::Limit => "limit",
            Code::Recoveries => "recoveries",
            Code::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
