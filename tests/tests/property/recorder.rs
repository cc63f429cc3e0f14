//! A store that records all commits, so that its state after any commit can be rebuilt.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use serde_json::Value;
use workflow_runtime::Error;
use workflow_runtime::store::{Answer, Deliver, DeliverAnswer, Failed, MemoryStore, Ownership, Store, Write};

enum Entry {
    /// An engine acquired the right to execute.
    Right(u64),
    Group(Vec<Write>),
}

/// All committed groups and acquisitions, in order.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    entries: Vec<Entry>,
    /// The payloads that the store has accepted.
    taken: BTreeSet<u64>,
}

impl Log {
    fn recorded(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn len(&self) -> usize {
        self.recorded().entries.len()
    }

    pub fn taken(&self) -> BTreeSet<u64> {
        self.recorded().taken.clone()
    }

    /// Rebuilds the store after this many entries, without an owner, and its log up to there.
    pub async fn beginning(&self, entries: usize) -> (MemoryStore, Log) {
        let store = MemoryStore::new();
        let begun = Log::default();
        let recorder = Recorder { inner: Arc::new(store.clone()), log: begun.clone() };
        let mut right = None;
        for at in 0..entries {
            let entry = match &self.recorded().entries[at] {
                Entry::Right(owner) => Entry::Right(*owner),
                Entry::Group(group) => Entry::Group(group.clone()),
            };
            match entry {
                Entry::Right(owner) => {
                    drop(right.take());
                    right = recorder.acquire(owner).await.expect("memory is writable");
                    assert!(right.is_some(), "no other engine has the right to execute");
                }
                Entry::Group(group) => drop(recorder.commit(&group).await.expect("memory is writable")),
            }
        }
        drop(right);
        (store, begun)
    }
}

/// A store that records the commits to an inner store.
pub struct Recorder {
    pub inner: Arc<dyn Store>,
    pub log: Log,
}

impl Recorder {
    async fn reading(&self, _: &str) {}
}

/// The payload of an inbox message.
pub fn payload(body: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(body).ok()?.get("payload")?["value"].as_u64()
}

impl Store for Recorder {
    fn commit<'a>(&'a self, group: &'a [Write]) -> BoxFuture<'a, Result<Vec<Answer>, Failed>> {
        Box::pin(async move {
            let outcomes = self.inner.commit(group).await?;
            let mut recorded = self.log.recorded();
            recorded.entries.push(Entry::Group(group.to_vec()));
            for (write, outcome) in group.iter().zip(&outcomes) {
                if let (Write::Deliver(Deliver { message, .. }), Answer::Deliver(DeliverAnswer::Committed)) =
                    (write, outcome)
                {
                    recorded.taken.extend(payload(&message.body));
                }
            }
            Ok(outcomes)
        })
    }

    fn blocks(&self) -> bool {
        self.inner.blocks()
    }

    fn acquire(&self, owner: u64) -> BoxFuture<'_, Result<Option<Box<dyn Ownership>>, Error>> {
        Box::pin(async move {
            let right = self.inner.acquire(owner).await?;
            if right.is_some() {
                self.log.recorded().entries.push(Entry::Right(owner));
            }
            Ok(right)
        })
    }

    forward_reads!();
}
