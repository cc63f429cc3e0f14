//! What the engine needs of a database.
//!
//! Everything that is written goes through [`Store::commit`], a group of independent writes at a time; the rest reads.
//! A store knows rows and their fences, and no workflow: journal bodies are bytes to it.

mod listing;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod removal;
mod sqlite;
mod words;

use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use self::listing::{Counts, Filter, Position};
pub use self::memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use self::postgres::{PostgresOptions, PostgresStore, Transaction, Transactions};
#[cfg(feature = "postgres")]
pub(crate) use self::postgres::{Recorded, refusal};
pub use self::removal::{Ended, Expired, Portion};
pub use self::sqlite::{SqliteStore, Synchronous};
use crate::engine::Environment;
use crate::error::Error;

/// `wake_at` of a run that only its inbox can wake. (Terminal and stuck runs, and those that have not begun, have none at all.)
pub const NEVER: u64 = i64::MAX as u64;

/// [`Fence::owner`] of a run whose engine died; no engine has this number.
const DEAD: u64 = u64::MAX;

/// A run's number inside one store.
pub type RunKey = i64;

/// Where a run is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Started, and no engine has taken its first turn yet.
    Pending,
    /// A step is being executed, or is to be.
    Running,
    /// It waits for a time or an answer.
    Suspended,
    /// It returned `Ok`.
    Completed,
    /// It returned `Err`.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// It needs a person or a deploy; it never counts as failed, and goes on once what stopped it is mended.
    Stuck,
}

impl Status {
    pub(crate) const ALL: [Status; 7] = [
        Status::Pending,
        Status::Running,
        Status::Suspended,
        Status::Completed,
        Status::Failed,
        Status::Cancelled,
        Status::Stuck,
    ];

    /// Whether nothing will change it any more.
    pub fn is_terminal(self) -> bool {
        matches!(self, Status::Completed | Status::Failed | Status::Cancelled)
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Running => "running",
            Status::Suspended => "suspended",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
            Status::Stuck => "stuck",
        }
    }

    /// The status that [`as_str`](Status::as_str) gives this word.
    pub fn parse(word: &str) -> Option<Self> {
        Status::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who may write a run: the engine that holds it, under the epoch of its claim. A write under another pair is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The engine's random number; never 0, which stands for "nobody", nor [`u64::MAX`], "an engine that died".
    pub owner: u64,
    /// Counts the claims of the run.
    pub epoch: u64,
}

/// One row of a run's journal: a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRow {
    /// Dense from 0 within the run and generation.
    pub index: u64,
    /// Random; tells a turn that was sent again from another one in its place.
    pub turn: u128,
    /// The version of the body's format.
    pub format: u32,
    /// CRC-32 of the body.
    pub checksum: u32,
    /// The turn, encoded.
    pub body: Arc<[u8]>,
}

/// One row of a run's inbox: an event that waits to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxRow {
    /// Ascending within a store; gaps are possible.
    pub sequence: u64,
    /// When it arrived, in milliseconds since 1970.
    pub arrived_at: u64,
    /// The version of the body's format.
    pub format: u32,
    /// CRC-32 of the body.
    pub checksum: u32,
    /// The event, encoded.
    pub body: Arc<[u8]>,
    /// Whether it was met and nobody wanted it: it stays as what the run has not read.
    pub unread: bool,
    /// The run's generation that it is meant for, if it is meant for an operation.
    pub generation: u64,
    /// What the store knows of it.
    pub about: Option<About>,
}

/// What a store knows of a letter that no writer could have written into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// It came by the token of this operation.
    Operation(u64),
    /// It is a refusal; this is the id of the run that has what was asked for.
    Owner(Arc<str>),
    /// The run has ended that this operation waits for; the body is the last row of that run's journal.
    Ended(u64),
}

/// What a token is for, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// The id of its run; nothing if payloads are held for a run that is not there yet.
    pub run: Option<Arc<str>>,
    /// The operation that takes its payloads; nothing if the run has not come to it yet.
    pub op: Option<u64>,
    /// What it was opened with.
    pub label: TokenLabel,
    /// Where it is in its life.
    pub state: TokenState,
}

/// Open tokens, by their names.
pub type OpenTokens = Vec<(Arc<str>, TokenRow)>;

/// What a token says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenLabel {
    /// The name of the type of its payloads.
    pub type_name: Arc<str>,
    /// JSON that the workflow gave it.
    pub metadata: Option<Arc<str>>,
    /// Whether the first payload disposes of it.
    pub once: bool,
}

/// Where a token is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// It takes payloads.
    Open,
    /// Its hook was dropped, or has got the only payload that it takes.
    Disposed,
    /// Its run has ended.
    Finished,
}

/// A token that a turn opens for its run.
///
/// If it is another run's (or another operation's of this one) it stays so, and the letter `refusal` is put into this
/// run's inbox, [about](InboxRow::about) the owner; the turn takes effect all the same. Otherwise payloads that
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
    /// Whether the status that the turn gives the run is to be told: there is a [notice](Store::notices) from then on.
    pub notify: Option<Status>,
    /// Lets the run go on as a new generation: it becomes nobody's, and its journal begins anew.
    pub continuation: Option<Continuation>,
}

/// How a run goes on as a new generation. Its open tokens lose their operations, so that they keep what is sent to them
/// until the new generation has come to its own; so do those letters [about](InboxRow::about) these operations that are in
/// the inbox and not unread, behind the `payloads`.
#[derive(Clone, Debug, PartialEq)]
pub struct Continuation {
    /// The first letter of the new generation.
    pub start: Letter,
    /// What open tokens keep, each with its token.
    pub payloads: Vec<(Arc<str>, Letter)>,
}

/// The attributes of a run, by key.
pub type Attributes = Vec<(Arc<str>, Arc<str>)>;

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
/// of the run that takes the turn, [about](InboxRow::about) the operation. If there is no such run the letter `refusal`
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

/// An attempt of a step, as one engine executes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// The generation of the run.
    pub generation: u64,
    /// The operation.
    pub op: u64,
    /// The step's id.
    pub step: Arc<str>,
    /// Counts from 1.
    pub attempt: u32,
    /// [`Fence::epoch`]: an attempt that died with its process is executed again under the same number and another epoch.
    pub epoch: u64,
}

/// How an attempt ended that has written to streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settle {
    /// The operation.
    pub op: u64,
    /// Which attempt of it, under the epoch of the turn that says so.
    pub attempt: u32,
    /// Whether its result is the operation's. If not its chunks are [discarded](ChunkRow::discarded), and a stream that it
    /// closed is open again.
    pub succeeded: bool,
}

/// A chunk of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkRow {
    /// Dense from 0 within the stream.
    pub index: u64,
    /// JSON.
    pub value: Arc<str>,
    /// The attempt that wrote it; nothing if the workflow did.
    pub writer: Option<Execution>,
    /// Whether that attempt did not succeed: it was settled so, or was not settled before the run ended, was claimed again
    /// or came to another generation.
    pub discarded: bool,
}

/// A part of a stream, and how the stream is, as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChunkPage {
    /// The chunks, in order.
    pub rows: Vec<ChunkRow>,
    /// How many the stream has; 0 if there is no such stream (yet).
    pub length: u64,
    /// Whether no more will come: it was closed, or its run has ended.
    pub ended: bool,
    /// Whether there is no such run, or none any more.
    pub gone: bool,
}

/// A run's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// The store's number for it.
    pub key: RunKey,
    /// The id that the user knows.
    pub id: Arc<str>,
    /// The id of its workflow, as it was at the start.
    pub workflow: Arc<str>,
    /// The workflow's fingerprint at the start.
    pub fingerprint: Arc<str>,
    /// SHA-256 of the arguments.
    pub args_digest: [u8; 32],
    /// The id of the run that started it as its child; that one may have been deleted since.
    pub parent: Option<Arc<str>>,
    /// Counts continuations as new.
    pub generation: u64,
    /// Where it is.
    pub status: Status,
    /// Who holds it; owner 0 is nobody.
    pub fence: Fence,
    /// When it is to be claimed at the latest, in milliseconds since 1970: 0 at once, [`NEVER`] by its inbox only, and
    /// nothing if it is terminal or stuck or has not begun.
    pub wake_at: Option<u64>,
    /// Counts the letters that ever came.
    pub inbox_seq: u64,
    /// How often it was claimed from a dead owner since its journal last grew.
    pub recoveries: u32,
    /// When it was started, in milliseconds since 1970.
    pub created_at: u64,
    /// When its first turn was taken.
    pub started_at: Option<u64>,
    /// When it ended.
    pub completed_at: Option<u64>,
    /// Why it is stuck: an encoded `Stuck`.
    pub stuck: Option<Arc<str>>,
}

impl RunRow {
    /// Whether it was created and not started yet.
    pub fn has_not_begun(&self) -> bool {
        self.status == Status::Pending && self.wake_at.is_none()
    }
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
    /// The sequences of the letters that nobody wanted: they are [unread](InboxRow::unread) from then on.
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
    /// Takes a [notice](Store::notices) away: [`Outcome::Committed`].
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
    /// `expired`, those excepted whose end is [yet to be told](Store::notices); and payloads that were held until `now`, with
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

/// That a run came to a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Ascending, from 1, and not used again.
    pub sequence: u64,
    /// The status.
    pub status: Status,
    /// The run as it is now.
    pub run: RunRow,
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
}

/// Two numbers are no engine's: a run that is held under one of them would be claimed from under it.
fn assert_engine(owner: u64) {
    assert!(owner != 0 && owner != DEAD, "0 and u64::MAX are not the number of an engine");
}

/// The right to execute runs in a store. Dropping it gives the right to the next engine that asks.
pub trait Ownership: Send + Sync {
    /// Resolves when the right is lost, or is about to be: from then on nothing is to be executed under it. Never, where a
    /// right ends with its process only.
    fn lost(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    /// Whether the right lasts at this moment. Asked before anything is executed under it: a process that was stopped for a
    /// while has not seen yet that it is [lost](Ownership::lost).
    fn lasts(&self) -> bool {
        true
    }

    /// Drops it, and resolves once the next engine can have it.
    fn give_up(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// What somebody waits for of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Its end.
    End,
    /// Chunks of its streams as well.
    Chunks,
    /// Rows of its journal as well.
    Journal,
}

/// Runs that are [followed](Store::follow), and to which something has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The store does not say; it may be any, unless this engine is the only one that executes.
    Unsaid,
    /// It may be any.
    Any,
    /// It is these, by their ids.
    Runs(Vec<Arc<str>>),
}

/// A database of runs. Implementations pass the conformance suite in `tests`.
pub trait Store: Send + Sync + 'static {
    /// Commits a group of writes at once and tells what became of each, in order. Several writes of one group may
    /// concern one run: they take effect in order. While a group is being committed another one may be, of other runs.
    fn commit<'a>(&'a self, group: &'a [Write]) -> BoxFuture<'a, Result<Vec<Outcome>, Failed>>;

    /// Whether [`commit`](Store::commit) blocks its thread; the engine then gives it a thread of its own.
    fn blocks(&self) -> bool {
        false
    }

    /// Asks for the right to execute runs here as `owner`. On success every run that another engine held is an orphan:
    /// due when it was due, or at once if letters wait for it, claimed as from a dead owner. From then on the writes of the
    /// engine that held it are refused. Nothing if a live engine has the right; asking again and again is cheap.
    fn acquire(&self, owner: u64) -> BoxFuture<'_, Result<Option<Box<dyn Ownership>>, Error>>;

    /// A run by its id.
    fn run<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<RunRow>, Error>>;

    /// Rows of a journal from an index on, at most `limit`.
    fn journal(
        &self,
        run: RunKey,
        generation: u64,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>>;

    /// The last row of a journal.
    fn last(&self, run: RunKey, generation: u64) -> BoxFuture<'_, Result<Option<JournalRow>, Error>>;

    /// A run's letters, oldest first, and the `inbox_seq` that they belong to.
    fn inbox(&self, run: RunKey) -> BoxFuture<'_, Result<(u64, Vec<InboxRow>), Error>>;

    /// The state of a run, as JSON: what its last committed turn left.
    fn state<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Option<Arc<str>>, Error>>;

    /// The attributes of a run, by key.
    fn attributes<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Attributes, Error>>;

    /// The runs that fit a filter and stand behind a position, the latest first, at most `limit`: as of one moment.
    fn list<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<Position>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RunRow>, Error>>;

    /// How many runs fit a filter, by their status, as of one moment; statuses without any are left out.
    fn counts<'a>(&'a self, filter: &'a Filter) -> BoxFuture<'a, Result<Counts, Error>>;

    /// The latest end of a run that came to this terminal status, the latest `most` not counted.
    fn ended_before(&self, status: Status, most: u64) -> BoxFuture<'_, Result<Option<Ended>, Error>>;

    /// What is to be told of these statuses, behind a sequence, at most `limit`.
    fn notices<'a>(
        &'a self,
        statuses: &'a [Status],
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Notice>, Error>>;

    /// The ids of the runs that a run has started as its children, in their order; also those of a run of the same id that
    /// was deleted.
    fn children<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Vec<Arc<str>>, Error>>;

    /// The open tokens of a run and of its children, by their names.
    fn open_tokens(&self, run: RunKey) -> BoxFuture<'_, Result<OpenTokens, Error>>;

    /// A token.
    fn token<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Option<TokenRow>, Error>>;

    /// Chunks of a stream from an index on: at most `limit`, and fewer if they are large (but at least one, if there is
    /// one).
    fn chunks<'a>(
        &'a self,
        run: RunKey,
        stream: &'a str,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<ChunkPage, Error>>;

    /// The names of a run's streams, in the order of their first chunks.
    fn streams(&self, run: RunKey) -> BoxFuture<'_, Result<Vec<Arc<str>>, Error>>;

    /// Runs that this engine holds and whose inboxes have got letters since it last asked, each once. An error has told
    /// nothing, and neither has a future that was dropped: what they would have told is told later. For one caller at a
    /// time.
    fn news(&self, owner: u64) -> BoxFuture<'_, Result<Vec<RunKey>, Error>>;

    /// The earliest `wake_at` of the runs that a claim by these workflows could take, now or later.
    fn next_due(&self, workflows: Arc<[&'static str]>) -> BoxFuture<'_, Result<Option<u64>, Error>>;

    /// Runs that are due and whose workflow is none of these: their workflow ids, each once, at most 100.
    fn unknown_due(&self, workflows: Arc<[&'static str]>, now: u64) -> BoxFuture<'_, Result<Vec<Arc<str>>, Error>>;

    /// Somebody here waits for something of a run that another engine may hold. For
    /// stores whose [`changed`](Store::changed) does not tell that otherwise: from then on it does, and whether it happened
    /// before has to be looked for once more, which is what `true` says.
    fn follow<'a>(&'a self, run: RunKey, id: &'a Arc<str>, what: Follow) -> BoxFuture<'a, Result<bool, Error>> {
        let _ = (run, id, what);
        Box::pin(std::future::ready(Ok(false)))
    }

    /// For which runs that are [followed](Store::follow) [`changed`](Store::changed) has resolved since this was last asked.
    fn followed(&self) -> Followed {
        Followed::Unsaid
    }

    /// What begins the transactions of steps, if the store has such.
    #[cfg(feature = "postgres")]
    fn transactions(&self) -> Option<Transactions> {
        None
    }

    /// Resolves when somebody other than this store's own [`commit`](Store::commit) has changed something that concerns
    /// others, or may have, since it last did. For one caller at a time; dropping it loses nothing. A right that has become free (see
    /// [`acquire`](Store::acquire)) need not show here: its holder may have died without a word.
    fn changed<'a>(&'a self, environment: &'a dyn Environment) -> BoxFuture<'a, ()>;
}
