//! What a store answers to its writes: a type for each kind of write.

use super::{
    AppendChunk, Claim, ClaimNotices, Clean, Delete, Deliver, NewRun, Notice, Noticed, Post, Release,
    RemoveGenerations, Reopen, Replace, ReturnNotice, RunKey, RunRow, Turn, Unstick, UnstickRun, Write,
};

/// A write whose answer has a type of its own.
pub trait Request: Into<Write> {
    /// What the store can answer to it.
    type Answer;

    /// The answer to this kind of write; nothing if it is the answer to another kind, which is a fault of the store.
    fn answer(answer: Answer) -> Option<Self::Answer>;
}

/// The answer to a [`Write::Create`] or a [`Write::Replace`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateAnswer {
    /// The run is created, or was by this very write before.
    Created(RunKey),
    /// There is a run with this id.
    Exists(Box<RunRow>),
    /// The engine that is to take its first turn has not the right to execute.
    Fenced,
    /// There is no run that could begin.
    Unknown,
}

/// The answer to a [`Write::Turn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnAnswer {
    /// It is durable.
    Committed,
    /// It is durable, the run has ended, and the runs that waited for its end have got messages.
    CommittedAndNotified,
    /// The run is not, or no longer, the writer's.
    Fenced,
}

/// The answer to a [`Write::Post`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostAnswer {
    /// It is durable.
    Committed,
    /// There is no such run.
    Unknown,
}

/// The answer to a [`Write::Deliver`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliverAnswer {
    /// It is durable.
    Committed,
    /// There is no such token.
    Unknown,
    /// The hook of the token was dropped.
    Disposed,
    /// The hook of the token has got the only payload that it takes.
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
    /// The run is nobody's.
    Committed,
    /// A message came that the owner has not seen: the run stays with it.
    Unread,
    /// The run is not, or no longer, the writer's.
    Fenced,
}

/// The answer to a [`Write::Claim`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimAnswer {
    /// The claimed runs, as they are now.
    Claimed(Vec<RunRow>),
    /// The engine has not the right to execute.
    Fenced,
}

/// The answer to a [`Write::AppendChunk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendChunkAnswer {
    /// It is durable.
    Committed,
    /// The run is not, or no longer, the writer's, or the attempt has ended.
    Fenced,
    /// The run has ended that writes, or the one whose stream it is.
    Finished,
    /// The stream was closed.
    Closed,
    /// The stream has as many chunks as it may have.
    Full,
}

/// The answer to a [`Write::Reopen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReopenAnswer {
    /// It is durable.
    Committed,
    /// The run has not failed, and was not cancelled, in this generation.
    Fenced,
    /// There is no such run.
    Unknown,
    /// One of the runs below it is not as it was seen.
    Changed,
}

/// The answer to a [`Write::UnstickRun`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnstickRunAnswer {
    /// The run is not stuck (any more).
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
    /// The notices that the engine holds now.
    Claimed(Vec<Notice>),
    /// The engine does not execute in this store.
    Fenced,
}

/// The answer to a [`Write::Clean`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanAnswer {
    /// Whether there is more to be removed.
    pub more: bool,
}

/// The answer to a [`Write::RemoveGenerations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoveGenerationsAnswer {
    /// It is durable.
    Committed,
    /// There is no such run (any more), or the first generation whose journal is kept is another one.
    Unknown,
}

/// One answer of a group, in the place of its write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a [`Write::Create`] or a [`Write::Replace`].
    Create(CreateAnswer),
    /// To a [`Write::Turn`].
    Turn(TurnAnswer),
    /// To a [`Write::Post`].
    Post(PostAnswer),
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
    /// To a [`Write::RemoveGenerations`].
    RemoveGenerations(RemoveGenerationsAnswer),
    /// To a [`Write::Unstick`].
    Unstick,
}

/// What makes a write a [`Request`], and its answer an [`Answer`].
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

/// The same for a write that is always done.
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
    Post(Post) -> PostAnswer;
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

/// Of any kind: the answer is as the store gives it.
impl Request for Write {
    type Answer = Answer;

    fn answer(answer: Answer) -> Option<Self::Answer> {
        Some(answer)
    }
}
