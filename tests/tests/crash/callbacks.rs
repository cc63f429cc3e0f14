//! Completion callbacks in several processes, some of which are killed after a call and before its acknowledgement.

use std::collections::BTreeMap;

use workflow_harness::wait;
use workflow_runtime::Client;
use workflow_tests::chain::{Chain, chain};

use super::child::{Child, command};
use super::place::{Kind, Place};
use super::{blocking, full};

/// The maximum number of callbacks that an engine calls at the same time.
const AT_ONCE: usize = 16;

fn worker(place: &Place, life: &str, dies: bool) -> Child {
    let (log, called) = (place.log(), place.log().with_extension("called"));
    let dies = if dies { "dies" } else { "lives" };
    let args = [place.url(), &log.to_string_lossy(), life, &called.to_string_lossy(), dies];
    Child::spawn(command(env!("CARGO_BIN_EXE_callbacks"), args))
}

/// How often the callback was called for each run.
fn calls(place: &Place) -> BTreeMap<String, usize> {
    let called = std::fs::read_to_string(place.log().with_extension("called")).unwrap_or_default();
    let mut calls = BTreeMap::new();
    for run in called.lines() {
        *calls.entry(run.to_owned()).or_default() += 1;
    }
    calls
}

async fn start(client: &Client, ids: impl Iterator<Item = String>) {
    for id in ids {
        client.start(chain, Chain { links: 1, gate: None }).id(id).await.expect("the run starts");
    }
}

/// In each of `deaths` rounds two processes start that abort in their first callback. Three processes that do not abort
/// then finish the remaining runs. Expects a call for each run, and repeated calls only for callbacks that an abort
/// interrupted.
fn kill(kind: Kind, deaths: usize, runs: usize) {
    let place = Place::new(kind);
    let client = wait(Client::connect(place.url())).expect("the client connects");
    for death in 0..deaths {
        let round = (0..runs).map(|run| format!("{death} {run}"));
        wait(start(&client, round));
        let mut aborting = [0, 1].map(|number| worker(&place, &format!("mortal-{death}-{number}"), true));
        for process in &mut aborting {
            assert!(!process.end().success(), "each process aborts in a callback");
        }
    }
    wait(start(&client, (0..runs).map(|run| format!("last {run}"))));
    let mut others = ["one", "other", "third"].map(|life| worker(&place, life, false));
    for process in &mut others {
        process.wait_for("open");
    }
    let all = (deaths + 1) * runs;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while calls(&place).len() < all {
        assert!(
            std::time::Instant::now() < deadline,
            "callbacks were called for {} of {all} runs",
            calls(&place).len()
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for process in &mut others {
        process.close();
        process.end_well();
    }
    let calls = calls(&place);
    let repeated: usize = calls.values().map(|calls| calls - 1).sum();
    // An aborted process leaves at most `AT_ONCE` calls unacknowledged.
    assert!(repeated <= deaths * 2 * AT_ONCE, "{calls:?}");
    assert!(deaths > 0 || repeated == 0, "{calls:?}");
    let last = calls.iter().filter(|(run, _)| run.starts_with("last"));
    assert!(
        last.clone().count() == runs && last.clone().all(|(_, calls)| *calls == 1),
        "a callback of the last round was not called exactly once: {calls:?}"
    );
    println!("{all} runs, {repeated} callbacks called again");
}

case! {
    #[threads]
    async fn callbacks_are_called_again_after_a_process_is_killed_in_one() {
        blocking(|| kill(Kind::Sqlite, if full() { 40 } else { 3 }, 10));
    }
}

case! {
    #[postgres]
    async fn callbacks_are_called_again_after_a_process_is_killed_in_one_on_postgres() {
        blocking(|| kill(Kind::Postgres, if full() { 20 } else { 2 }, 10));
    }
}

case! {
    #[postgres]
    async fn callbacks_of_several_processes_are_called_once_when_nothing_fails() {
        blocking(|| kill(Kind::Postgres, 0, if full() { 2_000 } else { 200 }));
    }
}
