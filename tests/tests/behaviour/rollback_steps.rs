//! Steps with rollbacks that are running when the run fails, is cancelled or drops them.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use workflow_runtime::store::Write;
use workflow_runtime::{Code, Engine, Error, Result, Run, spawn, step, workflow};

use crate::support::{Faulty, Lab, Place, When, recorded, soon};

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

#[step(retries = 0)]
async fn undoes(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&format!("undoes {name}"));
    Ok(())
}

#[step(retries = 0)]
async fn fails() -> Result<()> {
    Err(Error::fatal("out of stock"))
}

#[step(retries = 1, backoff = "1ms..1ms")]
async fn works_the_second_time(#[resource] lab: &Lab) -> Result<String> {
    if lab.note("tries") == 1 {
        return Err(Error::new("not yet"));
    }
    lab.note("begins again");
    lab.pass_gate("again").await;
    Ok("again".into())
}

#[step(retries = 1000, backoff = "3600s..3600s")]
async fn never_works(#[resource] lab: &Lab) -> Result<String> {
    lab.note("tries");
    Err(Error::retry_after(Duration::from_secs(3600)))
}

#[workflow]
async fn fails_while_a_branch_is_at_work() -> Result<()> {
    let _branch = spawn(gated("late".into()).rollback(undoes));
    gated("quick".into()).await?;
    fails().await
}

#[workflow]
async fn fails_while_one_of_many_is_at_work() -> Result<()> {
    let mut all = FuturesUnordered::new();
    all.push(gated("late".into()).rollback(undoes));
    all.push(gated("quick".into()).rollback(undoes));
    while let Some(done) = all.next().await {
        done?;
        fails().await?;
    }
    Ok(())
}

#[workflow]
async fn tries_twice() -> Result<String> {
    works_the_second_time().rollback(undoes).await
}

#[workflow]
async fn tries_for_ever() -> Result<String> {
    never_works().rollback(undoes).await
}

#[workflow]
async fn drops_what_it_has_just_asked_for() -> Result<()> {
    tokio::select! {
        _ = does("charge".into()).rollback(undoes) => {}
        () = async {} => {}
    }
    does("behind".into()).await?;
    Ok(())
}

#[workflow]
async fn undoes_by_what_can_be_undone() -> Result<()> {
    does("a".into()).rollback(|name| does(format!("the contrary of {name}")).rollback(undoes)).await?;
    fails().await
}

/// Lets the run fail, then lets its running steps succeed.
async fn fail_then_succeed_late(place: &Place, lab: &Lab, run: &Run<()>) {
    for begun in ["begins late", "begins quick"] {
        soon(lab.executed(begun, 1)).await;
    }
    lab.open_gate("quick");
    recorded(place, run.id(), "unwinds").await;
    lab.open_gate("late");
    assert_eq!(soon(run).await.unwrap_err().to_string(), "out of stock");
}

/// Cancels a run, waits for the beginning of its rollback, and drops the engine.
async fn crash_during_the_rollback(place: &Place, engine: Engine, run: Run<String>) {
    let cancel = tokio::spawn(async move { run.cancel("enough").await });
    recorded(place, "r", "unwinds").await;
    drop(engine);
    cancel.abort();
    let _ = cancel.await;
}

on_each_store! {
    async fn a_step_of_a_branch_is_undone_once_it_has_succeeded(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(fails_while_a_branch_is_at_work, ()).id("r").await.unwrap();
        fail_then_succeed_late(&place, &lab, &run).await;
        assert_eq!(lab.notes()[2..], ["does quick", "does late", "undoes late"]);
    }

    async fn steps_with_their_own_wakers_are_undone(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(fails_while_one_of_many_is_at_work, ()).id("r").await.unwrap();
        fail_then_succeed_late(&place, &lab, &run).await;
        assert_eq!((lab.count("undoes quick"), lab.count("undoes late")), (1, 1));
    }

    async fn a_second_attempt_interrupted_by_a_crash_during_the_rollback_is_repeated_and_undone(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(tries_twice, ()).id("r").await.unwrap();
        soon(lab.executed("begins again", 1)).await;
        crash_during_the_rollback(&place, engine, run).await;
        lab.open_gate("again");
        let engine = place.open(&lab).await;
        let run: Run<String> = engine.get_run("r");
        assert_eq!(soon(&run).await.unwrap_err().code(), Code::Cancelled);
        assert_eq!(lab.count("undoes again"), 1);
    }

    async fn a_step_in_backoff_is_given_up_also_after_a_crash(place: Place) {
        let lab = Lab::new();
        let faulty = Faulty::new(place.store());
        let mut unwinds = false;
        // The store refuses all turns behind the one that begins the rollback.
        faulty.plan(move |group| {
            let refused = unwinds && group.iter().any(|write| matches!(write, Write::Turn(_)));
            unwinds |= group.iter().any(|write| match write {
                Write::Turn(turn) => {
                    turn.row.as_ref().is_some_and(|row| String::from_utf8_lossy(&row.body).contains("unwinds"))
                }
                _ => false,
            });
            refused.then_some(When::Refused)
        });
        let engine = Engine::builder().store(Arc::new(faulty)).resource(lab.clone()).open().await.unwrap();
        let run = engine.start(tries_for_ever, ()).id("r").await.unwrap();
        recorded(&place, "r", "not_before").await;
        crash_during_the_rollback(&place, engine, run).await;
        let engine = place.open(&lab).await;
        let run: Run<String> = engine.get_run("r");
        assert_eq!(soon(&run).await.unwrap_err().code(), Code::Cancelled);
        assert_eq!(lab.notes(), ["tries"]);
    }

    async fn a_step_dropped_in_the_poll_that_called_it_is_not_begun(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(drops_what_it_has_just_asked_for, ()).id("r").await.unwrap();
        soon(&run).await.unwrap();
        engine.shutdown().await.unwrap();
        assert_eq!(lab.notes(), ["does behind"]);
    }

    async fn the_steps_of_a_rollback_are_not_undone(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(undoes_by_what_can_be_undone, ()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap_err().to_string(), "out of stock");
        assert_eq!(lab.notes(), ["does a", "does the contrary of a"]);
    }
}
