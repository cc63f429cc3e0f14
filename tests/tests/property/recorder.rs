//! A store that records all commits, so that its state after any commit can be rebuilt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use serde_json::Value;
use workflow_runtime::Error;
use workflow_runtime::engine::Environment;
use workflow_runtime::store::{
    Answer, CreateAnswer, Deliver, DeliverAnswer, Failed, First, MemoryStore, Ownership, RunKey, Store, TurnAnswer,
    Write,
};

use crate::world::Clockwork;

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
    /// The timers that were recorded while the present engine was open, by run, generation and operation: the
    /// monotonic time before which they must not end.
    timers: BTreeMap<(RunKey, u64, u64), u64>,
    /// The number of timers that have ended while the engine that recorded them was open.
    ended: usize,
}

impl Entries {
    /// Checks that the timers which end in a turn have not ended early, whatever the time of day was. A timer lasts from
    /// the recorded time of the event after which it was called.
    fn turn(&mut self, clockwork: &Clockwork, run: RunKey, generation: u64, body: &[u8]) {
        let turn: Value = serde_json::from_slice(body).expect("a turn");
        for delivery in turn["deliveries"].as_array().into_iter().flatten() {
            let ended = delivery["event"]["timer"]["op"].as_u64();
            if let Some(due) = ended.and_then(|op| self.timers.remove(&(run, generation, op))) {
                let now = clockwork.monotonic();
                assert!(now >= due, "a timer has ended {} ms early: {delivery}", due - now);
                self.ended += 1;
            }
            let at = delivery["at"].as_u64().expect("a time");
            let Some(called) = clockwork.recorded_at(at) else { continue };
            for command in delivery["commands"].as_array().into_iter().flatten() {
                let timer = &command["timer"];
                let (Some(op), Some(until)) = (timer["op"].as_u64(), timer["until"].as_u64()) else { continue };
                self.timers.insert((run, generation, op), called + until.saturating_sub(at));
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
        let recorder = Recorder { inner: Arc::new(store.clone()), log: begun.clone(), clockwork: None };
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
    /// The clock of the engine, if timers are checked.
    pub clockwork: Option<Arc<Clockwork>>,
}

impl Recorder {
    async fn reading(&self, _: &str) {}
}

/// The turn that was committed, if the write has one: its run, its generation and its row.
fn turn_of<'a>(write: &'a Write, answer: &Answer) -> Option<(RunKey, u64, &'a [u8])> {
    match (write, answer) {
        (Write::Create(new), Answer::Create(CreateAnswer::Created(key))) => match &new.first {
            First::Turn { row, .. } => Some((*key, 0, &row.body)),
            _ => None,
        },
        (Write::Turn(turn), Answer::Turn(TurnAnswer::Committed)) => {
            turn.row.as_ref().map(|row| (turn.run, turn.generation, &*row.body))
        }
        _ => None,
    }
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
                if let (Some(clockwork), Some((run, generation, body))) = (&self.clockwork, turn_of(write, outcome)) {
                    recorded.turn(clockwork, run, generation, body);
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
