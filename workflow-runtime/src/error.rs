//! The error type of the library: what happened, where, and how to fix it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::text::printable;

/// The result of steps and workflows: any `Result`, with [`Error`] unless another type is named.
pub type Result<T, E = Error> = std::result::Result<T, E>;

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

/// An error of a step, a workflow or the engine.
///
/// `?` converts every `std::error::Error` into one, with its chain of causes; for an error of `anyhow` or a boxed one use
/// [`Error::boxed`]. An error can be stored and read back; the original
/// value, for [`Error::downcast_ref`], exists only in the process in which the error occurred.
///
/// Like `anyhow::Error` it does not implement `std::error::Error` itself, since that would rule out the conversion from
/// every error; it converts into `Box<dyn std::error::Error + Send + Sync>`.
///
/// ```
/// use workflow_runtime::{Error, Result};
/// use std::time::Duration;
///
/// fn parse(text: &str) -> Result<u16> {
///     Ok(text.parse()?)
/// }
/// assert!(parse("x").unwrap_err().to_string().contains("invalid digit"));
///
/// assert!(Error::fatal("the card is stolen").is_fatal());
/// let busy = Error::retry_after(Duration::from_secs(5)).context("the bank is busy");
/// assert_eq!(busy.delay(), Some(Duration::from_secs(5)));
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Error(Box<Inner>);

#[derive(Clone, Serialize, Deserialize)]
struct Inner {
    code: Code,
    message: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    causes: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    fatal: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    found: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    help: Option<String>,
    #[serde(skip)]
    source: Option<Arc<dyn StdError + Send + Sync>>,
    /// Whether the store was unreachable: another attempt may succeed.
    #[serde(skip)]
    outage: bool,
}

impl Error {
    /// An error of the user's own, from a text or any error; an attempt that fails with it is retried.
    pub fn new(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        match cause.into().downcast::<Standard>() {
            Ok(ours) => ours.0,
            Err(cause) => Self::from_source(Arc::from(cause)),
        }
    }

    /// Converts an error of `anyhow`, or a boxed one, into an error of this crate: `.map_err(Error::boxed)?`.
    /// Neither implements `std::error::Error`, so `?` alone cannot convert them. The chain of causes is kept.
    ///
    /// ```
    /// use workflow_runtime::{Error, Result};
    ///
    /// fn parse(text: &str) -> std::result::Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    ///     Ok(text.parse()?)
    /// }
    ///
    /// fn port(text: &str) -> Result<u16> {
    ///     Ok(parse(text).map_err(Error::boxed)?) // or `parse(text).map_err(Error::boxed)` as it is
    /// }
    /// assert!(port("x").unwrap_err().to_string().contains("invalid digit"));
    /// ```
    pub fn boxed(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(cause)
    }

    /// An error that is not retried: the step fails with it at once.
    pub fn fatal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let mut error = Self::new(cause);
        error.0.fatal = true;
        error
    }

    /// An error after which the next attempt waits for `delay`, in place of the step's backoff. Attempts are
    /// counted as for any other error.
    pub fn retry_after(delay: Duration) -> Self {
        let mut error = Self::coded(Code::User, format!("to be tried again after {delay:?}"));
        error.0.delay_ms = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        error
    }

    /// Prepends `message`; the previous message becomes the first cause.
    #[must_use]
    pub fn context(mut self, message: impl fmt::Display) -> Self {
        let cause = std::mem::replace(&mut self.0.message, message.to_string());
        self.0.causes.insert(0, cause);
        self
    }

    pub(crate) fn coded(code: Code, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            code,
            message: message.into(),
            causes: Vec::new(),
            fatal: false,
            delay_ms: None,
            run: None,
            operation: None,
            expected: None,
            found: None,
            help: None,
            source: None,
            outage: false,
        }))
    }

    fn from_source(source: Arc<dyn StdError + Send + Sync>) -> Self {
        let mut error = Self::coded(Code::User, source.to_string());
        let mut cause = source.source();
        while let Some(next) = cause {
            error.0.causes.push(next.to_string());
            cause = next.source();
        }
        error.0.source = Some(source);
        error
    }

    pub(crate) fn because(mut self, cause: impl fmt::Display) -> Self {
        self.0.causes.push(cause.to_string());
        self
    }

    /// Marks the error as an outage: the store was unreachable.
    #[cfg(feature = "postgres")]
    pub(crate) fn outage(mut self) -> Self {
        self.0.outage = true;
        self
    }

    /// Whether the store was unreachable, so that another attempt may succeed.
    pub(crate) fn is_outage(&self) -> bool {
        self.0.outage
    }

    pub(crate) fn into_fatal(mut self) -> Self {
        self.0.fatal = true;
        self
    }

    pub(crate) fn with_code(mut self, code: Code) -> Self {
        self.0.code = code;
        self
    }

    pub(crate) fn run(mut self, run: impl fmt::Display) -> Self {
        self.0.run.get_or_insert_with(|| printable(&run.to_string()).into_owned());
        self
    }

    pub(crate) fn operation(mut self, operation: impl fmt::Display) -> Self {
        self.0.operation.get_or_insert_with(|| operation.to_string());
        self
    }

    pub(crate) fn expected(mut self, expected: impl fmt::Display) -> Self {
        self.0.expected = Some(expected.to_string());
        self
    }

    pub(crate) fn found(mut self, found: impl fmt::Display) -> Self {
        self.0.found = Some(found.to_string());
        self
    }

    pub(crate) fn help(mut self, help: impl fmt::Display) -> Self {
        self.0.help = Some(help.to_string());
        self
    }

    /// Sets the help, unless the error has one.
    pub(crate) fn or_help(mut self, help: &str) -> Self {
        self.0.help.get_or_insert_with(|| help.to_owned());
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The message, without the causes.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The causes, the nearest one first.
    pub fn causes(&self) -> &[String] {
        &self.0.causes
    }

    /// The id of the run in which the error occurred, if known.
    pub fn run_id(&self) -> Option<&str> {
        self.0.run.as_deref()
    }

    /// Whether a step that returns this error is not retried.
    pub fn is_fatal(&self) -> bool {
        self.0.fatal
    }

    /// The delay that was given to [`Error::retry_after`].
    pub fn delay(&self) -> Option<Duration> {
        self.0.delay_ms.map(Duration::from_millis)
    }

    /// The original error, if it is a `T` and occurred in this process: an error that was read from the journal has only
    /// its texts.
    pub fn downcast_ref<T: StdError + 'static>(&self) -> Option<&T> {
        self.0.source.as_ref()?.downcast_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for cause in &self.0.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

/// All fields that are known, one per line: the output of `fn main() -> Result<()>`.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        f.write_str(&inner.message)?;
        for cause in &inner.causes {
            write!(f, "\n  because: {cause}")?;
        }
        let lines = [
            ("run", &inner.run),
            ("operation", &inner.operation),
            ("expected", &inner.expected),
            ("found", &inner.found),
            ("help", &inner.help),
        ];
        for (name, text) in lines {
            if let Some(text) = text {
                write!(f, "\n  {name}: {text}")?;
            }
        }
        if inner.code != Code::User {
            write!(f, "\n  code: {}", inner.code)?;
        }
        Ok(())
    }
}

/// The types that `?` converts into an [`Error`]: every `std::error::Error` that can be sent between threads.
///
/// The trait exists for its compile error: errors of `anyhow` and boxed ones
/// do not implement `std::error::Error`; convert them by [`Error::boxed`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not become a `workflow_runtime::Error` by `?`",
    label = "convert it with `.map_err(workflow_runtime::Error::boxed)?`",
    note = "`?` converts types that implement `std::error::Error`; errors of `anyhow`, boxed errors and texts do not"
)]
pub trait IntoWorkflowError: Send + Sync + 'static {
    #[doc(hidden)]
    fn into_workflow_error(self) -> Error;
}

#[diagnostic::do_not_recommend]
impl<E: StdError + Send + Sync + 'static> IntoWorkflowError for E {
    fn into_workflow_error(self) -> Error {
        Error::from_source(Arc::new(self))
    }
}

impl<E: IntoWorkflowError> From<E> for Error {
    fn from(source: E) -> Self {
        source.into_workflow_error()
    }
}

impl From<Error> for Box<dyn StdError + Send + Sync> {
    fn from(error: Error) -> Self {
        Box::new(Standard(error))
    }
}

impl From<Error> for Box<dyn StdError> {
    fn from(error: Error) -> Self {
        Box::new(Standard(error))
    }
}

/// A wrapper of [`Error`] that implements `std::error::Error`.
struct Standard(Error);

impl fmt::Debug for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for Standard {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.0.source.as_deref().and_then(|source| source.source())
    }
}

/// The error type of a step or a workflow: [`Error`], or a type of the user's own, whose implementation determines how
/// the engine treats it.
///
/// `From<Error>` converts the engine's own failures (a panic, a timeout, a value that does not encode) into the type.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use workflow_runtime::{Error, Failure};
///
/// #[derive(Debug, Serialize, Deserialize)]
/// enum BankError { Declined, Other(String) }
///
/// impl From<Error> for BankError {
///     fn from(error: Error) -> Self { BankError::Other(error.to_string()) }
/// }
///
/// impl Failure for BankError {
///     fn is_fatal(&self) -> bool { matches!(self, BankError::Declined) }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error type of a step or a workflow",
    label = "needs `impl Failure for {Self}`",
    note = "use `workflow_runtime::Error`, or `#[derive(Serialize, Deserialize)]`, `impl From<workflow_runtime::Error> for {Self}` and `impl workflow_runtime::Failure for {Self} {{}}`"
)]
pub trait Failure: Serialize + serde::de::DeserializeOwned + From<Error> + Send + 'static {
    /// Whether a step that fails with this error is not retried.
    fn is_fatal(&self) -> bool {
        false
    }

    /// The delay before the next attempt, in place of the step's backoff.
    fn retry_after(&self) -> Option<Duration> {
        None
    }

    /// Combines the error of a run with the error of one of its [rollbacks](crate::StepCall::rollback) that has failed. By
    /// default the error of the run does not change; the failure is logged in any case.
    #[must_use]
    fn rollback_failed(self, rollback: &Error) -> Self {
        let _ = rollback;
        self
    }
}

impl Failure for Error {
    fn is_fatal(&self) -> bool {
        Error::is_fatal(self)
    }

    fn retry_after(&self) -> Option<Duration> {
        self.delay()
    }

    fn rollback_failed(self, rollback: &Error) -> Self {
        self.because(format!("and a rollback failed: {rollback}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_error_with_the_code_of_a_newer_build_can_be_read() {
        let stored = r#"{"code":"code_of_a_newer_build","message":"no","fatal":true}"#;
        let error: Error = serde_json::from_str(stored).expect("it is read");
        assert_eq!((error.code(), error.to_string().as_str(), error.is_fatal()), (Code::Unknown, "no", true));
        assert_eq!(serde_json::to_string(&Code::Unknown).expect("it is written"), "\"unknown\"");
    }
}
