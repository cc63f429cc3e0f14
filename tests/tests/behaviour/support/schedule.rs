//! A scheduler that decides by a seed which waiting participant continues, so that each seed leads to one order of
//! events.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tokio::sync::oneshot;
use workflow_runtime::Error;
use workflow_runtime::engine::Environment;
use workflow_runtime::store::{Answer, Failed, Ownership, Store, Write};

use super::ManualClock;

/// Participants ask for a [`turn`](Schedule::turn). When none of them can continue, the schedule gives a turn to one
/// that asks. It is also the clock and the randomness of the engines.
#[derive(Clone)]
pub struct Schedule(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    clock: ManualClock,
    /// Whether other threads take part. The schedule cannot see whether they are blocked.
    threads: bool,
}

struct State {
    random: StdRng,
    waiting: Vec<(&'static str, oneshot::Sender<()>)>,
    /// The probability weight of each kind of turn. With equal weights, runs would nearly always end before slow
    /// operations, or never.
    weights: BTreeMap<&'static str, u32>,
    taken: DefaultHasher,
    turns: u32,
}

/// The initial time of the clock, in milliseconds since 1970.
const BEGIN: u64 = 1_700_000_000_000;

/// The maximum number of turns of a race, and of consecutive idle rounds.
const TURNS_MAX: u32 = 20_000;

impl Schedule {
    pub fn new(seed: u64, threads: bool) -> Self {
        let state = State {
            random: StdRng::seed_from_u64(seed),
            waiting: Vec::new(),
            weights: BTreeMap::new(),
            taken: DefaultHasher::new(),
            turns: 0,
        };
        Schedule(Arc::new(Shared { state: Mutex::new(state), clock: ManualClock::at(BEGIN), threads }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// Waits for a turn.
    pub async fn turn(&self, what: &'static str) {
        let (go, gone) = oneshot::channel();
        self.state().waiting.push((what, go));
        // The schedule lives as long as the race.
        let _ = gone.await;
    }

    pub fn chance(&self, probability: f64) -> bool {
        self.state().random.random_bool(probability)
    }

    /// Advances the clock.
    pub fn pass(&self, milliseconds: u64) {
        self.0.clock.set(self.now() + milliseconds);
    }

    /// A hash of the order of turns.
    pub fn order(&self) -> u64 {
        self.state().taken.finish()
    }

    /// Gives one waiting participant its turn. Returns whether there was one.
    fn let_go(&self) -> bool {
        let mut state = self.state();
        while let Some(next) = state.next() {
            let (what, go) = state.waiting.remove(next);
            if go.send(()).is_ok() {
                what.hash(&mut state.taken);
                state.turns += 1;
                assert!(state.turns < TURNS_MAX, "the race does not end");
                return true;
            }
        }
        false
    }

    /// Runs a race to its end, on a single-threaded runtime with a paused clock. That clock advances only when no task
    /// can continue. If no participant asks for a turn then, the schedule advances its own clock.
    pub async fn run<T>(&self, race: impl Future<Output = T>) -> T {
        let steer = async {
            let mut idle = 0;
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                if self.let_go() {
                    idle = 0;
                    continue;
                }
                idle += 1;
                assert!(idle < TURNS_MAX, "no participant can continue, even when time passes");
                if self.0.threads && idle % 100 > 0 {
                    std::thread::yield_now();
                } else {
                    self.pass(1_000);
                }
            }
        };
        tokio::select! {
            biased;
            outcome = race => outcome,
            () = steer => unreachable!("the scheduler loop never ends"),
        }
    }
}

impl State {
    /// The index of the participant that gets the next turn.
    fn next(&mut self) -> Option<usize> {
        let State { random, waiting, weights, .. } = self;
        let weights: Vec<u32> = waiting
            .iter()
            .map(|(what, _)| *weights.entry(what).or_insert_with(|| 1 << random.random_range(0..8)))
            .collect();
        let total = weights.iter().sum();
        let mut left = (total > 0).then(|| random.random_range(0..total))?;
        weights.iter().position(|weight| left.checked_sub(*weight).map(|rest| left = rest).is_none())
    }
}

impl Environment for Schedule {
    fn now(&self) -> u64 {
        self.0.clock.now()
    }

    fn sleep_until(&self, time: u64) -> BoxFuture<'static, ()> {
        self.0.clock.sleep_until(time)
    }

    fn fill(&self, bytes: &mut [u8]) {
        self.state().random.fill_bytes(bytes);
    }
}

/// A store whose operations each ask for a turn. A commit also asks for one before it returns its answer.
pub struct Scheduled {
    inner: Arc<dyn Store>,
    schedule: Schedule,
}

impl Scheduled {
    pub fn new(inner: Arc<dyn Store>, schedule: &Schedule) -> Self {
        Scheduled { inner, schedule: schedule.clone() }
    }

    async fn reading(&self, what: &'static str) {
        self.schedule.turn(what).await;
    }
}

impl Store for Scheduled {
    fn commit<'a>(&'a self, group: &'a [Write]) -> BoxFuture<'a, Result<Vec<Answer>, Failed>> {
        Box::pin(async move {
            self.reading("commit").await;
            let outcomes = self.inner.commit(group).await;
            self.reading("committed").await;
            outcomes
        })
    }

    fn blocks(&self) -> bool {
        self.inner.blocks()
    }

    fn acquire(&self, owner: u64) -> BoxFuture<'_, Result<Option<Box<dyn Ownership>>, Error>> {
        self.inner.acquire(owner)
    }

    forward_reads!();
}
