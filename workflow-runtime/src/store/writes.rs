//! What a store is given to write: runs, turns, and what comes with them.

use std::sync::Arc;

use super::{
    AppendChunk, Claim, ClaimNotices, Clean, CreateAnswer, Delete, Deliver, Fence, JournalRow, NEVER, Noticed, Post,
    Release, RemoveGenerations, Reopen, Replace, ReturnNotice, RunKey, Status, TokenLabel, Unstick, UnstickRun,
};
use crate::error::{Code, Error};
use crate::store::RunRow;

/// One write. The writes of a group are independent: the refusal of one leaves the others alone.
///
/// Each is a [`Request`](super::Request), whose answer has a type of its own.
#[derive(Clone, Debug)]
pub enum Write {
    /// Creates a run, or begins one that was created with [`First::Later`].
    Create(NewRun),
    /// Creates a run in the place of one that has failed.
    Replace(Replace),
    /// Appends a turn.
    Turn(Turn),
    /// Puts a message into the inbox of a run.
    Post(Post),
    /// Puts a message into the inbox of the run that a token belongs to.
    Deliver(Deliver),
    /// Gives a run back.
    Release(Release),
    /// Takes runs that are due.
    Claim(Claim),
    /// Appends to a stream.
    AppendChunk(AppendChunk),
    /// Claims notices of runs that have come to a status.
    ClaimNotices(ClaimNotices),
    /// Gives a notice back.
    ReturnNotice(ReturnNotice),
    /// Removes a notice.
    Noticed(Noticed),
    /// Continues a run that has failed or was cancelled, with runs below it.
    Reopen(Reopen),
    /// Makes a stuck run due.
    UnstickRun(UnstickRun),
    /// Deletes a run.
    Delete(Delete),
    /// Removes a part of what is not kept.
    Clean(Clean),
    /// Removes the journals of old generations of a run.
    RemoveGenerations(RemoveGenerations),
    /// Makes all stuck runs of other builds due.
    Unstick(Unstick),
}

/// A new run.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRun {
    /// The id that the user knows.
    pub id: Arc<str>,
    /// The workflow's id.
    pub workflow: Arc<str>,
    /// The workflow's fingerprint.
    pub fingerprint: Arc<str>,
    /// SHA-256 of the arguments.
    pub args_digest: [u8; 32],
    /// When it is started, in milliseconds since 1970.
    pub created_at: u64,
    /// Random, or of a [`Child`]; recognises a start that was sent again.
    pub token: u128,
    /// How many runs wait for it, each for the next one: 0 if it is no child, or one that is not waited for.
    pub depth: u32,
    /// What happens with it: those of its first turn, and what is done ahead of it.
    pub effects: Option<Box<Effects>>,
    /// What its first turn writes to streams.
    pub chunks: Vec<NewChunk>,
    /// With or without its first turn.
    pub first: First,
}

/// How a run begins.
#[derive(Clone, Debug, PartialEq)]
pub enum First {
    /// The engine executes: the run is its own under epoch 1, and this is its first turn. Refused with
    /// [`CreateAnswer::Fenced`](super::CreateAnswer::Fenced) unless `owner` is the engine that executes in this store.
    Turn {
        /// The engine.
        owner: u64,
        /// The journal's row 0.
        row: JournalRow,
        /// The run's row after it.
        change: RowChange,
    },
    /// Somebody else is to execute: nobody's run, `pending`, due at once, with this letter in its inbox.
    Letter(Letter),
    /// Not yet: nobody's run, `pending`, and not due. Nothing makes it due but [`First::Begin`].
    Later,
    /// It is there, was created with [`First::Later`], and becomes due with this letter in its inbox. What the new run says
    /// of its arguments and its fingerprint takes the place of what was said before. Otherwise [`CreateAnswer::Exists`](super::CreateAnswer::Exists), or
    /// [`CreateAnswer::Unknown`](super::CreateAnswer::Unknown) if there is no run with this id.
    Begin(Letter),
    /// With a journal that was another run's: nobody's run, `running`, due at once, with these letters in its inbox.
    Journal {
        /// Its rows, from index 0.
        rows: Vec<JournalRow>,
        /// At least one.
        letters: Vec<Letter>,
    },
}

/// A turn of a run: all of it or nothing. Sending the same turn again (the same [`JournalRow::turn`] at its index) is
/// [`Committed`](super::TurnAnswer::Committed) and changes nothing, also after the run went on or changed hands.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The run.
    pub run: RunKey,
    /// The generation that the row belongs to.
    pub generation: u64,
    /// Who writes.
    pub fence: Fence,
    /// The row to append, unless the turn delivered nothing.
    pub row: Option<JournalRow>,
    /// What changes in the run's row, if anything does.
    pub change: Option<RowChange>,
    /// What else happens with it.
    pub effects: Option<Box<Effects>>,
    /// The sequences of the letters that it delivered: they are deleted.
    pub delivered: Vec<u64>,
    /// The sequences of the letters that nobody wanted: they are [unread](super::InboxRow::unread) from then on.
    pub unread: Vec<u64>,
    /// Events that were taken and could not be delivered: they are kept in the inbox, without waking the run. Like other
    /// letters they are dropped if their dedupe key has been seen; it is what keeps a turn without a `row` from returning
    /// them twice when it is sent again.
    pub returned: Vec<Letter>,
    /// What the workflow writes to streams. A stream that a step has closed takes nothing: a turn is not refused for what
    /// others have done.
    pub chunks: Vec<NewChunk>,
    /// Attempts that have ended: of those that wrote to streams.
    pub settles: Vec<Settle>,
}

/// What a turn changes in the run's row. What it leaves alone is not written.
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
    /// Replaces what is there.
    pub stuck: Option<Arc<str>>,
}

/// What a turn does beside its run's journal and row, in its transaction and in the order of the fields. What depends on
/// other runs never fails the turn: a letter to its own run tells of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Tokens that the run disposes of. When it ends the others are finished with it.
    pub closes: Vec<Close>,
    /// Tokens that the run opens, after it has disposed of others: it may open again what it has just dropped.
    pub opens: Vec<Open>,
    /// Runs that it starts.
    pub children: Vec<Child>,
    /// Runs that it waits for.
    pub watches: Vec<Watch>,
    /// Operations that do not wait for a run any more, each with the id of that.
    pub unwatches: Vec<(Arc<str>, u64)>,
    /// Letters to other runs.
    pub messages: Vec<Message>,
    /// JSON that takes the place of the run's state.
    pub state: Option<Arc<str>>,
    /// Attributes to be set, or to be taken away.
    pub attributes: Vec<(Arc<str>, Option<Arc<str>>)>,
    /// The status that the turn gives the run, and the time, in milliseconds since 1970, if callbacks are to be called for it:
    /// there is a [notice](super::Store::notices) from then on.
    pub notify: Option<(Status, u64)>,
    /// Lets the run go on as a new generation: it becomes nobody's, and its journal begins anew.
    pub continuation: Option<Continuation>,
}

/// A token that a turn opens for its run.
///
/// If it is another run's (or another operation's of this one) it stays so, and the letter `refusal` is put into this
/// run's inbox, [about](super::InboxRow::about) the owner; the turn takes effect all the same. Otherwise payloads that
/// were held for the token are put into the inbox in their order. Without an operation there is no refusal, and what is
/// held stays held: the operation comes later.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    /// The token.
    pub token: Arc<str>,
    /// The operation; nothing if the run is to come to it later.
    pub op: Option<u64>,
    /// What it says of itself.
    pub label: TokenLabel,
    /// The token under which the answers to its [suspension](super::Asked) are known, if it has one. If the same suspension waits
    /// again after an answer, that answer was of no use and is not known any more.
    pub scope: Option<Arc<str>>,
    /// See above.
    pub refusal: Letter,
}

/// A token that a turn disposes of, if it is that operation's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The token.
    pub token: Arc<str>,
    /// The operation.
    pub op: u64,
}

/// A run that a turn starts, as its child. If a run with its id exists, the operation waits for that one, as by [`Watch`]: if
/// that is what was asked for ([`Attach`]); if the same operation has started it before (it has the same token); or, with an id
/// that the engine has made, if it is a child of the run that takes the turn, as after a [`Reopen`]. Otherwise the letter
/// `refusal` is put into the inbox of the run that takes the turn. A run that existed does not become its child.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    /// The run; nobody's, with a letter, and with no effects but attributes.
    pub new: NewRun,
    /// The operation that waits for it, as by [`Watch`].
    pub op: Option<u64>,
    /// Which run is taken if one with the id exists; nothing if none is.
    pub attach: Option<Attach>,
    /// Put into the inbox of the run that takes the turn if the run was started, or if one that existed was taken.
    pub confirmation: Option<Letter>,
    /// See above.
    pub refusal: Letter,
}

/// A run that exists and is as good as a new one: it has begun, it is of one of these workflows, and the digest of its
/// arguments is one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    /// Ids of workflows.
    pub workflows: Vec<Arc<str>>,
    /// As in [`NewRun::args_digest`].
    pub digests: Vec<[u8; 32]>,
}

impl Child {
    /// Whether the operation takes the run that existed when it was to be created. `is_own` says whether that is a child of
    /// the run that takes the turn.
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

    /// The operation that waits for the run, as it waits for one that existed.
    pub(super) fn watch(&self) -> Option<Watch> {
        self.op.map(|op| Watch { run: self.new.id.clone(), op, token: None, refusal: self.refusal.clone() })
    }
}

/// A run that an operation waits for. When that one ends, or if it has, the last row of its journal is put into the inbox
/// of the run that takes the turn, [about](super::InboxRow::about) the operation. If there is no such run the letter `refusal`
/// is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The id of the run.
    pub run: Arc<str>,
    /// The operation.
    pub op: u64,
    /// If set, a run with another [token](NewRun::token) is not the one that is meant.
    pub token: Option<u128>,
    /// See above.
    pub refusal: Letter,
}

/// A letter to another run, as [`Write::Post`] posts it; nothing if there is no such run, or if it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The id of the run.
    pub run: Arc<str>,
    /// If set, a run with another [token](NewRun::token) is not the one that is meant.
    pub token: Option<u128>,
    /// The event.
    pub letter: Letter,
    /// As in [`Write::Post`].
    pub unstick: bool,
}

/// How a run goes on as a new generation. Its open tokens lose their operations, so that they keep what is sent to them
/// until the new generation has come to its own; so do those letters [about](super::InboxRow::about) these operations that are in
/// the inbox and not unread, behind the `payloads`.
#[derive(Clone, Debug, PartialEq)]
pub struct Continuation {
    /// The first letter of the new generation.
    pub start: Letter,
    /// What open tokens keep, each with its token.
    pub payloads: Vec<(Arc<str>, Letter)>,
    /// Letters for operations that were closed before, and whose payloads go on to the next operation with the token.
    pub forwards: Vec<Forward>,
}

impl Continuation {
    /// The operations whose letters a token keeps that is open for this one.
    pub(super) fn ops(&self, token: &str, op: u64) -> Vec<u64> {
        let before = self.forwards.iter().filter(|forward| *forward.token == *token).map(|forward| forward.op);
        before.chain([op]).collect()
    }
}

/// Letters [about](super::InboxRow::about) an operation, in the inbox, unread or not, that go on to the next generation. If the
/// token is open they are kept by it, with those about its own operation and in their order; otherwise they are about
/// `to`, in the next generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The operation.
    pub op: u64,
    /// The token by which they came.
    pub token: Arc<str>,
    /// What stands for the operation in the next generation.
    pub to: u64,
}

/// What a letter is known by to its run: a second one with the same key is accepted and dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dedupe {
    /// The key.
    pub key: String,
    /// Whether the key is known for as long as the run exists, and not only [until it is cleaned away](super::Clean).
    pub lasts: bool,
}

impl Dedupe {
    /// From when on the time is counted after which the key is not known any longer.
    pub(super) fn known_from(&self, letter: &Letter) -> u64 {
        if self.lasts { NEVER } else { letter.arrived_at.min(NEVER) }
    }
}

/// An event to be put into an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// What it is known by, if anything.
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
    /// The stream's name. The first chunk makes the stream.
    pub stream: Arc<str>,
    /// Random; tells a chunk that was sent again from another one: it is not appended twice.
    pub id: u128,
    /// JSON; nothing closes the stream.
    pub value: Option<Arc<str>>,
}

/// How an attempt ended that has written to streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settle {
    /// The operation.
    pub op: u64,
    /// Which attempt of it, under the epoch of the turn that says so.
    pub attempt: u32,
    /// Whether its result is the operation's. If not its chunks are [discarded](super::ChunkRow::discarded), and a stream that it
    /// closed is open again.
    pub succeeded: bool,
}

/// Why a group was not committed.
#[derive(Clone, Debug)]
pub struct Failed {
    /// What happened.
    pub error: Error,
    /// Whether it may have been committed all the same: the group is then sent again, unchanged.
    pub in_doubt: bool,
    /// Whether it was refused for what is in it: parts of it may be taken. Not if the store takes nothing at present.
    pub refused: bool,
}

impl Failed {
    /// The error of the operation that the write belongs to: `what` (such as "the run") was not `done` (such as "started"), or it
    /// is not known whether it was. The help applies to the latter.
    pub(crate) fn explain(self, what: &str, done: &str, help_in_doubt: &'static str) -> Error {
        if self.in_doubt {
            let error = self.error.context(format!("it is not known whether {what} was {done}"));
            return error.with_code(Code::InDoubt).help(help_in_doubt);
        }
        self.error.context(format!("{what} was not {done}"))
    }
}
