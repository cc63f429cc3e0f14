//! What a store gives to read.

use std::sync::Arc;

use super::RunKey;

use crate::model::Status;

/// Who may write a run: the engine that holds it, under the epoch of its claim. A write under another pair is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The engine's random number; never 0, which stands for "nobody", nor [`u64::MAX`], "an engine that died".
    pub owner: u64,
    /// Counts the claims of the run.
    pub epoch: u64,
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
    /// How many runs waited for it when it was started, each for the next one.
    pub depth: u32,
    /// Counts continuations as new.
    pub generation: u64,
    /// Where it is.
    pub status: Status,
    /// Who holds it; owner 0 is nobody.
    pub fence: Fence,
    /// When it is to be claimed at the latest, in milliseconds since 1970: 0 at once, [`NEVER`](super::NEVER) by its inbox only, and
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
    /// The first generation whose journal is kept: those of earlier generations were [removed](super::RemoveGenerations).
    pub first_generation: u64,
    /// The index of the first event of that generation, counted over all generations of the run.
    pub first_event: u64,
    /// How often the run has continued as new since that generation began.
    pub continuations: u64,
}

impl RunRow {
    /// Whether it was created and not started yet.
    pub fn has_not_begun(&self) -> bool {
        self.status == Status::Pending && self.wake_at.is_none()
    }
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
    /// Whether it takes one payload only.
    pub once: bool,
    /// Which suspension waits for it, if one does.
    pub asked: Option<Asked>,
}

/// A suspension that waits for a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The run's name for it: no other suspension of the run has it.
    pub id: Arc<str>,
    /// The id of the step that is suspended; nothing if it is the workflow.
    pub step: Option<Arc<str>>,
}

/// A delivery that a token has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// SHA-256 of the payload.
    pub digest: [u8; 32],
    /// When it was accepted, in milliseconds since 1970.
    pub at: u64,
}

/// Where a token is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// It takes payloads.
    Open,
    /// Its hook was dropped.
    Disposed,
    /// Its hook has got the only payload that it takes.
    Taken,
    /// Its run has ended.
    Finished,
}

/// The attributes of a run, by key.
pub type Attributes = Vec<(Arc<str>, Arc<str>)>;

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

/// A chunk of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkRow {
    /// Dense from 0 within the stream.
    pub index: u64,
    /// [`NewChunk::id`](super::NewChunk::id), by which the writer knows its chunk again.
    pub id: u128,
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

/// That a run came to a status, until the callbacks for it were called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Ascending, from 1, and not used again.
    pub sequence: u64,
    /// The status.
    pub status: Status,
    /// How often it was claimed.
    pub tries: u32,
    /// The run as it is now.
    pub run: RunRow,
}
