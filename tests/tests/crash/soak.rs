//! Runs a mix of workflows for a while in a process whose memory, rows and files must not grow, and runs of each shape in a
//! process whose heap must not grow at all with the number of ended runs.

use super::blocking;
use super::child::{Child, command};
use super::place::{Kind, Place};

/// The duration of a soak in these tests.
const SECONDS: &str = "40";

fn soak(kind: Kind) {
    let place = Place::new(kind);
    let mut child = Child::spawn(command(env!("CARGO_BIN_EXE_soak"), [place.url(), "--seconds", SECONDS]));
    let status = child.end();
    println!("{:#?}", child.said);
    assert!(status.success(), "growth {:?}, leftovers {:?}", child.said("grown"), child.said("left"));
}

case! {
    #[threads]
    async fn memory_rows_and_file_do_not_grow_on_sqlite() {
        blocking(|| soak(Kind::Sqlite));
    }
}

case! {
    #[postgres]
    async fn memory_and_rows_do_not_grow_on_postgres() {
        blocking(|| soak(Kind::Postgres));
    }
}

fn heap(url: &str) {
    let mut child = Child::spawn(command(env!("CARGO_BIN_EXE_heap"), [url]));
    let status = child.end();
    println!("{:#?}", child.said);
    assert!(status.success(), "the heap grows: {:?}", child.said("grown"));
}

case! {
    #[threads]
    async fn the_heap_does_not_grow_with_ended_runs_in_memory() {
        blocking(|| heap("memory:"));
    }
}

case! {
    #[threads]
    async fn the_heap_does_not_grow_with_ended_runs_on_sqlite() {
        blocking(|| heap(Place::new(Kind::Sqlite).url()));
    }
}

case! {
    #[postgres]
    async fn the_heap_does_not_grow_with_ended_runs_on_postgres() {
        blocking(|| heap(Place::new(Kind::Postgres).url()));
    }
}
