//! What has happened to a run, told from its journal.
//!
//! A journal holds the events that were delivered and, behind each, what the workflow asked for. Told in order, each of them is
//! an event of the run's history, whose number is the same whoever reads it and whenever.

mod reader;
mod steps;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use self::reader::HistoryReader;
pub(crate) use self::steps::Steps;
pub use self::steps::{StepOutcome, StepStatus};
use crate::codec::Payload;
use crate::error::{Code, Error};
use crate::replay::End;

/// Something that has happened to a run: see [`Run::events`](crate::Run::events).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunEvent {
    /// Its place in the history of the run: from 0, without gaps, the same for every reader, also once events before it
    /// were [removed](crate::Retention::generations).
    pub index: u64,
    /// How often the run had [continued as new](crate::Invocation::continue_as_new) before.
    pub generation: u64,
    /// When it happened, by the run's own clock.
    pub at: SystemTime,
    /// What it is.
    #[serde(flatten)]
    pub kind: RunEventKind,
}

/// What has happened. Operations are numbered from 0 within a generation, in the order in which the workflow asked for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunEventKind {
    /// The run, or a generation of it, began.
    Started {
        /// The arguments of its workflow.
        input: Value,
    },
    /// The run goes on with what is told before, which has happened in another run or before the run had ended: it was
    /// [forked](crate::Run::fork) or is [retried](crate::Run::retry).
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
        /// The name of the call, if it was given one.
        name: Option<String>,
        /// The arguments, as `start` takes those of a workflow: `null` for none, the argument itself where there is one, an
        /// array where there are several.
        input: Value,
        /// The id of the run that executes it, if it is executed for a queue.
        run: Option<String>,
    },
    /// An attempt of a step failed, and there is another one.
    StepRetrying {
        /// The number of the operation.
        operation: u64,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// Its error.
        error: Value,
        /// When the next attempt begins at the earliest.
        next_at: SystemTime,
    },
    /// An attempt of a step [suspended](crate::suspend) itself.
    StepSuspended {
        /// The number of the operation.
        operation: u64,
        /// What it is resumed by.
        label: String,
        /// What it told.
        payload: Value,
    },
    /// A step that had suspended itself was resumed: its next attempt begins.
    StepResumed {
        /// The number of the operation.
        operation: u64,
        /// What it was resumed with.
        value: Value,
    },
    /// A step succeeded.
    StepCompleted {
        /// The number of the operation.
        operation: u64,
        /// What it returned.
        output: Value,
    },
    /// A step failed for good.
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
        /// Until when.
        until: SystemTime,
    },
    /// A sleep or a timeout ended.
    Awake {
        /// The number of the operation.
        operation: u64,
        /// Whether somebody [ended it early](crate::Run::wake_up).
        early: bool,
    },
    /// The workflow opened a hook, or suspended itself.
    HookOpened {
        /// The number of the operation.
        operation: u64,
        /// The token.
        token: String,
        /// What the workflow gave it.
        metadata: Option<Value>,
    },
    /// A payload came for a hook.
    HookReceived {
        /// The number of the operation.
        operation: u64,
        /// The payload.
        value: Value,
    },
    /// The token of a hook, or the label of a suspension, is somebody else's.
    HookRefused {
        /// The number of the operation.
        operation: u64,
        /// The id of the run that has it.
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
    /// The workflow waits for the end of a run that it has not started.
    WaitingForRun {
        /// The number of the operation.
        operation: u64,
        /// The id of the run.
        run: String,
    },
    /// A run ended that the workflow waited for.
    RunEnded {
        /// The number of the operation.
        operation: u64,
        /// How.
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
    /// The workflow set an attribute, or took it away.
    Attribute {
        /// The key.
        key: String,
        /// The value; nothing if it was taken away.
        value: Option<String>,
    },
    /// The workflow wrote to a stream. What steps write is in the streams only.
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
    /// The workflow ended, and what its steps did is undone before the run does.
    RollingBack {
        /// How it ended.
        end: Ending,
    },
    /// The run ended, or its generation did.
    Ended {
        /// How.
        end: Ending,
    },
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
        /// Why.
        reason: String,
    },
    /// It goes on as a new generation.
    Continued {
        /// The arguments of that.
        input: Value,
    },
}

fn value(payload: &Payload) -> Result<Value, Error> {
    serde_json::from_str(payload.as_str())
        .map_err(|error| Error::coded(Code::Damaged, "a value of the journal is no JSON").because(error))
}

/// The arguments of a step, whose journal always has an array, as those of a workflow are told.
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
