//! A store that injects faults.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::{self, BoxFuture};
use tokio::sync::Notify;
use workflow_runtime::Error;
use workflow_runtime::store::*;

/// What happens to a group of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The group is committed, and the answer is lost.
    CommittedButInDoubt,
    /// The group is not committed, and the engine cannot know that.
    LostAndInDoubt,
    /// The group is refused for certain.
    Refused,
    /// The first half of the group is committed, and the rest is refused for certain. Of one write nothing is refused.
    HalfRefused,
}

type Plan = Box<dyn FnMut(&[Write]) -> Option<When> + Send>;
type Before = Box<dyn Fn(&[Write]) -> Option<BoxFuture<'static, ()>> + Send>;
type Reading = Box<dyn Fn(&str) -> Option<BoxFuture<'static, ()>> + Send>;

/// Injects faults in front of another store.
#[derive(Clone)]
pub struct Faulty {
    inner: Arc<dyn Store>,
    plan: Arc<Mutex<Plan>>,
    before: Arc<Mutex<Before>>,
    after: Arc<Mutex<Before>>,
    reads: Arc<Mutex<Reading>>,
    ownership: Arc<Mutex<Option<Box<dyn Ownership>>>>,
    expired: Arc<AtomicBool>,
    ended: Arc<Notify>,
    groups: Arc<AtomicUsize>,
}

/// Releases the real ownership with the engine's, unless the test has taken it away before.
struct Borrowed {
    real: Arc<Mutex<Option<Box<dyn Ownership>>>>,
    expired: Arc<AtomicBool>,
    ended: Arc<Notify>,
}

impl Ownership for Borrowed {
    fn lost(&self) -> BoxFuture<'static, ()> {
        let real = self.real.lock().unwrap().as_ref().map_or_else(|| future::pending().boxed(), |real| real.lost());
        let ended = self.ended.clone();
        async move {
            tokio::select! {
                () = real => {}
                () = ended.notified() => {}
            }
        }
        .boxed()
    }

    fn lasts(&self) -> bool {
        !self.expired.load(Ordering::SeqCst)
    }

    fn give_up(self: Box<Self>) -> BoxFuture<'static, ()> {
        let real = self.real.lock().unwrap().take();
        real.map_or_else(|| future::ready(()).boxed(), Ownership::give_up)
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.real.lock().unwrap().take();
    }
}

impl Faulty {
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Faulty {
            inner,
            plan: Arc::new(Mutex::new(Box::new(|_| None))),
            before: Arc::new(Mutex::new(Box::new(|_| None))),
            after: Arc::new(Mutex::new(Box::new(|_| None))),
            reads: Arc::new(Mutex::new(Box::new(|_| None))),
            ownership: Arc::default(),
            expired: Arc::default(),
            ended: Arc::default(),
            groups: Arc::default(),
        }
    }

    /// Sets a function that is called for every group and chooses its fault.
    pub fn plan(&self, plan: impl FnMut(&[Write]) -> Option<When> + Send + 'static) {
        *self.plan.lock().unwrap() = Box::new(plan);
    }

    /// Sets a function whose future is awaited before a group is committed.
    pub fn before(&self, before: impl Fn(&[Write]) -> Option<BoxFuture<'static, ()>> + Send + 'static) {
        *self.before.lock().unwrap() = Box::new(before);
    }

    /// Sets a function whose future is awaited after a group was committed, before the engine gets the answers.
    pub fn after(&self, after: impl Fn(&[Write]) -> Option<BoxFuture<'static, ()>> + Send + 'static) {
        *self.after.lock().unwrap() = Box::new(after);
    }

    /// Sets a function whose future is awaited before a read, by the method's name, and before the engine requests
    /// ownership (`acquire`).
    pub fn reads(&self, reads: impl Fn(&str) -> Option<BoxFuture<'static, ()>> + Send + 'static) {
        *self.reads.lock().unwrap() = Box::new(reads);
    }

    /// Notifies the engine that its ownership has ended.
    pub fn end_right(&self) {
        self.ended.notify_one();
    }

    /// Takes the ownership away without notifying the engine, as when a lease expires unnoticed.
    pub fn lose_ownership(&self) {
        drop(self.ownership.lock().unwrap().take());
    }

    /// Lets the ownership expire without notifying the engine, as for a process that was stopped.
    pub fn expire(&self) {
        self.expired.store(true, Ordering::SeqCst);
    }

    async fn reading(&self, method: &str) {
        let reading = (self.reads.lock().unwrap())(method);
        if let Some(reading) = reading {
            reading.await;
        }
    }

    /// The number of groups that the engine has sent.
    pub fn groups(&self) -> usize {
        self.groups.load(Ordering::SeqCst)
    }
}

impl Store for Faulty {
    fn commit<'a>(&'a self, group: &'a [Write]) -> BoxFuture<'a, Result<Vec<Answer>, Failed>> {
        Box::pin(async move {
            self.groups.fetch_add(1, Ordering::SeqCst);
            let before = (self.before.lock().unwrap())(group);
            if let Some(before) = before {
                before.await;
            }
            let fault = (self.plan.lock().unwrap())(group);
            let failed = |in_doubt| Failed::new(Error::new("the disk is on fire"), in_doubt, !in_doubt);
            match fault {
                None => {
                    let answers = self.inner.commit(group).await;
                    let after = (self.after.lock().unwrap())(group);
                    if let Some(after) = after {
                        after.await;
                    }
                    answers
                }
                Some(When::CommittedButInDoubt) => {
                    self.inner.commit(group).await?;
                    Err(failed(true))
                }
                Some(When::LostAndInDoubt) => Err(failed(true)),
                Some(When::Refused) => Err(failed(false)),
                Some(When::HalfRefused) => {
                    let half = group.len().div_ceil(2);
                    let answers = self.inner.commit(&group[..half]).await?;
                    match half == group.len() {
                        true => Ok(answers),
                        false => Err(Failed { committed: answers.into_iter().enumerate().collect(), ..failed(false) }),
                    }
                }
            }
        })
    }

    fn acquire(&self, owner: u64) -> BoxFuture<'_, Result<Option<Box<dyn Ownership>>, Error>> {
        Box::pin(async move {
            self.reading("acquire").await;
            let Some(ownership) = self.inner.acquire(owner).await? else { return Ok(None) };
            *self.ownership.lock().unwrap() = Some(ownership);
            let (real, expired, ended) = (self.ownership.clone(), self.expired.clone(), self.ended.clone());
            Ok(Some(Box::new(Borrowed { real, expired, ended }) as Box<dyn Ownership>))
        })
    }

    forward_reads!();
}
