//! Two processes on one SQLite file: the first executes, and the second takes over after the first is killed.

use std::collections::BTreeSet;
use std::path::Path;

use workflow_tests::Execution;
use workflow_tests::everything::{DOOMED, Outcome};

use super::check::{Crash, assert_continuous};
use super::child::{Child, command, was_killed};
use super::{full, snapshot};

const RUNS: [&str; 6] = ["r-0", "r-1", "r-2", "r-3", "r-4", "r-5"];

/// Kills the executing process after the client has started this many runs.
fn take_over(started: usize) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (database, log) = (directory.path().join("workflow.db"), directory.path().join("log"));
    let executions = || -> Vec<Execution> {
        std::fs::read_to_string(&log).unwrap_or_default().lines().filter_map(Execution::parse).collect()
    };
    let sweep = |life: &str, runs: &[&str]| {
        let url = format!("sqlite:{}", database.display());
        let args = [Path::new(&url), &log, Path::new(life)].into_iter().chain(runs.iter().map(Path::new));
        Child::spawn(command(env!("CARGO_BIN_EXE_sweep"), args))
    };
    let mut owner = sweep("owner", &[]);
    owner.wait_for("open");
    let mut client = sweep("client", &RUNS);
    for _ in 0..started {
        client.wait_for("started");
    }
    assert!(was_killed(owner.kill()));
    let killed = Crash { stored: snapshot::of_open_database(&database), executions: executions().len() };
    for id in client.said("started") {
        assert!(killed.stored.contains_key(id), "run {id} was started but is not stored");
    }
    client.end_well();

    let executions = executions();
    let end = Crash { stored: snapshot::of_database(&database), executions: executions.len() };
    // Each run has at least four children.
    assert!(end.stored.len() > RUNS.len() * 5, "{} runs", end.stored.len());
    for (id, run) in end.stored.iter().filter(|(id, _)| *id == DOOMED || RUNS.contains(&id.as_str())) {
        let expected: &[&str] = if id == DOOMED { &["cancelled", "completed"] } else { &["completed"] };
        assert!(expected.contains(&&*run.status) && (id == DOOMED || run.inbox.is_empty()), "{id}: {run:?}");
    }
    assert_continuous(&[killed, end], &executions);
    let results = client.said("result");
    assert_eq!(results.len(), RUNS.len());
    for result in results {
        let (id, result) = result.split_once(' ').expect("a result has an id");
        serde_json::from_str::<Outcome>(result).expect("an outcome").assert_possible(id);
    }
    let lives: BTreeSet<_> = executions.iter().map(|execution| execution.life.as_str()).collect();
    assert!(lives.contains("client"), "the client has executed nothing");
}

case! {
    fn a_second_process_takes_over_after_the_first_is_killed() {
        for started in if full() { 0..=RUNS.len() } else { 2..=3 } {
            take_over(started);
        }
    }
}
