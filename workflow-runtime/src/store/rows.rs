//! The rows that a store returns.

use std::sync::Arc;

use super::RunKey;

use crate::model::{Figure, Status};

/// The right to write a run: its owner, and the epoch of the claim. A store refuses writes under any other pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The engine's random number; never 0 ("no owner") nor [`u64::MAX`] ("the owner died").
    pub owner: u64,
    /// Number of claims of the run.
    pub epoch: u64,
}

/// A run's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// The store's number of the run.
    pub key: RunKey,
    /// The id that the user sees.
    pub id: Arc<str>,
    /// The id of its workflow at the start.
    pub workflow: Arc<str>,
    /// The workflow's fingerprint at the start.
    pub fingerprint: Arc<str>,
    /// SHA-256 of the arguments.
    pub args_digest: [u8; 32],
    /// The id of the run that started it as a child; the parent may have been deleted since.
    pub parent: Option<Arc<str>>,
    /// Length of the chain of runs that waited for it when it was started.
    pub depth: u32,
    /// Number of continuations as new and retries.
    pub generation: u64,
    /// The status.
    pub status: Status,
    /// The owner and its epoch; owner 0 means no owner.
    pub fence: Fence,
    /// When it must be claimed, in milliseconds since 1970: 0 at once, [`NEVER`](super::NEVER) only after an inbox message,
    /// and `None` if it is terminal or stuck or has not begun.
    pub wake_at: Option<u64>,
    /// Number of messages that its inbox has ever received.
    pub inbox_seq: u64,
    /// Number of claims from dead owners since its journal last grew.
    pub recoveries: u32,
    /// When it was started, in milliseconds since 1970.
    pub created_at: u64,
    /// When it took its first turn.
    pub started_at: Option<u64>,
    /// When it ended.
    pub completed_at: Option<u64>,
    /// Why it is stuck: an encoded `Stuck`.
    pub stuck: Option<Arc<str>>,
    /// The error with which it has ended, or with which it is failing.
    pub error: Option<RowError>,
    /// As [`RowChange::refused_by`](super::RowChange::refused_by).
    pub refused_by: Option<Arc<str>>,
    /// The only deployment that can claim it.
    pub required_deployment: Option<Arc<str>>,
    /// The first generation whose journal is kept: those of earlier generations were [removed](super::RemoveGenerations).
    pub first_generation: u64,
    /// The index of the first event of that generation, counted over all generations of the run.
    pub first_event: u64,
    /// How often the run has continued as new since that generation began.
    pub continuations: u64,
}

/// An error in a run's row: of its end, or of the failed attempt of a step that is attempted again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// Since when the run has been failing, in milliseconds since 1970; `None` if it has ended.
    pub failing_since: Option<u64>,
    /// The code and the text, without what differs between errors of the same kind.
    pub class: Arc<str>,
    /// The text, of a limited length.
    pub text: Arc<str>,
}

impl RunRow {
    /// Whether it was created and has not been started yet.
    pub fn has_not_begun(&self) -> bool {
        self.status == Status::Pending && self.wake_at.is_none()
    }

    /// Since when it has been failing, in milliseconds since 1970: it is unfinished, and a step is attempted again.
    pub fn failing_since(&self) -> Option<u64> {
        self.error.as_ref()?.failing_since
    }
}

/// One row of a run's journal: a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRow {
    /// Contiguous from 0 within the run and generation.
    pub index: u64,
    /// Random; distinguishes a turn that is sent again from another turn at the same index.
    pub turn: u128,
    /// The version of the body's format.
    pub format: u32,
    /// CRC-32 of the body.
    pub checksum: u32,
    /// The turn, encoded.
    pub body: Arc<[u8]>,
}

/// One row of a run's inbox: an event that waits for its delivery.
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
    /// Whether the run has processed the message without an operation that took it: the message stays in the inbox as
    /// unread.
    pub unread: bool,
    /// The generation of the run that the message is meant for, if it is meant for an operation.
    pub generation: u64,
    /// What the store adds to the message.
    pub about: Option<About>,
}

/// Information about a message that its writer could not know, added by the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// The message was sent to the token of this operation.
    Operation(u64),
    /// The message is a refusal; this is the id of the run that has the requested token.
    Owner(Arc<str>),
    /// The run that this operation waits for has ended; the body is the last row of that run's journal.
    Ended(u64),
    /// The message was sent to this token, and the run has ended before it opened the token.
    Token(Arc<str>),
}

/// A token: its purpose and its run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// The id of its run; `None` if payloads are held for a run that does not exist yet.
    pub run: Option<Arc<str>>,
    /// The operation that takes its payloads; `None` if the run has not reached it yet.
    pub op: Option<u64>,
    /// The label that it was opened with.
    pub label: TokenLabel,
    /// The state.
    pub state: TokenState,
}

/// Open tokens, ordered by name.
pub type OpenTokens = Vec<(Arc<str>, TokenRow)>;

/// The description of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenLabel {
    /// The name of the type of its payloads.
    pub type_name: Arc<str>,
    /// JSON metadata from the workflow.
    pub metadata: Option<Arc<str>>,
    /// Whether it takes one payload only.
    pub once: bool,
    /// The suspension that waits for it, if one does.
    pub asked: Option<Asked>,
}

/// A suspension that waits for a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The id of the suspension, unique within the run.
    pub id: Arc<str>,
    /// The id of the suspended step; `None` if the workflow itself is suspended.
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

/// The state of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// It accepts payloads.
    Open,
    /// Its hook was dropped.
    Disposed,
    /// Its hook has received the only payload that it takes.
    Taken,
    /// Its run has ended.
    Finished,
}

/// The attributes of a run, by key.
pub type Attributes = Vec<(Arc<str>, Arc<str>)>;

/// One execution of an attempt of a step by an engine.
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
    /// [`Fence::epoch`]: an attempt whose process died is executed again under the same number and another epoch.
    pub epoch: u64,
}

/// A chunk of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkRow {
    /// Contiguous from 0 within the stream.
    pub index: u64,
    /// [`NewChunk::id`](super::NewChunk::id), by which the writer recognises its chunk.
    pub id: u128,
    /// JSON.
    pub value: Arc<str>,
    /// The attempt that wrote it; `None` if the workflow did.
    pub writer: Option<Execution>,
    /// Whether that attempt did not succeed: it was settled so, or it was not settled before the run ended, was claimed
    /// again or reached another generation.
    pub discarded: bool,
}

/// A part of a stream, and the state of the stream at the same moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChunkPage {
    /// The chunks, in order.
    pub rows: Vec<ChunkRow>,
    /// Number of chunks in the stream; 0 if there is no such stream (yet).
    pub length: u64,
    /// Whether the stream is complete: it was closed, or its run has ended.
    pub ended: bool,
    /// Whether the run does not exist (any more).
    pub gone: bool,
}

/// A record that a run reached a status, kept until its callbacks were called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Ascending, from 1, and never reused.
    pub sequence: u64,
    /// The status.
    pub status: Status,
    /// How often engines have claimed it.
    pub tries: u32,
    /// The current row of the run.
    pub run: RunRow,
}

/// A [recorded count](super::RecordCounts).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HourCount {
    /// The hour, counted from 1970.
    pub hour: u64,
    /// What is counted.
    pub figure: Figure,
    /// The number of runs.
    pub runs: u64,
}
