//! The writes of a store, except new runs and turns.

use std::sync::Arc;

use super::{Budget, Execution, Expired, Fence, Figure, JournalRow, Message, NewChunk, NewRun, RunKey, Status};

/// Puts a message into a run's inbox, increments `inbox_seq` and sets `wake_at` to 0, unless the run has no `wake_at`:
/// [`Committed`](super::SendMessageAnswer::Committed), or [`Unknown`](super::SendMessageAnswer::Unknown) if there is no such run.
#[derive(Clone, Debug)]
pub struct SendMessage {
    /// The run's id.
    pub run: Arc<str>,
    /// The message.
    pub message: Message,
    /// Whether a stuck run also becomes due, as with [`UnstickRun`].
    pub unstick: bool,
}

/// Puts a payload into the inbox of the run that owns the token, as [`SendMessage`] does:
/// [`Committed`](super::DeliverAnswer::Committed).
///
/// A payload that was accepted before under the same key is `Committed` and not delivered again, whichever run has the token
/// now, or [`KeyReused`](super::DeliverAnswer::KeyReused) if the payload differs. A refused payload is not recorded:
/// [`Finished`](super::DeliverAnswer::Finished) if the token's run has ended, [`Taken`](super::DeliverAnswer::Taken) or
/// [`Disposed`](super::DeliverAnswer::Disposed) if it has not, [`Stale`](super::DeliverAnswer::Stale) if the token waits for
/// the answer to another [suspension](Deliver::asked), or [`Unknown`](super::DeliverAnswer::Unknown).
///
/// If the run has not reached the token's operation, the token keeps the payload until it does. A token without a run (any
/// more) keeps the payload if [`hold_until`](Deliver::hold_until) is set: a held payload counts as accepted.
#[derive(Clone, Debug)]
pub struct Deliver {
    /// The token.
    pub token: Arc<str>,
    /// The event of the payload; its `dedupe` is ignored.
    pub message: Message,
    /// Identifies the delivery among those to the token.
    pub key: Arc<str>,
    /// The token under which the key is recorded, if it is not `token`.
    pub scope: Option<Arc<str>>,
    /// Ignores deliveries that were recorded under the key before this time, in milliseconds since 1970.
    pub since: u64,
    /// SHA-256 of the payload.
    pub digest: [u8; 32],
    /// How long the key is kept.
    pub keep: Keep,
    /// The [suspension](super::Asked::id) that it answers: refused unless the token belongs to that suspension.
    pub asked: Option<Arc<str>>,
    /// Until when it is held for a run that does not exist, in milliseconds since 1970.
    pub hold_until: Option<u64>,
    /// The current time, in milliseconds since 1970: keys and held payloads that expired before it are ignored.
    pub now: u64,
}

impl Deliver {
    /// The token under which the key is recorded.
    pub(super) fn scope(&self) -> &Arc<str> {
        self.scope.as_ref().unwrap_or(&self.token)
    }
}

/// How long the key of a delivery is kept, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// From the delivery on: it covers a sender that retries because the answer was lost.
    FromDelivery(u64),
    /// From the delivery or from the end of the run that received it, whichever is later. The key of a payload that is held
    /// without a run is kept as long as the payload.
    FromEnd(u64),
}

/// Gives up ownership of a run if no message arrived after `inbox_seq`: [`Committed`](super::ReleaseAnswer::Committed),
/// [`Unread`](super::ReleaseAnswer::Unread) if one did (the owner keeps it), or [`Fenced`](super::ReleaseAnswer::Fenced).
#[derive(Clone, Debug)]
pub struct Release {
    /// The run.
    pub run: RunKey,
    /// The fence of the writer.
    pub fence: Fence,
    /// [`RunRow::inbox_seq`](super::RunRow::inbox_seq) as the writer last read it.
    pub inbox_seq: u64,
}

/// Claims runs that are due and have no owner (or whose owner died): [`Claimed`](super::ClaimAnswer::Claimed). Takes the
/// longest overdue run of each workflow first, then the next of each, so that no workflow starves another. Each run gets
/// the owner and the next epoch; a run whose owner died gets `recoveries` incremented, or set to 1 if its journal grew
/// since the last recovery. [`Fenced`](super::ClaimAnswer::Fenced) if `owner` is not the engine that executes in this store.
///
/// A run that requires a deployment is claimed by that one only, and a run that was [refused](super::RowChange::refused_by) only if
/// `refused` has its refusers, or `refused_bound` if it requires the deployment.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The engine.
    pub owner: u64,
    /// The current time, in milliseconds since 1970: runs whose `wake_at` is not later are due.
    pub now: u64,
    /// The ids of the workflows that the engine has registered; runs of other workflows are not claimed.
    pub workflows: Arc<[&'static str]>,
    /// The deployment of the engine.
    pub deployment: Arc<str>,
    /// The [refusers](super::RowChange::refused_by) of the refused runs that are claimed, too.
    pub refused: Arc<[Arc<str>]>,
    /// The refusers of the refused runs that are claimed, too, if they require `deployment`.
    pub refused_bound: Arc<[Arc<str>]>,
    /// Maximum number of runs, not counting those of `again`.
    pub limit: usize,
    /// Also returns the runs that `owner` already owns, due or not, unchanged (their epoch stays): sent after a claim whose
    /// outcome is in doubt. The engine skips the runs that it is executing.
    pub again: bool,
}

/// Appends a chunk of a step, or closes the stream: [`Committed`](super::AppendChunkAnswer::Committed), also if it is there
/// already; [`Fenced`](super::AppendChunkAnswer::Fenced) if the run has another owner or the attempt was settled;
/// [`Finished`](super::AppendChunkAnswer::Finished) if this run or the stream's run has ended; `Closed`; or `Full`.
#[derive(Clone, Debug)]
pub struct AppendChunk {
    /// The run.
    pub run: RunKey,
    /// The engine; together with the epoch of the execution it forms the fence.
    pub owner: u64,
    /// The attempt that writes.
    pub execution: Execution,
    /// The id of the run that the stream belongs to, if it is another run.
    pub into: Option<Arc<str>>,
    /// The chunk.
    pub chunk: NewChunk,
    /// Maximum number of chunks of a stream.
    pub most: u64,
}

/// Claims unclaimed [notices](super::Store::notices) of these statuses, those first that have been free for longest:
/// [`Claimed`](super::ClaimNoticesAnswer::Claimed). No other engine can claim them for 60 seconds, unless `owner` loses
/// the right to execute. [`Fenced`](super::ClaimNoticesAnswer::Fenced) if `owner` does not execute in this store.
#[derive(Clone, Debug)]
pub struct ClaimNotices {
    /// The engine.
    pub owner: u64,
    /// The current time, in milliseconds since 1970; must differ between the claims of an engine. A claim that is sent again
    /// because its answer was lost has the same time, and claims the same notices once more.
    pub now: u64,
    /// The statuses.
    pub statuses: Arc<[Status]>,
    /// Maximum number of notices.
    pub limit: usize,
}

/// Returns a claimed [notice](super::Store::notices) because its callbacks have failed. Does nothing if `owner` no longer
/// has the claim.
#[derive(Clone, Debug)]
pub struct ReturnNotice {
    /// Its sequence.
    pub sequence: u64,
    /// The engine.
    pub owner: u64,
    /// When it can be claimed again, in milliseconds since 1970.
    pub until: u64,
}

/// Deletes a [notice](super::Store::notices), whichever engine has claimed it.
#[derive(Clone, Debug)]
pub struct Noticed {
    /// Its sequence.
    pub sequence: u64,
}

/// Restarts a run that has failed or was cancelled as a new generation, together with other such runs, all or none:
/// [`Committed`](super::ReopenAnswer::Committed), also if its inbox has received these messages before;
/// [`Fenced`](super::ReopenAnswer::Fenced) if it has not ended so in this generation;
/// [`Unknown`](super::ReopenAnswer::Unknown); or [`Changed`](super::ReopenAnswer::Changed) if another of them has not.
///
/// Each run becomes `running`, due at once and without an owner. The journals of earlier generations are kept. Unread
/// messages that the new generation does not replace move to it: its operations have the same numbers. Messages that arrived
/// too late for the ended generation become unread, and stay with it.
#[derive(Clone, Debug)]
pub struct Reopen {
    /// The run.
    pub run: NextGeneration,
    /// The descendants that restart with it, each once; a run that waits for others follows those that it waits for.
    pub below: Vec<NextGeneration>,
}

/// The new generation of a run that has ended.
#[derive(Clone, Debug)]
pub struct NextGeneration {
    /// The run.
    pub run: RunKey,
    /// The generation that has ended.
    pub generation: u64,
    /// The journal of the new generation, from index 0.
    pub rows: Vec<JournalRow>,
    /// At least one message, with a dedupe key.
    pub messages: Vec<Message>,
    /// The payloads that the run receives again, after these messages, each with the operation that it is about.
    pub payloads: Vec<(u64, Message)>,
    /// The sequences of the inbox messages that they replace: these are deleted.
    pub replaced: Vec<u64>,
    /// The state of the run at the end of the journal; it replaces the present one.
    pub state: Option<Arc<str>>,
    /// The attributes that the run has changed after the end of the journal, with the values to which they are set; `None` removes
    /// one.
    pub attributes: Vec<(Arc<str>, Option<Arc<str>>)>,
}

/// Makes a stuck run due for every build, and clears its refusers, unlike [`Unstick`]. `Committed`, also if it is not
/// stuck, or `Unknown`.
#[derive(Clone, Debug)]
pub struct UnstickRun {
    /// The run's id.
    pub run: Arc<str>,
}

/// Replaces a run that has failed or was cancelled by a new run with the same id: [deletes](Delete) the old run and creates
/// the new one, both or neither. If the old run is missing or has not ended so, this is the same as the [`NewRun`] alone.
#[derive(Clone, Debug)]
pub struct Replace {
    /// The run to delete.
    pub run: RunKey,
    /// How much of its rows is removed at once.
    pub most: Budget,
    /// The run to create; it must not [begin](super::First::Begin) an existing run.
    pub new: NewRun,
}

/// Deletes a run that has ended, or that is pending and was never due: [`Committed`](super::DeleteAnswer::Committed),
/// [`Unended`](super::DeleteAnswer::Unended), or [`Unknown`](super::DeleteAnswer::Unknown). Nothing remains but its id in
/// the rows of its children: writes under its fences are refused, and its id is free. Of its journals, messages, streams
/// and tokens that are not open, up to `most` are removed in the same transaction; [`Clean`] removes the others.
#[derive(Clone, Debug)]
pub struct Delete {
    /// The run.
    pub run: RunKey,
    /// How much is removed in the same transaction.
    pub most: Budget,
    /// The message for the runs that wait for a run that was never due, in place of the end of that run.
    pub deletion_message: Message,
}

/// Removes a part of the rows that are no longer needed: a [`CleanAnswer`](super::CleanAnswer). Removes rows of deleted runs
/// and of [removed generations](RemoveGenerations);
/// `expired` runs, except those with pending [notices](super::Store::notices); payloads that were held until `now`, with
/// the tokens that have no run; deliveries whose keys have expired; dedupe keys of messages that do not last; and
/// [notices](super::Store::notices) unclaimed for seven days, which keep their runs. No-op while another engine cleans.
#[derive(Clone, Debug)]
pub struct Clean {
    /// For each status, the last run to remove.
    pub expired: Vec<Expired>,
    /// The current time, in milliseconds since 1970.
    pub now: u64,
    /// Removes dedupe keys of messages that arrived before this time, in milliseconds since 1970.
    pub messages_before: u64,
    /// Maximum number of runs.
    pub runs: usize,
    /// How many of the rows that they left, and of other rows.
    pub most: Budget,
}

/// Records how many runs there are, for charts of the last hours. A count that is recorded already for the same hour and
/// figure stays. Also removes the counts of hours before `kept_from`.
#[derive(Clone, Debug)]
pub struct RecordCounts {
    /// The hour, counted from 1970.
    pub hour: u64,
    /// The numbers of runs.
    pub counts: Vec<(Figure, u64)>,
    /// The first hour whose counts are kept.
    pub kept_from: u64,
}

/// Removes the journals of a run's oldest generations: a [`RemoveGenerationsAnswer`](super::RemoveGenerationsAnswer). The
/// run's row then names the first generation kept and the index of its first event. Up to `most` rows are removed in the
/// same transaction; [`Clean`] removes the others, which no reader treats as part of a journal any more.
#[derive(Clone, Debug)]
pub struct RemoveGenerations {
    /// The run.
    pub run: RunKey,
    /// The first generation whose journal is kept so far: if it differs, nothing is removed.
    pub from: u64,
    /// The first generation whose journal is kept from then on.
    pub until: u64,
    /// The index of the first event of that generation.
    pub first_event: u64,
    /// How many of the removed generations have continued as new.
    pub continuations: u64,
    /// How much is removed in the same transaction.
    pub most: Budget,
}

/// Makes the stuck runs with these [refusers](super::RowChange::refused_by) due, for an engine that is none of these: clears their
/// owner and their `stuck` text, sets their status to `running` and their `recoveries` to 0. Their refusers stay.
#[derive(Clone, Debug)]
pub struct Unstick {
    /// The refusers, as [`Claimable::refused`](super::Claimable::refused) has them.
    pub refused: Arc<[Arc<str>]>,
    /// The workflows of the engine: runs of others stay as they are.
    pub workflows: Arc<[&'static str]>,
    /// The deployment of the engine: runs that require another one stay as they are.
    pub deployment: Arc<str>,
}
