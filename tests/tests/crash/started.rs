//! Two processes start the same created run at the same instant: one start succeeds, and the run is executed once.

use std::collections::BTreeMap;

use super::child::{Child, command};
use super::place::{Kind, Place};
use super::{blocking, full};

const NAMES: [&str; 2] = ["one", "other"];

/// Lets two processes compete to start each of this many runs.
fn start_at_once(kind: Kind, rounds: usize) {
    let place = Place::new(kind);
    let (log, count) = (place.log(), rounds.to_string());
    let mut processes = NAMES.map(|name| {
        let mut child =
            Child::spawn(command(env!("CARGO_BIN_EXE_starts"), [place.url(), &log.to_string_lossy(), name, &count]));
        child.wait_for("ready");
        child
    });
    let mut started = BTreeMap::new();
    let mut won = [0, 0];
    for round in 0..rounds {
        // The processes take turns at being first.
        for turn in 0..2 {
            processes[(round + turn) % 2].send("now");
        }
        let answers = [0, 1].map(|process| processes[process].wait_for("answer"));
        let winner = answers.iter().position(|answer| answer == "ok");
        let winner = winner.unwrap_or_else(|| panic!("round {round}: no process has started the run: {answers:?}"));
        assert_eq!(answers[1 - winner], "already_started", "round {round}");
        won[winner] += 1;
        started.insert(format!("round-{round}"), NAMES[winner]);
    }
    for process in &mut processes {
        process.end_well();
        let results: BTreeMap<_, _> =
            process.said("result").iter().filter_map(|result| result.split_once(' ')).collect();
        assert_eq!(results.len(), rounds);
        for (run, by) in results {
            assert_eq!(by, started[run], "run {run} was started by the other process");
        }
    }
    let mut executions: BTreeMap<String, usize> = BTreeMap::new();
    for execution in place.executions() {
        *executions.entry(execution.run).or_default() += 1;
    }
    let stored = place.stored();
    assert_eq!((executions.len(), stored.len()), (rounds, rounds));
    for (run, times) in executions {
        assert_eq!((times, &*stored[&run].status), (1, "completed"), "run {run}");
        assert!(stored[&run].inbox.is_empty(), "run {run} has left inbox messages: {:?}", stored[&run].inbox);
    }
    println!("{rounds} rounds; the processes won {won:?}");
}

case! {
    fn one_of_two_processes_starts_a_created_run() {
        start_at_once(Kind::Sqlite, if full() { 1_000 } else { 50 });
    }
}

case! {
    #[postgres]
    async fn one_of_two_processes_starts_a_created_run_on_postgres() {
        blocking(|| start_at_once(Kind::Postgres, if full() { 1_000 } else { 50 }));
    }
}
