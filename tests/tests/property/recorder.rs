//! A store that notes what is committed, and what it was at any commit.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use serde_json::Value;
use workflow_runtime::Error;
use workflow_runtime::store::{Answer, Deliver, DeliverAnswer, Failed, MemoryStore, Ownership, Store, Write};

enum Entry {
    /// An engine got the right to execute.
    Right(u64),
    Group(Vec<Write>),
}

/// Everything that was committed, in order.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Noted>>);

#[derive(Default)]
struct Noted {
    entries: Vec<Entry>,
    /// The payloads that the store has taken.
    taken: BTreeSet<u64>,
}

impl Log {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn len(&self) -> usize {
        self.noted().entries.len()
    }

    pub fn taken(&self) -> BTreeSet<u64> {
        self.noted().taken.clone()
    }

    /// The store as it was after so many entries, its engine dead, and a log that goes on from there.
    pub async fn beginning(&self, entries: usize) -> (MemoryStore, Log) {
        let store = MemoryStore::new();
        let begun = Log::default();
        let recorder = Recorder { inner: Arc::new(store.clone()), log: begun.clone() };
        let mut right = None;
        for at in 0..entries {
            let entry = match &self.noted().entries[at] {
                Entry::Right(owner) => Entry::Right(*owner),
                Entry::Group(group) => Entry::Group(group.clone()),
            };
            match entry {
                Entry::Right(owner) => {
                    drop(right.take());
                    right = recorder.acquire(owner).await.expect("memory is writable");
                    assert!(right.is_some(), "nobody else has the right");
                }
                Entry::Group(group) => drop(recorder.commit(&group).await.expect("memory is writable")),
            }
        }
        drop(right);
        (store, begun)
    }
}

/// See the module.
pub struct Recorder {
    pub inner: Arc<dyn Store>,
    pub log: Log,
}

impl Recorder {
    async fn reading(&self, _: &str) {}
}

/// The number that a letter brings.
pub fn payload(body: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(body).ok()?.get("payload")?["value"].as_u64()
}

impl Store for Recorder {
    fn commit<'a>(&'a self, group: &'a [Write]) -> BoxFuture<'a, Result<Vec<Answer>, Failed>> {
        Box::pin(async move {
            let outcomes = self.inner.commit(group).await?;
            let mut noted = self.log.noted();
            noted.entries.push(Entry::Group(group.to_vec()));
            for (write, outcome) in group.iter().zip(&outcomes) {
                if let (Write::Deliver(Deliver { letter, .. }), Answer::Deliver(DeliverAnswer::Committed)) =
                    (write, outcome)
                {
                    noted.taken.extend(payload(&letter.body));
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
                self.log.noted().entries.push(Entry::Right(owner));
            }
            Ok(right)
        })
    }

    forward_reads!();
}
