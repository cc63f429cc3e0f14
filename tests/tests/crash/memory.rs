//! The same without a process: an engine that is dropped stands for one that is killed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use workflow_runtime::Engine;
use workflow_runtime::store::MemoryStore;
use workflow_tests::everything::{Outcome, everything};
use workflow_tests::{Execution, Log};

use super::check::{Crash, assert_continuous, assert_issued};
use super::{full, seed, snapshot};

/// About as long as the workflow takes.
const LIFE_MAX: Duration = Duration::from_millis(60);

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

    /// An engine that is dropped after a while, whatever it is doing then: the outcome, if it came to one.
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
    let outcomes = lives.live(&ids, Duration::from_secs(120)).await.expect("the runs end");
    for (id, outcome) in ids.iter().zip(outcomes) {
        outcome.assert_possible(id);
    }
    let executions = lives.executions.lock().expect("nothing panics under the lock").clone();
    assert_continuous(&lives.crashes, &executions);
    lives.crashes.len() - 1
}

case! {
    #[threads]
    async fn nothing_is_lost_or_repeated_when_the_engine_is_dropped_at_a_random_moment() {
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
