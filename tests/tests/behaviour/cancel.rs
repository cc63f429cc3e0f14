//! Cancelling a run from outside.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use workflow_runtime::{Code, Error, Result, Run, Status, cancellation, sleep, step, workflow};

use crate::support::{Lab, Place, recorded, soon};

struct Leaves(Lab, &'static str);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}

#[step]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<String> {
    let _leaves = Leaves(lab.clone(), "dropped");
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(name)
}

#[step(retries = 1_000_000, backoff = "1h..1h")]
async fn fails(#[resource] lab: &Lab) -> Result<()> {
    lab.note("fails");
    Err(Error::new("always"))
}

#[step]
fn watches(#[resource] lab: &Lab) -> Result<()> {
    lab.note("watches");
    let token = cancellation();
    tokio::runtime::Handle::current().block_on(token.cancelled());
    lab.note("told");
    Ok(())
}

#[workflow]
async fn naps() -> Result<()> {
    sleep(Duration::from_secs(3600)).await;
    Ok(())
}

#[workflow]
async fn gate(name: String) -> Result<String> {
    gated(name).await
}

#[workflow]
async fn retries() -> Result<()> {
    fails().await
}

#[workflow]
async fn blocks() -> Result<()> {
    watches().await
}

#[step]
fn asks_again_and_again(#[resource] lab: &Lab) -> Result<()> {
    lab.note("asks");
    while !cancellation().is_cancelled() {
        std::thread::yield_now();
    }
    lab.note("told");
    Ok(())
}

#[workflow]
async fn asks() -> Result<()> {
    asks_again_and_again().await
}

#[workflow]
async fn panics_at_once() -> Result<()> {
    panic!("before anything")
}

#[workflow]
async fn never_gives_up() -> Result<()> {
    loop {
        let _ = gated("again".into()).await;
    }
}

#[workflow]
async fn panics_behind_the_gate() -> Result<()> {
    gated("open".into()).await?;
    panic!("not ready for this")
}

#[step]
async fn undoes(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&format!("undoes {name}"));
    Ok(())
}

#[workflow]
async fn has_something_to_undo() -> Result<()> {
    gated("open".into()).rollback(undoes).await?;
    sleep(Duration::from_secs(3600)).await;
    Ok(())
}

/// Sets the format number of every journal row, which simulates rows that a newer version of the library has written.
async fn set_format(place: &Place, format: u32) {
    let update = format!("UPDATE journal SET format = {format}");
    match place {
        Place::Memory(_) => unreachable!("a memory store has no rows of another version"),
        Place::Sqlite(directory) => {
            let database = rusqlite::Connection::open(directory.path().join("runs.db")).unwrap();
            database.execute(&update, ()).unwrap();
        }
        Place::Postgres(_) => drop(place.database().await.execute(&*update, &[]).await.unwrap()),
    }
}

async fn cancel_refuses_rows_of_a_newer_version(place: Place) {
    let lab = Lab::new();
    lab.open_gate("open");
    let engine = place.open(&lab).await;
    let run = engine.start(has_something_to_undo, ()).id("r").await.unwrap();
    recorded(&place, "r", "timer").await;
    drop(run);
    engine.shutdown().await.unwrap();
    drop(engine);
    set_format(&place, 99).await;
    let engine = place.open(&lab).await;
    let run: Run<()> = engine.get_run("r");
    assert_eq!(soon(run.cancel("enough")).await.unwrap_err().code(), Code::Stuck);
    assert_eq!((run.status().await.unwrap(), lab.count("undoes open")), (Status::Stuck, 0));
    set_format(&place, 1).await;
    assert!(soon(run.cancel("enough")).await.unwrap());
    assert_eq!(lab.count("undoes open"), 1);
}

async fn is_cancelled(run: &Run<impl serde::de::DeserializeOwned + Send + 'static>) -> bool {
    let Err(error) = run.await else { return false };
    assert_eq!(error.code(), Code::Cancelled, "{error:?}");
    assert!(error.to_string().contains("enough"), "{error}");
    true
}

on_each_store! {
    async fn a_cancelled_run_keeps_only_the_start_message_in_its_inbox(place: Place) {
        let lab = Lab::new();
        let client = place.builder(&lab).connect().await.unwrap();
        let run = client.start(naps, ()).id("r").await.unwrap();
        run.wake_up().await.unwrap();
        let cancels = [run.clone(), run.clone()].map(|run| tokio::spawn(async move { run.cancel("enough").await }));
        soon(async { while place.inbox("r").await < 4 { workflow_harness::pause().await } }).await;
        let _engine = place.open(&lab).await;
        for cancel in cancels {
            assert!(soon(cancel).await.unwrap().unwrap());
        }
        assert_eq!(place.inbox("r").await, 1, "the start message stays for a retry");
    }

    async fn a_cancelled_run_ends_at_once_with_the_reason(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(naps, ()).id("nap").await.unwrap();
        assert!(run.cancel("enough").await.unwrap());
        assert!(is_cancelled(&run).await);
        let info = run.info().await.unwrap();
        assert_eq!((info.status, info.wakes_at), (Status::Cancelled, None));
        assert!(info.completed_at.unwrap() >= info.started_at.unwrap());
        assert!(place.journal("nap").await.concat().contains(r#"{"cancel":{"reason":"enough"}}"#));
        assert!(run.cancel("again").await.unwrap(), "the run is already cancelled");
        assert_eq!(place.journal("nap").await.len(), 2, "the second cancel records nothing");
        let again = engine.start(naps, ()).id("nap").await.unwrap();
        assert!(is_cancelled(&again).await, "the same id is the same run");
    }

    async fn steps_in_flight_are_stopped_at_their_next_await(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(gate, "shut".into()).await.unwrap();
        lab.executed("shut", 1).await;
        assert!(run.cancel("enough").await.unwrap());
        lab.executed("dropped", 1).await;
    }

    async fn a_blocking_step_can_poll_its_cancellation_token(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(blocks, ()).await.unwrap();
        lab.executed("watches", 1).await;
        assert!(run.cancel("enough").await.unwrap());
        lab.executed("told", 1).await;
        assert!(is_cancelled(&run).await);
    }

    async fn the_end_of_the_engine_cancels_the_tokens_of_steps(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        drop(engine.start(blocks, ()).await.unwrap());
        lab.executed("watches", 1).await;
        drop(engine);
        lab.executed("told", 1).await;
    }

    async fn a_cancel_ends_the_retries_of_a_step(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(retries, ()).await.unwrap();
        lab.executed("fails", 1).await;
        assert!(run.cancel("enough").await.unwrap());
        assert!(is_cancelled(&run).await);
        assert_eq!(lab.count("fails"), 1);
    }

    async fn rule_16_a_workflow_cannot_swallow_a_cancel(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(never_gives_up, ()).await.unwrap();
        lab.executed("again", 1).await;
        assert!(run.cancel("enough").await.unwrap());
        assert!(is_cancelled(&run).await);
        assert_eq!(lab.count("again"), 1);
    }

    async fn rule_16_a_finished_run_is_not_changed_by_a_cancel(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        lab.open_gate("open");
        let run = engine.start(gate, "open".into()).id("done").await.unwrap();
        assert_eq!((&run).await.unwrap(), "open");
        let journal = place.journal("done").await;
        assert!(!run.cancel("enough").await.unwrap());
        assert_eq!((&run).await.unwrap(), "open");
        assert_eq!(place.journal("done").await, journal);
        assert_eq!(run.status().await.unwrap(), Status::Completed);
    }

    async fn rule_16_the_first_end_wins_and_cancel_returns_whether_it_won(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).open().await.unwrap();
        let race = |number: usize| {
            let (engine, lab, place) = (engine.clone(), lab.clone(), place.clone());
            async move {
                let (id, name) = (format!("run {number}"), format!("gate {number}"));
                let run = engine.start(gate, name.clone()).id(&*id).await.unwrap();
                lab.executed(&name, 1).await;
                let cancel = async {
                    for _ in 0..number % 5 {
                        tokio::task::yield_now().await;
                    }
                    run.cancel("enough").await.unwrap()
                };
                let complete = async {
                    for _ in 0..number % 7 {
                        tokio::task::yield_now().await;
                    }
                    lab.open_gate(&name);
                };
                let (in_time, ()) = tokio::join!(cancel, complete);
                assert_eq!(is_cancelled(&run).await, in_time);
                let ends = place.journal(&id).await.iter().filter(|row| row.contains(r#""end""#)).count();
                assert_eq!(ends, 1);
                in_time
            }
        };
        let mut in_time = 0;
        for batch in 0..10 {
            let races = join_all((0..50).map(|number| race(batch * 50 + number))).await;
            in_time += races.into_iter().filter(|in_time| *in_time).count();
        }
        println!("{in_time} of 500 cancels were in time");
    }

    async fn any_process_can_cancel(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let client = place.open(&lab).await;
        let run = engine.start(naps, ()).id("nap").await.unwrap();
        let elsewhere: Run<()> = client.get_run("nap");
        assert!(elsewhere.cancel("enough").await.unwrap());
        assert!(is_cancelled(&run).await);
    }

    async fn a_run_that_no_engine_has_claimed_can_be_cancelled(place: Place) {
        let (lab, engine) = (Lab::new(), place.open(&Lab::new()).await);
        let client = place.open(&lab).await;
        drop(engine);
        let run = client.start(gate, "shut".into()).await.unwrap();
        assert!(run.cancel("enough").await.unwrap());
        assert!(is_cancelled(&run).await);
    }

    async fn a_requested_cancel_survives_the_engine(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(naps, ()).id("nap").await.unwrap();
        let cancel = Arc::new(run.clone());
        let cancel = tokio::spawn(async move { cancel.cancel("enough").await });
        while !place.journal("nap").await.concat().contains("cancel") && place.inbox("nap").await == 0 {
            workflow_harness::pause().await;
        }
        cancel.abort();
        drop((run, engine));
        let _ = cancel.await;
        let engine = place.open(&lab).await;
        let run: Run<()> = engine.get_run("nap");
        assert!(is_cancelled(&run).await);
    }

    async fn a_stuck_run_can_be_cancelled(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        lab.open_gate("open");
        let run = engine.start(panics_behind_the_gate, ()).id("stuck").await.unwrap();
        assert_eq!((&run).await.unwrap_err().code(), Code::Stuck);
        assert!(run.cancel("enough").await.unwrap());
        assert!(is_cancelled(&run).await);
        assert_eq!(run.status().await.unwrap(), Status::Cancelled);
    }

    async fn a_run_that_cannot_be_replayed_can_be_cancelled(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).recoveries(0).open().await.unwrap();
        drop(engine.start(gate, "shut".into()).id("dies").await.unwrap());
        lab.executed("shut", 1).await;
        drop(engine);
        let engine = place.builder(&lab).recoveries(0).open().await.unwrap();
        let run: Run<String> = engine.get_run("dies");
        assert_eq!((&run).await.unwrap_err().code(), Code::Stuck);
        assert!(run.cancel("enough").await.unwrap());
        assert!(is_cancelled(&run).await);
        assert_eq!(lab.count("shut"), 1);
    }

    async fn a_run_that_is_stuck_at_its_start_can_be_cancelled(place: Place) {
        let (lab, engine) = (Lab::new(), place.open(&Lab::new()).await);
        let client = place.builder(&lab).connect().await.unwrap();
        let run = client.start(panics_at_once, ()).await.unwrap();
        assert_eq!((&run).await.unwrap_err().code(), Code::Stuck);
        assert!(run.cancel("enough").await.unwrap());
        assert!(is_cancelled(&run).await);
        drop(engine);
    }

    async fn each_cancellation_call_of_a_step_returns_the_cancelled_token(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(asks, ()).await.unwrap();
        lab.executed("asks", 1).await;
        assert!(run.cancel("enough").await.unwrap());
        lab.executed("told", 1).await;
    }

    async fn cancelling_an_unknown_run_or_with_a_long_reason_is_an_error(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let nobody: Run<()> = engine.get_run("nobody");
        assert_eq!(nobody.cancel("enough").await.unwrap_err().code(), Code::RunNotFound);
        let run = engine.start(naps, ()).await.unwrap();
        let error = run.cancel("x".repeat(513)).await.unwrap_err();
        assert_eq!(error.code(), Code::Limit);
        assert!(format!("{error:?}").contains("513 bytes"), "{error:?}");
        assert_eq!(run.status().await.unwrap(), Status::Suspended);
    }
}

case! {
    async fn outside_a_step_the_token_is_never_cancelled() {
        assert!(!cancellation().is_cancelled());
    }
}

case! {
    #[threads]
    async fn a_cancel_refuses_a_run_with_rows_of_a_newer_version() {
        cancel_refuses_rows_of_a_newer_version(Place::sqlite()).await;
    }
}

case! {
    #[postgres]
    async fn a_cancel_refuses_a_run_with_rows_of_a_newer_version_in_postgres() {
        cancel_refuses_rows_of_a_newer_version(Place::postgres()).await;
    }
}
