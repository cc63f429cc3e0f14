//! What a store is given to write.

use std::sync::Arc;

use super::{Execution, Expired, Fence, JournalRow, Portion, RunKey, RunRow, Status, TokenLabel};
use crate::error::Error;

/// One write. The writes of a group are independent: the refusal of one leaves the others alone.
#[derive(Clone, Debug)]
pub enum Write {
    /// Creates a run, or begins it: [`Outcome::Created`], [`Outcome::Exists`], [`Outcome::Fenced`] or [`Outcome::Unknown`].
    Create(NewRun),
    /// Appends a turn: [`Outcome::Committed`], [`Outcome::Told`] or [`Outcome::Fenced`]. Sending the same turn again (the same
    /// [`JournalRow::turn`] at its index) is `Committed` and changes nothing, also after the run went on or changed hands.
    Turn(Turn),
    /// Puts a letter into a run's inbox, raises `inbox_seq` and pulls `wake_at` to 0, unless the run has none:
    /// [`Outcome::Committed`], or [`Outcome::Unknown`] if there is no such run.
    Post {
        /// The run's id.
        run: Arc<str>,
        /// The event.
        letter: Letter,
        /// Whether a stuck run becomes due as well, as by [`Write::Unstick`].
        unstick: bool,
    },
    /// Puts a letter into the inbox of the run whose token this is, as [`Write::Post`] does: [`Outcome::Committed`], or
    /// [`Outcome::Unknown`], [`Outcome::Disposed`], [`Outcome::Finished`] if there is no such run.
    ///
    /// A token whose run has not come to the operation keeps the letter until it does. So does one that has no run (any
    /// more), if `hold_until` says so. One that takes a letter [once](TokenLabel::once) is disposed of by it; the same letter
    /// sent again, by its dedupe key, is committed all the same.
    Deliver {
        /// The token.
        token: Arc<str>,
        /// The event.
        letter: Letter,
        /// How long it is kept for a run that is not there, in milliseconds since 1970.
        hold_until: Option<u64>,
        /// The time, in milliseconds since 1970: what was kept until then is gone.
        now: u64,
    },
    /// Gives a run back, if no letter came since `inbox_seq` was seen: [`Outcome::Committed`], [`Outcome::Unread`] if one
    /// came (the run stays with its owner), or [`Outcome::Fenced`].
    Release {
        /// The run.
        run: RunKey,
        /// Who writes.
        fence: Fence,
        /// [`RunRow::inbox_seq`] as last seen.
        inbox_seq: u64,
    },
    /// Takes runs that nobody holds (or that a dead engine held) and that are due: [`Outcome::Claimed`]. The longest overdue
    /// of each workflow comes first, then the next of each, so that no workflow waits for all of another. Each gets the
    /// owner and the next epoch; one that a dead engine held has `recoveries` raised, or set to 1 if its journal grew
    /// since it was last raised. [`Outcome::Fenced`] if `owner` is not the engine that executes in this store.
    Claim {
        /// The engine.
        owner: u64,
        /// The time, in milliseconds since 1970: runs with `wake_at` up to it are due.
        now: u64,
        /// The ids of the workflows that the engine has; runs of others are left alone.
        workflows: Arc<[&'static str]>,
        /// How many at the most, those of `again` not counted.
        limit: usize,
        /// Also those that `owner` holds already, due or not, as they are (their epoch stays): after a claim whose
        /// outcome is in doubt. The engine passes over those that it is executing.
        again: bool,
    },
    /// Appends a chunk that a step writes, or closes the stream: [`Outcome::Committed`], also if it is there already;
    /// [`Outcome::Fenced`] if the run is not the writer's any more or the attempt was settled, [`Outcome::Finished`] if the
    /// run has ended or the one whose stream it is, [`Outcome::Closed`], or [`Outcome::Full`].
    Chunk {
        /// The run.
        run: RunKey,
        /// The engine; with the execution's epoch it is the fence.
        owner: u64,
        /// Who writes.
        execution: Execution,
        /// The id of the run whose stream it is, if it is another one.
        into: Option<Arc<str>>,
        /// What is written.
        chunk: NewChunk,
        /// How many chunks a stream may have.
        most: u64,
    },
    /// Takes a [notice](super::Store::notices) away: [`Outcome::Committed`].
    Noticed {
        /// Its sequence.
        sequence: u64,
    },
    /// Lets a run that has failed or was cancelled go on as a new generation: [`Outcome::Committed`], also if these very letters
    /// came before; [`Outcome::Fenced`] if it has not ended so in this generation; or [`Outcome::Unknown`]. It is nobody's,
    /// `running` and due at once. The journals of the generations before stay.
    Reopen {
        /// The run's id.
        run: Arc<str>,
        /// The generation that has ended.
        generation: u64,
        /// The journal of the next one, from index 0.
        rows: Vec<JournalRow>,
        /// At least one, with a dedupe key.
        letters: Vec<Letter>,
    },
    /// Makes a stuck run due, as [`Write::Unstick`]: [`Outcome::Committed`], also if it is not stuck, or [`Outcome::Unknown`].
    UnstickRun {
        /// The run's id.
        run: Arc<str>,
    },
    /// Deletes a run that has ended, or that is pending and was never due: [`Outcome::Committed`], [`Outcome::Unended`], or
    /// [`Outcome::Unknown`] if there is no such run. At once there is no trace of it but its id in the rows of its
    /// children: who writes under a fence of it is refused, and its id can be taken. Of the rows that it had, its journals,
    /// letters, streams and tokens that are not open, `most` go with it; the others are for [`Write::Clean`].
    Delete {
        /// The run.
        run: RunKey,
        /// How much is removed at the most.
        most: Portion,
        /// What those are told, as of the end of a run, that wait for one that was never due.
        farewell: Letter,
    },
    /// Removes a part of what nobody keeps: [`Outcome::Cleaned`]. It is what deleted runs have left; runs that have
    /// `expired`, those excepted whose end is [yet to be told](super::Store::notices); and payloads that were held until `now`, with
    /// the tokens that nobody has. Another engine that is about it leaves nothing to do.
    Clean {
        /// Of each status up to which run.
        expired: Vec<Expired>,
        /// The time, in milliseconds since 1970.
        now: u64,
        /// How many runs at the most.
        runs: usize,
        /// How much of what they have left.
        most: Portion,
    },
    /// Makes stuck runs due whose `stuck` text does not contain `build`: [`Outcome::Committed`]. They become nobody's,
    /// their status `running`, their `recoveries` 0, and they have no `stuck` text any more.
    Unstick {
        /// The build that must have changed.
        build: String,
    },
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
    /// Random; recognises a start that was sent again.
    pub token: u128,
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
    /// [`Outcome::Fenced`] unless `owner` is the engine that executes in this store.
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
    /// of its arguments and its fingerprint takes the place of what was said before. Otherwise [`Outcome::Exists`], or
    /// [`Outcome::Unknown`] if there is no run with this id.
    Begin(Letter),
    /// With a journal that was another run's: nobody's run, `running`, due at once, with these letters in its inbox.
    Journal {
        /// Its rows, from index 0.
        rows: Vec<JournalRow>,
        /// At least one.
        letters: Vec<Letter>,
    },
}

/// A turn of a run: all of it or nothing.
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
    /// As [`RunRow::wake_at`].
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
    /// Whether the status that the turn gives the run is to be told: there is a [notice](super::Store::notices) from then on.
    pub notify: Option<Status>,
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

/// A run that a turn starts, as its child. If another run has its id the letter `refusal` is put into the inbox of the run
/// that takes the turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    /// The run; nobody's, with a letter.
    pub new: NewRun,
    /// The operation that waits for it, as by [`Watch`].
    pub op: Option<u64>,
    /// See above.
    pub refusal: Letter,
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
    /// See above.
    pub refusal: Letter,
}

/// A letter to another run, as [`Write::Post`] posts it; nothing if there is no such run, or if it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The id of the run.
    pub run: Arc<str>,
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
}

/// An event to be put into an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Where it is set, a second letter of the run with the same key is accepted and dropped, as long as the run exists.
    pub dedupe: Option<String>,
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

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The run is created.
    Created(RunKey),
    /// A run with this id is there already.
    Exists(Box<RunRow>),
    /// It is durable.
    Committed,
    /// It is durable, the run has ended, and others that waited for its end have got letters.
    Told,
    /// The run is not, or no longer, the writer's.
    Fenced,
    /// A letter came that has not been seen.
    Unread,
    /// There is no such run, or no such token.
    Unknown,
    /// The token's hook was dropped.
    Disposed,
    /// The run has ended, or the token's has.
    Finished,
    /// The stream was closed.
    Closed,
    /// The stream has as many chunks as it may have.
    Full,
    /// The run has not ended.
    Unended,
    /// A part is removed.
    Cleaned {
        /// Whether there is more to be removed.
        more: bool,
    },
    /// The claimed runs, as they are now.
    Claimed(Vec<RunRow>),
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
