//! The values that closures of rollbacks hold, and when these are dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use workflow_runtime::{Error, Result, hook, run_id, step, workflow};

use crate::support::{Lab, recorded, soon};

#[step(retries = 0)]
async fn does(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&format!("does {name}"));
    Ok(name)
}

#[step(retries = 0)]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&format!("begins {name}"));
    lab.pass_gate(&name).await;
    Ok(name)
}

#[step(retries = 0)]
async fn fails_behind_a_gate(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&format!("begins {name}"));
    lab.pass_gate(&name).await;
    Err(Error::fatal(format!("{name} failed")))
}

#[step(retries = 0)]
async fn undoes(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&format!("undoes {name}"));
    Ok(())
}

#[workflow]
async fn drops_what_fails_late() -> Result<()> {
    let approval = hook::<bool>().open();
    let call = fails_behind_a_gate("late".into()).rollback(move |name| async move {
        approval.await?;
        undoes(name).await
    });
    tokio::select! {
        late = call => late?,
        quick = gated("quick".into()) => quick?,
    };
    gated("behind".into()).await?;
    Ok(())
}

#[workflow]
async fn keeps_one_and_drops_one() -> Result<()> {
    let approval = hook::<bool>().open();
    does("kept".into())
        .rollback(move |name| async move {
            approval.await?;
            undoes(name).await
        })
        .await?;
    tokio::select! {
        late = gated("late".into()).rollback(undoes) => late?,
        quick = gated("quick".into()) => quick?,
    };
    Ok(())
}

static HELD: Mutex<BTreeMap<String, Weak<()>>> = Mutex::new(BTreeMap::new());

/// A value for the closure of this run. [`is_held`] returns whether it was dropped.
fn hold() -> Arc<()> {
    let held = Arc::new(());
    HELD.lock().unwrap().insert(run_id().unwrap(), Arc::downgrade(&held));
    held
}

fn is_held(run: &str) -> bool {
    HELD.lock().unwrap()[run].upgrade().is_some()
}

#[workflow]
async fn holds_something(and_a_hook: bool) -> Result<()> {
    let approval = and_a_hook.then(|| hook::<bool>().open());
    let held = hold();
    does("a".into())
        .rollback(move |name| async move {
            let _held = held;
            if let Some(approval) = approval {
                approval.await?;
            }
            undoes(name).await
        })
        .await?;
    Ok(())
}

on_each_store! {
    async fn the_closure_of_a_dropped_step_that_fails_may_hold_a_hook(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(drops_what_fails_late, ()).id("r").await.unwrap();
        soon(lab.executed("begins late", 1)).await;
        lab.open_gate("quick");
        soon(lab.executed("begins behind", 1)).await;
        lab.open_gate("late");
        recorded(&place, "r", "late failed").await;
        lab.open_gate("behind");
        soon(&run).await.unwrap();
    }

    async fn the_closure_of_a_step_that_is_not_undone_may_hold_a_hook(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(keeps_one_and_drops_one, ()).id("r").await.unwrap();
        soon(lab.executed("begins late", 1)).await;
        lab.open_gate("quick");
        recorded(&place, "r", "unwinds").await;
        lab.open_gate("late");
        soon(&run).await.unwrap();
        assert_eq!((lab.count("undoes kept"), lab.count("undoes late")), (0, 1));
    }

    async fn closures_are_dropped_with_their_run(place: Place) {
        let engine = place.builder(&Lab::new()).open().await.unwrap();
        for and_a_hook in [false, true] {
            let run = engine.start(holds_something, and_a_hook).await.unwrap();
            soon(&run).await.unwrap();
            soon(async {
                while is_held(run.id()) {
                    workflow_harness::pause().await;
                }
            })
            .await;
        }
    }
}
