//! Generated workflows whose steps end in any order and whose engines are dropped at any moment: a run never gets
//! stuck, rows are only appended to its journal, and a run can be resumed from any prefix of its journal.
//!
//! Most cases run on one thread with a simulated clock, so that a seed determines everything; some run on SQLite. A
//! plain
//! `cargo test` runs a sample, and
//!
//! ```text
//! WORKFLOW_SWEEP=full cargo test -p workflow-tests --test property
//! ```
//!
//! runs many thousands. `WORKFLOW_SEED=N` runs the one case that a failure has named.

mod audit;
mod conversation;
#[macro_use]
#[path = "../shared/forward.rs"]
mod forward;
mod history;
mod interpreter;
mod keys;
mod mail;
mod program;
mod recorder;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use workflow_runtime::store::{MemoryStore, SqliteStore, Store, Synchronous};
use workflow_runtime::{Engine, Error, Result};

use self::conversation::{Beginnings, Conversation};
use self::history::History;
use self::interpreter::interpret;
use self::program::{Manner, Node};
use self::recorder::{Log, Recorder};
use self::world::{Clockwork, World, jump, open_gates, yields};

/// Longer than any program takes, in the time of its clock.
const PATIENCE: Duration = Duration::from_secs(600);

const RUN: &str = "run";

/// Counts of what the cases have exercised, so that a test that exercises too little fails.
#[derive(Default)]
struct Tally {
    events: AtomicU64,
    crashes: AtomicU64,
    beginnings: AtomicU64,
    delivered: AtomicU64,
    unread: AtomicU64,
    held: AtomicU64,
    children: AtomicU64,
    undone: AtomicU64,
    cancelled: AtomicU64,
    /// Generations after the first one of each run.
    generations: AtomicU64,
    queued: AtomicU64,
    suspended: AtomicU64,
    /// Timers whose length was checked while the time of day jumped.
    timers: AtomicU64,
    retried: AtomicU64,
    /// Runs that have completed after a retry.
    recovered: AtomicU64,
    forked: AtomicU64,
}

impl Tally {
    fn print(&self) {
        self.print_crashes();
        println!("{:?} timers checked, {:?} runs retried", self.timers, self.retried);
        assert!(self.beginnings.load(Ordering::Relaxed) > 0, "nothing was tested");
    }

    fn print_conversation(&self) {
        let Tally { delivered, unread, held, children, undone, cancelled, generations, .. } = self;
        let Tally { queued, suspended, timers, .. } = self;
        println!("{queued:?} steps of a queue, {suspended:?} suspensions, {timers:?} timers checked");
        println!("payloads: {delivered:?} delivered, {unread:?} unread, {held:?} held");
        println!(
            "{children:?} children, {undone:?} steps undone, {cancelled:?} runs cancelled, {generations:?} continued"
        );
        println!("{:?} retries, {:?} of them successful, {:?} forks", self.retried, self.recovered, self.forked);
    }

    /// Asserts that the cases have exercised everything. Only for cases that their seed determines.
    fn assert_talked(&self) {
        let Tally { delivered, unread, held, children, undone, cancelled, generations, .. } = self;
        let Tally { queued, suspended, timers, recovered, forked, .. } = self;
        let all = [
            delivered,
            unread,
            held,
            children,
            undone,
            cancelled,
            generations,
            queued,
            suspended,
            timers,
            recovered,
            forked,
        ];
        for each in all {
            assert!(each.load(Ordering::Relaxed) > 0, "a kind of event never occurred");
        }
    }

    fn print_crashes(&self) {
        let Tally { events, crashes, beginnings, .. } = self;
        println!("{events:?} events, {crashes:?} crashes, {beginnings:?} resumed prefixes");
        assert!(crashes.load(Ordering::Relaxed) > 0, "nothing was tested");
    }
}

struct Case<'a> {
    tally: &'a Tally,
    random: StdRng,
    world: Arc<World>,
    clockwork: Option<Arc<Clockwork>>,
    program: Node,
}

impl<'a> Case<'a> {
    fn new(seed: u64, clockwork: bool, tally: &'a Tally) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let program = Node::generate(&mut random, Manner::Solitary, clockwork);
        let clockwork = clockwork.then(|| Arc::new(Clockwork::new(random.random())));
        Case { tally, random, world: Arc::default(), clockwork, program }
    }

    async fn open(&mut self, store: Arc<dyn Store>) -> Engine {
        let mut builder = Engine::builder().store(store).resource(self.world.clone()).recoveries(u32::MAX);
        if let Some(clockwork) = &self.clockwork {
            builder = builder.environment(clockwork.clone());
        }
        if self.random.random_bool(0.3) {
            builder = builder.replay_every_turn();
        }
        if self.random.random_bool(0.3) {
            builder = builder.evict_after(Duration::ZERO);
        }
        builder.open().await.expect("the engine opens")
    }

    /// Runs an engine: the outcome of the run, or nothing if the engine was dropped before. If `short`, it is dropped
    /// at a random moment.
    async fn live(&mut self, store: Arc<dyn Store>, short: bool) -> Option<Result<u64>> {
        let log = Log::default();
        self.clockwork.iter().for_each(|clockwork| clockwork.reopen());
        let clockwork = self.clockwork.clone();
        let engine = self.open(Arc::new(Recorder { inner: store, log: log.clone(), clockwork })).await;
        let jumps = tokio::spawn(jump(self.clockwork.clone(), self.random.random()));
        let moments = self.random.random_range(0..150);
        let milliseconds = if self.random.random_bool(0.5) { self.random.random_range(0..8) } else { 0 };
        let end = async {
            if short {
                yields(moments).await;
                if milliseconds > 0 {
                    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                }
            } else {
                tokio::time::sleep(PATIENCE).await;
            }
        };
        let outcome = tokio::select! {
            biased;
            outcome = async { engine.start(interpret, self.program.clone()).id(RUN).await?.await } => Some(outcome),
            () = end => None,
        };
        jumps.abort();
        self.tally.timers.fetch_add(log.timers() as u64, Ordering::Relaxed);
        outcome
    }

    /// Runs engines until the run has ended: its journal and outcome.
    async fn run(&mut self, open: &impl Fn() -> Arc<dyn Store>) -> (History, Result<u64>) {
        let gates = tokio::spawn(open_gates(self.world.clone(), self.random.random()));
        let lives = self.random.random_range(0..8);
        let mut before = History::default();
        let mut outcome = None;
        for life in 0..=lives {
            let store = open();
            let ended = outcome.is_some();
            outcome = outcome.or(self.live(store.clone(), life < lives).await);
            self.tally.crashes.fetch_add(u64::from(!ended && outcome.is_none()), Ordering::Relaxed);
            let after = History::read(&*store, RUN).await;
            after.assert_continues(&before);
            before = after;
        }
        gates.abort();
        let outcome = outcome.expect("the run ends");
        before.assert_ended(&outcome);
        (before, outcome)
    }

    /// Resumes the run from a prefix of its journal.
    async fn resume(&mut self, history: &History, events: usize, message: bool) -> Result<u64> {
        self.tally.beginnings.fetch_add(1, Ordering::Relaxed);
        let store = history.beginning(events, message).await;
        let gates = tokio::spawn(open_gates(self.world.clone(), self.random.random()));
        let engine = self.open(Arc::new(store.clone())).await;
        let outcome = tokio::time::timeout(PATIENCE, engine.get_run(RUN)).await.expect("the run ends");
        gates.abort();
        let after = History::read(&store, RUN).await;
        after.assert_continues(&history.split(events));
        after.assert_ended(&outcome);
        outcome
    }

    /// Retries the run, which has failed, once no step fails any more.
    async fn retry(&mut self, open: &impl Fn() -> Arc<dyn Store>, failed: &History) -> (History, Result<u64>) {
        self.tally.retried.fetch_add(1, Ordering::Relaxed);
        self.world.mend();
        self.world.record(failed.succeeded());
        let engine = self.open(open()).await;
        engine.get_run::<u64, Error>(RUN).retry().await.expect("the run has failed");
        drop(engine);
        let (history, outcome) = self.run(open).await;
        history.assert_retries(failed);
        self.world.assert_nothing_again();
        (history, outcome)
    }

    async fn test(&mut self, open: impl Fn() -> Arc<dyn Store>, full: bool) {
        let (history, outcome) = self.run(&open).await;
        self.assert_resumes(&history, &outcome, full).await;
        if outcome.is_err() {
            let (history, outcome) = self.retry(&open, &history).await;
            self.assert_resumes(&history, &outcome, full).await;
        }
    }

    /// Asserts that the run can be resumed from prefixes of its journal, and has the same outcome then.
    async fn assert_resumes(&mut self, history: &History, outcome: &Result<u64>, full: bool) {
        let events = history.events();
        self.tally.events.fetch_add(events as u64, Ordering::Relaxed);
        if events == 1 {
            return;
        }
        let beginnings: Vec<_> = match full {
            true => (1..events).collect(),
            false => (0..3).map(|_| self.random.random_range(1..events)).collect(),
        };
        for beginning in beginnings {
            self.resume(history, beginning, false).await.ok();
        }
        // A timer is never a message: the engine arms it again, and another result of that millisecond may precede it.
        if history.ends_by_timer() {
            return;
        }
        // A replay of all events but the last, which is delivered again from the inbox, must have the same outcome.
        let again = self.resume(history, events - 1, true).await;
        assert_eq!(format!("{again:?}"), format!("{outcome:?}"), "a replay has another outcome");
    }
}

/// A case in memory with a simulated clock.
fn simulate(seed: u64, full: bool, tally: &Tally) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime starts").block_on(async {
        let store = MemoryStore::new();
        Case::new(seed, true, tally).test(|| Arc::new(store.clone()), full).await;
    });
}

/// A case on a SQLite file with the system's clock.
fn on_sqlite(seed: u64, path: &Path, tally: &Tally) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime starts").block_on(async {
        let open =
            || Arc::new(SqliteStore::open(path, Synchronous::Normal).expect("the store opens")) as Arc<dyn Store>;
        Case::new(seed, false, tally).test(open, false).await;
    });
}

/// Tests each seed, on as many threads as the machine has cores. A failure names its seed.
fn each_seed(cases: u64, test: impl Fn(u64) + Sync) {
    if let Some(seed) = std::env::var("WORKFLOW_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return test(seed);
    }
    let next = AtomicU64::new(1);
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed > cases {
            return;
        }
        let tested = catch_unwind(AssertUnwindSafe(|| test(seed)));
        assert!(tested.is_ok(), "failed with WORKFLOW_SEED={seed}");
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..std::thread::available_parallelism().map_or(2, usize::from)).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            assert!(thread.join().is_ok(), "see above");
        }
    });
}

fn full() -> bool {
    std::env::var("WORKFLOW_SWEEP").is_ok_and(|sweep| sweep == "full")
}

#[test]
fn any_program_resumes_from_any_event() {
    let tally = Tally::default();
    each_seed(if full() { 10_000 } else { 400 }, |seed| simulate(seed, full(), &tally));
    tally.print();
}

#[test]
fn any_program_resumes_from_any_event_on_sqlite() {
    let tally = Tally::default();
    each_seed(if full() { 1_000 } else { 30 }, |seed| {
        let directory = tempfile::tempdir().expect("a temporary directory");
        on_sqlite(seed, &directory.path().join("workflow.db"), &tally);
    });
    tally.print();
}

/// Programs that receive payloads, have children, roll back, write to streams and continue as new. They are also
/// resumed from the store as it was after commits in the middle, retried if they fail, and forked.
#[test]
fn any_conversation_resumes_from_any_commit() {
    let tally = Tally::default();
    let beginnings = if full() { Beginnings::Each } else { Beginnings::Some };
    each_seed(if full() { 500 } else { 200 }, |seed| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime starts").block_on(async {
            let store = MemoryStore::new();
            Conversation::new(seed, true, &tally).test(&|| Arc::new(store.clone()), beginnings).await;
        });
    });
    tally.print();
    tally.print_conversation();
    tally.assert_talked();
}

#[test]
fn any_conversation_resumes_after_any_crash_on_sqlite() {
    let tally = Tally::default();
    each_seed(if full() { 1_000 } else { 30 }, |seed| {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("workflow.db");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime starts").block_on(async {
            let open =
                || Arc::new(SqliteStore::open(&path, Synchronous::Normal).expect("the store opens")) as Arc<dyn Store>;
            Conversation::new(seed, false, &tally).test(&open, Beginnings::None).await;
        });
    });
    tally.print_crashes();
    tally.print_conversation();
}

#[test]
fn a_service_that_deduplicates_makes_each_purchase_the_right_number_of_times() {
    let (requests, retries) = (AtomicU64::new(0), AtomicU64::new(0));
    let count = |(asked, retried): (usize, usize)| {
        requests.fetch_add(asked as u64, Ordering::Relaxed);
        retries.fetch_add(retried as u64, Ordering::Relaxed);
    };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime starts");
    each_seed(if full() { 5_000 } else { 200 }, |seed| {
        let store = MemoryStore::new();
        count(runtime().block_on(keys::test(seed, &|| Arc::new(store.clone()))));
    });
    each_seed(if full() { 500 } else { 20 }, |seed| {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("workflow.db");
        let open =
            || Arc::new(SqliteStore::open(&path, Synchronous::Normal).expect("the store opens")) as Arc<dyn Store>;
        count(runtime().block_on(keys::test(seed, &open)));
    });
    println!("{requests:?} requests, {retries:?} retries");
    assert!(retries.load(Ordering::Relaxed) > 0, "nothing was tested");
}

#[test]
fn the_payloads_of_a_token_are_received_in_order_whatever_is_retried() {
    let (taken, retries) = (AtomicU64::new(0), AtomicU64::new(0));
    let count = |(number, retried): (usize, usize)| {
        taken.fetch_add(number as u64, Ordering::Relaxed);
        retries.fetch_add(retried as u64, Ordering::Relaxed);
    };
    let runtime = |paused| tokio::runtime::Builder::new_current_thread().enable_time().start_paused(paused).build();
    each_seed(if full() { 20_000 } else { 600 }, |seed| {
        let store = MemoryStore::new();
        let runtime = runtime(true).expect("a runtime starts");
        count(runtime.block_on(mail::test(seed, &|| Arc::new(store.clone()))));
    });
    each_seed(if full() { 1_000 } else { 20 }, |seed| {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("workflow.db");
        let open =
            || Arc::new(SqliteStore::open(&path, Synchronous::Normal).expect("the store opens")) as Arc<dyn Store>;
        let runtime = runtime(false).expect("a runtime starts");
        count(runtime.block_on(mail::test(seed, &open)));
    });
    println!("{taken:?} payloads taken, {retries:?} retries");
    assert!(retries.load(Ordering::Relaxed) > 0, "nothing was tested");
}
