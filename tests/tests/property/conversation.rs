//! Programs that receive payloads, have children and are cancelled, while engines are dropped at random moments.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use workflow_runtime::store::{Status, Store};
use workflow_runtime::{Code, Engine, Error, Run};

use crate::audit::{self, Tree};
use crate::interpreter::{QUEUE, drain, interpret};
use crate::program::{How, Manner, Node, Work};
use crate::recorder::{Log, Recorder};
use crate::world::{Clockwork, World, jump, open_gates, yields};
use crate::{RUN, Tally};

const TOKENS: [&str; 4] = ["t0", "t1", "t2", "t3"];

/// How long payloads are held: longer than any case takes.
const HOLD: Duration = Duration::from_secs(10_000_000);

/// The maximum number of random actions: more than any case needs.
const ACTIONS_MAX: u32 = 5_000;

const FORK: &str = "fork";

/// How often a run that fails is retried.
const RETRIES_MAX: u32 = 3;

/// The case of a seed.
pub struct Conversation<'a> {
    tally: &'a Tally,
    random: StdRng,
    clockwork: Option<Arc<Clockwork>>,
    program: Node,
    /// Whether the run is cancelled, at random moments and repeatedly, as by a caller who retries after a crash.
    cancels: bool,
    /// Whether the start reserves tokens, so that the run accepts payloads before it opens the hooks.
    opens: bool,
    next: u64,
    answer: Option<bool>,
    /// The run, or its fork.
    root: &'static str,
    /// The runs as they were when the run was forked.
    original: Tree,
    /// How often the run has been retried or forked.
    repairs: u32,
    /// Whether the steps do not fail.
    is_repaired: bool,
    /// The numbers that were sent to suspensions.
    answers: BTreeSet<u64>,
    /// Those of them that were sent before the last retry.
    lost: BTreeSet<u64>,
}

type Open<'a> = &'a dyn Fn() -> Arc<dyn Store>;

impl<'a> Conversation<'a> {
    pub fn new(seed: u64, clockwork: bool, tally: &'a Tally) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut program = Node::generate(&mut random, Manner::Talking, clockwork);
        if random.random_bool(0.3) {
            // The run fails at its end, until no step fails any more.
            let work = Work { how: How::Yields(3), failures: u32::MAX, fatal: true, timeout_ms: None };
            program = Node::Sequence(vec![program, Node::Step(work)]);
        }
        let clockwork = clockwork.then(|| Arc::new(Clockwork::new(random.random())));
        let (cancels, opens) = (random.random_bool(0.3), random.random_bool(0.3));
        Conversation {
            tally,
            random,
            clockwork,
            program,
            cancels,
            opens,
            next: 0,
            answer: None,
            root: RUN,
            original: Tree::new(),
            repairs: 0,
            is_repaired: false,
            answers: BTreeSet::new(),
            lost: BTreeSet::new(),
        }
    }

    fn recorder(&self, open: Open<'_>, log: &Log) -> Recorder {
        Recorder { inner: open(), log: log.clone(), clockwork: self.clockwork.clone() }
    }

    async fn open(&mut self, store: Arc<dyn Store>, world: &Arc<World>) -> Engine {
        let builder = Engine::builder().store(store).resource(world.clone()).recoveries(u32::MAX);
        let mut builder = builder.queue(QUEUE, 2);
        if let Some(clockwork) = &self.clockwork {
            builder = builder.environment(clockwork.clone());
        }
        if self.random.random_bool(0.3) {
            builder = builder.replay_every_turn();
        }
        if self.random.random_bool(0.4) {
            builder = builder.evict_after(Duration::ZERO);
        }
        builder.open().await.expect("the engine opens")
    }

    /// Sends the next number to a random token. The log has each number that the store accepted, even if the engine is
    /// dropped before this returns.
    async fn send(&mut self, engine: &Engine, log: &Log) {
        let token = TOKENS[self.random.random_range(0..TOKENS.len())];
        self.next += 1;
        let number = self.next;
        let hold = self.random.random_bool(0.2);
        for _ in 0..if is_named(number) { 2 } else { 1 } {
            let mut sending = engine.resume_hook(token, &number);
            if is_named(number) {
                sending = sending.idempotency_key(format!("key {number}"));
            }
            if hold {
                sending = sending.hold_for(HOLD);
            }
            match sending.await {
                Ok(()) => assert!(log.taken().contains(&number), "the payload was acknowledged and is not stored"),
                Err(error) => {
                    let code = error.code();
                    assert!([Code::HookNotFound, Code::HookDisposed, Code::HookFinished].contains(&code), "{error:?}");
                }
            }
        }
    }

    /// Resumes a suspension of one of the runs with the next number.
    async fn resume(&mut self, engine: &Engine, tree: &Tree, log: &Log) {
        let ids: Vec<&String> = tree.keys().collect();
        let Some(id) = ids.get(self.random.random_range(0..ids.len().max(1))) else { return };
        let run: Run<u64> = engine.get_run(id.as_str());
        let Some(suspended) = run.suspended().await.expect("there is a run").into_iter().next() else { return };
        self.next += 1;
        let number = self.next;
        self.answers.insert(number);
        match run.resume(&number).of(suspended.id).await {
            Ok(()) => assert!(log.taken().contains(&number), "the payload was acknowledged and is not stored"),
            Err(error) => {
                let code = error.code();
                assert!([Code::NotSuspended, Code::AlreadyResumed].contains(&code), "{error:?}");
            }
        }
    }

    /// Performs random actions until all runs have ended.
    async fn talk(&mut self, engine: &Engine, store: &dyn Store, world: &World, log: &Log) {
        for _ in 0..ACTIONS_MAX {
            let tree = audit::read(store, self.root).await;
            for run in tree.values() {
                assert_ne!(run.row.status, Status::Stuck, "{:?}", run.row.stuck);
                world.record(run.recorded());
            }
            world.assert_nothing_again();
            if !tree.is_empty() && tree.values().all(|run| run.row.status.is_terminal()) {
                return;
            }
            let run: Run<u64> = engine.get_run(self.root);
            match self.random.random_range(0..20) {
                0 if self.cancels && !tree.is_empty() => {
                    let answer = run.cancel("enough").await.expect("there is a run");
                    assert!(self.answer.is_none_or(|before| before == answer), "two cancels got different answers");
                    self.answer = Some(answer);
                }
                1 if !tree.is_empty() => {
                    let id = tree.keys().nth(self.random.random_range(0..tree.len())).expect("there is a run");
                    engine.get_run::<u64, Error>(id.as_str()).wake_up().await.expect("there is a run");
                }
                2 | 3 => self.resume(engine, &tree, log).await,
                4..8 => yields(self.random.random_range(0..30)).await,
                8 if self.clockwork.is_some() && self.random.random_bool(0.1) => {
                    tokio::time::sleep(Duration::from_millis(self.random.random_range(0..2_000))).await;
                }
                8..12 => tokio::time::sleep(Duration::from_millis(self.random.random_range(0..3))).await,
                _ => self.send(engine, log).await,
            }
        }
        panic!("the runs do not end");
    }

    /// Runs an engine. If `short`, drops it at a random moment; otherwise runs it until all runs have ended. Returns
    /// whether they have ended.
    async fn live(&mut self, open: Open<'_>, log: &Log, short: bool) -> bool {
        let store: Arc<dyn Store> = Arc::new(self.recorder(open, log));
        let world = Arc::new(World::default());
        if self.is_repaired {
            world.mend();
        }
        for run in audit::read(&*store, self.root).await.values() {
            world.record(run.recorded());
        }
        let gates = tokio::spawn(open_gates(world.clone(), self.random.random()));
        log.reopen();
        self.clockwork.iter().for_each(|clockwork| clockwork.reopen());
        let jumps = tokio::spawn(jump(self.clockwork.clone(), self.random.random()));
        let moments = self.random.random_range(0..200);
        let milliseconds = if self.random.random_bool(0.5) { self.random.random_range(0..8) } else { 0 };
        let engine = self.open(store.clone(), &world).await;
        let end: BoxFuture<'_, ()> = Box::pin(async move {
            yields(moments).await;
            match short {
                true => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
                false => std::future::pending().await,
            }
        });
        let start = (self.root == RUN).then(|| {
            let start = engine.start(interpret, self.program.clone()).id(RUN);
            if self.opens { start.opens(TOKENS[0]).opens(TOKENS[1]) } else { start }
        });
        let ended = tokio::select! {
            biased;
            () = async {
                if let Some(start) = start {
                    drop(start.await.expect("the run starts"));
                }
                self.talk(&engine, &*store, &world, log).await;
            } => true,
            () = end => false,
        };
        drop(engine);
        gates.abort();
        jumps.abort();
        world.assert_nothing_again();
        ended
    }

    /// Runs an engine on the store until all runs have ended, and checks the final state.
    async fn finish(&mut self, open: Open<'_>, log: &Log, before: &Tree) -> Tree {
        assert!(self.live(open, log, false).await, "the runs do not end");
        let store = open();
        let tree = audit::read(&*store, self.root).await;
        for (id, run) in before {
            tree.get(id).expect("no run is lost").assert_continues(run);
        }
        match self.repairs {
            0 => audit::assert_sound(&*store, &tree).await,
            // A retry leaves children and chunks of what it has cut, and a fork has those of the run.
            _ => {
                for run in tree.values() {
                    run.assert_ended();
                    run.assert_shown(&*store).await;
                }
            }
        }
        let is_fork = self.root == FORK;
        if is_fork {
            tree[FORK].assert_undoes_its_own();
            self.assert_unchanged(&*store).await;
        }
        let status = tree[self.root].row.status;
        assert!(self.answer.is_none_or(|cancelled| cancelled == (status == Status::Cancelled)), "{status}");
        let world = Arc::new(World::default());
        let engine = self.open(Arc::new(self.recorder(open, log)), &world).await;
        let mut held = Vec::new();
        for token in TOKENS {
            for repairs in 0..=self.repairs {
                let id = format!("{token} {repairs}");
                let run = engine.start(drain, token.into()).id(&id).await.expect("the run starts");
                run.await.unwrap_or_else(|error: Error| panic!("a run does not get the held payloads: {error:?}"));
                held.push(audit::read(&*store, &id).await);
            }
        }
        drop(engine);
        let drained: usize = held.iter().flat_map(|tree| tree.values()).map(|run| run.delivered().len()).sum();
        self.tally.held.fetch_add(drained as u64, Ordering::Relaxed);
        if is_fork {
            held.push(audit::read(&*store, RUN).await);
        }
        let trees: Vec<&Tree> = held.iter().chain([&tree]).collect();
        // Labels of suspensions are random: a retry makes others, to which earlier answers do not belong.
        // A fork also has payloads that the run has received.
        audit::assert_accounted(&trees, &log.taken(), &self.lost, |number| is_fork || is_named(number));
        tree
    }

    /// Retries the run, which has failed, until it ends again: its status.
    async fn retry(&mut self, open: Open<'_>, log: &Log) -> Status {
        self.tally.retried.fetch_add(1, Ordering::Relaxed);
        self.repairs += 1;
        // A run that had ended before it was cancelled can be cancelled again.
        self.answer = None;
        self.is_repaired = self.repairs == RETRIES_MAX || self.random.random_bool(0.5);
        self.lost = self.answers.clone();
        let failed = audit::read(&*open(), self.root).await;
        let engine = self.open(Arc::new(self.recorder(open, log)), &Arc::default()).await;
        engine.get_run::<u64, Error>(RUN).retry().await.expect("the run has failed");
        drop(engine);
        let mut before = self.read_after(open, &failed).await;
        for _ in 0..self.random.random_range(0..4) {
            if self.live(open, log, true).await {
                break;
            }
            before = self.read_after(open, &before).await;
        }
        let status = self.finish(open, log, &before).await[self.root].row.status;
        self.tally.recovered.fetch_add(u64::from(status == Status::Completed), Ordering::Relaxed);
        status
    }

    /// Forks the run at a random event, and runs the fork to its end.
    async fn fork(&mut self, open: Open<'_>, log: &Log, beginnings: Beginnings) {
        self.original = audit::read(&*open(), RUN).await;
        let event = self.random.random_range(0..=self.original[RUN].events() as u64);
        let engine = self.open(Arc::new(self.recorder(open, log)), &Arc::default()).await;
        let forked = engine.get_run::<u64, Error>(RUN).fork(event).id(FORK).await.map(drop);
        drop(engine);
        match forked {
            Ok(()) => {}
            Err(error) => return assert_eq!(error.code(), Code::NotRepairable, "{error:?}"),
        }
        self.tally.forked.fetch_add(1, Ordering::Relaxed);
        let commits = log.len();
        (self.root, self.answer, self.is_repaired) = (FORK, None, self.random.random_bool(0.5));
        self.repairs += 1;
        let mut before = audit::read(&*open(), FORK).await;
        for _ in 0..self.random.random_range(0..4) {
            if self.live(open, log, true).await {
                break;
            }
            before = self.read_after(open, &before).await;
        }
        self.finish(open, log, &before).await;
        self.resume_from(commits..=log.len().saturating_sub(1), log, beginnings).await;
    }

    /// Asserts that the run and its descendants are as they were when the run was forked.
    async fn assert_unchanged(&self, store: &dyn Store) {
        let after = audit::read(store, RUN).await;
        assert_eq!(self.original.len(), after.len());
        for (id, run) in &self.original {
            after[id].assert_continues(run);
            run.assert_continues(&after[id]);
            assert_eq!(run.row.status, after[id].row.status, "a fork has changed `{id}`");
        }
    }

    /// Reads the tree after an engine was dropped.
    async fn read_after(&self, open: Open<'_>, before: &Tree) -> Tree {
        let after = audit::read(&*open(), self.root).await;
        for (id, run) in before {
            after.get(id).expect("no run is lost").assert_continues(run);
        }
        after
    }

    fn count(&self, tree: &Tree) {
        let Tally { events, delivered, unread, children, undone, cancelled, generations, queued, suspended, .. } =
            self.tally;
        let add = |to: &AtomicU64, number: usize| to.fetch_add(number as u64, Ordering::Relaxed);
        for run in tree.values() {
            add(events, run.events());
            add(delivered, run.delivered().len());
            add(unread, run.unread.len());
            add(children, run.children.len());
            add(undone, run.undone());
            add(queued, run.queued());
            add(suspended, run.suspended());
            add(generations, run.row.generation as usize);
            add(cancelled, usize::from(run.row.status == Status::Cancelled));
        }
    }

    /// Tests the case: crashes at random moments, then resumes from the store as it was after some commits (or each).
    pub async fn test(&mut self, open: Open<'_>, beginnings: Beginnings) {
        let log = Log::default();
        let mut before = Tree::new();
        for _ in 0..self.random.random_range(0..8) {
            if self.live(open, &log, true).await {
                break;
            }
            self.tally.crashes.fetch_add(1, Ordering::Relaxed);
            before = self.read_after(open, &before).await;
        }
        let commits = log.len();
        let tree = self.finish(open, &log, &before).await;
        self.count(&tree);
        self.tally.timers.fetch_add(log.timers() as u64, Ordering::Relaxed);
        self.resume_from(1..=commits.max(log.len().saturating_sub(1)), &log, beginnings).await;
        let mut has_failed = tree[self.root].row.status == Status::Failed;
        // A child that was cancelled makes its parent fail each time.
        while has_failed && self.repairs < RETRIES_MAX {
            let commits = log.len();
            has_failed = self.retry(open, &log).await == Status::Failed;
            self.resume_from(commits + 1..=log.len().saturating_sub(1), &log, beginnings).await;
        }
        self.fork(open, &log, beginnings).await;
    }

    /// Resumes the runs from the store as it was after some of these commits, or each.
    async fn resume_from(&mut self, commits: RangeInclusive<usize>, log: &Log, beginnings: Beginnings) {
        let commits: Vec<usize> = match beginnings {
            Beginnings::None => Vec::new(),
            Beginnings::Some if commits.is_empty() => Vec::new(),
            Beginnings::Some => (0..3).map(|_| self.random.random_range(commits.clone())).collect(),
            Beginnings::Each => commits.collect(),
        };
        for commit in commits {
            self.tally.beginnings.fetch_add(1, Ordering::Relaxed);
            let (store, log) = log.beginning(commit).await;
            let before = audit::read(&store, self.root).await;
            // At this commit the cancel may not have been made yet.
            self.answer = None;
            self.finish(&|| Arc::new(store.clone()), &log, &before).await;
        }
    }
}

/// The commits from which a case is resumed.
#[derive(Clone, Copy)]
pub enum Beginnings {
    None,
    Some,
    Each,
}

/// Whether the sender of a payload gives an idempotency key and sends the payload twice.
fn is_named(number: u64) -> bool {
    number.is_multiple_of(5)
}
