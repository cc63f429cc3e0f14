//! An in-memory store, for tests and for runs that need not outlive the process.

mod parked;
mod rows;
mod run;
#[cfg(feature = "testing")]
mod snapshots;
mod state;
mod workers;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use self::rows::State;
#[cfg(feature = "testing")]
use self::snapshots::Snapshots;
use self::workers::Registered;
use super::{
    Answer, Attributes, ChunkPage, Claimable, Counts, DeliveryRow, Deploy, DeploymentRow, Ended, Failed, Filter,
    HourCount, InboxRow, JournalRow, NewWorker, Notice, OpenTokens, Ownership, Position, Registration, RunKey, RunRow,
    Status, Store, TokenRow, WorkerRow, Write,
};
use crate::environment::Environment;
use crate::error::Error;

/// Stores runs in memory: implements everything that a store does, without durability beyond the process.
///
/// A clone shares the data, like a connection of another process: give each engine a clone of its own.
///
/// ```
/// use workflow_runtime::store::MemoryStore;
///
/// let first = MemoryStore::new();
/// let second = first.clone(); // an engine on it sees the runs of an engine on the first
/// ```
#[derive(Debug, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    /// The version up to which this clone's [`changed`](Store::changed) has reported.
    seen: AtomicU64,
    /// The sequence of the last inbox message that this clone's [`news`](Store::news) has reported.
    read: AtomicU64,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Counts changes that may concern another engine.
    version: AtomicU64,
    #[cfg(feature = "testing")]
    snapshots: Mutex<Option<Snapshots>>,
    /// Not a `watch`: the receivers of a `watch` wake in random order, which a simulation could not repeat.
    changed: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No write leaves the state half changed if it panics, so a poisoned state is consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Clone for MemoryStore {
    fn clone(&self) -> Self {
        MemoryStore {
            shared: Arc::clone(&self.shared),
            seen: AtomicU64::new(self.shared.version.load(Ordering::Acquire)),
            read: AtomicU64::new(0),
        }
    }
}

struct Guard(Arc<Shared>);

impl Ownership for Guard {
    fn expires(&self) -> bool {
        false
    }

    fn give_up(self: Box<Self>) -> BoxFuture<'static, ()> {
        drop(self);
        Box::pin(std::future::ready(()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.lock().free();
        self.0.announce();
    }
}

impl Store for MemoryStore {
    fn commit<'a>(&'a self, group: &'a [Write]) -> BoxFuture<'a, Result<Vec<Answer>, Failed>> {
        Box::pin(async move {
            let mut state = self.shared.lock();
            let outcomes: Vec<_> = group.iter().map(|write| state.apply(write)).collect();
            #[cfg(feature = "testing")]
            self.shared.keep(&state);
            drop(state);
            // Wakes the committing engine as well. To exclude it would require an identity for each clone, and a spurious
            // wake-up only costs a read of memory.
            if group.iter().zip(&outcomes).any(|(write, outcome)| state::concerns_others(write, outcome)) {
                self.shared.announce();
            }
            Ok(outcomes)
        })
    }

    fn acquire(&self, owner: u64) -> BoxFuture<'_, Result<Option<Box<dyn Ownership>>, Error>> {
        Box::pin(async move {
            if !self.shared.lock().acquire(owner) {
                return Ok(None);
            }
            self.shared.announce();
            Ok(Some(Box::new(Guard(Arc::clone(&self.shared))) as Box<dyn Ownership>))
        })
    }

    fn register<'a>(&'a self, worker: &'a NewWorker) -> BoxFuture<'a, Result<Option<Box<dyn Registration>>, Error>> {
        Box::pin(async move {
            self.shared.lock().register(worker);
            let registered = Registered { shared: Arc::clone(&self.shared), owner: worker.owner };
            Ok(Some(Box::new(registered) as Box<dyn Registration>))
        })
    }

    fn deploy<'a>(&'a self, change: &'a Deploy) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move {
            let changed = self.shared.lock().deploy(change);
            self.shared.announce();
            Ok(changed)
        })
    }

    fn workers(&self) -> BoxFuture<'_, Result<Vec<WorkerRow>, Error>> {
        Box::pin(async move { Ok(self.shared.lock().workers()) })
    }

    fn deployments(&self) -> BoxFuture<'_, Result<Vec<DeploymentRow>, Error>> {
        Box::pin(async move { Ok(self.shared.lock().deployments()) })
    }

    fn run<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<RunRow>, Error>> {
        Box::pin(async move { Ok(self.shared.lock().run(id)) })
    }

    fn journal(
        &self,
        run: RunKey,
        generation: u64,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>> {
        Box::pin(async move { Ok(self.shared.lock().journal(run, generation, from, limit)) })
    }

    fn last(&self, run: RunKey, generation: u64) -> BoxFuture<'_, Result<Option<JournalRow>, Error>> {
        Box::pin(async move { Ok(self.shared.lock().last(run, generation)) })
    }

    fn inbox(&self, run: RunKey) -> BoxFuture<'_, Result<(u64, Vec<InboxRow>), Error>> {
        Box::pin(async move { Ok(self.shared.lock().inbox(run)) })
    }

    fn state<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Option<Arc<str>>, Error>> {
        Box::pin(async move { Ok(self.shared.lock().state(run)) })
    }

    fn attributes<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Attributes, Error>> {
        Box::pin(async move { Ok(self.shared.lock().attributes(run)) })
    }

    fn list<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<Position>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RunRow>, Error>> {
        Box::pin(async move { Ok(self.shared.lock().list(filter, after, limit)) })
    }

    fn counts<'a>(&'a self, filter: &'a Filter, _most: usize) -> BoxFuture<'a, Result<Counts, Error>> {
        Box::pin(async move { Ok(self.shared.lock().counts(filter)) })
    }

    fn hour_counts(&self, from: u64) -> BoxFuture<'_, Result<Vec<HourCount>, Error>> {
        Box::pin(async move { Ok(self.shared.lock().hour_counts(from)) })
    }

    fn ended_before(&self, status: Status, most: u64) -> BoxFuture<'_, Result<Option<Ended>, Error>> {
        Box::pin(async move { Ok(self.shared.lock().ended_before(status, most)) })
    }

    fn continued(
        &self,
        least: u64,
        after: Option<(u64, RunKey)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, Error>> {
        Box::pin(async move { Ok(self.shared.lock().continued(least.max(1), after, limit)) })
    }

    fn notices<'a>(
        &'a self,
        statuses: &'a [Status],
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Notice>, Error>> {
        Box::pin(async move { Ok(self.shared.lock().notices(statuses, after, limit)) })
    }

    fn children<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Vec<Arc<str>>, Error>> {
        Box::pin(async move { Ok(self.shared.lock().children(run)) })
    }

    fn open_tokens(&self, run: RunKey) -> BoxFuture<'_, Result<OpenTokens, Error>> {
        Box::pin(async move { Ok(self.shared.lock().open_tokens(run)) })
    }

    fn delivery<'a>(
        &'a self,
        token: &'a str,
        key: &'a str,
        now: u64,
    ) -> BoxFuture<'a, Result<Option<DeliveryRow>, Error>> {
        Box::pin(async move { Ok(self.shared.lock().delivery(token, key, now)) })
    }

    fn token<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Option<TokenRow>, Error>> {
        Box::pin(async move { Ok(self.shared.lock().token(token)) })
    }

    fn chunks<'a>(
        &'a self,
        run: RunKey,
        stream: &'a str,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<ChunkPage, Error>> {
        Box::pin(async move { Ok(self.shared.lock().chunks(run, stream, from, limit)) })
    }

    fn streams(&self, run: RunKey) -> BoxFuture<'_, Result<Vec<Arc<str>>, Error>> {
        Box::pin(async move { Ok(self.shared.lock().streams(run)) })
    }

    fn news(&self, owner: u64) -> BoxFuture<'_, Result<Vec<RunKey>, Error>> {
        Box::pin(async move {
            let (news, last) = self.shared.lock().news(owner, self.read.load(Ordering::Acquire));
            self.read.store(last, Ordering::Release);
            Ok(news)
        })
    }

    fn claimable<'a>(&'a self, deployment: &'a str) -> BoxFuture<'a, Result<Claimable, Error>> {
        Box::pin(async move { Ok(self.shared.lock().claimable(deployment)) })
    }

    fn changed<'a>(&'a self, _: &'a dyn Environment) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            loop {
                // Registers before the version check, so that no change between the check and the wait is missed.
                let mut changed = std::pin::pin!(self.shared.changed.notified());
                changed.as_mut().enable();
                let version = self.shared.version.load(Ordering::Acquire);
                if self.seen.swap(version, Ordering::AcqRel) != version {
                    return;
                }
                changed.await;
            }
        })
    }
}
