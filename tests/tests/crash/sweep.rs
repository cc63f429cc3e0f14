//! Kills programs at each operation of their store and at random instants: here a program whose workflow uses every
//! operation, and [one that calls the API on runs](super::operated).

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use workflow_tests::Execution;
use workflow_tests::everything::{DOOMED, Outcome};
use workflow_tests::further::{self, FURTHER, Further};

use super::check::{Crash, assert_continuous, assert_issued};
use super::child::{Child, command, was_killed};
use super::place::{Kind, Place};
use super::remains::assert_no_flaws;
use super::{blocking, full, seed};

const RUNS: [&str; 3] = ["first", "second", FURTHER];

const EVERYTHING: Program = Program {
    path: env!("CARGO_BIN_EXE_sweep"),
    args: &RUNS,
    results: RUNS.len(),
    forgets: &[],
    check: check_everything,
};

/// The program under test.
#[derive(Clone, Copy)]
pub struct Program {
    pub path: &'static str,
    /// Its arguments after the common ones.
    pub args: &'static [&'static str],
    /// The number of results that it prints.
    pub results: usize,
    /// The runs that it has removed when it exits. Each process may create them again.
    pub forgets: &'static [&'static str],
    /// Checks the final state.
    pub check: fn(&History),
}

/// When to kill a process of the program.
#[derive(Clone, Copy, Debug)]
enum Kill {
    AtFailPoint(u64),
    After(Duration),
}

/// A database and the observations of all processes that have run on it.
pub struct History {
    program: Program,
    place: Place,
    pub crashes: Vec<Crash>,
    started: Vec<String>,
    /// The answers to calls, each with the number of its process (its life).
    pub answers: Vec<(usize, String)>,
    pub results: BTreeMap<String, String>,
    /// Whether the cancel was in time, if a process has printed that.
    cancelled: Option<bool>,
    /// After each process, the number of callbacks that were called so far.
    called: Vec<usize>,
}

impl History {
    fn new(program: Program, kind: Kind) -> Self {
        History {
            program,
            place: Place::new(kind),
            crashes: Vec::new(),
            started: Vec::new(),
            answers: Vec::new(),
            results: BTreeMap::new(),
            cancelled: None,
            called: Vec::new(),
        }
    }

    /// The executions of runs that the program does not remove.
    pub fn executions(&self) -> Vec<Execution> {
        let mut executions = self.place.executions();
        executions.retain(|execution| !self.program.forgets.contains(&&*execution.run));
        executions
    }

    /// The calls of the completion callback: the process (its life) and the run.
    fn calls(&self) -> Vec<(usize, String)> {
        let called = std::fs::read_to_string(further::calls(&self.place.log())).unwrap_or_default();
        let call = |line: &str| line.split_once(' ').and_then(|(life, run)| Some((life.parse().ok()?, run.to_owned())));
        called.lines().map(|line| call(line).expect("a line is a process and a run")).collect()
    }

    /// Asserts that the callback was called for each run that has completed, and again only if the process was killed
    /// before it had acknowledged the call.
    fn assert_called_back(&self) {
        let calls = self.calls();
        for (crash, called) in self.crashes.iter().zip(&self.called) {
            // No callback is called for the runs that execute steps of a queue.
            let runs = RUNS.iter().chain([&further::NAMED]).filter_map(|id| crash.stored.get_key_value(*id));
            let completed = runs.filter(|(_, stored)| stored.status == "completed");
            for (id, _) in completed.filter(|(_, stored)| stored.notices == 0) {
                let is_of = |(_, run): &&(usize, String)| run == id;
                assert!(calls[..*called].iter().any(|call| is_of(&call)), "no callback was called for run {id}");
                let again = calls[*called..].iter().find(is_of);
                assert_eq!(again, None, "a callback that was acknowledged was called again");
            }
        }
        for (index, call) in calls.iter().enumerate() {
            assert!(!calls[..index].contains(call), "a process called back twice: {call:?}");
        }
    }

    /// The state after the last process.
    pub fn end(&self) -> &Crash {
        self.crashes.last().expect("a process has run")
    }

    /// Runs the program once more: whether it was killed.
    fn live(&mut self, kill: Option<Kill>) -> bool {
        let life = self.crashes.len();
        let (url, log, number) = (self.place.url(), self.place.log().display().to_string(), life.to_string());
        let args = [url, &log, &number].into_iter().chain(self.program.args.iter().copied());
        let mut command = command(self.program.path, args);
        if let Some(Kill::AtFailPoint(point)) = kill {
            command.env("WORKFLOW_FAIL_POINT", point.to_string());
        }
        let mut child = Child::spawn(command);
        let status = match kill {
            Some(Kill::After(instant)) if !child.ends_within(instant) => child.kill(),
            _ => child.end(),
        };
        assert!(status.success() || was_killed(status) && kill.is_some(), "the program exited with {status}");
        self.started.extend(child.said("started").into_iter().map(str::to_owned));
        self.answers.extend(child.said("answer").into_iter().map(|answer| (life, answer.to_owned())));
        for result in child.said("result") {
            let (id, result) = result.split_once(' ').expect("a result has an id");
            let before = self.results.insert(id.to_owned(), result.to_owned());
            assert!(before.is_none_or(|before| before == result), "run {id} had another result before");
        }
        if let [answer] = child.said("cancelled")[..] {
            let before = self.cancelled.replace(answer == "true");
            assert!(
                before.is_none_or(|before| before == (answer == "true")),
                "two processes disagree on whether the cancel was in time"
            );
        }
        let executions = self.executions();
        let mut stored = self.place.stored();
        for id in self.program.forgets {
            let left = stored.remove(*id);
            assert!(left.is_none() || !status.success(), "run {id} is still there");
        }
        let crash = Crash { stored, executions: executions.len() };
        assert_issued(&crash, &executions);
        self.crashes.push(crash);
        self.called.push(self.calls().len());
        self.check_acknowledged();
        if !self.program.forgets.is_empty() {
            assert_no_flaws(&self.place);
        }
        !status.success()
    }

    /// Asserts that the store has each start, cancel and result that the program has printed.
    fn check_acknowledged(&self) {
        let stored = &self.end().stored;
        for id in &self.started {
            assert!(stored.contains_key(id), "run {id} was started, and there is no such run");
        }
        if let Some(cancelled) = self.cancelled {
            assert_eq!(stored[DOOMED].status, if cancelled { "cancelled" } else { "completed" });
        }
        for (id, result) in &self.results {
            let end = stored[id].operations().end.expect("a run with a result has ended");
            let value: serde_json::Value = serde_json::from_str(result).expect("a result is JSON");
            assert_eq!(end["completed"], value, "run {id} returned another value than the recorded one");
        }
    }

    /// Runs the program to its end, checks the whole history, and checks that a further process executes nothing.
    fn finish(mut self) {
        assert!(!self.live(None));
        assert_eq!(self.results.len(), self.program.results);
        let executions = self.executions();
        assert_continuous(&self.crashes, &executions);
        for id in self.results.keys() {
            let stored = &self.end().stored[id];
            assert_eq!(stored.status, "completed");
            assert!(stored.inbox.is_empty(), "run {id} has left inbox messages: {:?}", stored.inbox);
        }
        (self.program.check)(&self);
        assert!(!self.live(None));
        assert_eq!(self.executions(), executions, "a finished run was executed again");
    }
}

fn check_everything(history: &History) {
    let end = &history.end().stored;
    // Each run has at least four children.
    assert!(end.len() > RUNS.len() * 5, "{} runs", end.len());
    assert!(history.cancelled.is_some());
    history.assert_called_back();
    assert!(!history.calls().is_empty());
    for (id, result) in &history.results {
        if id == FURTHER {
            serde_json::from_str::<Further>(result).expect("a result").assert_possible();
            continue;
        }
        let outcome: Outcome = serde_json::from_str(result).expect("an outcome");
        outcome.assert_possible(id);
    }
}

/// Runs the program on a new database with these kills: how many of them took place.
fn crash(program: Program, kind: Kind, kills: &[Kill]) -> usize {
    let mut history = History::new(program, kind);
    let killed = kills.iter().take_while(|kill| history.live(Some(**kill))).count();
    history.finish();
    killed
}

/// Tests each case, on as many threads as the machine has cores, and names a case that failed.
pub fn in_parallel<T: std::fmt::Debug + Sync>(cases: &[T], test: impl Fn(&T) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            let tested = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(case)));
            assert!(tested.is_ok(), "failed: {case:?}, with the seed {}", seed());
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            assert!(thread.join().is_ok(), "see above");
        }
    });
}

/// Roughly the number of store operations of the program: the number varies with the interleaving of threads.
fn fail_points(program: Program, kind: Kind) -> u64 {
    let reaches = |point| History::new(program, kind).live(Some(Kill::AtFailPoint(point)));
    let mut reached = 64;
    while reaches(reached) {
        reached += 8 + reached / 8;
    }
    reached
}

/// Kills the program at every `step`-th operation of the store.
pub fn at_fail_points(program: Program, kind: Kind, step: usize) {
    let mut random = StdRng::seed_from_u64(seed());
    let points: Vec<_> = (1..=fail_points(program, kind))
        .step_by(step)
        .map(|point| match random.random_bool(0.25) {
            true => vec![Kill::AtFailPoint(point), Kill::AtFailPoint(random.random_range(1..60))],
            false => vec![Kill::AtFailPoint(point)],
        })
        .collect();
    let killed = std::sync::atomic::AtomicUsize::new(0);
    in_parallel(&points, |kills| {
        killed.fetch_add(crash(program, kind, kills), std::sync::atomic::Ordering::Relaxed);
    });
    let killed = killed.into_inner();
    println!("killed {killed} times at {} fail points", points.len());
    assert!(killed >= points.len() * 3 / 4, "the sweep killed too few processes: {killed} of {}", points.len());
}

/// Kills the program at this many random instants.
pub fn at_random_instants(program: Program, kind: Kind, instants: usize) {
    let mut random = StdRng::seed_from_u64(seed());
    let begin = std::time::Instant::now();
    crash(program, kind, &[]);
    // `crash` without kills has run two processes, of which the second has nothing to do.
    let life = begin.elapsed().mul_f64(0.4);
    let instants: Vec<_> = (0..instants)
        .map(|_| {
            let lives = 1 + usize::from(random.random_bool(0.25));
            (0..lives).map(|_| Kill::After(life.mul_f64(random.random()))).collect::<Vec<_>>()
        })
        .collect();
    let killed = std::sync::atomic::AtomicUsize::new(0);
    in_parallel(&instants, |kills| {
        killed.fetch_add(crash(program, kind, kills), std::sync::atomic::Ordering::Relaxed);
    });
    println!("killed {} times at random instants", killed.into_inner());
}

case! {
    fn nothing_is_lost_or_repeated_when_the_program_is_killed_at_any_operation_of_the_store() {
        at_fail_points(EVERYTHING, Kind::Sqlite, if full() { 1 } else { 7 });
    }
}

case! {
    fn nothing_is_lost_or_repeated_when_the_program_is_killed_at_a_random_instant() {
        at_random_instants(EVERYTHING, Kind::Sqlite, if full() { 200 } else { 20 });
    }
}

case! {
    #[postgres]
    async fn nothing_is_lost_or_repeated_when_the_program_is_killed_at_any_operation_on_postgres() {
        blocking(|| at_fail_points(EVERYTHING, Kind::Postgres, if full() { 1 } else { 50 }));
    }
}

case! {
    #[postgres]
    async fn nothing_is_lost_or_repeated_when_the_program_is_killed_at_a_random_instant_on_postgres() {
        blocking(|| at_random_instants(EVERYTHING, Kind::Postgres, if full() { 200 } else { 4 }));
    }
}
