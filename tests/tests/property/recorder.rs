//! A store that records all commits, so that its state after any commit can be rebuilt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::time::Instant;
use workflow_runtime::Error;
use workflow_runtime::store::{
    Answer, CreateAnswer, Deliver, DeliverAnswer, Failed, First, MemoryStore, Ownership, RunKey, Store, TurnAnswer,
    Write,
};

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
    /// The timers that were recorded while the present engine was open, by run, generation and operation: when, by a
    /// clock that does not jump, and how long they last.
    timers: BTreeMap<(RunKey, u64, u64), (Instant, Duration)>,
    /// The number of timers that have ended while the engine that recorded them was open.
    ended: usize,
    /// Whether commits of earlier engines are repeated, at once.
    rebuilds: bool,
}

/// A timer may end earlier by this: times are rounded down to milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);
impl Entries {
    /// Checks that the timers which end in a turn have lasted long enough, whatever the time of day was.
    fn turn(&mut self, run: RunKey, generation: u64, body: &[u8]) {
        let turn: Value = serde_json::from_slice(body).expect("a turn");
        for delivery in turn["deliveries"].as_array().into_iter().flatten() {
            let ended = delivery["event"]["timer"]["op"].as_u64();
            let ended = ended.filter(|_| !self.rebuilds);
            if let Some((began, length)) = ended.and_then(|op| self.timers.remove(&(run, generation, op))) {
                let took = began.elapsed();
                assert!(took + ROUNDING >= length, "a timer of {length:?} has ended after {took:?}");
                self.ended += 1;
            }
            let at = delivery["at"].as_u64().expect("a time");
            for command in delivery["commands"].as_array().into_iter().flatten() {
                let timer = &command["timer"];
                let (Some(op), Some(until)) = (timer["op"].as_u64(), timer["until"].as_u64()) else { continue };
                let length = Duration::from_millis(until.saturating_sub(at));
                self.timers.insert((run, generation, op), (Instant::now(), length));
            }
        }
    }
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

    /// Forgets the timers of the engine that was open before: the time of day may have jumped while none was open.
    pub fn reopen(&self) {
        self.recorded().timers.clear();
    }

    /// The number of timers whose length was checked.
    pub fn timers(&self) -> usize {
        self.recorded().ended
    }

    /// Rebuilds the store after this many entries, without an owner, and its log up to there.
    pub async fn beginning(&self, entries: usize) -> (MemoryStore, Log) {
        let store = MemoryStore::new();
        let begun = Log::default();
        begun.recorded().rebuilds = true;
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
        begun.recorded().rebuilds = false;
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
                match (write, outcome) {
                    (Write::Create(new), Answer::Create(CreateAnswer::Created(key))) => {
                        if let First::Turn { row, .. } = &new.first {
                            recorded.turn(*key, 0, &row.body);
                        }
                    }
                    (Write::Turn(turn), Answer::Turn(TurnAnswer::Committed)) => {
                        if let Some(row) = &turn.row {
                            recorded.turn(turn.run, turn.generation, &row.body);
                        }
                    }
                    _ => {}
                }
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
