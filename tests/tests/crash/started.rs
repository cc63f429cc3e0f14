//! Two processes that start the same created run at the same instant: one starts it, and it is executed once.

use std::collections::BTreeMap;

use super::child::{Child, command};
use super::place::{Kind, Place};
use super::{blocking, full};

const NAMES: [&str; 2] = ["one", "other"];

/// Lets two processes start so many runs, one after the other.
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
        // Neither is always told first.
        for turn in 0..2 {
            processes[(round + turn) % 2].tell("now");
        }
        let answers = [0, 1].map(|process| processes[process].wait_for("answer"));
        let winner = answers.iter().position(|answer| answer == "ok");
        let winner = winner.unwrap_or_else(|| panic!("round {round}: nobody has started it: {answers:?}"));
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
            assert_eq!(by, started[run], "run {run} was started by another one");
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
        assert!(stored[&run].inbox.is_empty(), "run {run} has left letters: {:?}", stored[&run].inbox);
    }
    println!("{rounds} rounds, of which each process has won {won:?}");
}

case! {
    fn of_two_processes_that_start_a_created_run_one_does() {
        start_at_once(Kind::Sqlite, if full() { 1_000 } else { 50 });
    }
}

case! {
    #[postgres]
    async fn of_two_processes_that_start_a_created_run_one_does_on_postgres() {
        blocking(|| start_at_once(Kind::Postgres, if full() { 1_000 } else { 50 }));
    }
}
