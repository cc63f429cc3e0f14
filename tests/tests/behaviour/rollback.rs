//! Rollbacks: undoing the successful steps of a run.

use std::sync::Arc;
use std::time::Duration;

use workflow_runtime::store::{Message, SendMessage, Write};
use workflow_runtime::{Code, Engine, Error, Result, Run, Status, durable, sleep, step, workflow};

use crate::support::{Lab, recorded};

#[step(retries = 0)]
async fn does(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&format!("does {name}"));
    Ok(name)
}

#[step(retries = 0)]
async fn undoes(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&format!("undoes {name}"));
    Ok(())
}

#[step(retries = 2, backoff = "1ms..1ms")]
async fn undoes_in_the_end(#[resource] lab: &Lab, name: String) -> Result<()> {
    match lab.note(&format!("undoes {name}")) {
        3 => Ok(()),
        _ => Err(Error::new("not yet")),
    }
}

#[step(retries = 0)]
async fn cannot_undo(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&format!("undoes {name}"));
    Err(Error::fatal(format!("{name} cannot be undone")))
}

#[step(retries = 0)]
async fn fails() -> Result<()> {
    Err(Error::fatal("out of stock"))
}

#[step(retries = 0)]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&format!("begins {name}"));
    lab.pass_gate(&name).await;
    lab.note(&format!("does {name}"));
    Ok(name)
}

#[step(retries = 1000, backoff = "3600s..3600s")]
async fn never_works(#[resource] lab: &Lab) -> Result<String> {
    lab.note("tries");
    Err(Error::new("no"))
}

#[durable]
async fn undoes_slowly(name: String) -> Result<()> {
    gated(format!("undo of {name}")).await?;
    undoes(name).await
}

#[workflow]
async fn three_and_fail() -> Result<()> {
    does("a".into()).rollback(undoes).await?;
    does("b".into()).rollback(undoes_in_the_end).await?;
    does("c".into()).rollback(cannot_undo).await?;
    fails().await
}

#[workflow]
async fn two_and_wait() -> Result<()> {
    does("a".into()).rollback(undoes).await?;
    does("b".into()).rollback(undoes_slowly).await?;
    sleep(Duration::from_secs(1_000_000)).await;
    Ok(())
}

#[workflow]
async fn succeeds() -> Result<String> {
    does("a".into()).rollback(undoes).await
}

#[workflow]
async fn drops_a_step() -> Result<String> {
    tokio::select! {
        late = gated("late".into()).rollback(undoes) => late,
        quick = gated("quick".into()) => quick,
    }
}

#[workflow]
async fn waits_for_a_gate() -> Result<String> {
    gated("late".into()).rollback(undoes).await
}

#[workflow]
async fn waits_for_two_gates() -> Result<()> {
    let (x, y) = tokio::join!(gated("x".into()).rollback(undoes), gated("y".into()).rollback(undoes));
    x.and(y).map(drop)
}

#[workflow]
async fn fails_and_undoes_slowly() -> Result<()> {
    does("a".into()).rollback(undoes_slowly).await?;
    fails().await
}

#[workflow]
async fn is_between_attempts() -> Result<String> {
    does("a".into()).rollback(undoes).await?;
    never_works().rollback(undoes).await
}

fn undone(lab: &Lab) -> Vec<String> {
    lab.notes().into_iter().filter(|note| note.starts_with("undoes")).collect()
}

on_each_store! {
    async fn rollbacks_run_last_first_with_retries_and_a_failed_one_is_reported(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(three_and_fail, ()).id("r").await.unwrap();
        let error = (&run).await.unwrap_err();
        assert_eq!(error.to_string(), "out of stock: and a rollback failed: c cannot be undone");
        assert_eq!(undone(&lab), ["undoes c", "undoes b", "undoes b", "undoes b", "undoes a"]);
        assert_eq!(run.status().await.unwrap(), Status::Failed);
    }

    async fn a_successful_run_is_not_undone(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        assert_eq!(engine.start(succeeds, ()).await.unwrap().await.unwrap(), "a");
        assert!(undone(&lab).is_empty());
    }

    async fn a_rollback_continues_after_a_crash(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(two_and_wait, ()).id("r").await.unwrap();
        lab.executed("does b", 1).await;
        recorded(&place, "r", "timer").await;
        let cancel = tokio::spawn(async move { run.cancel("enough").await });
        lab.executed("begins undo of b", 1).await;
        drop(engine);
        cancel.abort();
        let _ = cancel.await;
        let engine = place.open(&lab).await;
        lab.executed("begins undo of b", 2).await;
        lab.open_gate("undo of b");
        let run: Run<()> = engine.get_run("r");
        let error = (&run).await.unwrap_err();
        assert_eq!((error.code(), error.to_string()), (Code::Cancelled, "the run was cancelled: enough".into()));
        assert_eq!(undone(&lab), ["undoes b", "undoes a"]);
        assert_eq!((lab.count("does a"), lab.count("does b")), (1, 1));
        assert_eq!(run.status().await.unwrap(), Status::Cancelled);
    }

    async fn a_dropped_step_that_succeeds_late_is_undone(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(drops_a_step, ()).id("r").await.unwrap();
        lab.executed("begins late", 1).await;
        lab.open_gate("quick");
        recorded(&place, "r", "unwinds").await;
        assert!(!run.status().await.unwrap().is_terminal(), "the run ends after the late step");
        lab.open_gate("late");
        assert_eq!(run.await.unwrap(), "quick");
        assert_eq!(undone(&lab), ["undoes late"]);
    }

    async fn a_cancel_waits_for_a_running_step_and_undoes_it(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(waits_for_a_gate, ()).id("r").await.unwrap();
        lab.executed("begins late", 1).await;
        let asked = run.clone();
        let cancel = tokio::spawn(async move { asked.cancel("enough").await });
        recorded(&place, "r", "unwinds").await;
        assert_eq!(lab.count("does late"), 0);
        lab.open_gate("late");
        assert!(cancel.await.unwrap().unwrap());
        assert_eq!(undone(&lab), ["undoes late"]);
    }

    async fn running_steps_are_undone_last_first_once_all_have_ended(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(waits_for_two_gates, ()).id("r").await.unwrap();
        for step in ["begins x", "begins y"] {
            lab.executed(step, 1).await;
        }
        let asked = run.clone();
        let cancel = tokio::spawn(async move { asked.cancel("enough").await });
        recorded(&place, "r", "unwinds").await;
        lab.open_gate("x");
        recorded(&place, "r", r#"{"completed":{"op":0"#).await;
        lab.open_gate("y");
        assert!(cancel.await.unwrap().unwrap());
        assert_eq!(undone(&lab), ["undoes y", "undoes x"]);
    }

    async fn a_cancel_during_a_crash_does_not_change_the_end_of_a_rolled_back_run(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(fails_and_undoes_slowly, ()).id("r").await.unwrap();
        lab.executed("begins undo of a", 1).await;
        drop((run, engine));
        let store = place.store();
        let body: Arc<[u8]> = br#"{"cancel":{"reason":"too late"}}"#[..].into();
        let checksum = crc32fast::hash(&body);
        let message = Message { dedupe: None, arrived_at: 1, format: 1, checksum, body };
        store.commit(&[Write::SendMessage(SendMessage { run: "r".into(), message, unstick: true })]).await.unwrap();
        drop(store);
        lab.open_gate("undo of a");
        let engine = place.open(&lab).await;
        let run: Run<()> = engine.get_run("r");
        assert_eq!((&run).await.unwrap_err().to_string(), "out of stock");
        assert_eq!((undone(&lab), run.status().await.unwrap()), (vec!["undoes a".to_owned()], Status::Failed));
    }

    async fn a_cancel_ends_the_retries_of_a_step_with_a_rollback(place: Place) {
        let lab = Lab::new();
        let engine: Engine = place.open(&lab).await;
        let run = engine.start(is_between_attempts, ()).id("r").await.unwrap();
        recorded(&place, "r", "not_before").await;
        assert!(run.cancel("enough").await.unwrap());
        assert_eq!((lab.count("tries"), undone(&lab)), (1, vec!["undoes a".to_owned()]));
    }

    async fn cancelling_a_run_that_exceeded_its_recoveries_undoes_it(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).recoveries(0).open().await.unwrap();
        let run = engine.start(is_between_attempts, ()).id("r").await.unwrap();
        recorded(&place, "r", "not_before").await;
        drop((run, engine));
        let engine = place.builder(&lab).recoveries(0).open().await.unwrap();
        let run: Run<String> = engine.get_run("r");
        assert!(run.cancel("enough").await.unwrap());
        assert_eq!(undone(&lab), ["undoes a"]);
    }
}
