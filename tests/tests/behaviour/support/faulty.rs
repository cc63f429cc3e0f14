//! A store that misbehaves where a test says so.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::{self, BoxFuture};
use workflow_runtime::Error;
use workflow_runtime::engine::Environment;
use workflow_runtime::store::*;

/// What happens to a group of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It is committed, and its outcome is lost.
    CommittedButInDoubt,
    /// It is not committed, and nobody knows.
    LostAndInDoubt,
    /// It is refused for certain.
    Refused,
}

type Plan = Box<dyn FnMut(&[Write]) -> Option<When> + Send>;
type Before = Box<dyn Fn(&[Write]) -> Option<BoxFuture<'static, ()>> + Send>;

/// A store in front of another one.
#[derive(Clone)]
pub struct Faulty {
    inner: Arc<dyn Store>,
    plan: Arc<Mutex<Plan>>,
    before: Arc<Mutex<Before>>,
    ownership: Arc<Mutex<Option<Box<dyn Ownership>>>>,
    groups: Arc<AtomicUsize>,
}

/// Gives the real ownership up with the engine's, unless it was lost before.
struct Borrowed(Arc<Mutex<Option<Box<dyn Ownership>>>>);

impl Ownership for Borrowed {
    fn lost(&self) -> BoxFuture<'static, ()> {
        self.0.lock().unwrap().as_ref().map_or_else(|| future::pending().boxed(), |real| real.lost())
    }

    fn give_up(self: Box<Self>) -> BoxFuture<'static, ()> {
        let real = self.0.lock().unwrap().take();
        real.map_or_else(|| future::ready(()).boxed(), Ownership::give_up)
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.0.lock().unwrap().take();
    }
}

impl Faulty {
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Faulty {
            inner,
            plan: Arc::new(Mutex::new(Box::new(|_| None))),
            before: Arc::new(Mutex::new(Box::new(|_| None))),
            ownership: Arc::default(),
            groups: Arc::default(),
        }
    }

    /// Asked for every group.
    pub fn plan(&self, plan: impl FnMut(&[Write]) -> Option<When> + Send + 'static) {
        *self.plan.lock().unwrap() = Box::new(plan);
    }

    /// Awaited before a group is committed.
    pub fn before(&self, before: impl Fn(&[Write]) -> Option<BoxFuture<'static, ()>> + Send + 'static) {
        *self.before.lock().unwrap() = Box::new(before);
    }

    /// Takes the right to execute away behind the engine's back, as when a lease ends unnoticed.
    pub fn lose_ownership(&self) {
        drop(self.ownership.lock().unwrap().take());
    }

    /// How many groups were asked for.
    pub fn groups(&self) -> usize {
        self.groups.load(Ordering::SeqCst)
    }
}

impl Store for Faulty {
    fn commit<'a>(&'a self, group: &'a [Write]) -> BoxFuture<'a, Result<Vec<Outcome>, Failed>> {
        Box::pin(async move {
            self.groups.fetch_add(1, Ordering::SeqCst);
            let before = (self.before.lock().unwrap())(group);
            if let Some(before) = before {
                before.await;
            }
            let fault = (self.plan.lock().unwrap())(group);
            let failed = |in_doubt| Failed { error: Error::new("the disk is on fire"), in_doubt };
            match fault {
                None => self.inner.commit(group).await,
                Some(When::CommittedButInDoubt) => {
                    self.inner.commit(group).await?;
                    Err(failed(true))
                }
                Some(When::LostAndInDoubt) => Err(failed(true)),
                Some(When::Refused) => Err(failed(false)),
            }
        })
    }

    fn acquire(&self, owner: u64) -> BoxFuture<'_, Result<Option<Box<dyn Ownership>>, Error>> {
        Box::pin(async move {
            let Some(ownership) = self.inner.acquire(owner).await? else { return Ok(None) };
            *self.ownership.lock().unwrap() = Some(ownership);
            Ok(Some(Box::new(Borrowed(self.ownership.clone())) as Box<dyn Ownership>))
        })
    }

    fn run<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<RunRow>, Error>> {
        self.inner.run(id)
    }

    fn journal(
        &self,
        run: RunKey,
        generation: u64,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>> {
        self.inner.journal(run, generation, from, limit)
    }

    fn last(&self, run: RunKey, generation: u64) -> BoxFuture<'_, Result<Option<JournalRow>, Error>> {
        self.inner.last(run, generation)
    }

    fn inbox(&self, run: RunKey) -> BoxFuture<'_, Result<(u64, Vec<InboxRow>), Error>> {
        self.inner.inbox(run)
    }

    fn state<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Option<Arc<str>>, Error>> {
        self.inner.state(run)
    }

    fn attributes<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Attributes, Error>> {
        self.inner.attributes(run)
    }

    fn find<'a>(
        &'a self,
        attributes: &'a [(String, String)],
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RunRow>, Error>> {
        self.inner.find(attributes, limit)
    }

    fn notices<'a>(
        &'a self,
        statuses: &'a [Status],
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Notice>, Error>> {
        self.inner.notices(statuses, after, limit)
    }

    fn children<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Vec<Arc<str>>, Error>> {
        self.inner.children(run)
    }

    fn token<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Option<TokenRow>, Error>> {
        self.inner.token(token)
    }

    fn chunks<'a>(
        &'a self,
        run: RunKey,
        stream: &'a str,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<ChunkPage, Error>> {
        self.inner.chunks(run, stream, from, limit)
    }

    fn streams(&self, run: RunKey) -> BoxFuture<'_, Result<Vec<Arc<str>>, Error>> {
        self.inner.streams(run)
    }

    fn news(&self, owner: u64) -> BoxFuture<'_, Result<Vec<RunKey>, Error>> {
        self.inner.news(owner)
    }

    fn next_due(&self, workflows: Arc<[&'static str]>) -> BoxFuture<'_, Result<Option<u64>, Error>> {
        self.inner.next_due(workflows)
    }

    fn unknown_due(&self, workflows: Arc<[&'static str]>, now: u64) -> BoxFuture<'_, Result<Vec<Arc<str>>, Error>> {
        self.inner.unknown_due(workflows, now)
    }

    fn follow<'a>(&'a self, run: RunKey, id: &'a Arc<str>, chunks: bool) -> BoxFuture<'a, Result<bool, Error>> {
        self.inner.follow(run, id, chunks)
    }

    fn followed(&self) -> Followed {
        self.inner.followed()
    }

    fn changed<'a>(&'a self, environment: &'a dyn Environment) -> BoxFuture<'a, ()> {
        self.inner.changed(environment)
    }
}
