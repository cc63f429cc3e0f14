//! The writes that are neither a new run nor a turn.

use std::sync::Arc;

use super::{Budget, Execution, Expired, Fence, JournalRow, Letter, NewChunk, NewRun, RunKey, Status};

/// Puts a letter into a run's inbox, raises `inbox_seq` and pulls `wake_at` to 0, unless the run has none:
/// [`Committed`](super::PostAnswer::Committed), or [`Unknown`](super::PostAnswer::Unknown) if there is no such run.
#[derive(Clone, Debug)]
pub struct Post {
    /// The run's id.
    pub run: Arc<str>,
    /// The event.
    pub letter: Letter,
    /// Whether a stuck run becomes due as well, as by [`Unstick`].
    pub unstick: bool,
}

/// Puts a payload into the inbox of the run whose token it is sent to, as [`Post`] does:
/// [`Committed`](super::DeliverAnswer::Committed).
///
/// One that was accepted before under the same key is `Committed` and goes nowhere, whoever has the token now, or
/// [`KeyReused`](super::DeliverAnswer::KeyReused) if it was another payload. Otherwise it is refused, and nothing is recorded of it, with
/// [`Finished`](super::DeliverAnswer::Finished) if the run has ended that had the token, [`Taken`](super::DeliverAnswer::Taken) or
/// [`Disposed`](super::DeliverAnswer::Disposed) if it has not, [`Stale`](super::DeliverAnswer::Stale) if the token waits for the
/// answer to another [suspension](Deliver::asked), or [`Unknown`](super::DeliverAnswer::Unknown).
///
/// A token whose run has not come to the operation keeps the payload until it does. So does one that has no run (any
/// more), if [`hold_until`](Deliver::hold_until) says so: while it is held it counts as accepted.
#[derive(Clone, Debug)]
pub struct Deliver {
    /// The token.
    pub token: Arc<str>,
    /// The payload's event; its `dedupe` is not looked at.
    pub letter: Letter,
    /// Which delivery to the token it is.
    pub key: Arc<str>,
    /// The token under which the key is known, if it is not `token`.
    pub scope: Option<Arc<str>>,
    /// What was accepted under the key before this time, in milliseconds since 1970, was something else.
    pub since: u64,
    /// SHA-256 of the payload.
    pub digest: [u8; 32],
    /// How long the key is known.
    pub keep: Keep,
    /// The [suspension](super::Asked::id) that it answers: the token's own one, or it is refused.
    pub asked: Option<Arc<str>>,
    /// How long it is kept for a run that is not there, in milliseconds since 1970.
    pub hold_until: Option<u64>,
    /// The time, in milliseconds since 1970: what was kept until then is gone.
    pub now: u64,
}

impl Deliver {
    /// The token under which its key is known.
    pub(super) fn scope(&self) -> &Arc<str> {
        self.scope.as_ref().unwrap_or(&self.token)
    }
}

/// How long the key of a delivery is known, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// From the delivery on: it is there for one that is sent again since its answer was lost.
    FromDelivery(u64),
    /// From the delivery or from the end of the run that has got it, whichever is later. One that is held for nobody is known
    /// as long as it is held.
    FromEnd(u64),
}

/// Gives a run back, if no letter came since `inbox_seq` was seen: [`Committed`](super::ReleaseAnswer::Committed), [`Unread`](super::ReleaseAnswer::Unread) if one
/// came (the run stays with its owner), or [`Fenced`](super::ReleaseAnswer::Fenced).
#[derive(Clone, Debug)]
pub struct Release {
    /// The run.
    pub run: RunKey,
    /// Who writes.
    pub fence: Fence,
    /// [`RunRow::inbox_seq`](super::RunRow::inbox_seq) as last seen.
    pub inbox_seq: u64,
}

/// Takes runs that nobody holds (or that a dead engine held) and that are due: [`Claimed`](super::ClaimAnswer::Claimed). The longest overdue
/// of each workflow comes first, then the next of each, so that no workflow waits for all of another. Each gets the
/// owner and the next epoch; one that a dead engine held has `recoveries` raised, or set to 1 if its journal grew
/// since it was last raised. [`Fenced`](super::ClaimAnswer::Fenced) if `owner` is not the engine that executes in this store.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The engine.
    pub owner: u64,
    /// The time, in milliseconds since 1970: runs with `wake_at` up to it are due.
    pub now: u64,
    /// The ids of the workflows that the engine has; runs of others are left alone.
    pub workflows: Arc<[&'static str]>,
    /// How many at the most, those of `again` not counted.
    pub limit: usize,
    /// Also those that `owner` holds already, due or not, as they are (their epoch stays): after a claim whose
    /// outcome is in doubt. The engine passes over those that it is executing.
    pub again: bool,
}

/// Appends a chunk that a step writes, or closes the stream: [`Committed`](super::AppendChunkAnswer::Committed), also if it is there already;
/// [`Fenced`](super::AppendChunkAnswer::Fenced) if the run is not the writer's any more or the attempt was settled, [`Finished`](super::AppendChunkAnswer::Finished) if the
/// run has ended or the one whose stream it is, [`Closed`](super::AppendChunkAnswer::Closed), or [`Full`](super::AppendChunkAnswer::Full).
#[derive(Clone, Debug)]
pub struct AppendChunk {
    /// The run.
    pub run: RunKey,
    /// The engine; with the execution's epoch it is the fence.
    pub owner: u64,
    /// Who writes.
    pub execution: Execution,
    /// The id of the run whose stream it is, if it is another one.
    pub into: Option<Arc<str>>,
    /// What is written.
    pub chunk: NewChunk,
    /// How many chunks a stream may have.
    pub most: u64,
}

/// Claims [notices](super::Store::notices) of these statuses that are free, those first that have been free for longest:
/// [`Claimed`](super::ClaimNoticesAnswer::Claimed). Nobody else can claim one of them for 60 seconds, unless `owner` loses the right
/// to execute before. [`Fenced`](super::ClaimNoticesAnswer::Fenced) if `owner` does not execute in this store.
#[derive(Clone, Debug)]
pub struct ClaimNotices {
    /// The engine.
    pub owner: u64,
    /// The time, in milliseconds since 1970; of each claim of an engine another one. A claim that is sent again, after its answer
    /// was lost, claims the same notices once more.
    pub now: u64,
    /// The statuses.
    pub statuses: Arc<[Status]>,
    /// How many at the most.
    pub limit: usize,
}

/// Gives a [notice](super::Store::notices) back that was claimed, because its callbacks have failed. Nothing happens if `owner` does
/// not hold it any more.
#[derive(Clone, Debug)]
pub struct ReturnNotice {
    /// Its sequence.
    pub sequence: u64,
    /// The engine.
    pub owner: u64,
    /// When it is free again, in milliseconds since 1970.
    pub until: u64,
}

/// Takes a [notice](super::Store::notices) away, whoever holds it.
#[derive(Clone, Debug)]
pub struct Noticed {
    /// Its sequence.
    pub sequence: u64,
}

/// Lets a run that has failed or was cancelled go on as a new generation, and other such runs with it, all or none:
/// [`Committed`](super::ReopenAnswer::Committed), also if its very letters came before; [`Fenced`](super::ReopenAnswer::Fenced) if it
/// has not ended so in this generation; [`Unknown`](super::ReopenAnswer::Unknown); or [`Changed`](super::ReopenAnswer::Changed) if
/// one of the others has not ended so, or is gone.
///
/// Each is nobody's, `running` and due at once. The journals of the generations before stay. Letters that are unread are the
/// next one's, whose operations have the same numbers; those that came too late for the one that has ended are unread from
/// then on, and stay that one's.
#[derive(Clone, Debug)]
pub struct Reopen {
    /// The run.
    pub run: NextGeneration,
    /// The runs below it that go on with it, each once, and those that wait for others behind these.
    pub below: Vec<NextGeneration>,
}

/// The generation as which a run goes on that has ended.
#[derive(Clone, Debug)]
pub struct NextGeneration {
    /// The run.
    pub run: RunKey,
    /// The generation that has ended.
    pub generation: u64,
    /// The journal of the next one, from index 0.
    pub rows: Vec<JournalRow>,
    /// At least one, with a dedupe key.
    pub letters: Vec<Letter>,
}

/// Makes a stuck run due, as [`Unstick`]: [`Committed`](super::UnstickRunAnswer::Committed), also if it is not stuck, or [`Unknown`](super::UnstickRunAnswer::Unknown).
#[derive(Clone, Debug)]
pub struct UnstickRun {
    /// The run's id.
    pub run: Arc<str>,
}

/// Creates a run in the place of one that has its id and has failed or was cancelled: that is [deleted](Delete), and this one
/// created, both or neither. The answer is that to the [`NewRun`] by itself, which it is if that run is gone or has not ended so.
#[derive(Clone, Debug)]
pub struct Replace {
    /// The run that goes.
    pub run: RunKey,
    /// How much of what it leaves is removed at the most.
    pub most: Budget,
    /// The run that comes, which does not [begin](super::First::Begin) one that is there.
    pub new: NewRun,
}

/// Deletes a run that has ended, or that is pending and was never due: [`Committed`](super::DeleteAnswer::Committed), [`Unended`](super::DeleteAnswer::Unended), or
/// [`Unknown`](super::DeleteAnswer::Unknown) if there is no such run. At once there is no trace of it but its id in the rows of its
/// children: who writes under a fence of it is refused, and its id can be taken. Of the rows that it had, its journals,
/// letters, streams and tokens that are not open, `most` go with it; the others are for [`Clean`].
#[derive(Clone, Debug)]
pub struct Delete {
    /// The run.
    pub run: RunKey,
    /// How much is removed at the most.
    pub most: Budget,
    /// What those are told, as of the end of a run, that wait for one that was never due.
    pub deletion_message: Letter,
}

/// Removes a part of what nobody keeps: a [`CleanAnswer`](super::CleanAnswer). It is what deleted runs and [removed
/// generations](RemoveGenerations) have left; runs that have
/// `expired`, those excepted whose end is [yet to be told](super::Store::notices); payloads that were held until `now`, with
/// the tokens that nobody has; deliveries that are not known any longer; keys of letters that do not last; and
/// [notices](super::Store::notices) that nobody has claimed for seven days, since they keep their runs. Another engine that is about it leaves nothing to do.
#[derive(Clone, Debug)]
pub struct Clean {
    /// Of each status up to which run.
    pub expired: Vec<Expired>,
    /// The time, in milliseconds since 1970.
    pub now: u64,
    /// Keys of letters that came before this time go, in milliseconds since 1970.
    pub letters_before: u64,
    /// How many runs at the most.
    pub runs: usize,
    /// How much of what they have left, and how many of other rows.
    pub most: Budget,
}

/// Removes the journals of a run's oldest generations: a [`RemoveGenerationsAnswer`](super::RemoveGenerationsAnswer). From then on
/// the run's row names the first generation that is kept and the index of its first event; both change with the rows: of those,
/// `most` go in the same transaction, and the others, which no reader takes for a journal any more, are for [`Clean`].
#[derive(Clone, Debug)]
pub struct RemoveGenerations {
    /// The run.
    pub run: RunKey,
    /// The first generation whose journal was kept so far: if it is another one, nothing is removed.
    pub from: u64,
    /// The first generation whose journal is kept.
    pub until: u64,
    /// The index of the first event of that generation.
    pub first_event: u64,
    /// How many of the removed generations have continued as new.
    pub continuations: u64,
    /// How much is removed at once.
    pub most: Budget,
}

/// Makes stuck runs due whose `stuck` text does not contain `build`. They become nobody's,
/// their status `running`, their `recoveries` 0, and they have no `stuck` text any more.
#[derive(Clone, Debug)]
pub struct Unstick {
    /// The build that must have changed.
    pub build: String,
}
