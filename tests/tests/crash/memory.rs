//! Crash tests without processes: an engine that is dropped, or whose store no longer answers, simulates a killed
//! process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use workflow_runtime::Engine;
use workflow_runtime::store::MemoryStore;
use workflow_tests::everything::{Outcome, everything};
use workflow_tests::operated::{DELETED, FORGOTTEN, FORK, MAIL, ORDER, operate, retention};
use workflow_tests::{Execution, Log};

use super::check::{Crash, assert_continuous, assert_issued};
use super::operated::{assert_kept, assert_operated};
use super::silent::Silent;
use super::{full, seed, snapshot};

/// Roughly the duration of the workflow.
const LIFE_MAX: Duration = Duration::from_millis(60);

/// Longer than anything here takes: whatever takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

struct Lives {
    store: MemoryStore,
    random: StdRng,
    executions: Arc<Mutex<Vec<Execution>>>,
    crashes: Vec<Crash>,
}

impl Lives {
    async fn open(&mut self) -> Engine {
        let log = Log::memory(self.executions.clone(), self.crashes.len().to_string());
        let builder = Engine::builder().store(Arc::new(self.store.clone())).resource(log).recoveries(u32::MAX);
        let builder = if self.random.random_bool(0.3) { builder.replay_every_turn() } else { builder };
        builder.open().await.expect("the engine opens")
    }

    /// Runs an engine and drops it after at most this time: the outcomes, if the runs completed.
    async fn live(&mut self, ids: &[String], most: Duration) -> Option<Vec<Outcome>> {
        let engine = self.open().await;
        let work = async {
            let mut runs = Vec::new();
            for id in ids {
                runs.push(engine.start(everything, 1).id(id).await.expect("the run starts"));
            }
            let outcomes = futures::future::join_all(runs.iter().map(IntoFuture::into_future)).await;
            outcomes.into_iter().map(|outcome| outcome.expect("the run completes")).collect()
        };
        let outcomes = tokio::time::timeout(most, work).await.ok();
        drop(engine);
        let executions = self.executions.lock().expect("nothing panics under the lock").clone();
        let crash = Crash { stored: snapshot::of_memory(&self.store, ids).await, executions: executions.len() };
        assert_issued(&crash, &executions);
        self.crashes.push(crash);
        outcomes
    }
}

async fn drop_engines(seed: u64) -> usize {
    let mut lives = Lives {
        store: MemoryStore::new(),
        random: StdRng::seed_from_u64(seed),
        executions: Arc::default(),
        crashes: Vec::new(),
    };
    let ids = ["first".to_owned(), "second".to_owned()];
    for _ in 0..lives.random.random_range(1..=10) {
        let most = LIFE_MAX.mul_f64(lives.random.random());
        lives.live(&ids, most).await;
    }
    let outcomes = lives.live(&ids, PATIENCE).await.expect("the runs complete in time");
    for (id, outcome) in ids.iter().zip(outcomes) {
        outcome.assert_possible(id);
    }
    let executions = lives.executions.lock().expect("nothing panics under the lock").clone();
    assert_continuous(&lives.crashes, &executions);
    lives.crashes.len() - 1
}

case! {
    #[threads]
    async fn nothing_is_lost_or_repeated_when_the_engine_is_dropped_at_a_random_instant() {
        let cases = if full() { 1_000 } else { 60 };
        let mut dropped = 0;
        for chunk in (0..cases).collect::<Vec<u64>>().chunks(8) {
            let tests = chunk.iter().map(|case| {
                let seed = seed() + case;
                let test = tokio::spawn(drop_engines(seed));
                async move { test.await.unwrap_or_else(|panic| panic!("failed with the seed {seed}: {panic}")) }
            });
            dropped += futures::future::join_all(tests).await.into_iter().sum::<usize>();
        }
        println!("dropped {dropped} engines");
    }
}

/// A store and the answers of all engines (lives) that ran [`operate`] on it.
#[derive(Default)]
struct Operated {
    store: MemoryStore,
    executions: Arc<Mutex<Vec<Execution>>>,
    crashes: Vec<Crash>,
    answers: Vec<(usize, String)>,
    results: BTreeMap<String, String>,
}

impl Operated {
    fn executions(&self) -> Vec<Execution> {
        let executions = self.executions.lock().expect("nothing panics under the lock");
        executions.iter().filter(|execution| ![FORGOTTEN, DELETED].contains(&&*execution.run)).cloned().collect()
    }

    /// Runs an engine whose store answers this many operations: whether the store fell silent before the work was done.
    async fn live(&mut self, operations: u64) -> bool {
        let life = self.crashes.len();
        let store = Arc::new(Silent::after(Arc::new(self.store.clone()), operations));
        let log = Log::memory(self.executions.clone(), life.to_string());
        let builder = Engine::builder().store(store.clone()).resource(log).retain(retention()).recoveries(u32::MAX);
        let builder =
            if life.is_multiple_of(2) { builder.evict_after(Duration::ZERO) } else { builder.replay_every_turn() };
        let mut lines = Vec::new();
        let work = async {
            let engine = builder.open().await?;
            operate(&engine, &life.to_string(), |line| lines.push(line)).await?;
            engine.shutdown().await
        };
        let worked = tokio::select! {
            biased;
            () = store.fell_silent() => None,
            worked = tokio::time::timeout(PATIENCE, work) => Some(worked),
        };
        let fell_silent = worked.is_none();
        match worked {
            Some(Ok(worked)) => worked.expect("the calls succeed"),
            Some(Err(_)) => {
                let ids = [ORDER, FORK, MAIL, FORGOTTEN, DELETED].map(str::to_owned);
                panic!(
                    "the work hangs after {lines:?}:\n{}",
                    snapshot::text(&snapshot::of_memory(&self.store, &ids).await)
                )
            }
            None => {}
        }
        store.abandon();
        for line in lines {
            if let Some(answer) = line.strip_prefix("answer ") {
                self.answers.push((life, answer.to_owned()));
            }
            if let Some((id, result)) = line.strip_prefix("result ").and_then(|result| result.split_once(' ')) {
                let before = self.results.insert(id.to_owned(), result.to_owned());
                assert!(before.is_none_or(|before| before == result), "run {id} had another result before");
            }
        }
        let executions = self.executions();
        let stored = snapshot::of_memory(&self.store, &[ORDER, FORK, MAIL].map(str::to_owned)).await;
        let crash = Crash { stored, executions: executions.len() };
        assert_issued(&crash, &executions);
        self.crashes.push(crash);
        fell_silent
    }
}

/// Silences the store of an engine at an operation, and sometimes that of the next engine too: whether the work reached
/// the operation.
async fn fall_silent(operations: u64) -> bool {
    let mut operated = Operated::default();
    let mut fell_silent = operated.live(operations).await;
    if operations.is_multiple_of(3) && fell_silent {
        operated.live(operations / 2).await;
    }
    fell_silent &= !operated.live(u64::MAX).await;
    let end = operated.crashes.last().expect("an engine has run");
    assert_operated(&operated.answers, &operated.results);
    assert_kept(&operated.executions(), &end.stored);
    assert_continuous(&operated.crashes, &operated.executions());
    fell_silent
}

case! {
    #[threads]
    async fn each_call_takes_effect_once_when_the_store_falls_silent_at_any_operation() {
        let mut fell_silent = 0;
        for operations in (0..).step_by(if full() { 1 } else { 4 }) {
            let test = tokio::spawn(fall_silent(operations));
            if !test.await.unwrap_or_else(|panic| panic!("failed at operation {operations}: {panic}")) {
                break;
            }
            fell_silent += 1;
        }
        println!("the store fell silent at {fell_silent} operations");
        assert!(fell_silent > 20, "the store fell silent at only {fell_silent} operations");
    }
}
