//! The order in which the steps of a run are undone, and what a run waits for before its rollback.

use std::time::Duration;

use workflow_runtime::{Code, Error, Result, Run, cancellation, finish, sleep, spawn, step, suspend, workflow};

use crate::support::{Lab, ManualClock, Place, recorded, soon};

const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

#[step(retries = 0)]
async fn does(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&format!("does {name}"));
    Ok(name)
}

#[step(retries = 0)]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&format!("begins {name}"));
    lab.pass_gate(&name).await;
    lab.note(&format!("does {name}"));
    Ok(name)
}

#[step(retries = 0, queue = "orders")]
async fn queued(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&format!("begins {name}"));
    lab.pass_gate(&name).await;
    lab.note(&format!("does {name}"));
    Ok(name)
}

#[step(retries = 0)]
async fn undoes(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.pass_gate(&format!("undo of {name}")).await;
    lab.note(&format!("undoes {name}"));
    Ok(())
}

#[step(retries = 0)]
async fn fails_when(#[resource] lab: &Lab, gate: String) -> Result<String> {
    lab.pass_gate(&gate).await;
    Err(Error::fatal("out of stock"))
}

#[step(retries = 0)]
async fn ends_when_asked(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&format!("begins {name}"));
    cancellation().cancelled().await;
    lab.note(&format!("does {name}"));
    Ok(name)
}

#[workflow]
async fn reserves_and_charges() -> Result<()> {
    does("reserve".into()).rollback(undoes).await?;
    tokio::try_join!(gated("charge".into()).rollback(undoes), fails_when("fail".into()))?;
    Ok(())
}

#[workflow]
async fn reserves_and_is_charging(by_a_queue: bool) -> Result<()> {
    does("reserve".into()).rollback(undoes).await?;
    match by_a_queue {
        true => queued("charge".into()).rollback(undoes).await?,
        false => gated("charge".into()).rollback(undoes).await?,
    };
    Ok(())
}

/// Finishes the run or suspends it, once its gate is open.
#[step(retries = 0)]
async fn parts(#[resource] lab: &Lab, how: String) -> Result<String> {
    lab.note(&format!("begins {how}"));
    lab.pass_gate(&how).await;
    match &*how {
        "finish" => finish(()).await.map(|()| how),
        _ => suspend::<String>(&how).await,
    }
}

#[workflow]
async fn reserves_and_parts(how: String) -> Result<()> {
    does("reserve".into()).rollback(undoes).await?;
    parts(how).rollback(undoes).await?;
    Ok(())
}

#[step(retries = 0)]
fn blocks(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&format!("begins {name}"));
    futures::executor::block_on(lab.pass_gate(&name));
    lab.note(&format!("does {name}"));
    Ok(name)
}

#[workflow]
async fn reserves_and_blocks() -> Result<()> {
    does("reserve".into()).rollback(undoes).await?;
    tokio::try_join!(blocks("charge".into()).rollback(undoes), fails_when("fail".into()))?;
    Ok(())
}

#[step(retries = 0, timeout = "5s")]
async fn bounded(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&format!("begins {name}"));
    lab.pass_gate(&name).await;
    Ok(name)
}

#[workflow]
async fn reserves_and_hangs() -> Result<()> {
    does("reserve".into()).rollback(undoes).await?;
    tokio::try_join!(bounded("charge".into()).rollback(undoes), fails_when("fail".into()))?;
    Ok(())
}

#[workflow]
async fn is_asked_to_end() -> Result<()> {
    does("reserve".into()).rollback(undoes).await?;
    ends_when_asked("charge".into()).rollback(undoes).await?;
    Ok(())
}

#[workflow]
async fn child(name: String) -> Result<()> {
    does(name).rollback(undoes).await?;
    sleep(FOREVER).await;
    Ok(())
}

#[workflow]
async fn passes_on(name: String) -> Result<()> {
    child(name).await
}

#[workflow]
async fn has_a_child() -> Result<()> {
    does("a".into()).rollback(undoes).await?;
    passes_on("b".into()).await
}

#[workflow]
async fn drops_a_child() -> Result<()> {
    does("a".into()).rollback(undoes).await?;
    tokio::try_join!(child("b".into()), fails_when("fail".into()))?;
    Ok(())
}

#[workflow]
async fn has_lost_interest_in_a_child() -> Result<()> {
    does("a".into()).rollback(undoes).await?;
    tokio::select! {
        end = child("b".into()) => end?,
        _ = gated("enough".into()) => {}
    }
    fails_when("fail".into()).await.map(drop)
}

#[workflow]
async fn leaves_a_child() -> Result<()> {
    does("a".into()).rollback(undoes).await?;
    let child = spawn(child("b".into()).abandon());
    fails_when("fail".into()).await?;
    child.await
}

#[workflow]
async fn drops_two_steps_and_goes_on(generation: u32) -> Result<()> {
    if generation == 1 {
        return Ok(());
    }
    tokio::select! {
        _ = gated("x".into()).rollback(undoes) => {}
        _ = gated("y".into()).rollback(undoes) => {}
        done = does("quick".into()) => drop(done?),
    }
    drops_two_steps_and_goes_on(1).continue_as_new().await
}

#[workflow]
async fn drops_a_step_that_ends_before_it_goes_on(generation: u32) -> Result<()> {
    if generation == 1 {
        return Ok(());
    }
    tokio::select! {
        _ = gated("x".into()).rollback(undoes) => {}
        done = does("quick".into()) => drop(done?),
    }
    gated("y".into()).await?;
    drops_a_step_that_ends_before_it_goes_on(1).continue_as_new().await
}

#[workflow]
async fn holds_the_permit() -> Result<()> {
    gated("other".into()).await.map(drop)
}

#[workflow]
async fn waits_for_a_permit() -> Result<()> {
    gated("charge".into()).rollback(undoes).await.map(drop)
}

/// The notes of a run whose charge was in progress when it failed or was cancelled.
const IN_ORDER: [&str; 5] = ["does reserve", "begins charge", "does charge", "undoes charge", "undoes reserve"];

fn undone(lab: &Lab) -> Vec<String> {
    lab.notes().into_iter().filter(|note| note.starts_with("undoes")).collect()
}

fn open_gates(lab: &Lab, names: &[&str]) {
    names.iter().for_each(|name| lab.open_gate(name));
}

/// Starts a run that reserves and charges, and lets it fail while the charge is in progress: nothing is undone yet.
async fn fail_during_the_charge(place: &Place, lab: &Lab, start: impl IntoFuture<Output = Result<Run<()>>>) -> Run<()> {
    open_gates(lab, &["undo of reserve", "undo of charge"]);
    let run = start.await.unwrap();
    soon(lab.executed("begins charge", 1)).await;
    lab.open_gate("fail");
    recorded(place, "r", "unwinds").await;
    assert!(undone(lab).is_empty(), "the rollback waits for the charge");
    run
}

/// Requests the cancel of a run twice, without waiting for it.
fn cancel_twice<T: Send + 'static>(run: &Run<T>) -> [tokio::task::JoinHandle<Result<bool>>; 2] {
    ["first", "second"].map(|reason| {
        let run = run.clone();
        tokio::spawn(async move { run.cancel(reason).await })
    })
}

/// Drops the engine while the run waits for its child, which waits for its own rollback. Then a second engine
/// continues.
async fn crash_while_a_child_is_rolled_back(place: &Place, lab: &Lab, evict_after: Duration) {
    let open = || async {
        place.builder(lab).evict_after(evict_after).replay_every_turn().open().await.expect("the engine opens")
    };
    let engine = open().await;
    let run = engine.start(has_a_child, ()).id("r").await.unwrap();
    soon(lab.executed("does b", 1)).await;
    let cancels = cancel_twice(&run);
    recorded(place, "r", "unwinds").await;
    drop((run, engine));
    for cancel in cancels {
        cancel.abort();
        let _ = cancel.await;
    }
    let engine = open().await;
    let run: Run<()> = engine.get_run("r");
    let cancels = cancel_twice(&run);
    assert!(undone(lab).is_empty());
    open_gates(lab, &["undo of a", "undo of b"]);
    for cancel in cancels {
        assert!(soon(cancel).await.unwrap().unwrap());
    }
    assert_eq!(soon(run).await.unwrap_err().code(), Code::Cancelled);
    assert_eq!(undone(lab), ["undoes b", "undoes a"]);
}

on_each_store! {
    async fn a_step_running_at_the_failure_is_undone_before_the_ended_steps(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = fail_during_the_charge(&place, &lab, engine.start(reserves_and_charges, ()).id("r")).await;
        lab.open_gate("charge");
        assert_eq!(soon(run).await.unwrap_err().to_string(), "out of stock");
        assert_eq!(lab.notes(), IN_ORDER);
    }

    async fn a_blocking_step_running_at_the_failure_is_undone_first(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = fail_during_the_charge(&place, &lab, engine.start(reserves_and_blocks, ()).id("r")).await;
        lab.open_gate("charge");
        assert_eq!(soon(run).await.unwrap_err().to_string(), "out of stock");
        assert_eq!(lab.notes(), IN_ORDER);
    }

    async fn the_timeout_of_a_running_step_ends_the_wait_before_a_rollback(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(1_000_000));
        let engine = place.builder_at(&lab, &clock).open().await.unwrap();
        let run = fail_during_the_charge(&place, &lab, engine.start(reserves_and_hangs, ()).id("r")).await;
        clock.pass(4_000);
        assert!(undone(&lab).is_empty(), "the rollback waits for the charge");
        clock.pass(1_000);
        assert_eq!(soon(run).await.unwrap_err().to_string(), "out of stock");
        assert_eq!(undone(&lab), ["undoes reserve"], "the attempt that timed out has no result to undo");
    }

    async fn a_step_running_at_the_failure_is_undone_also_after_a_crash(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = fail_during_the_charge(&place, &lab, engine.start(reserves_and_charges, ()).id("r")).await;
        drop((run, engine));
        let engine = place.open(&lab).await;
        soon(lab.executed("begins charge", 2)).await;
        assert!(undone(&lab).is_empty(), "the rollback waits for the charge");
        lab.open_gate("charge");
        let run: Run<()> = engine.get_run("r");
        assert_eq!(soon(run).await.unwrap_err().to_string(), "out of stock");
        assert_eq!(undone(&lab), ["undoes charge", "undoes reserve"]);
    }

    async fn a_cancel_waits_for_running_steps_and_a_second_cancel_changes_nothing(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        open_gates(&lab, &["undo of reserve", "undo of charge"]);
        let run = engine.start(reserves_and_is_charging, false).id("r").await.unwrap();
        soon(lab.executed("begins charge", 1)).await;
        let cancels = cancel_twice(&run);
        recorded(&place, "r", "unwinds").await;
        lab.open_gate("charge");
        for cancel in cancels {
            assert!(soon(cancel).await.unwrap().unwrap());
        }
        assert_eq!(lab.notes(), IN_ORDER);
    }

    async fn a_step_that_finishes_or_suspends_a_run_during_its_rollback_fails(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        open_gates(&lab, &["undo of reserve"]);
        for (number, how) in ["finish", "suspend"].into_iter().enumerate() {
            let run = engine.start(reserves_and_parts, how.into()).id(how).await.unwrap();
            soon(lab.executed(&format!("begins {how}"), 1)).await;
            let cancels = cancel_twice(&run);
            recorded(&place, how, "unwinds").await;
            lab.open_gate(how);
            for cancel in cancels {
                assert!(soon(cancel).await.unwrap().unwrap(), "{how}");
            }
            assert_eq!(soon(run).await.unwrap_err().code(), Code::Cancelled, "{how}");
            assert_eq!(lab.count("undoes reserve"), number + 1, "{how}");
        }
    }

    async fn a_cancel_sets_the_cancellation_of_a_running_step_with_a_rollback(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        open_gates(&lab, &["undo of reserve", "undo of charge"]);
        let run = engine.start(is_asked_to_end, ()).id("r").await.unwrap();
        soon(lab.executed("begins charge", 1)).await;
        assert!(soon(run.cancel("enough")).await.unwrap());
        assert_eq!(undone(&lab), ["undoes charge", "undoes reserve"]);
    }

    async fn a_step_with_a_rollback_that_waits_for_a_permit_is_not_begun(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).concurrency(1).replay_every_turn().open().await.unwrap();
        open_gates(&lab, &["undo of reserve", "undo of charge", "charge"]);
        let other = engine.start(holds_the_permit, ()).await.unwrap();
        soon(lab.executed("begins other", 1)).await;
        let run = engine.start(waits_for_a_permit, ()).id("r").await.unwrap();
        recorded(&place, "r", "gated").await;
        assert!(soon(run.cancel("enough")).await.unwrap());
        lab.open_gate("other");
        soon(other).await.unwrap();
        assert_eq!(lab.notes(), ["begins other", "does other"]);
    }

    async fn a_running_step_of_a_queue_is_undone_first(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("orders", 1).replay_every_turn().open().await.unwrap();
        open_gates(&lab, &["undo of reserve", "undo of charge"]);
        let run = engine.start(reserves_and_is_charging, true).id("r").await.unwrap();
        soon(lab.executed("begins charge", 1)).await;
        let cancels = cancel_twice(&run);
        recorded(&place, "r", "unwinds").await;
        let step = run.children().await.unwrap().pop().unwrap();
        recorded(&place, &step, "unwinds").await;
        lab.open_gate("charge");
        for cancel in cancels {
            assert!(soon(cancel).await.unwrap().unwrap());
        }
        assert_eq!(lab.notes(), IN_ORDER);
    }

    async fn a_step_of_a_queue_that_has_not_begun_is_not_begun(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("orders", 1).replay_every_turn().open().await.unwrap();
        open_gates(&lab, &["undo of reserve", "undo of charge"]);
        let first = engine.start(reserves_and_is_charging, true).await.unwrap();
        soon(lab.executed("begins charge", 1)).await;
        let second = engine.start(reserves_and_is_charging, true).id("r").await.unwrap();
        recorded(&place, "r", "queued").await;
        let cancels = cancel_twice(&second);
        recorded(&place, "r", "unwinds").await;
        lab.open_gate("charge");
        for cancel in cancels {
            assert!(soon(cancel).await.unwrap().unwrap());
        }
        soon(first).await.unwrap();
        assert_eq!((lab.count("begins charge"), undone(&lab)), (1, vec!["undoes reserve".to_owned()]));
    }

    async fn children_are_rolled_back_before_their_parent_also_after_a_crash(place: Place) {
        crash_while_a_child_is_rolled_back(&place, &Lab::new(), FOREVER).await;
    }

    async fn a_run_that_waits_for_the_rollbacks_of_its_children_can_be_evicted(place: Place) {
        crash_while_a_child_is_rolled_back(&place, &Lab::new(), Duration::ZERO).await;
    }

    async fn a_child_dropped_by_a_failure_is_undone_before_its_parent(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(drops_a_child, ()).id("r").await.unwrap();
        soon(lab.executed("does b", 1)).await;
        open_gates(&lab, &["fail", "undo of a"]);
        recorded(&place, "r", "unwinds").await;
        assert!(undone(&lab).is_empty());
        lab.open_gate("undo of b");
        assert_eq!(soon(run).await.unwrap_err().to_string(), "out of stock");
        assert_eq!(undone(&lab), ["undoes b", "undoes a"]);
    }

    async fn a_child_dropped_before_the_failure_is_undone_before_its_parent(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(has_lost_interest_in_a_child, ()).id("r").await.unwrap();
        soon(lab.executed("does b", 1)).await;
        open_gates(&lab, &["enough", "fail", "undo of a"]);
        recorded(&place, "r", "unwinds").await;
        lab.open_gate("undo of b");
        assert_eq!(soon(run).await.unwrap_err().to_string(), "out of stock");
        assert_eq!(undone(&lab), ["undoes b", "undoes a"]);
    }

    async fn a_rollback_does_not_wait_for_an_abandoned_child(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(leaves_a_child, ()).id("r").await.unwrap();
        soon(lab.executed("does b", 1)).await;
        open_gates(&lab, &["fail", "undo of a"]);
        assert_eq!(soon(run).await.unwrap_err().to_string(), "out of stock");
        assert_eq!(undone(&lab), ["undoes a"]);
    }

    async fn dropped_steps_are_undone_last_first_before_the_next_generation(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        open_gates(&lab, &["undo of x", "undo of y"]);
        let run = engine.start(drops_two_steps_and_goes_on, 0).id("r").await.unwrap();
        for step in ["begins x", "begins y"] {
            soon(lab.executed(step, 1)).await;
        }
        recorded(&place, "r", "unwinds").await;
        lab.open_gate("x");
        recorded(&place, "r", r#"{"completed":{"op":0"#).await;
        lab.open_gate("y");
        soon(run).await.unwrap();
        assert_eq!(undone(&lab), ["undoes y", "undoes x"]);
    }
    async fn a_dropped_step_that_has_ended_is_undone_before_the_next_generation(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        lab.open_gate("undo of x");
        let run = engine.start(drops_a_step_that_ends_before_it_goes_on, 0).id("r").await.unwrap();
        for step in ["begins x", "begins y"] {
            soon(lab.executed(step, 1)).await;
        }
        lab.open_gate("x");
        recorded(&place, "r", r#"{"completed":{"op":0"#).await;
        assert!(undone(&lab).is_empty(), "the workflow still runs");
        lab.open_gate("y");
        soon(run).await.unwrap();
        assert_eq!(undone(&lab), ["undoes x"]);
    }
}
