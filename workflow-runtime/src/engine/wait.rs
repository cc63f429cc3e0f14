//! Waiting for the end of a run, in this process or in another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::Inner;
use super::load::Stuck;
use crate::codec::{self, Payload};
use crate::error::{Code, Error, Result};
use crate::limits::FOUND_RUNS_MAX;
use crate::queue;
use crate::replay::End;
use crate::run::{RunInfo, time};
use crate::store::{NEVER, RunRow, Status};

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
    /// The run's row.
    pub(crate) async fn row(&self, id: &str) -> Result<Option<RunRow>> {
        self.store.run(id).await.map_err(|error| error.run(id))
    }

    /// What the row says to a user.
    pub(crate) async fn info(&self, id: &str) -> Result<RunInfo> {
        Ok(self.told(self.row(id).await?.ok_or_else(|| not_found(id))?))
    }

    /// What the rows say of runs that have all of these attributes.
    pub(crate) async fn find_runs(&self, attributes: Vec<(String, String)>) -> Result<Vec<RunInfo>> {
        if attributes.is_empty() {
            return Err(Error::coded(Code::InvalidName, "runs are looked for by no attribute at all"));
        }
        let rows = self.store.find(&attributes, FOUND_RUNS_MAX).await?;
        Ok(rows.into_iter().map(|row| self.told(row)).collect())
    }

    /// The state of a run.
    pub(crate) async fn state_of<S: DeserializeOwned>(&self, id: &str) -> Result<Option<S>> {
        match self.store.state(id).await.map_err(|error| error.run(id))? {
            Some(state) => codec::decode_text("the run's state", &state).map(Some).map_err(|error| error.run(id)),
            None => self.row(id).await?.map(|_| None).ok_or_else(|| not_found(id)),
        }
    }

    /// The attributes of a run.
    pub(crate) async fn attributes_of(&self, id: &str) -> Result<BTreeMap<String, String>> {
        self.row(id).await?.ok_or_else(|| not_found(id))?;
        let attributes = self.store.attributes(id).await.map_err(|error| error.run(id))?;
        Ok(attributes.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect())
    }

    /// The children of a run.
    pub(crate) async fn children_of(&self, id: &str) -> Result<Vec<String>> {
        self.row(id).await?.ok_or_else(|| not_found(id))?;
        let children = self.store.children(id).await.map_err(|error| error.run(id))?;
        Ok(children.into_iter().map(|child| child.to_string()).collect())
    }

    pub(super) fn told(&self, row: RunRow) -> RunInfo {
        let queue = queue::parse_id(&row.workflow).map(|(queue, _)| queue);
        let known = self.workflows.contains(&&*row.workflow) || queue.is_some_and(|queue| self.queues.serves(queue));
        let waits_for = match row.status {
            Status::Stuck => Some(format!("{:?}", Stuck::error(&row))),
            status if !status.is_terminal() && !known => Some(match queue {
                Some(queue) => format!("a process that serves the queue `{queue}`"),
                None => format!("a process whose build has the workflow `{}`", row.workflow),
            }),
            _ => None,
        };
        let wakes_at = row.wake_at.filter(|at| row.status == Status::Suspended && ![0, NEVER].contains(at)).map(time);
        RunInfo {
            id: row.id.to_string(),
            parent: row.parent.map(|parent| parent.to_string()),
            generation: row.generation,
            workflow: row.workflow.to_string(),
            status: row.status,
            created_at: time(row.created_at),
            started_at: row.started_at.map(time),
            completed_at: row.completed_at.map(time),
            wakes_at,
            waits_for,
        }
    }

    /// Waits until the run has ended or is stuck.
    pub(crate) async fn wait(&self, id: &Arc<str>) -> Result<Finished> {
        let mut follows = false;
        loop {
            let mut waiter = self.waiters.register(id);
            // A run in memory tells its end itself: no need to look.
            if !self.live_ids().contains(id) {
                let row = self.row(id).await?.ok_or_else(|| not_found(id))?;
                match row.status {
                    Status::Completed | Status::Failed | Status::Cancelled => return self.finished(&row).await,
                    Status::Stuck => return Err(Stuck::error(&row)),
                    Status::Pending | Status::Running | Status::Suspended => {}
                }
                // What came before it is seen by another look.
                if !follows && self.store.follow(row.key, id, false).await.map_err(|error| error.run(id))? {
                    follows = true;
                    continue;
                }
            }
            if self.stopped.is_cancelled() {
                return Err(Error::coded(Code::Closed, "the engine was shut down before the run had ended")
                    .run(id)
                    .help("the run is unfinished and goes on with the next engine; wait for it there by its id"));
            }
            if let Ok(Some(finished)) = (&mut waiter.ended).await {
                return Ok(finished);
            }
            follows = false;
        }
    }

    async fn finished(&self, row: &RunRow) -> Result<Finished> {
        let damaged = |error: Error| error.context("the run has ended, and its result cannot be read").run(&row.id);
        let last = self.store.last(row.key, row.generation).await.map_err(damaged)?;
        let Some(last) = last else {
            return Err(damaged(Error::coded(Code::Damaged, "its journal is empty")));
        };
        let end = End::of(last.format, last.checksum, &last.body).map_err(damaged)?;
        Finished::of(end).ok_or_else(|| damaged(Error::coded(Code::Damaged, "its journal ends before its end")))
    }
}

pub(super) fn not_found(id: &str) -> Error {
    Error::coded(Code::RunNotFound, format!("there is no run `{id}` in this store"))
        .run(id)
        .help("check the id and the store's URL; a run exists once `start(..).await` has returned")
}
