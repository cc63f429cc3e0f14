//! What the engine needs of a database.
//!
//! Everything that is written goes through [`Store::commit`], a group of independent writes at a time; the rest reads.
//! A store knows rows and their fences, and no workflow: journal bodies are bytes to it.

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
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use self::answers::{
    Answer, AppendChunkAnswer, ClaimAnswer, ClaimNoticesAnswer, CleanAnswer, CreateAnswer, DeleteAnswer, DeliverAnswer,
    PostAnswer, ReleaseAnswer, RemoveGenerationsAnswer, ReopenAnswer, Request, TurnAnswer, UnstickRunAnswer,
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
    AppendChunk, Claim, ClaimNotices, Clean, Delete, Deliver, Keep, NextGeneration, Noticed, Post, Release,
    RemoveGenerations, Reopen, Replace, ReturnNotice, Unstick, UnstickRun,
};
pub use self::rows::{
    About, Asked, Attributes, ChunkPage, ChunkRow, DeliveryRow, Execution, Fence, InboxRow, JournalRow, Notice,
    OpenTokens, RunRow, TokenLabel, TokenRow, TokenState,
};
pub use self::sqlite::{SqliteStore, Synchronous};
pub use self::writes::{
    Attach, Child, Close, Continuation, Dedupe, Effects, Failed, First, Forward, Letter, Message, NewChunk, NewRun,
    Open, RowChange, Settle, Turn, Watch, Write,
};
use crate::environment::Environment;
use crate::error::Error;
pub use crate::model::Status;

/// `wake_at` of a run that only its inbox can wake. (Terminal and stuck runs, and those that have not begun, have none at all.)
pub const NEVER: u64 = i64::MAX as u64;

/// [`Fence::owner`] of a run whose engine died; no engine has this number.
const DEAD: u64 = u64::MAX;

/// A run's number inside one store.
pub type RunKey = i64;

/// Notices were dropped that kept their runs.
fn log_dropped_notices(number: usize) {
    if number > 0 {
        tracing::warn!(
            number,
            "notices of runs that came to an end, or got stuck, are dropped: for seven days no engine has had a callback for them"
        );
    }
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

/// That a run is [followed](Store::follow): as long as this is not dropped.
pub trait Following: Send + Sync {}

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
    /// Commits a group of writes at once, and answers each, in order and with the answer of its kind. Several writes of one group may
    /// concern one run: they take effect in order. While a group is being committed another one may be, that does not depend on it.
    fn commit<'a>(&'a self, group: &'a [Write]) -> BoxFuture<'a, Result<Vec<Answer>, Failed>>;

    /// Whether [`commit`](Store::commit) blocks its thread; the engine then gives it a thread of its own.
    fn blocks(&self) -> bool {
        false
    }

    /// Asks for the right to execute runs here as `owner`. On success every run that another engine held is an orphan:
    /// due when it was due, or at once if letters wait for it, claimed as from a dead owner. From then on the writes of the
    /// engine that held it are refused. Nothing if a live engine has the right; asking again and again is cheap.
    fn acquire(&self, owner: u64) -> BoxFuture<'_, Result<Option<Box<dyn Ownership>>, Error>>;

    /// How long an engine that is being opened tries again while the store cannot be reached.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

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

    /// The runs that have [continued as new](RunRow::continuations) at least so often (but once at the least) since the first
    /// generation whose journal is kept, at most `limit`: in the order of these numbers and of their keys, behind a place in it.
    fn continued(
        &self,
        least: u64,
        after: Option<(u64, RunKey)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, Error>>;

    /// The notices of runs that came to these statuses, behind a sequence, at most `limit`: those for which callbacks were not called
    /// yet, whoever has [claimed](ClaimNotices) them.
    fn notices<'a>(
        &'a self,
        statuses: &'a [Status],
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Notice>, Error>>;

    /// The ids of the runs that a run has started as its children, in their order; also those of a run of the same id that
    /// was deleted.
    fn children<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Vec<Arc<str>>, Error>>;

    /// The open tokens of a run and of its descendants by way of runs that have not ended, by their names.
    fn open_tokens(&self, run: RunKey) -> BoxFuture<'_, Result<OpenTokens, Error>>;

    /// A delivery that was [accepted](Write::Deliver) by a token under a key, if that is still known at this time.
    fn delivery<'a>(
        &'a self,
        token: &'a str,
        key: &'a str,
        now: u64,
    ) -> BoxFuture<'a, Result<Option<DeliveryRow>, Error>>;

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

    /// The workflows of the runs that a claim could take, now or later, each with the earliest `wake_at` of these.
    fn claimable(&self) -> BoxFuture<'_, Result<BTreeMap<Arc<str>, u64>, Error>>;

    /// Subscribes to a run that another engine may hold, for stores whose [`changed`](Store::changed) does not report such a
    /// run otherwise: it does from then on, until the subscription is dropped. What happened before has to be looked for once
    /// more. Nothing if this store needs no subscriptions.
    fn follow<'a>(
        &'a self,
        run: RunKey,
        id: &'a Arc<str>,
        what: Follow,
    ) -> BoxFuture<'a, Result<Option<Box<dyn Following>>, Error>> {
        let _ = (run, id, what);
        Box::pin(std::future::ready(Ok(None)))
    }

    /// For which runs that are [followed](Store::follow) [`changed`](Store::changed) has resolved since this was last asked.
    fn followed(&self) -> Followed {
        Followed::Unsaid
    }

    /// The time by the clock of the database's server, in milliseconds since 1970, if the store has a server: what all
    /// engines on it go by, whatever their own clocks show. It costs no round trip: it is known from answers that were given
    /// before. It may jump as any clock; the engine sees to it that no run notices. Without one the engine's
    /// [`Environment`] says the time.
    fn server_time(&self) -> Option<u64> {
        None
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
