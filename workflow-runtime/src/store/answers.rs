//! The answers of a store to its writes: one type for each kind of write.

use super::{
    AppendChunk, Claim, ClaimNotices, Clean, Delete, Deliver, NewRun, Notice, Noticed, RecordCounts, Release,
    RemoveGenerations, Reopen, Replace, ReturnNotice, RunKey, RunRow, SendMessage, Turn, Unstick, UnstickRun, Write,
};

/// A write whose answer has a type of its own.
pub trait Request: Into<Write> {
    /// The type of the answer.
    type Answer;

    /// Converts the answer to this kind of write; `None` if it answers another kind, which is a fault of the store.
    fn answer(answer: Answer) -> Option<Self::Answer>;
}

/// The answer to a [`Write::Create`] or a [`Write::Replace`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateAnswer {
    /// The run is created, or this same write created it before.
    Created(RunKey),
    /// There is a run with this id.
    Exists(Box<RunRow>),
    /// The engine that would take the first turn does not have the right to execute.
    Fenced,
    /// There is no run to begin.
    Unknown,
}

/// The answer to a [`Write::Turn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnAnswer {
    /// The turn is durable.
    Committed,
    /// The turn is durable, the run has ended, and the runs that waited for its end have received messages.
    CommittedAndNotified,
    /// The writer does not own the run, or no longer owns it.
    Fenced,
}

/// The answer to a [`Write::SendMessage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendMessageAnswer {
    /// The message is durable.
    Committed,
    /// There is no such run.
    Unknown,
}

/// The answer to a [`Write::Deliver`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliverAnswer {
    /// The payload is durable.
    Committed,
    /// There is no such token.
    Unknown,
    /// The hook of the token was dropped.
    Disposed,
    /// The hook of the token has already received the only payload that it takes.
    Taken,
    /// The token waits for the answer to another suspension.
    Stale,
    /// Another payload was accepted under the key.
    KeyReused,
    /// The run of the token has ended.
    Finished,
}

/// The answer to a [`Write::Release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseAnswer {
    /// The run has no owner.
    Committed,
    /// A message arrived that the owner has not seen: the owner keeps the run.
    Unread,
    /// The writer does not own the run, or no longer owns it.
    Fenced,
}

/// The answer to a [`Write::Claim`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimAnswer {
    /// The claimed runs, as they are after the claim.
    Claimed(Vec<RunRow>),
    /// The engine does not have the right to execute.
    Fenced,
}

/// The answer to a [`Write::AppendChunk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendChunkAnswer {
    /// The chunk is durable.
    Committed,
    /// The writer does not own the run, or no longer owns it, or the attempt has ended.
    Fenced,
    /// The writing run has ended, or the run that the stream belongs to.
    Finished,
    /// The stream was closed.
    Closed,
    /// The stream has reached its maximum number of chunks.
    Full,
}

/// The answer to a [`Write::Reopen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReopenAnswer {
    /// The new generations are durable.
    Committed,
    /// The run has not failed, and was not cancelled, in this generation.
    Fenced,
    /// There is no such run.
    Unknown,
    /// One of the runs below it has changed since the caller read it.
    Changed,
}

/// The answer to a [`Write::UnstickRun`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnstickRunAnswer {
    /// The run is not stuck (or no longer stuck).
    Committed,
    /// There is no such run.
    Unknown,
}

/// The answer to a [`Write::Delete`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteAnswer {
    /// The run is deleted.
    Committed,
    /// The run has not ended.
    Unended,
    /// There is no such run.
    Unknown,
}

/// The answer to a [`Write::ClaimNotices`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimNoticesAnswer {
    /// The notices that the engine has claimed.
    Claimed(Vec<Notice>),
    /// The engine does not have the right to execute in this store.
    Fenced,
}

/// The answer to a [`Write::Clean`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanAnswer {
    /// Whether more remains to be removed.
    pub more: bool,
}

/// The answer to a [`Write::RemoveGenerations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoveGenerationsAnswer {
    /// The removal is durable.
    Committed,
    /// There is no such run (any more), or the first generation whose journal is kept is not the expected one.
    Unknown,
}

/// One answer of a group, at the position of its write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a [`Write::Create`] or a [`Write::Replace`].
    Create(CreateAnswer),
    /// To a [`Write::Turn`].
    Turn(TurnAnswer),
    /// To a [`Write::SendMessage`].
    SendMessage(SendMessageAnswer),
    /// To a [`Write::Deliver`].
    Deliver(DeliverAnswer),
    /// To a [`Write::Release`].
    Release(ReleaseAnswer),
    /// To a [`Write::Claim`].
    Claim(ClaimAnswer),
    /// To a [`Write::AppendChunk`].
    AppendChunk(AppendChunkAnswer),
    /// To a [`Write::ClaimNotices`].
    ClaimNotices(ClaimNoticesAnswer),
    /// To a [`Write::ReturnNotice`].
    ReturnNotice,
    /// To a [`Write::Noticed`].
    Noticed,
    /// To a [`Write::Reopen`].
    Reopen(ReopenAnswer),
    /// To a [`Write::UnstickRun`].
    UnstickRun(UnstickRunAnswer),
    /// To a [`Write::Delete`].
    Delete(DeleteAnswer),
    /// To a [`Write::Clean`].
    Clean(CleanAnswer),
    /// To a [`Write::RecordCounts`].
    RecordCounts,
    /// To a [`Write::RemoveGenerations`].
    RemoveGenerations(RemoveGenerationsAnswer),
    /// To a [`Write::Unstick`].
    Unstick,
}

/// Makes a write a [`Request`], and its answer type an [`Answer`].
macro_rules! requests {
    ($($kind:ident($request:ty) -> $answer:ty;)*) => {
        $(
            impl From<$request> for Write {
                fn from(request: $request) -> Self {
                    Write::$kind(request)
                }
            }

            impl Request for $request {
                type Answer = $answer;

                fn answer(answer: Answer) -> Option<Self::Answer> {
                    match answer {
                        Answer::$kind(answer) => Some(answer),
                        _ => None,
                    }
                }
            }

            impl From<$answer> for Answer {
                fn from(answer: $answer) -> Self {
                    Answer::$kind(answer)
                }
            }
        )*
    };
}

/// The same for a write that is never refused.
macro_rules! unconditional_requests {
    ($($kind:ident($request:ty);)*) => {
        $(
            impl From<$request> for Write {
                fn from(request: $request) -> Self {
                    Write::$kind(request)
                }
            }

            impl Request for $request {
                type Answer = ();

                fn answer(answer: Answer) -> Option<Self::Answer> {
                    matches!(answer, Answer::$kind).then_some(())
                }
            }
        )*
    };
}

requests! {
    Create(NewRun) -> CreateAnswer;
    Turn(Turn) -> TurnAnswer;
    SendMessage(SendMessage) -> SendMessageAnswer;
    Deliver(Deliver) -> DeliverAnswer;
    Release(Release) -> ReleaseAnswer;
    Claim(Claim) -> ClaimAnswer;
    AppendChunk(AppendChunk) -> AppendChunkAnswer;
    ClaimNotices(ClaimNotices) -> ClaimNoticesAnswer;
    Reopen(Reopen) -> ReopenAnswer;
    UnstickRun(UnstickRun) -> UnstickRunAnswer;
    Delete(Delete) -> DeleteAnswer;
    Clean(Clean) -> CleanAnswer;
    RemoveGenerations(RemoveGenerations) -> RemoveGenerationsAnswer;
}

unconditional_requests! {
    ReturnNotice(ReturnNotice);
    Noticed(Noticed);
    RecordCounts(RecordCounts);
    Unstick(Unstick);
}

impl From<Replace> for Write {
    fn from(request: Replace) -> Self {
        Write::Replace(request)
    }
}

impl Request for Replace {
    type Answer = CreateAnswer;

    fn answer(answer: Answer) -> Option<Self::Answer> {
        NewRun::answer(answer)
    }
}

/// A write of any kind: its answer stays an [`Answer`].
impl Request for Write {
    type Answer = Answer;

    fn answer(answer: Answer) -> Option<Self::Answer> {
        Some(answer)
    }
}
