//! `saga`, killed while it executes an order and while it undoes one.

mod common;

use std::process::Command;

use common::{kill_at, lines};

const RESULTS: [&str; 3] = [
    "order-1: shipped as parcel-1",
    "order-2: failed, everything undone: the card was declined",
    "order-3: failed, everything undone: no carrier delivers there",
];

#[test]
fn a_killed_saga_repeats_no_recorded_step_and_undoes_the_others_last_first() {
    let directory = tempfile::tempdir().unwrap();
    let mut saga = Command::new(env!("CARGO_BIN_EXE_saga"));
    saga.current_dir(&directory);

    let lives = [kill_at(&mut saga, "charge 4200 cents for order 2"), kill_at(&mut saga, "refund"), lines(&mut saga)];
    // A request begins after the result of the one before it is recorded, so at most the last one of each process is
    // repeated.
    let is_request = |line: &&String| line.starts_with("  ");
    let mut requests: Vec<String> = Vec::new();
    for life in &lives {
        let mut life = life.iter().filter(is_request).cloned().peekable();
        if requests.last() == life.peek() {
            requests.pop();
        }
        requests.extend(life);
    }
    let expected = [
        "  reserve the goods of order 1",
        "  charge 4200 cents for order 1",
        "  ship order 1 to Norway, attempt 1",
        "  ship order 1 to Norway, attempt 2",
        "  reserve the goods of order 2",
        "  charge 4200 cents for order 2",
        "  release the goods of order 2",
        "  reserve the goods of order 3",
        "  charge 4200 cents for order 3",
        "  ship order 3 to Atlantis, attempt 1",
        "  refund 4200 cents for order 3",
        "  release the goods of order 3",
    ];
    assert_eq!(requests, expected, "{lives:#?}");
    // Ended runs are not executed again.
    assert_eq!(lines(&mut saga), RESULTS);
}
