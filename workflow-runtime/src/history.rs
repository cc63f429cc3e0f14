//! The history of a run, derived from its journal.
//!
//! A journal holds the events that were delivered and, after each, the commands of the workflow. In order, each of them is
//! an event of the run's history, whose index is the same for every reader at any time.

mod pending;
mod reader;
mod steps;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use self::pending::{Pending, PendingOperations, PendingStep, Work};
pub(crate) use self::reader::HistoryReader;
pub(crate) use self::steps::Steps;
pub use self::steps::{StepOutcome, StepStatus};
use crate::codec::{Payload, exact};
use crate::error::{Code, Error};
use crate::model::{Schema, rfc3339};
use crate::replay::End;

/// An event of a run's history: see [`Run::events`](crate::Run::events).
///
/// Its JSON has these fields, those of its kind, and `"schema": 1`; times are RFC 3339 with milliseconds. Reading it tolerates
/// kinds and fields of later versions. An integer of more than 64 bits in a value, such as an `u128`, is a text with the same
/// digits here: a [`Value`] has no such integers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunEvent {
    /// The index of the event in the history of the run: from 0, without gaps, the same for
    /// every reader, even after earlier events were [removed](crate::Retention::generations).
    pub index: u64,
    /// How many times the run had [continued as new](crate::Invocation::continue_as_new) before.
    pub generation: u64,
    /// When it happened, by the run's own clock.
    #[serde(with = "rfc3339")]
    pub at: SystemTime,
    /// The kind of the event.
    #[serde(flatten)]
    pub kind: RunEventKind,
    #[serde(default)]
    pub(crate) schema: Schema,
}

/// The kind of an event. Operations are numbered from 0 within a generation, in the order in which the workflow issued them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunEventKind {
    /// The run, or a generation of it, began.
    Started {
        /// The arguments of the workflow.
        input: Value,
    },
    /// The run continues from the events before, which occurred in another run or before the run had ended: it was
    /// [forked](crate::Run::fork) or [retried](crate::Run::retry).
    Reopened {
        /// The id of the run that it was forked from.
        source: Option<String>,
    },
    /// The workflow called a step. Its first attempt begins.
    StepStarted {
        /// The number of the operation.
        operation: u64,
        /// The id of the step.
        step: String,
        /// The name of the call, if it has one.
        name: Option<String>,
        /// The arguments, in the form that `start` takes those of a workflow:
        /// `null` for none, the argument itself for one, an array for several.
        input: Value,
        /// The id of the run that executes it, if it is executed for a queue.
        run: Option<String>,
    },
    /// An attempt of a step failed, and will be retried.
    StepRetrying {
        /// The number of the operation.
        operation: u64,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// The greatest number of attempts that the retries of the call allow; `None` if an earlier version has recorded the
        /// event.
        #[serde(default)]
        attempts_max: Option<u32>,
        /// Its error.
        error: Value,
        /// The earliest time of the next attempt.
        #[serde(with = "rfc3339")]
        next_at: SystemTime,
    },
    /// An attempt of a step [suspended](crate::suspend) itself.
    StepSuspended {
        /// The number of the operation.
        operation: u64,
        /// The label of the suspension.
        label: String,
        /// The payload that was passed to `suspend`.
        payload: Value,
    },
    /// A step that had suspended itself was resumed: its next attempt begins.
    StepResumed {
        /// The number of the operation.
        operation: u64,
        /// The value that it was resumed with.
        value: Value,
    },
    /// A step succeeded.
    StepCompleted {
        /// The number of the operation.
        operation: u64,
        /// The value that it returned.
        output: Value,
    },
    /// A step failed permanently.
    StepFailed {
        /// The number of the operation.
        operation: u64,
        /// Its error.
        error: Value,
    },
    /// The workflow waits for a time.
    Sleeping {
        /// The number of the operation.
        operation: u64,
        /// The deadline.
        #[serde(with = "rfc3339")]
        until: SystemTime,
    },
    /// A sleep or a timeout ended.
    Awake {
        /// The number of the operation.
        operation: u64,
        /// Whether it was [ended early](crate::Run::wake_up).
        early: bool,
    },
    /// The workflow opened a hook, or suspended itself.
    HookOpened {
        /// The number of the operation.
        operation: u64,
        /// The token.
        token: String,
        /// The metadata that the workflow gave it.
        metadata: Option<Value>,
    },
    /// A hook received a payload.
    HookReceived {
        /// The number of the operation.
        operation: u64,
        /// The payload.
        value: Value,
    },
    /// The token of a hook, or the label of a suspension, belongs to another one.
    HookRefused {
        /// The number of the operation.
        operation: u64,
        /// The id of the run that owns it.
        owner: String,
    },
    /// The workflow started a child run.
    ChildStarted {
        /// The number of the operation.
        operation: u64,
        /// The id of the child's workflow.
        workflow: String,
        /// The id of the child.
        run: String,
        /// Its arguments.
        input: Value,
        /// Whether the workflow does not wait for it.
        detached: bool,
    },
    /// The workflow waits for the end of a run that it did not start.
    WaitingForRun {
        /// The number of the operation.
        operation: u64,
        /// The id of the run.
        run: String,
    },
    /// A run that the workflow waited for ended.
    RunEnded {
        /// The number of the operation.
        operation: u64,
        /// How the run ended.
        end: Ending,
    },
    /// The workflow dropped an operation before its end.
    Dropped {
        /// The number of the operation.
        operation: u64,
    },
    /// The workflow set the run's state.
    State {
        /// The state.
        value: Value,
    },
    /// The workflow set or removed an attribute.
    Attribute {
        /// The key.
        key: String,
        /// The value; `None` if the attribute was removed.
        value: Option<String>,
    },
    /// The workflow wrote to a stream. Chunks that steps write are only in the streams.
    Output {
        /// The name of the stream.
        stream: String,
        /// The chunk.
        value: Value,
    },
    /// The workflow closed a stream.
    OutputClosed {
        /// The name of the stream.
        stream: String,
    },
    /// The workflow ended, and its steps are rolled back before the run ends.
    RollingBack {
        /// How the workflow ended.
        end: Ending,
    },
    /// The run, or its generation, ended.
    Ended {
        /// How it ended.
        end: Ending,
    },
    /// An event of a later version. Only in JSON that was read.
    #[serde(other)]
    Unknown,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ending {
    /// It returned `Ok`.
    Completed {
        /// Its result.
        output: Value,
    },
    /// It returned `Err`.
    Failed {
        /// Its error.
        error: Value,
    },
    /// It was cancelled.
    Cancelled {
        /// The reason.
        reason: String,
    },
    /// It continues as a new generation.
    Continued {
        /// The arguments of the new generation.
        input: Value,
    },
    /// An end of a later version. Only in JSON that was read.
    #[serde(other)]
    Unknown,
}

fn value(payload: &Payload) -> Result<Value, Error> {
    exact::shown(payload.as_str())
        .map_err(|error| Error::coded(Code::Damaged, "a value of the journal is no JSON").because(error))
}

/// Converts the arguments of a step, which are always an array in the journal, into the form of a workflow's arguments.
pub(crate) fn arguments(args: Value) -> Value {
    match args {
        Value::Array(mut args) if args.len() == 1 => args.remove(0),
        args => args,
    }
}

impl Ending {
    pub(crate) fn of(end: &End) -> Result<Self, Error> {
        Ok(match end {
            End::Completed(output) => Ending::Completed { output: value(output)? },
            End::Failed(error) => Ending::Failed { error: value(error)? },
            End::Cancelled(reason) => Ending::Cancelled { reason: reason.clone() },
            End::Continued(input) => Ending::Continued { input: value(input)? },
        })
    }
}
