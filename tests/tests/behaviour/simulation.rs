//! A fleet of engines on a simulated clock and a faulty store, in one thread: the same seed leads to the same history.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use workflow_runtime::engine::Environment;
use workflow_runtime::store::MemoryStore;
use workflow_runtime::{Engine, Error, Result, Run, random, sleep, step, step_info, timeout, workflow};

use crate::support::{Faulty, Lab, When};

/// Tokio's paused clock, which jumps to the next deadline when all tasks wait, and a seeded random generator.
struct Simulated {
    began: tokio::time::Instant,
    random: Mutex<StdRng>,
}

impl Environment for Simulated {
    fn now(&self) -> u64 {
        1_700_000_000_000 + self.began.elapsed().as_millis() as u64
    }

    /// No one sets this clock, so engines need not check it for jumps.
    fn is_paused(&self) -> bool {
        true
    }

    fn sleep_until(&self, time: u64) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(Duration::from_millis(time.saturating_sub(self.now()))))
    }

    fn fill(&self, bytes: &mut [u8]) {
        self.random.lock().unwrap().fill_bytes(bytes);
    }
}

#[step(retries = 20, backoff = "10ms..1s")]
async fn flaky(#[resource] lab: &Lab, odds: u8) -> Result<u64> {
    let key = step_info().map(|info| info.idempotency_key).unwrap_or_default();
    let execution = lab.note(&key) as u64;
    tokio::time::sleep(Duration::from_millis(u64::from(odds) * 37 % 500)).await;
    // Failures depend on the execution number and the arguments. A random number from outside the engine's environment
    // would not be reproducible.
    if (execution * 31 + u64::from(odds)).is_multiple_of(3) { Err(Error::new("unlucky")) } else { Ok(u64::from(odds)) }
}

#[workflow]
async fn busy(rounds: u32) -> Result<u64> {
    let mut sum = 0;
    for _ in 0..rounds {
        let (a, b) = tokio::join!(flaky(random()), flaky(random()));
        sum += a? + b?;
        sleep(Duration::from_secs(2)).await;
        if let Ok(value) = timeout(Duration::from_millis(200), flaky(random())).await {
            sum += value?;
        }
    }
    Ok(sum)
}

/// The results and the journals of all runs.
async fn history(seed: u64) -> Vec<(u64, Vec<String>)> {
    let mut random = StdRng::seed_from_u64(seed);
    let lab = Lab::new();
    let place = MemoryStore::new();
    let environment =
        Arc::new(Simulated { began: tokio::time::Instant::now(), random: Mutex::new(StdRng::seed_from_u64(seed + 1)) });
    let open = || async {
        let faulty = Faulty::new(Arc::new(place.clone()));
        let mut faults = StdRng::seed_from_u64(seed + 2);
        faulty.plan(move |_| match faults.random_range(0..20) {
            0 => Some(When::CommittedButInDoubt),
            1 => Some(When::LostAndInDoubt),
            2 => Some(When::Refused),
            _ => None,
        });
        loop {
            let store = Arc::new(faulty.clone());
            let builder = Engine::builder().store(store).resource(lab.clone()).environment(environment.clone());
            // The store may refuse the engine's first write, too.
            if let Ok(engine) = builder.recoveries(u32::MAX).open().await {
                return engine;
            }
        }
    };
    let mut fleet = vec![open().await, open().await, open().await];
    let ids: Vec<String> = (0..20).map(|n| format!("run-{n}")).collect();
    for id in &ids {
        let at = random.random_range(0..fleet.len());
        while fleet[at].start(busy, 5).id(id).await.is_err() {}
    }
    // Engines crash at random times and are replaced.
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1_000))).await;
        let at = random.random_range(0..fleet.len());
        fleet.remove(at);
        fleet.push(open().await);
    }
    let mut histories = Vec::new();
    for id in &ids {
        let run: Run<u64> = fleet[0].get_run(id);
        let sum = run.await.unwrap();
        let place = crate::support::Place::Memory(place.clone());
        histories.push((sum, place.journal(id).await));
    }
    histories
}

/// Each history needs a new runtime. In a reused one, timers take other places in the timer wheel, so that timers of
/// the same millisecond fire in another order.
fn simulate(seed: u64) -> Vec<(u64, Vec<String>)> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(history(seed))
}

case! {
    fn the_same_seed_is_the_same_history() {
        for seed in 0..3 {
            let first = simulate(seed);
            assert!(first.iter().all(|(_, journal)| journal.len() > 15));
            assert_eq!(first, simulate(seed), "seed {seed}");
        }
        assert_ne!(simulate(1), simulate(2));
    }
}
