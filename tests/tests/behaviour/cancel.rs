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

/// Lets the rows of all runs be of a format that a newer version writes.
async fn set_format(place: &Place, format: u32) {
    let update = format!("UPDATE journal SET format = {format}");
    match place {
        Place::Memory(_) => unreachable!("it is nothing that a newer version could have written"),
        Place::Sqlite(directory) => {
            let database = rusqlite::Connection::open(directory.path().join("runs.db")).unwrap();
            database.execute(&update, ()).unwrap();
        }
        Place::Postgres(_) => drop(place.database().await.execute(&*update, &[]).await.unwrap()),
    }
}

async fn is_not_cancelled_by_what_cannot_read_it(place: Place) {
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
    async fn a_cancelled_run_leaves_no_letters_but_its_start(place: Place) {
        let lab = Lab::new();
        let client = place.builder(&lab).connect().await.unwrap();
        let run = client.start(naps, ()).id("r").await.unwrap();
        run.wake_up().await.unwrap();
        let cancels = [run.clone(), run.clone()].map(|run| tokio::spawn(async move { run.cancel("enough").await }));
        soon(async { while place.inbox("r").await < 4 { tokio::task::yield_now().await } }).await;
        let _engine = place.open(&lab).await;
        for cancel in cancels {
            assert!(soon(cancel).await.unwrap().unwrap());
        }
        assert_eq!(place.inbox("r").await, 1, "a retry begins with it");
    }

    async fn a_cancelled_run_ends_at_once_and_says_why(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(naps, ()).id("nap").await.unwrap();
        assert!(run.cancel("enough").await.unwrap());
        assert!(is_cancelled(&run).await);
        let info = run.info().await.unwrap();
        assert_eq!((info.status, info.wakes_at), (Status::Cancelled, None));
        assert!(info.completed_at.unwrap() >= info.started_at.unwrap());
        assert!(place.journal("nap").await.concat().contains(r#"{"cancel":{"reason":"enough"}}"#));
        assert!(run.cancel("again").await.unwrap(), "it is cancelled already");
        assert_eq!(place.journal("nap").await.len(), 2, "and nothing is recorded for that");
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

    async fn a_blocking_step_can_watch_a_token(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(blocks, ()).await.unwrap();
        lab.executed("watches", 1).await;
        assert!(run.cancel("enough").await.unwrap());
        lab.executed("told", 1).await;
        assert!(is_cancelled(&run).await);
    }

    async fn a_token_tells_of_the_end_of_the_engine(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        drop(engine.start(blocks, ()).await.unwrap());
        lab.executed("watches", 1).await;
        drop(engine);
        lab.executed("told", 1).await;
    }

    async fn retries_end_at_once(place: Place) {
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

    async fn rule_16_the_first_end_wins_and_the_cancel_knows_which(place: Place) {
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

    async fn a_run_that_nobody_has_begun_can_be_cancelled(place: Place) {
        let (lab, engine) = (Lab::new(), place.open(&Lab::new()).await);
        let client = place.open(&lab).await;
        drop(engine);
        let run = client.start(gate, "shut".into()).await.unwrap();
        assert!(run.cancel("enough").await.unwrap());
        assert!(is_cancelled(&run).await);
    }

    async fn a_cancel_that_was_asked_for_survives_the_engine(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(naps, ()).id("nap").await.unwrap();
        let cancel = Arc::new(run.clone());
        let cancel = tokio::spawn(async move { cancel.cancel("enough").await });
        while !place.journal("nap").await.concat().contains("cancel") && place.inbox("nap").await == 0 {
            tokio::task::yield_now().await;
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

    async fn a_step_that_asks_again_is_told_as_well(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(asks, ()).await.unwrap();
        lab.executed("asks", 1).await;
        assert!(run.cancel("enough").await.unwrap());
        lab.executed("told", 1).await;
    }

    async fn what_cannot_be_cancelled_is_an_error(place: Place) {
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
    async fn outside_a_step_nobody_cancels_the_token() {
        assert!(!cancellation().is_cancelled());
    }
}

case! {
    #[threads]
    async fn what_a_newer_version_may_have_to_undo_is_not_ended_by_a_cancel() {
        is_not_cancelled_by_what_cannot_read_it(Place::sqlite()).await;
    }
}

case! {
    #[postgres]
    async fn what_a_newer_version_may_have_to_undo_is_not_ended_by_a_cancel_in_a_database() {
        is_not_cancelled_by_what_cannot_read_it(Place::postgres()).await;
    }
}
