//! Waiting for the end of a run, in this process or in another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::Inner;
use super::load::Stuck;
use super::queries::not_found;
use crate::codec::Payload;
use crate::error::{Code, Error, Result};
use crate::limits::UNSTARTED_CHECK_INTERVAL;
use crate::replay::End;
use crate::store::{Follow, RunRow, Status};

/// Who waits for which run.
#[derive(Default)]
pub(super) struct Waiters(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// By the run's id and a number.
    waiters: BTreeMap<(Arc<str>, u64), oneshot::Sender<Option<Finished>>>,
    next: u64,
}

/// Somebody who waits, until it is dropped.
pub(super) struct Waiter<'a> {
    waiters: &'a Waiters,
    key: (Arc<str>, u64),
    pub ended: oneshot::Receiver<Option<Finished>>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.waiters.lock().waiters.remove(&self.key);
    }
}

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registered by this call, so that nothing is missed between it and a look.
    pub fn register(&self, run: &Arc<str>) -> Waiter<'_> {
        let (sender, ended) = oneshot::channel();
        let mut waiting = self.lock();
        waiting.next += 1;
        let key = (run.clone(), waiting.next);
        waiting.waiters.insert(key.clone(), sender);
        Waiter { waiters: self, key, ended }
    }

    /// Wakes those who wait for a run, with its end if that is known; otherwise they look. They are woken outside the
    /// lock, since they may look at once.
    pub fn wake(&self, run: &Arc<str>, end: Option<Finished>) {
        let woken: Vec<_> = {
            let mut waiting = self.lock();
            let keys: Vec<_> =
                waiting.waiters.range((run.clone(), 0)..=(run.clone(), u64::MAX)).map(|(key, _)| key.clone()).collect();
            keys.iter().filter_map(|key| waiting.waiters.remove(key)).collect()
        };
        for waiter in woken {
            let _ = waiter.send(end.clone());
        }
    }

    pub fn wake_all(&self) {
        let woken = std::mem::take(&mut self.lock().waiters);
        for waiter in woken.into_values() {
            let _ = waiter.send(None);
        }
    }
}

/// How a run ended, its value encoded.
#[derive(Clone)]
pub(crate) enum Finished {
    Completed(Payload),
    Failed(Payload),
    Cancelled(String),
}

impl Finished {
    /// Nothing if the run goes on as a new generation.
    pub fn of(end: End) -> Option<Self> {
        match end {
            End::Completed(value) => Some(Finished::Completed(value)),
            End::Failed(error) => Some(Finished::Failed(error)),
            End::Cancelled(reason) => Some(Finished::Cancelled(reason)),
            End::Continued(_) => None,
        }
    }
}

impl Inner {
    /// Waits until the run has ended or is stuck.
    pub(crate) async fn wait(&self, id: &Arc<str>) -> Result<Finished> {
        let mut follows = false;
        loop {
            let mut waiter = self.waiters.register(id);
            let mut is_unstarted = false;
            // A run in memory tells its end itself: no need to look.
            if !self.live_ids().contains(id) {
                let row = self.row(id).await?.ok_or_else(|| not_found(id))?;
                match row.status {
                    Status::Completed | Status::Failed | Status::Cancelled => return self.finished(&row).await,
                    Status::Stuck => return Err(Stuck::error(&row)),
                    Status::Pending | Status::Running | Status::Suspended => {}
                }
                is_unstarted = row.wake_at.is_none();
                // What came before it is seen by another look.
                if !follows && self.store.follow(row.key, id, Follow::End).await.map_err(|error| error.run(id))? {
                    follows = true;
                    continue;
                }
            }
            if self.stopped.is_cancelled() {
                return Err(self
                    .home
                    .closed(
                        "the engine was shut down before the run had ended",
                        "the run is unfinished and goes on with the next engine; wait for it there by its id",
                    )
                    .run(id));
            }
            if let Ok(Some(finished)) = self.woken(&mut waiter, is_unstarted).await {
                return Ok(finished);
            }
            follows = false;
        }
    }

    /// Resolves when there is something to be looked for. A run that was not started can be deleted by another process, which
    /// an engine that executes alone is not told of.
    pub(super) async fn woken(
        &self,
        waiter: &mut Waiter<'_>,
        is_unstarted: bool,
    ) -> Result<Option<Finished>, oneshot::error::RecvError> {
        if !is_unstarted {
            return (&mut waiter.ended).await;
        }
        tokio::select! {
            biased;
            ended = &mut waiter.ended => ended,
            () = self.environment.sleep(UNSTARTED_CHECK_INTERVAL) => Ok(None),
        }
    }

    async fn finished(&self, row: &RunRow) -> Result<Finished> {
        let damaged = |error: Error| error.context("the run has ended, and its result cannot be read").run(&row.id);
        let last = self.store.last(row.key, row.generation).await.map_err(damaged)?;
        let Some(last) = last else {
            // It may have been deleted since.
            if self.row(&row.id).await?.is_none_or(|now| now.key != row.key) {
                return Err(not_found(&row.id));
            }
            return Err(damaged(Error::coded(Code::Damaged, "its journal is empty")));
        };
        let end = End::of(last.format, last.checksum, &last.body).map_err(damaged)?;
        Finished::of(end).ok_or_else(|| damaged(Error::coded(Code::Damaged, "its journal ends before its end")))
    }
}
