//! The input of a store's writes: runs, turns, and their effects.

use std::sync::Arc;

use super::{
    AppendChunk, Claim, ClaimNotices, Clean, CreateAnswer, Delete, Deliver, Fence, JournalRow, NEVER, Noticed,
    RecordCounts, Release, RemoveGenerations, Reopen, Replace, ReturnNotice, RunKey, SendMessage, Status, TokenLabel,
    Unstick, UnstickRun,
};
use crate::error::{Code, Error};
use crate::store::{Answer, RowError, RunRow};

/// One write. The writes of a group are independent: the refusal of one does not affect the others.
///
/// Each is a [`Request`](super::Request), whose answer has a type of its own.
#[derive(Clone, Debug)]
pub enum Write {
    /// Creates a run, or begins one that was created with [`First::Later`].
    Create(NewRun),
    /// Replaces a run that has failed or was cancelled by a new one.
    Replace(Replace),
    /// Appends a turn.
    Turn(Turn),
    /// Puts a message into the inbox of a run.
    SendMessage(SendMessage),
    /// Puts a message into the inbox of the run that a token belongs to.
    Deliver(Deliver),
    /// Gives up ownership of a run.
    Release(Release),
    /// Claims runs that are due.
    Claim(Claim),
    /// Appends to a stream.
    AppendChunk(AppendChunk),
    /// Claims notices of runs that have reached a status.
    ClaimNotices(ClaimNotices),
    /// Returns a claimed notice.
    ReturnNotice(ReturnNotice),
    /// Deletes a notice.
    Noticed(Noticed),
    /// Restarts a run that has failed or was cancelled as a new generation, with runs below it.
    Reopen(Reopen),
    /// Makes a stuck run due.
    UnstickRun(UnstickRun),
    /// Deletes a run.
    Delete(Delete),
    /// Removes a part of the rows that are no longer needed.
    Clean(Clean),
    /// Records how many runs there are in this hour.
    RecordCounts(RecordCounts),
    /// Removes the journals of old generations of a run.
    RemoveGenerations(RemoveGenerations),
    /// Makes runs due that are stuck because other builds have refused them.
    Unstick(Unstick),
}

/// A new run.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRun {
    /// The id that the user sees.
    pub id: Arc<str>,
    /// The workflow's id.
    pub workflow: Arc<str>,
    /// The workflow's fingerprint.
    pub fingerprint: Arc<str>,
    /// SHA-256 of the arguments.
    pub args_digest: [u8; 32],
    /// When it is started, in milliseconds since 1970.
    pub created_at: u64,
    /// Random, or derived from a [`Child`]; identifies a start that is sent again.
    pub token: u128,
    /// The only deployment that can claim it, if it is bound to one.
    pub required_deployment: Option<Arc<str>>,
    /// Length of the chain of runs that wait for it: 0 if it is no child, or if its parent does not wait for it.
    pub depth: u32,
    /// The effects of its first turn, and effects that precede it.
    pub effects: Option<Box<Effects>>,
    /// The chunks that its first turn writes to streams.
    pub chunks: Vec<NewChunk>,
    /// How it begins: with or without its first turn.
    pub first: First,
}

/// How a run begins.
#[derive(Clone, Debug, PartialEq)]
pub enum First {
    /// The engine executes it: the engine owns the run under epoch 1, and this is its first turn. Refused with
    /// [`CreateAnswer::Fenced`](super::CreateAnswer::Fenced) unless `owner` is the engine that executes in this store.
    Turn {
        /// The engine.
        owner: u64,
        /// The journal's row 0.
        row: JournalRow,
        /// The run's row after it.
        change: RowChange,
    },
    /// Any engine can execute it: the run has no owner, is `pending`, due at once, and has this message in its inbox.
    Message(Message),
    /// Not yet: the run has no owner, is `pending`, and not due. Only [`First::Begin`] makes it due.
    Later,
    /// Begins a run that was created with [`First::Later`]: it becomes due, with this message in its inbox. The arguments
    /// and the fingerprint of the new run replace the earlier ones. Otherwise [`Exists`](super::CreateAnswer::Exists),
    /// or [`CreateAnswer::Unknown`](super::CreateAnswer::Unknown) if there is no run with this id.
    Begin(Message),
    /// With a copy of another run's journal: the run has no owner, is `running`, due at once, and has these messages.
    Journal {
        /// Its rows, from index 0.
        rows: Vec<JournalRow>,
        /// At least one message.
        messages: Vec<Message>,
    },
}

/// A turn of a run, written atomically. Sending the same turn again (the same [`JournalRow::turn`] at its index) is
/// [`Committed`](super::TurnAnswer::Committed) and changes nothing, also if the run has advanced or changed its owner since.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The run.
    pub run: RunKey,
    /// The generation that the row belongs to.
    pub generation: u64,
    /// The fence of the writer.
    pub fence: Fence,
    /// The row to append; `None` if the turn delivered nothing.
    pub row: Option<JournalRow>,
    /// The changes of the run's row, if any.
    pub change: Option<RowChange>,
    /// The other effects of the turn.
    pub effects: Option<Box<Effects>>,
    /// The sequences of the inbox messages that it delivered: they are deleted.
    pub delivered: Vec<u64>,
    /// The sequences of the inbox messages that no operation took: they become [unread](super::InboxRow::unread).
    pub unread: Vec<u64>,
    /// Events that were taken from the inbox and could not be delivered: they return to the inbox, without waking the run.
    /// Like other messages they are dropped if their dedupe key is known; this keeps a turn without a `row` from returning
    /// them twice when it is sent again.
    pub returned: Vec<Message>,
    /// The chunks that the workflow writes to streams. Chunks for a stream that a step has closed are dropped: writes of
    /// others never cause a turn to be refused.
    pub chunks: Vec<NewChunk>,
    /// The ended attempts that wrote to streams.
    pub settles: Vec<Settle>,
}

/// The changes of a turn in the run's row. Fields that it does not set are not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// The new status.
    pub status: Status,
    /// As [`RunRow::wake_at`](super::RunRow::wake_at).
    pub wake_at: Option<u64>,
    /// Set once, by the first turn.
    pub started_at: Option<u64>,
    /// Set once, by the last turn.
    pub completed_at: Option<u64>,
    /// Replaces the current value.
    pub stuck: Option<Arc<str>>,
    /// Replaces the current value.
    pub error: Option<RowError>,
    /// The builds that cannot continue the run, encoded by the engine; replaces the current value. If it is set, and `wake_at`
    /// too, the run loses its owner.
    pub refused_by: Option<Arc<str>>,
}

impl RowChange {
    /// Whether the run loses its owner by it.
    pub(super) fn is_released(&self) -> bool {
        self.refused_by.is_some() && self.wake_at.is_some()
    }
}

/// The effects of a turn beside its run's journal and row, in its transaction and in the order of the fields. An effect that
/// depends on another run never fails the turn: the store reports it to the run by an inbox message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Tokens that the run closes. When the run ends, its other open tokens become finished.
    pub closes: Vec<Close>,
    /// Tokens that the run opens, after it has closed others: it can open a token again that it closes in the same turn.
    pub opens: Vec<Open>,
    /// Child runs that it starts.
    pub children: Vec<Child>,
    /// Runs that it starts to wait for.
    pub watches: Vec<Watch>,
    /// Operations that stop waiting for a run, each with the id of that run.
    pub unwatches: Vec<(Arc<str>, u64)>,
    /// Messages to other runs.
    pub messages: Vec<Outgoing>,
    /// JSON that replaces the run's state.
    pub state: Option<Arc<str>>,
    /// Attributes to set (with a value) or to remove (without one).
    pub attributes: Vec<(Arc<str>, Option<Arc<str>>)>,
    /// The status that the turn gives the run, and the time, in milliseconds since 1970, if there are callbacks for it:
    /// creates a [notice](super::Store::notices).
    pub notify: Option<(Status, u64)>,
    /// Continues the run as a new generation: it loses its owner, and its journal begins again, empty.
    pub continuation: Option<Continuation>,
}

/// A token that a turn opens for its run.
///
/// If another run (or another operation of this run) has the token, it keeps it, and this run's inbox receives the
/// message `refusal`, [about](super::InboxRow::about) the owner; the turn takes effect all the same. Otherwise it receives
/// the payloads that were held for the token, in their order. Without an operation there is no refusal, and held payloads
/// stay held: a later operation takes them.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    /// The token.
    pub token: Arc<str>,
    /// The operation; `None` if the run will reach it later.
    pub op: Option<u64>,
    /// The description of the token.
    pub label: TokenLabel,
    /// The token under which the answers to its [suspension](super::Asked) are recorded, if it has one. If the same
    /// suspension waits again after an answer, the record of that answer is removed: the suspension could not use it.
    pub scope: Option<Arc<str>>,
    /// The message for the run if the token is taken.
    pub refusal: Message,
}

/// A token that a turn closes, if it belongs to that operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The token.
    pub token: Arc<str>,
    /// The operation.
    pub op: u64,
}

/// A child run that a turn starts. If a run with its id exists, the operation waits for that run, as by [`Watch`], if
/// [`Attach`] allows it, if the same operation has started it before (it has the same token), or, for an id that the engine
/// has generated, if it is a child of the run that takes the turn, as after a [`Reopen`]. Otherwise the inbox of the run
/// that takes the turn receives `refusal`. A run that existed does not become its child.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    /// The run: without an owner, with a message, and with no effects but attributes.
    pub new: NewRun,
    /// The operation that waits for it, as by [`Watch`].
    pub op: Option<u64>,
    /// Which existing run with the id is accepted; if `None`, none is.
    pub attach: Option<Attach>,
    /// The message for the run that takes the turn if the child was started, or an existing run was accepted.
    pub confirmation: Option<Message>,
    /// The message for the run that takes the turn otherwise.
    pub refusal: Message,
}

/// The conditions under which an existing run replaces a new one: it has begun, it runs one of these workflows, and the
/// digest of its arguments is one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    /// Ids of workflows.
    pub workflows: Vec<Arc<str>>,
    /// As in [`NewRun::args_digest`].
    pub digests: Vec<[u8; 32]>,
}

impl Child {
    /// Whether the operation accepts the answer: the run was created, or the existing run takes its place. `is_own` returns
    /// whether that run is a child of the run that takes the turn.
    pub(super) fn takes(&self, answer: &CreateAnswer, is_own: impl FnOnce(&RunRow) -> bool) -> bool {
        match (answer, &self.attach) {
            (CreateAnswer::Created(_), _) => true,
            (CreateAnswer::Exists(row), Some(attach)) => {
                !row.has_not_begun()
                    && attach.workflows.contains(&row.workflow)
                    && attach.digests.contains(&row.args_digest)
            }
            (CreateAnswer::Exists(row), None) => is_own(row),
            (CreateAnswer::Fenced | CreateAnswer::Unknown, _) => false,
        }
    }

    /// The watch of the operation on the run, as if the run had existed.
    pub(super) fn watch(&self) -> Option<Watch> {
        self.op.map(|op| Watch { run: self.new.id.clone(), op, token: None, refusal: self.refusal.clone() })
    }
}

/// A run that an operation waits for. When it ends, or if it has ended, the inbox of the run that takes the turn receives
/// the last row of its journal, [about](super::InboxRow::about) the operation. If there is no such run, it receives
/// `refusal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The id of the run.
    pub run: Arc<str>,
    /// The operation.
    pub op: u64,
    /// If set, a run with another [token](NewRun::token) counts as missing.
    pub token: Option<u128>,
    /// The message for the run that takes the turn if there is no such run.
    pub refusal: Message,
}

/// A message to another run, sent as by [`Write::SendMessage`]; dropped if there is no such run, or if it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The id of the run.
    pub run: Arc<str>,
    /// If set, a run with another [token](NewRun::token) counts as missing.
    pub token: Option<u128>,
    /// The message.
    pub message: Message,
    /// As in [`Write::SendMessage`].
    pub unstick: bool,
}

/// A continuation as a new generation. The run's open tokens that take one payload only are closed: a suspension belongs to its
/// generation. The others lose their operations: they hold the payloads sent to them
/// until the new generation reaches its own operations. They also hold the inbox messages [about](super::InboxRow::about)
/// the old operations that are not unread, after the `payloads`.
#[derive(Clone, Debug, PartialEq)]
pub struct Continuation {
    /// The first message of the new generation.
    pub start: Message,
    /// Payloads that open tokens hold, each with its token.
    pub payloads: Vec<(Arc<str>, Message)>,
    /// Messages for operations that were closed before, and whose payloads move to the next operation with the token.
    pub forwards: Vec<Forward>,
    /// Which deployments may execute the next generation.
    pub binding: Binding,
}

/// How a [continuation](Continuation) changes the deployment that a run requires.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Binding {
    /// It requires what it has required.
    #[default]
    Kept,
    /// It requires no deployment any more.
    Released,
    /// It requires this deployment from now on.
    To(Arc<str>),
}

impl Binding {
    /// The deployment that the run requires from now on; `None` if that does not change.
    pub(super) fn change(&self) -> Option<Option<&Arc<str>>> {
        match self {
            Binding::Kept => None,
            Binding::Released => Some(None),
            Binding::To(deployment) => Some(Some(deployment)),
        }
    }
}

impl Continuation {
    /// The operations whose messages the token holds, if it is open for operation `op`.
    pub(super) fn ops(&self, token: &str, op: u64) -> Vec<u64> {
        let before = self.forwards.iter().filter(|forward| *forward.token == *token).map(|forward| forward.op);
        before.chain([op]).collect()
    }
}

/// Inbox messages [about](super::InboxRow::about) an operation, unread or not, that move to the next generation. An open
/// token holds them, with those about its own operation and in their order; if it is not open they become messages about
/// `to` in the next generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The operation.
    pub op: u64,
    /// The token that received them.
    pub token: Arc<str>,
    /// The operation of the next generation that replaces it.
    pub to: u64,
}

/// The dedupe key of a message: the run accepts and drops a second message with the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dedupe {
    /// The key.
    pub key: String,
    /// Whether the key is kept as long as the run exists, instead of [until cleaning removes it](super::Clean).
    pub lasts: bool,
}

impl Dedupe {
    /// The start of the retention time of the key.
    pub(super) fn known_from(&self, message: &Message) -> u64 {
        if self.lasts { NEVER } else { message.arrived_at.min(NEVER) }
    }
}

/// An event in the form of an inbox message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The dedupe key, if any.
    pub dedupe: Option<Dedupe>,
    /// When it arrived, in milliseconds since 1970.
    pub arrived_at: u64,
    /// The version of the body's format.
    pub format: u32,
    /// CRC-32 of the body.
    pub checksum: u32,
    /// The event, encoded.
    pub body: Arc<[u8]>,
}

/// A chunk that is appended to a stream of a run, or the end of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewChunk {
    /// The stream's name. The first chunk creates the stream.
    pub stream: Arc<str>,
    /// Random; identifies a chunk that is sent again: it is not appended twice.
    pub id: u128,
    /// JSON; `None` closes the stream.
    pub value: Option<Arc<str>>,
}

/// The outcome of an attempt that has written to streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settle {
    /// The operation.
    pub op: u64,
    /// The number of the attempt, under the epoch of the turn that settles it.
    pub attempt: u32,
    /// Whether its result is the operation's. If not, its chunks are [discarded](super::ChunkRow::discarded), and a stream
    /// that it closed is open again.
    pub succeeded: bool,
}

/// The failure of a group, or of a part of it.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The cause.
    pub error: Error,
    /// Whether the group may have been committed all the same: the caller then sends it again, unchanged.
    pub in_doubt: bool,
    /// Whether the store rejected the content: parts of the group may succeed. False if the store currently accepts nothing.
    pub refused: bool,
    /// The writes that were committed all the same, by their places in the group, with their answers. The failure concerns the
    /// other writes. Empty if the group is in doubt.
    pub committed: Vec<(usize, Answer)>,
}

impl Failed {
    /// The failure of a whole group.
    pub fn new(error: Error, in_doubt: bool, refused: bool) -> Self {
        Failed { error, in_doubt, refused, committed: Vec::new() }
    }

    /// The error of the operation that the write belongs to: `what` (such as "the run") was not `done` (such as "started"),
    /// or the outcome is unknown. The help is for an unknown outcome; after the other one, the operation can be repeated.
    pub(crate) fn explain(self, what: &str, done: &str, help_in_doubt: &'static str) -> Error {
        if self.in_doubt {
            let error = self.error.context(format!("it is not known whether {what} was {done}"));
            return error.with_code(Code::InDoubt).help(help_in_doubt);
        }
        self.error
            .context(format!("{what} was not {done}"))
            .or_help("nothing was written: repeat the call when the cause is fixed")
    }
}
