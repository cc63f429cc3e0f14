//! Kills a program that deletes runs and retains few finished ones at each operation of its store: at any moment a
//! stored run is complete, and a removed run has left only rows that `remains` lists.

use std::collections::BTreeSet;

use super::child::{Child, command, was_killed};
use super::place::{Kind, Place};
use super::remains::{REMAINS, ask, assert_no_flaws};
use super::snapshot::Snapshot;
use super::sweep::in_parallel;
use super::{blocking, full};

struct History {
    place: Place,
    lives: usize,
    deleted: BTreeSet<String>,
}

impl History {
    fn new(kind: Kind) -> Self {
        History { place: Place::new(kind), lives: 0, deleted: BTreeSet::new() }
    }

    /// Runs the program and kills it at this operation of the store: whether it was killed.
    fn live(&mut self, kill: Option<u64>) -> bool {
        self.lives += 1;
        let (url, log) = (self.place.url().to_owned(), self.place.log());
        let mut args = vec![url, log.to_string_lossy().into_owned(), self.lives.to_string()];
        args.extend((0..6).map(|number| format!("{}-{number}", self.lives)));
        let mut command = command(env!("CARGO_BIN_EXE_forgets"), args);
        if let Some(point) = kill {
            command.env("WORKFLOW_FAIL_POINT", point.to_string());
        }
        let mut child = Child::spawn(command);
        let status = child.end();
        assert!(status.success() || was_killed(status) && kill.is_some(), "the program ended with {status}");
        self.deleted.extend(child.said("deleted").into_iter().map(str::to_owned));
        let stored = self.place.stored();
        let resurrected: Vec<_> = self.deleted.iter().filter(|id| stored.contains_key(*id)).collect();
        assert!(resurrected.is_empty(), "deleted runs are stored again: {resurrected:?}");
        self.check(&stored);
        !status.success()
    }

    fn check(&self, stored: &Snapshot) {
        assert_no_flaws(&self.place);
        for (id, run) in stored.iter().filter(|(_, run)| ["completed", "failed"].contains(&&*run.status)) {
            assert!(run.operations().end.is_some(), "run {id} has lost the end of its journal");
            assert!(run.journal.iter().zip(0..).all(|(row, index)| row.index == index), "run {id} has lost a row");
        }
    }

    /// Runs the program to its end, and checks that only the retained runs are left.
    fn finish(mut self) {
        assert!(!self.live(None));
        let completed = self.place.stored().values().filter(|run| run.status == "completed").count();
        assert_eq!((completed, self.place.stored().len()), (3, 3));
        assert_eq!(ask(&self.place, &[REMAINS.to_owned()]), [0], "rows of removed runs are left");
    }
}

fn at_fail_points(kind: Kind, step: usize) {
    let mut points = 64;
    while History::new(kind).live(Some(points)) {
        points += 32;
    }
    let points: Vec<u64> = (1..=points).step_by(step).collect();
    let killed = std::sync::atomic::AtomicUsize::new(0);
    in_parallel(&points, |point| {
        let mut history = History::new(kind);
        // In a third of the cases the next process is killed, too.
        for kill in [*point, point / 2 + 40] {
            let was_killed = history.live(Some(kill));
            killed.fetch_add(usize::from(was_killed), std::sync::atomic::Ordering::Relaxed);
            if !was_killed || kill % 3 != 0 {
                break;
            }
        }
        history.finish();
    });
    let killed = killed.into_inner();
    println!("killed {killed} times at {} fail points", points.len());
    assert!(killed >= points.len() * 3 / 4, "the sweep killed too few processes: {killed} of {}", points.len());
}

case! {
    fn a_removed_run_is_complete_or_gone_whenever_the_process_is_killed() {
        at_fail_points(Kind::Sqlite, if full() { 1 } else { 9 });
    }
}

case! {
    #[postgres]
    async fn a_removed_run_is_complete_or_gone_whenever_the_process_is_killed_on_postgres() {
        blocking(|| at_fail_points(Kind::Postgres, if full() { 1 } else { 40 }));
    }
}
