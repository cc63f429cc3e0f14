//! The contents of a run's journal: the events that were delivered and, after each, the commands that the workflow issued.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::codec::{self, Payload, Recode};
use crate::error::{Code, Error};
use crate::keys::KeyBase;
use crate::model::Trace;
use crate::text::excerpt;

/// One turn: a row of the journal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct TurnRecord {
    pub deliveries: Vec<Delivery>,
}

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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Command>,
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

/// The changes for a run that continues with a journal that was another run's or an earlier generation's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reopening {
    /// The id of the run that it was forked from; `None` if it is a retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The base of the idempotency keys of operations issued from now on. Outstanding ones have theirs in their commands.
    pub base: KeyBase,
    /// The operation whose result was recorded by the source and is delivered once more, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<u64>,
    /// Whether a fork also undoes the steps of its source.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undo_inherited: bool,
}

impl Reopening {
    /// Whether another run undoes the steps that were executed before.
    pub fn disarms(&self) -> bool {
        self.source.is_some() && !self.undo_inherited
    }

    /// Removes the rollbacks that this run no longer owes.
    pub fn disarm(&self, owed: &mut BTreeMap<u64, bool>) {
        if self.disarms() {
            owed.retain(|op, succeeded| !*succeeded && self.again != Some(*op));
        }
    }
}

/// The data that a run has when it begins, or when it continues as a new generation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Carried {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Payload>,
    /// The keys of its attributes.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub attributes: BTreeSet<Box<str>>,
    /// By stream: the number of chunks that the workflow has written, and whether it has closed the stream.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub streams: BTreeMap<Box<str>, (u64, bool)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherited: Option<Inherited>,
    /// Payloads for the next hook with a token, by the token's address: the previous hook was dropped.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub surplus: BTreeMap<Box<str>, Vec<Payload>>,
    /// Placeholders for hooks of the previous generation, for which the inbox may hold messages, with their addresses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub forwards: BTreeMap<u64, Box<str>>,
}

/// The data that a run shares with all its child runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Inherited {
    /// The values of the request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<Box<str>, Payload>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
    /// How many runs wait for it, each for the next one: 0 if it is not a child, or not awaited.
    #[serde(default, skip_serializing_if = "is_none")]
    pub depth: u32,
}

fn is_none(depth: &u32) -> bool {
    *depth == 0
}

impl Inherited {
    /// The data of a child at some depth, by the key of the operation that starts it.
    pub fn of_child(&self, key: &str, depth: u32) -> Self {
        Inherited { context: self.context.clone(), trace: self.trace.as_ref().map(|trace| trace.of_child(key)), depth }
    }

    /// `None` if it is empty.
    pub fn some(self) -> Option<Self> {
        (self != Inherited::default()).then_some(self)
    }
}

impl Carried {
    /// `None` if it is empty.
    pub fn some(self) -> Option<Self> {
        let is_empty = self.state.is_none()
            && self.attributes.is_empty()
            && self.streams.is_empty()
            && self.inherited.is_none()
            && self.surplus.is_empty()
            && self.forwards.is_empty();
        (!is_empty).then_some(self)
    }

    /// Visits the payloads.
    pub(super) fn each_payload(&mut self, visit: Visit<'_>) {
        let context = self.inherited.iter_mut().flat_map(|inherited| inherited.context.values_mut());
        let payloads = self.state.iter_mut().chain(context).chain(self.surplus.values_mut().flatten());
        payloads.for_each(visit);
    }

    fn bytes(&self) -> usize {
        let context = self.inherited.iter().flat_map(|inherited| inherited.context.values());
        self.state.iter().chain(context).chain(self.surplus.values().flatten()).map(|value| value.as_str().len()).sum()
    }
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

impl Command {
    /// The number of the row format that introduced it.
    pub fn format(&self) -> u32 {
        match self {
            Command::Step { .. }
            | Command::Timer { .. }
            | Command::Hook { .. }
            | Command::Child { .. }
            | Command::Watch { .. }
            | Command::State { .. }
            | Command::Attribute { .. }
            | Command::Suggested
            | Command::Cancel { .. }
            | Command::Write { .. }
            | Command::CloseStream { .. } => 1,
            Command::Patch { .. } => 2,
        }
    }

    /// Visits the payloads of the command.
    fn each_payload(&mut self, visit: Visit<'_>) {
        match self {
            Command::Step { input, given, .. } => {
                visit(input);
                given.iter_mut().for_each(visit);
            }
            Command::Hook { metadata, .. } => metadata.iter_mut().for_each(visit),
            Command::Child { input, attributes, .. } => {
                visit(input);
                attributes.values_mut().for_each(|value| *value = each_text(value, visit).into());
            }
            Command::State { value: payload } | Command::Write { value: payload, .. } => visit(payload),
            Command::Attribute { value: Some(value), .. } => *value = each_text(value, visit).into(),
            Command::Timer { .. }
            | Command::Watch { .. }
            | Command::Attribute { value: None, .. }
            | Command::Suggested
            | Command::Patch { .. }
            | Command::Cancel { .. }
            | Command::CloseStream { .. } => {}
        }
    }

    /// Whether a replay that issues `self` matches the recorded command.
    pub fn matches(&self, recorded: &Command, recode: Recode) -> bool {
        match (self, recorded) {
            (
                Command::Step { op, step, input, .. },
                Command::Step { op: recorded_op, step: recorded_step, input: recorded_input, .. },
            ) => op == recorded_op && step == recorded_step && input.same_value(recorded_input, recode),
            (
                Command::Child { op, workflow, run, input, detached, abandoned, own, attributes },
                Command::Child {
                    op: op_then,
                    workflow: workflow_then,
                    run: run_then,
                    input: input_then,
                    detached: detached_then,
                    abandoned: abandoned_then,
                    own: own_then,
                    attributes: attributes_then,
                },
            ) => {
                (op, workflow, attributes) == (op_then, workflow_then, attributes_then)
                    && (detached, abandoned) == (detached_then, abandoned_then)
                    // An id that the workflow has not chosen is derived from the run and the operation.
                    && own.is_some() == own_then.is_some()
                    && (own.is_none() || run == run_then)
                    && input.same_value(input_then, recode)
            }
            (Command::State { value }, Command::State { value: value_then }) => value.resembles(value_then),
            (
                Command::Hook { op, token, drawn, metadata },
                Command::Hook { op: op_then, token: token_then, drawn: drawn_then, metadata: metadata_then },
            ) => {
                (op, token, drawn) == (op_then, token_then, drawn_then)
                    && match (metadata, metadata_then) {
                        (Some(found), Some(recorded)) => found.resembles(recorded),
                        (found, recorded) => found == recorded,
                    }
            }
            // The deadline is not compared: the recorded one applies, so that code can be changed to wait for another time.
            (Command::Timer { op, .. }, Command::Timer { op: op_then, .. }) => op == op_then,
            (Command::Write { stream, value }, Command::Write { stream: recorded_stream, value: recorded_value }) => {
                stream == recorded_stream && value.resembles(recorded_value)
            }
            _ => self == recorded,
        }
    }

    /// The input of its step or workflow.
    pub fn input(&self) -> Option<&Payload> {
        match self {
            Command::Step { input, .. } | Command::Child { input, .. } => Some(input),
            _ => None,
        }
    }

    /// The id of the run that the command starts.
    pub fn child(&self) -> Option<&str> {
        match self {
            Command::Child { run, .. } | Command::Step { run: Some(run), .. } => Some(run),
            _ => None,
        }
    }

    /// A description of the command, for an error message.
    pub fn describe(&self) -> String {
        match self {
            Command::Step { op, step, input, .. } => {
                format!("operation {op}: step `{step}` with {}", excerpt(input.as_str()))
            }
            Command::Timer { op, until } => format!("operation {op}: a timer until {until} ms"),
            Command::Hook { op, drawn: true, .. } => format!("operation {op}: a hook"),
            Command::Hook { op, token, .. } => format!("operation {op}: a hook with the token `{}`", excerpt(token)),
            Command::Child { op, workflow, run, input, own, attributes, .. } => {
                let mut text = format!("operation {op}: a child run of workflow `{workflow}`");
                if own.is_some() {
                    text += &format!(" with the id `{}`", excerpt(run));
                }
                if !attributes.is_empty() {
                    text += &format!(" with the attributes {attributes:?}");
                }
                text + &format!(" with {}", excerpt(input.as_str()))
            }
            Command::Watch { op, run } => format!("operation {op}: waiting for run `{}`", excerpt(run)),
            Command::State { value } => format!("setting the run's state to {}", excerpt(value.as_str())),
            Command::Attribute { key, value: Some(value) } => {
                format!("setting the attribute `{}` to `{}`", excerpt(key), excerpt(value))
            }
            Command::Attribute { key, value: None } => format!("removing the attribute `{}`", excerpt(key)),
            Command::Suggested => "reading that its journal is long".to_owned(),
            Command::Patch { name, deprecated: false } => format!("taking the new branch of patch `{name}`"),
            Command::Patch { name, deprecated: true } => format!("passing the deprecated patch `{name}`"),
            Command::Cancel { op } => format!("dropping operation {op}"),
            Command::Write { stream, value } => {
                format!("writing {} to the stream `{}`", excerpt(value.as_str()), excerpt(stream))
            }
            Command::CloseStream { stream } => format!("closing the stream `{}`", excerpt(stream)),
        }
    }
}

impl Event {
    /// The size of the event's payload.
    pub fn bytes(&self) -> usize {
        match self {
            Event::Started { args, carried, .. } => {
                args.as_str().len() + carried.as_ref().map_or(0, |carried| carried.bytes())
            }
            Event::Completed { value: payload, .. }
            | Event::Failed { error: payload, .. }
            | Event::Attempt { error: payload, .. } => payload.as_str().len(),
            Event::Payload { value: payload, .. }
            | Event::Suspended { payload, .. }
            | Event::Finished { value: payload, .. } => payload.as_str().len(),
            Event::Conflict { owner: text, .. } | Event::Cancel { reason: text } => text.len(),
            Event::Ended { end, .. } => end.bytes(),
            Event::Timer { .. } | Event::Woken { .. } | Event::WakeUp | Event::Reopened { .. } => 0,
        }
    }
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

    fn bytes(&self) -> usize {
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
