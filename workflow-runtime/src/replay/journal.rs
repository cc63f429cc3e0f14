//! The contents of a run's journal: the events that were delivered and, after each, the commands that the workflow issued.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use uuid::Uuid;

use super::carried::{Carried, Reopening};
use crate::codec::{self, Payload};
use crate::error::{Code, Error};
use crate::keys::KeyBase;

/// One turn: a row of the journal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct TurnRecord {
    pub deliveries: Deliveries,
}

/// The deliveries of a turn, of which there is usually one.
pub(crate) type Deliveries = SmallVec<[Delivery; 1]>;

/// The commands after an event, of which there is usually one.
pub(crate) type Commands = SmallVec<[Command; 1]>;

/// A function that may change a payload.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&mut Payload);

/// Visits a text as a payload. The text stays as it is if the function makes another value of it.
pub(super) fn each_text(text: &str, visit: Visit<'_>) -> String {
    let changed = codec::encode("the text", text).and_then(|mut payload| {
        visit(&mut payload);
        codec::decode("the text", &payload)
    });
    changed.unwrap_or_else(|_| text.to_owned())
}

impl From<Delivery> for TurnRecord {
    fn from(delivery: Delivery) -> Self {
        TurnRecord { deliveries: Deliveries::from_buf([delivery]) }
    }
}

impl TurnRecord {
    /// Visits the payloads of the turn, and the texts of users: reasons of cancels and values of attributes.
    pub fn each_payload(&mut self, visit: Visit<'_>) {
        for delivery in &mut self.deliveries {
            delivery.event.each_payload(visit);
            delivery.commands.iter_mut().for_each(|command| command.each_payload(visit));
            let ends = delivery.unwinds.iter_mut().chain(&mut delivery.end);
            ends.for_each(|end| end.each_payload(visit));
        }
    }
}

/// One event and the reaction of the workflow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Delivery {
    /// The event's time, in milliseconds since 1970: `now()` returns it until the next event.
    pub at: u64,
    pub event: Event,
    #[serde(default, skip_serializing_if = "SmallVec::is_empty")]
    pub commands: Commands,
    /// How the workflow ended, if rollbacks follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwinds: Option<End>,
    /// The operations to undo in that case, in the order of their results. Those in progress that succeed later
    /// are undone too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undoes: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

/// An event of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// The run began.
    Started {
        /// 128 random bits in hex, from which `random()` and `uuid()` come.
        seed: Cow<'static, str>,
        args: Payload,
        /// The initial data of the run: from its start, or from the previous generation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        carried: Option<Box<Carried>>,
    },
    /// A step succeeded.
    Completed { op: u64, value: Payload },
    /// A step failed permanently.
    Failed { op: u64, error: Payload },
    /// An attempt of a step failed, and will be retried.
    Attempt {
        op: u64,
        /// Counts from 1.
        attempt: u32,
        error: Payload,
        /// The next attempt's earliest time, in milliseconds since 1970.
        not_before: u64,
        /// The greatest number of attempts that the policy of the call allows. Rows of earlier builds do not have it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempts_max: Option<u32>,
    },
    /// An attempt of a step has suspended itself: the next one waits for a payload.
    Suspended { op: u64, label: Box<str>, payload: Payload, type_name: Box<str> },
    /// A step ended the run with this result.
    Finished { op: u64, value: Payload },
    /// A timer is due.
    Timer { op: u64 },
    /// A sleep was woken before its deadline.
    Woken { op: u64 },
    /// Wakes all current sleeps. Never in a journal, which records the resulting events.
    WakeUp,
    /// A hook received a payload.
    Payload { op: u64, value: Payload },
    /// The token of a hook belongs to another run, or to another hook of this one.
    Conflict { op: u64, owner: String },
    /// Another run that the operation waits for has ended.
    Ended { op: u64, end: End },
    /// The run was cancelled.
    Cancel { reason: String },
    /// The run continues from here with its journal so far, which was another run's or an earlier generation's.
    Reopened {
        /// As in `Started`, for the random numbers from now on.
        seed: String,
        #[serde(flatten)]
        reopening: Reopening,
    },
}

/// A command of a workflow. Operations are numbered from 0 in the order in which they are issued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    /// Execute a step.
    Step {
        op: u64,
        step: Cow<'static, str>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Cow<'static, str>>,
        input: Payload,
        /// Whether its success is undone if the run does not succeed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        rollback: bool,
        /// The run that executes it, if it is not executed by its own run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<Cow<'static, str>>,
        /// The arguments that a fork sets in place of its input.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        given: Option<Payload>,
        /// The base of its idempotency key, if it differs from the run's base when the step
        /// was issued: for a step that was in progress when its run was retried or forked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<KeyBase>,
    },
    /// Wake the workflow at a time, in milliseconds since 1970.
    Timer { op: u64, until: u64 },
    /// Accept payloads that are sent to a token.
    Hook {
        op: u64,
        token: Cow<'static, str>,
        /// Whether the token was drawn at random, and so differs each time that the code runs.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        drawn: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata: Option<Payload>,
    },
    /// Start a run of another workflow, and wait for it unless it is detached. For a detached run whose id the workflow has
    /// chosen, the operation waits until the store has started it.
    Child {
        op: u64,
        workflow: Cow<'static, str>,
        run: Cow<'static, str>,
        input: Payload,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        detached: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        abandoned: bool,
        /// If the workflow has chosen the id: the token that the run has if this operation has started it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        own: Option<Uuid>,
        /// The initial attributes.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        attributes: BTreeMap<Box<str>, Box<str>>,
    },
    /// Wait for an existing run.
    Watch { op: u64, run: Cow<'static, str> },
    /// Set the run's state.
    State { value: Payload },
    /// Set or remove an attribute.
    Attribute {
        key: Cow<'static, str>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<Cow<'static, str>>,
    },
    /// `continue_as_new_suggested` returned true to the workflow.
    Suggested,
    /// `patched` returned true to the workflow, or the workflow has called `deprecated_patch`. Not an operation: it has no number,
    /// so that the operations of runs without it keep theirs.
    Patch {
        name: Cow<'static, str>,
        /// Whether code that does not ask for the patch fits too.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        deprecated: bool,
    },
    /// The workflow dropped the operation.
    Cancel { op: u64 },
    /// Append a chunk to a stream. Not an operation: it has no result.
    Write { stream: Cow<'static, str>, value: Payload },
    /// Close a stream.
    CloseStream { stream: Cow<'static, str> },
}

/// How the workflow ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    Completed(Payload),
    Failed(Payload),
    /// It was cancelled, and is not polled any more.
    Cancelled(String),
    /// It continues as a new generation, with these arguments.
    Continued(Payload),
}

impl End {
    /// The number of the row format that introduced it.
    pub fn format(&self) -> u32 {
        match self {
            End::Completed(_) | End::Failed(_) | End::Cancelled(_) | End::Continued(_) => 1,
        }
    }

    /// Visits the payload.
    pub(super) fn each_payload(&mut self, visit: Visit<'_>) {
        match self {
            End::Completed(payload) | End::Failed(payload) | End::Continued(payload) => visit(payload),
            End::Cancelled(reason) => *reason = each_text(reason, visit),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            End::Completed(payload) | End::Failed(payload) | End::Continued(payload) => payload.as_str().len(),
            End::Cancelled(reason) => reason.len(),
        }
    }

    /// The end in the last row of a run's journal.
    pub fn of(format: u32, checksum: u32, body: &[u8]) -> Result<Self, Error> {
        let turn = TurnRecord::decode(format, checksum, body)?;
        let last = turn.deliveries.into_iter().next_back();
        last.and_then(|delivery| delivery.end)
            .ok_or_else(|| Error::coded(Code::Damaged, "the last row of the run's journal holds no end"))
    }
}
