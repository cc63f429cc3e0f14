//! A store that counts the writes to another store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use workflow_runtime::Error;
use workflow_runtime::engine::Environment;
use workflow_runtime::store::{
    Answer, Attributes, ChunkPage, Claim, Claimable, Counts as StatusCounts, DeliveryRow, Deploy, DeploymentRow, Ended,
    Failed, Filter, First, HourCount, InboxRow, JournalRow, NewWorker, Notice, OpenTokens, Ownership, Position,
    Registration, RowChange, RunKey, RunRow, Status, Store, TokenRow, Unstick, WorkerRow, Write,
};

/// Delegates to another store, and counts its writes.
pub struct Counting<S> {
    store: S,
    commits: AtomicU64,
    rows: AtomicU64,
    suspended: AtomicU64,
    busy_nanos: AtomicU64,
}

/// The counts up to a moment, or between two moments.
#[derive(Clone, Copy)]
pub struct Counts {
    /// Groups with any write other than a claim: a claim writes nothing if nothing is due.
    pub commits: u64,
    /// Rows appended to journals.
    pub rows: u64,
    /// Turns after which a run waits for a time.
    pub suspended: u64,
    /// The time inside the store's commits. The rest of a step's time is spent in the engine.
    pub busy: Duration,
}

impl Counts {
    pub fn since(self, earlier: Counts) -> Counts {
        Counts {
            commits: self.commits - earlier.commits,
            rows: self.rows - earlier.rows,
            suspended: self.suspended - earlier.suspended,
            busy: self.busy - earlier.busy,
        }
    }

    /// The time inside the store per journal row.
    pub fn busy_micros_per_row(self) -> f64 {
        self.busy.as_secs_f64() * 1e6 / self.rows.max(1) as f64
    }

    /// Journal rows per commit.
    pub fn mean_group(self) -> f64 {
        self.rows as f64 / self.commits.max(1) as f64
    }
}

impl<S> Counting<S> {
    pub fn new(store: S) -> Self {
        Counting {
            store,
            commits: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            suspended: AtomicU64::new(0),
            busy_nanos: AtomicU64::new(0),
        }
    }

    pub fn counts(&self) -> Counts {
        Counts {
            commits: self.commits.load(Ordering::Acquire),
            rows: self.rows.load(Ordering::Acquire),
            suspended: self.suspended.load(Ordering::Acquire),
            busy: Duration::from_nanos(self.busy_nanos.load(Ordering::Acquire)),
        }
    }

    fn count(&self, group: &[Write]) {
        let claims = |write: &Write| matches!(write, Write::Claim(Claim { .. }) | Write::Unstick(Unstick { .. }));
        self.commits.fetch_add(u64::from(!group.iter().all(claims)), Ordering::Release);
        let sleeps = |change: &RowChange| u64::from(change.status == Status::Suspended);
        let (mut rows, mut suspended) = (0, 0);
        for write in group {
            match write {
                Write::Turn(turn) => {
                    rows += u64::from(turn.row.is_some());
                    suspended += turn.change.as_ref().map_or(0, sleeps);
                }
                Write::Create(new) => {
                    if let First::Turn { change, .. } = &new.first {
                        rows += 1;
                        suspended += sleeps(change);
                    }
                }
                _ => {}
            }
        }
        self.rows.fetch_add(rows, Ordering::Release);
        self.suspended.fetch_add(suspended, Ordering::Release);
    }
}

impl<S: Store> Store for Counting<S> {
    fn commit<'a>(&'a self, group: &'a [Write]) -> BoxFuture<'a, Result<Vec<Answer>, Failed>> {
        Box::pin(async move {
            let start = Instant::now();
            let outcomes = self.store.commit(group).await?;
            let busy = start.elapsed().as_nanos() as u64;
            self.busy_nanos.fetch_add(busy, Ordering::Release);
            self.count(group);
            Ok(outcomes)
        })
    }

    fn blocks(&self) -> bool {
        self.store.blocks()
    }

    fn acquire(&self, owner: u64) -> BoxFuture<'_, Result<Option<Box<dyn Ownership>>, Error>> {
        self.store.acquire(owner)
    }

    fn run<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<RunRow>, Error>> {
        self.store.run(id)
    }

    fn journal(
        &self,
        run: RunKey,
        generation: u64,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>> {
        self.store.journal(run, generation, from, limit)
    }

    fn last(&self, run: RunKey, generation: u64) -> BoxFuture<'_, Result<Option<JournalRow>, Error>> {
        self.store.last(run, generation)
    }

    fn inbox(&self, run: RunKey) -> BoxFuture<'_, Result<(u64, Vec<InboxRow>), Error>> {
        self.store.inbox(run)
    }

    fn state<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Option<Arc<str>>, Error>> {
        self.store.state(run)
    }

    fn attributes<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Attributes, Error>> {
        self.store.attributes(run)
    }

    fn list<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<Position>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RunRow>, Error>> {
        self.store.list(filter, after, limit)
    }

    fn counts<'a>(&'a self, filter: &'a Filter, most: usize) -> BoxFuture<'a, Result<StatusCounts, Error>> {
        self.store.counts(filter, most)
    }

    fn hour_counts(&self, from: u64) -> BoxFuture<'_, Result<Vec<HourCount>, Error>> {
        self.store.hour_counts(from)
    }

    fn ended_before(&self, status: Status, most: u64) -> BoxFuture<'_, Result<Option<Ended>, Error>> {
        self.store.ended_before(status, most)
    }

    fn continued(
        &self,
        least: u64,
        after: Option<(u64, RunKey)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, Error>> {
        self.store.continued(least, after, limit)
    }

    fn notices<'a>(
        &'a self,
        statuses: &'a [Status],
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Notice>, Error>> {
        self.store.notices(statuses, after, limit)
    }

    fn children<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Vec<Arc<str>>, Error>> {
        self.store.children(run)
    }

    fn open_tokens(&self, run: RunKey) -> BoxFuture<'_, Result<OpenTokens, Error>> {
        self.store.open_tokens(run)
    }

    fn delivery<'a>(
        &'a self,
        token: &'a str,
        key: &'a str,
        now: u64,
    ) -> BoxFuture<'a, Result<Option<DeliveryRow>, Error>> {
        self.store.delivery(token, key, now)
    }

    fn token<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Option<TokenRow>, Error>> {
        self.store.token(token)
    }

    fn chunks<'a>(
        &'a self,
        run: RunKey,
        stream: &'a str,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<ChunkPage, Error>> {
        self.store.chunks(run, stream, from, limit)
    }

    fn streams(&self, run: RunKey) -> BoxFuture<'_, Result<Vec<Arc<str>>, Error>> {
        self.store.streams(run)
    }

    fn news(&self, owner: u64) -> BoxFuture<'_, Result<Vec<RunKey>, Error>> {
        self.store.news(owner)
    }

    fn claimable<'a>(&'a self, deployment: &'a str) -> BoxFuture<'a, Result<Claimable, Error>> {
        self.store.claimable(deployment)
    }

    fn register<'a>(&'a self, worker: &'a NewWorker) -> BoxFuture<'a, Result<Option<Box<dyn Registration>>, Error>> {
        self.store.register(worker)
    }

    fn deploy<'a>(&'a self, change: &'a Deploy) -> BoxFuture<'a, Result<u64, Error>> {
        self.store.deploy(change)
    }

    fn workers(&self) -> BoxFuture<'_, Result<Vec<WorkerRow>, Error>> {
        self.store.workers()
    }

    fn deployments(&self) -> BoxFuture<'_, Result<Vec<DeploymentRow>, Error>> {
        self.store.deployments()
    }

    fn server_time(&self) -> Option<u64> {
        self.store.server_time()
    }

    fn changed<'a>(&'a self, environment: &'a dyn Environment) -> BoxFuture<'a, ()> {
        self.store.changed(environment)
    }
}
