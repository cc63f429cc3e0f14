//! The queues that this engine serves: the steps that it executes for runs of any engine, and how many at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::error::{Code, Error, Result};
use crate::limits::CLAIM_RUNS;
use crate::registry::{queue, registry};

/// See the module.
#[derive(Default)]
pub struct Queues {
    served: Vec<Queue>,
    freed: Arc<Notify>,
}

struct Queue {
    name: String,
    /// The workflows that execute its steps.
    workflows: Arc<[&'static str]>,
    slots: Arc<Semaphore>,
}

/// The slot of a step of a queue that is in memory.
pub struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    freed: Arc<Notify>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.freed.notify_one();
    }
}

impl Queues {
    /// The queues with these names, each with the number of its steps that are executed at a time.
    pub fn new(queues: BTreeMap<String, usize>) -> Result<Self> {
        let served = queues.into_iter().map(|(name, concurrency)| {
            let workflows: Arc<[&'static str]> = registry().queued_in(&name).collect();
            if workflows.is_empty() {
                return Err(Error::coded(Code::InvalidName, format!("no step of this build has the queue `{name}`"))
                    .expected(format!("one of: {}", registry().queues().join(", ")))
                    .help("check the name; link the crate that defines the steps"));
            }
            Ok(Queue { name, workflows, slots: Arc::new(Semaphore::new(concurrency)) })
        });
        Ok(Queues { served: served.collect::<Result<_>>()?, freed: Arc::default() })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.served.iter().map(|queue| &*queue.name)
    }

    pub fn serves(&self, queue: &str) -> bool {
        self.served.iter().any(|served| served.name == queue)
    }

    /// The queues by name, each with the workflows that execute its steps.
    #[cfg(feature = "otel")]
    pub fn served(&self) -> impl Iterator<Item = (&str, &[&'static str])> {
        self.served.iter().map(|queue| (&*queue.name, &*queue.workflows))
    }

    /// The workflows of the queues with free slots, each queue with the number of its free slots.
    pub fn free(&self) -> impl Iterator<Item = (Arc<[&'static str]>, usize)> {
        self.served.iter().filter_map(|queue| {
            let free = queue.slots.available_permits().min(CLAIM_RUNS);
            (free > 0).then(|| (queue.workflows.clone(), free))
        })
    }

    /// These workflows and those of the served queues.
    pub fn with(&self, workflows: &Arc<[&'static str]>) -> Arc<[&'static str]> {
        joined(workflows, self.served.iter().map(|queue| queue.workflows.clone()))
    }

    /// These workflows and those of the served queues with free slots.
    pub fn with_free(&self, workflows: &Arc<[&'static str]>) -> Arc<[&'static str]> {
        joined(workflows, self.free().map(|(workflows, _)| workflows))
    }

    /// Takes a slot for a run of this workflow, if it executes a step of a queue.
    pub fn take(&self, workflow: &str) -> Option<Slot> {
        let (name, _) = queue::parse_id(workflow)?;
        let queue = self.served.iter().find(|queue| queue.name == name)?;
        // No slot is free only for a run that this engine owned before without having it in memory.
        let permit = queue.slots.clone().try_acquire_owned().ok();
        Some(Slot { permit, freed: self.freed.clone() })
    }

    /// Resolves when a slot has become free.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }
}

fn joined(workflows: &Arc<[&'static str]>, queues: impl Iterator<Item = Arc<[&'static str]>>) -> Arc<[&'static str]> {
    let queued: Vec<&'static str> = queues.flat_map(|queue| queue.to_vec()).collect();
    match queued.is_empty() {
        true => workflows.clone(),
        false => workflows.iter().copied().chain(queued).collect(),
    }
}
