//! The interface between the engine and a database. It is unstable: any version of this library may change it.
//!
//! All writes pass through [`Store::commit`], which takes a group of independent writes; all other methods only read.
//! A store manages rows and their fences. It has no knowledge of workflows: journal bodies are opaque bytes.

mod answers;
mod listing;
mod memory;
mod migrations;
#[cfg(feature = "postgres")]
mod postgres;
mod removal;
mod requests;
mod rows;
mod size;
mod sqlite;
mod tokens;
mod words;
mod workers;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, try_join_all};

pub use self::answers::{
    Answer, AppendChunkAnswer, ClaimAnswer, ClaimNoticesAnswer, CleanAnswer, CreateAnswer, DeleteAnswer, DeliverAnswer,
    ReleaseAnswer, RemoveGenerationsAnswer, ReopenAnswer, Request, SendMessageAnswer, TurnAnswer, UnstickRunAnswer,
};
pub use self::listing::{Counts, Filter, Position};
pub use self::memory::MemoryStore;
#[doc(hidden)]
pub use self::migrations::Migration;
#[cfg(feature = "postgres")]
pub use self::postgres::{PostgresOptions, PostgresStore, Transaction, Transactions};
#[cfg(feature = "postgres")]
pub(crate) use self::postgres::{Recorded, refusal};
pub use self::removal::{Budget, Ended, Expired};
pub use self::requests::{
    AppendChunk, Claim, ClaimNotices, Clean, Delete, Deliver, Keep, NextGeneration, Noticed, RecordCounts, Release,
    RemoveGenerations, Reopen, Replace, ReturnNotice, SendMessage, Unstick, UnstickRun,
};
pub use self::rows::{
    About, Asked, Attributes, ChunkPage, ChunkRow, DeliveryRow, Execution, Fence, HourCount, InboxRow, JournalRow,
    Notice, OpenTokens, RowError, RunRow, TokenLabel, TokenRow, TokenState,
};
pub use self::sqlite::{Sizes, SqliteStore, Synchronous};
pub use self::workers::{Claimable, Deploy, DeploymentRow, NewWorker, Refused, Registration, WorkerRow};
pub use self::writes::{
    Attach, Binding, Child, Close, Continuation, Dedupe, Effects, Failed, First, Forward, Message, NewChunk, NewRun,
    Open, Outgoing, RowChange, Settle, Turn, Watch, Write,
};
use crate::environment::Environment;
use crate::error::Error;
pub use crate::model::{Figure, Status};

/// `wake_at` of a run that only an inbox message can wake. (Terminal, stuck and not yet begun runs have no `wake_at`.)
pub const NEVER: u64 = i64::MAX as u64;

/// [`Fence::owner`] of a run whose engine died; no engine uses this number.
const DEAD: u64 = u64::MAX;

/// A run's number inside one store.
pub type RunKey = i64;

/// Logs that cleaning dropped notices that had kept their runs from being removed.
fn log_dropped_notices(number: usize) {
    if number > 0 {
        tracing::warn!(
            number,
            "notices of runs that came to an end, or got stuck, are dropped: for seven days no engine has had a callback for them"
        );
    }
}

/// Rejects the two reserved owner numbers: another engine could claim a run whose owner is one of them while it executes.
fn assert_engine(owner: u64) {
    assert!(owner != 0 && owner != DEAD, "0 and u64::MAX are not the number of an engine");
}

/// The right to execute runs in a store. When it is dropped, the next engine that asks can acquire it.
pub trait Ownership: Send + Sync {
    /// Resolves when the right is lost or will be lost shortly: the engine must not execute anything under it afterwards.
    /// Never resolves if the right lasts until its process ends.
    fn lost(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    /// Whether the right is valid at this moment. The engine checks it before it executes anything: a process that was
    /// paused for a while may not have observed yet that the right is [lost](Ownership::lost).
    fn lasts(&self) -> bool {
        true
    }

    /// Called when the right is kept although its engine executes nothing any more: the store was replaced by another one
    /// at the same address, which no other engine may execute on until the right is given up.
    fn keep(&self) {}

    /// Whether the right may end without being taken or dropped. If not, the engine need not check whether it
    /// [lasts](Ownership::lasts).
    fn expires(&self) -> bool {
        true
    }

    /// Gives up the right, and resolves once another engine can acquire it.
    fn give_up(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// What a subscription to a run reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// The end of the run.
    End,
    /// Also new chunks of its streams.
    Chunks,
    /// Also new rows of its journal.
    Journal,
}

/// A subscription to a run, made by [`follow`](Store::follow): it lasts until it is dropped.
pub trait Following: Send + Sync {}

/// The runs under [subscription](Store::follow) that may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The store does not report which; any run may have changed, unless this engine is the only one that executes.
    Unsaid,
    /// Any of them.
    Any,
    /// These runs, by their ids.
    Runs(Vec<Arc<str>>),
}

/// A database of runs. Implementations pass the conformance suite in `tests`.
pub trait Store: Send + Sync + 'static {
    /// Commits a group of writes and returns an answer for each, in order. Several writes of a group can concern the same run:
    /// they take effect in order. Groups that are independent of each other can commit in parallel. The writes of a group are
    /// committed together, or in parts: if one of these fails, the error has the answers of the writes that were
    /// [committed](Failed::committed).
    fn commit<'a>(&'a self, group: &'a [Write]) -> BoxFuture<'a, Result<Vec<Answer>, Failed>>;

    /// Whether [`commit`](Store::commit) blocks its thread; if so, the engine runs it on a dedicated thread.
    fn blocks(&self) -> bool {
        false
    }

    /// Requests the right to execute runs in this store as `owner`. On success every run that another engine owned is
    /// orphaned: its `wake_at` stays, or becomes 0 if inbox messages are pending, and its next claim counts as a
    /// recovery. Further writes of the former owner are refused. Returns `None` if a live engine has the right;
    /// repeated requests are cheap.
    fn acquire(&self, owner: u64) -> BoxFuture<'_, Result<Option<Box<dyn Ownership>>, Error>>;

    /// The process that has the right to execute, if the store that it has open was replaced by this one: until it ends,
    /// no engine can execute on this store.
    fn blocked_by(&self) -> BoxFuture<'_, Result<Option<u32>, Error>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Publishes the catalogue of an engine that executes or is ready to execute, under the number with which it has
    /// requested the right. Also removes the catalogues of deployments that have no worker and no unfinished run that
    /// is bound to them. Registering again, after the former registration was dropped, replaces what was published.
    /// Returns `None` if the registration lasts as long as the right.
    fn register<'a>(&'a self, worker: &'a NewWorker) -> BoxFuture<'a, Result<Option<Box<dyn Registration>>, Error>> {
        let _ = worker;
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Changes the deployments. Returns the number of changed runs, or of changed deployments if the change concerns no
    /// runs: 0 if the deployment is unknown, if no run requires it, or if no worker executes alone.
    fn deploy<'a>(&'a self, change: &'a Deploy) -> BoxFuture<'a, Result<u64, Error>>;

    /// Lists the registered workers, the earliest first.
    fn workers(&self) -> BoxFuture<'_, Result<Vec<WorkerRow>, Error>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Lists the deployments whose catalogues are stored.
    fn deployments(&self) -> BoxFuture<'_, Result<Vec<DeploymentRow>, Error>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Closes what the store holds open, once an engine has shut down and made its last write. A later call opens it again.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// How long an engine retries while it is being opened and the store cannot be reached.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    /// Reads a run by its id.
    fn run<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<RunRow>, Error>>;

    /// Reads at most `limit` rows of a journal, starting at an index.
    fn journal(
        &self,
        run: RunKey,
        generation: u64,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>>;

    /// Reads the first rows of several journals, at most `limit` of each, in the order of the runs and their generations.
    fn journals(&self, runs: Vec<(RunKey, u64)>, limit: usize) -> BoxFuture<'_, Result<Vec<Vec<JournalRow>>, Error>> {
        let read = move |(run, generation)| self.journal(run, generation, 0, limit);
        Box::pin(try_join_all(runs.into_iter().map(read)))
    }

    /// Reads the last row of a journal.
    fn last(&self, run: RunKey, generation: u64) -> BoxFuture<'_, Result<Option<JournalRow>, Error>>;

    /// Reads the inbox messages of a run, oldest first, and the `inbox_seq` of the same moment.
    fn inbox(&self, run: RunKey) -> BoxFuture<'_, Result<(u64, Vec<InboxRow>), Error>>;

    /// Reads the state of a run as JSON, after its last committed turn.
    fn state<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Option<Arc<str>>, Error>>;

    /// Reads the attributes of a run, ordered by key.
    fn attributes<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Attributes, Error>>;

    /// Lists at most `limit` runs that match a filter and follow a position, newest first, from one snapshot.
    fn list<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<Position>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RunRow>, Error>>;

    /// Counts the runs that match a filter, by status, from one snapshot; statuses without runs are omitted. A status with more
    /// than `most` runs may be counted to `most` or further.
    fn counts<'a>(&'a self, filter: &'a Filter, most: usize) -> BoxFuture<'a, Result<Counts, Error>>;

    /// Lists the [recorded counts](RecordCounts) of this hour and later hours, the earliest hour first.
    fn hour_counts(&self, from: u64) -> BoxFuture<'_, Result<Vec<HourCount>, Error>>;

    /// The latest ended run of this terminal status, after the `most` latest ones are skipped.
    fn ended_before(&self, status: Status, most: u64) -> BoxFuture<'_, Result<Option<Ended>, Error>>;

    /// Lists at most `limit` runs that have [continued as new](RunRow::continuations) at least `least` times (at least once)
    /// since the first generation whose journal is kept, ordered by the number of continuations, then by key, after `after`.
    fn continued(
        &self,
        least: u64,
        after: Option<(u64, RunKey)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, Error>>;

    /// Lists at most `limit` notices of runs that reached these statuses, with a sequence greater than `after`: those whose
    /// callbacks were not called yet, whether an engine has [claimed](ClaimNotices) them or not.
    fn notices<'a>(
        &'a self,
        statuses: &'a [Status],
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Notice>, Error>>;

    /// Lists the ids of the child runs that a run has started, in order; includes the children of a deleted run that
    /// had the same id.
    fn children<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Vec<Arc<str>>, Error>>;

    /// Lists the open tokens of a run and of its descendants (through runs that have not ended), ordered by name.
    fn open_tokens(&self, run: RunKey) -> BoxFuture<'_, Result<OpenTokens, Error>>;

    /// Reads the delivery that a token [accepted](Write::Deliver) under a key, if the key is still known at `now`.
    fn delivery<'a>(
        &'a self,
        token: &'a str,
        key: &'a str,
        now: u64,
    ) -> BoxFuture<'a, Result<Option<DeliveryRow>, Error>>;

    /// Reads a token.
    fn token<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Option<TokenRow>, Error>>;

    /// Reads at most `limit` chunks of a stream, starting at an index; fewer if they are large (but at least one, if there
    /// is one).
    fn chunks<'a>(
        &'a self,
        run: RunKey,
        stream: &'a str,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<ChunkPage, Error>>;

    /// Lists the names of a run's streams, in the order of their first chunks.
    fn streams(&self, run: RunKey) -> BoxFuture<'_, Result<Vec<Arc<str>>, Error>>;

    /// Lists each run that this engine owns and whose inbox has received messages since the previous call, once. If the call
    /// fails, or its future is dropped, nothing is lost: a later call reports the same runs. Only one caller at a time may
    /// use it.
    fn news(&self, owner: u64) -> BoxFuture<'_, Result<Vec<RunKey>, Error>>;

    /// What an engine of this deployment can claim now or later, and what builds have refused.
    fn claimable<'a>(&'a self, deployment: &'a str) -> BoxFuture<'a, Result<Claimable, Error>>;

    /// Subscribes to a run that another engine may own, for stores whose [`changed`](Store::changed) does not report such
    /// runs otherwise. Reports changes from the subscription until it is dropped; the caller must read the run once after
    /// subscribing to see earlier changes. Returns `None` if this store needs no subscriptions.
    fn follow<'a>(
        &'a self,
        run: RunKey,
        id: &'a Arc<str>,
        what: Follow,
    ) -> BoxFuture<'a, Result<Option<Box<dyn Following>>, Error>> {
        let _ = (run, id, what);
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Subscribes to changes of all runs that other engines make, for stores whose [`changed`](Store::changed) does not report
    /// them otherwise: [`followed`](Store::followed) is then [`Followed::Any`] soon after a change, until the subscription is
    /// dropped. Returns `None` if this store needs no subscriptions.
    fn follow_all(&self) -> Option<Box<dyn Following>> {
        None
    }

    /// The runs under [subscription](Store::follow) for which [`changed`](Store::changed) has resolved since the last call.
    fn followed(&self) -> Followed {
        Followed::Unsaid
    }

    /// The clock of the database server, in milliseconds since 1970, if the store has a server. All engines on the store use
    /// this clock instead of their own. The call costs no round trip: the time derives from earlier answers of the server.
    /// The clock may jump like any clock; the engine hides that from runs. Without a server the engine uses the clock of its
    /// [`Environment`].
    fn server_time(&self) -> Option<u64> {
        None
    }

    /// Begins the transactions of steps, if the store supports them.
    #[cfg(feature = "postgres")]
    fn transactions(&self) -> Option<Transactions> {
        None
    }

    /// Resolves when a writer other than this store's own [`commit`](Store::commit) has, or may have, changed something that
    /// concerns other engines since it last resolved. Only one caller at a time; dropping the future loses nothing. A
    /// right that becomes free (see [`acquire`](Store::acquire)) may go unreported: its owner may have crashed.
    fn changed<'a>(&'a self, environment: &'a dyn Environment) -> BoxFuture<'a, ()>;
}
