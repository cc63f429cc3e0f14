//! Which run owns a child whose id its parent has chosen: it is cancelled, rolled back and awaited with its owner only.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use workflow_runtime::store::Write;
use workflow_runtime::{Code, Engine, Error, Result, Run, RunEventKind, Status, hook, spawn, step, workflow};

use super::child_ids::{asks, becomes, gated, patient, status};
use crate::support::{Faulty, Lab, When, recorded, soon};

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

#[workflow]
async fn asks_twice(id: String, name: String) -> Result<String> {
    tokio::select! {
        first = patient(name.clone()).id(&*id) => first,
        second = async {
            tokio::select! {
                second = patient(name).id(&*id) => second,
                done = gated("enough".into()) => done.map(|()| "enough".to_owned()),
            }?;
            hook::<String>().token("never").await
        } => second,
    }
}

#[workflow]
async fn reserves(name: String) -> Result<()> {
    does(name.clone()).rollback(undoes).await?;
    gated(name).await
}

/// Fails while its child is still running.
#[workflow]
async fn orders(id: String, name: String) -> Result<()> {
    does("order".into()).rollback(undoes).await?;
    let child = spawn(reserves(name).id(id));
    gated("fail".into()).await?;
    drop(child);
    Err(Error::fatal("out of stock"))
}

/// Drops a child, then fails.
#[workflow]
async fn orders_no_more(id: String, name: String) -> Result<()> {
    does("order".into()).rollback(undoes).await?;
    tokio::select! {
        child = reserves(name).id(id) => child?,
        done = gated("fail".into()) => done?,
    }
    Err(Error::fatal("out of stock"))
}

#[workflow]
async fn goes_on(id: String, name: String, again: bool) -> Result<String> {
    if !again {
        let child = spawn(patient(name.clone()).id(&*id).abandon());
        gated("generation".into()).await?;
        drop(child);
        return goes_on(id, name, true).continue_as_new().await;
    }
    patient(name).id(id).await
}

#[step(retries = 0)]
async fn fails_at_first(#[resource] lab: &Lab, name: String) -> Result<()> {
    match lab.note(&name) {
        1 => Err(Error::fatal("not yet")),
        _ => {
            lab.pass_gate(&name).await;
            Ok(())
        }
    }
}

#[workflow]
async fn succeeds_later(name: String) -> Result<()> {
    fails_at_first(name).await
}

#[workflow]
async fn calls_what_succeeds_later(id: String, name: String) -> Result<()> {
    succeeds_later(name).id(id).await
}

/// The index of the run's event that started its child.
async fn call_of_child(run: &Run<String>) -> u64 {
    let events = run.events().so_far().try_collect::<Vec<_>>().await.unwrap();
    let call = events.iter().find(|event| matches!(event.kind, RunEventKind::ChildStarted { .. }));
    call.expect("the run has started a child").index
}

on_each_store! {
    async fn the_end_of_a_parent_cancels_only_the_child_that_it_has_started(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let there = engine.start(patient, "a".into()).id("there").await.unwrap();
        let owns = engine.start(asks, ("own".into(), "b".into())).id("owns").await.unwrap();
        let attached = engine.start(asks, ("there".into(), "a".into())).id("attached").await.unwrap();
        lab.executed("b", 1).await;
        becomes(&engine, "attached", Status::Suspended).await;
        assert!(soon(owns.cancel("enough")).await.unwrap());
        assert!(soon(attached.cancel("enough")).await.unwrap());
        becomes(&engine, "attached", Status::Cancelled).await;
        becomes(&engine, "owns", Status::Cancelled).await;
        becomes(&engine, "own", Status::Cancelled).await;
        lab.open_gate("a");
        assert_eq!(soon(there).await.unwrap(), "a");
    }

    async fn the_second_call_of_a_run_with_an_id_does_not_own_the_child(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(asks_twice, ("c".into(), "a".into())).await.unwrap();
        lab.executed("a", 1).await;
        lab.open_gate("enough");
        // The workflow has dropped the second call before it opens this hook.
        recorded(&place, run.id(), "never").await;
        lab.open_gate("a");
        assert_eq!(soon(run).await.unwrap(), "a");
    }

    async fn rollbacks_wait_for_the_child_that_the_run_has_started(place: Place) {
        for drops in [false, true] {
            let lab = Lab::new();
            let engine = place.open(&lab).await;
            let id = format!("c {drops}");
            let run = match drops {
                false => engine.start(orders, (id.clone(), "a".into())).await.unwrap(),
                true => engine.start(orders_no_more, (id.clone(), "a".into())).await.unwrap(),
            };
            lab.executed("a", 1).await;
            lab.open_gate("fail");
            assert_eq!(soon(&run).await.unwrap_err().to_string(), "out of stock");
            assert_eq!(status(&engine, &id).await, Status::Cancelled);
            let undone: Vec<_> = lab.notes().into_iter().filter(|note| note.starts_with("undoes")).collect();
            assert_eq!(undone, ["undoes a", "undoes order"]);
            engine.shutdown().await.unwrap();
        }
    }

    async fn rollbacks_do_not_wait_for_a_run_that_the_run_has_not_started(place: Place) {
        for drops in [false, true] {
            let lab = Lab::new();
            let engine = place.open(&lab).await;
            let id = format!("c {drops}");
            let there = engine.start(reserves, "a".into()).id(&*id).await.unwrap();
            lab.executed("a", 1).await;
            let run = match drops {
                false => engine.start(orders, (id.clone(), "a".into())).await.unwrap(),
                true => engine.start(orders_no_more, (id.clone(), "a".into())).await.unwrap(),
            };
            lab.executed("fail", 1).await;
            lab.open_gate("fail");
            assert_eq!(soon(&run).await.unwrap_err().to_string(), "out of stock");
            assert!(!status(&engine, &id).await.is_terminal());
            let undone: Vec<_> = lab.notes().into_iter().filter(|note| note.starts_with("undoes")).collect();
            assert_eq!(undone, ["undoes order"]);
            lab.open_gate("a");
            soon(there).await.unwrap();
            engine.shutdown().await.unwrap();
        }
    }

    async fn a_fork_waits_for_the_child_that_its_source_has_started(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(asks, ("c".into(), "a".into())).await.unwrap();
        lab.executed("a", 1).await;
        let call = call_of_child(&run).await;
        let before = run.fork(call).id("before").await.unwrap();
        let behind = run.fork(call + 1).id("behind").await;
        becomes(&engine, "before", Status::Suspended).await;
        // The source has no event behind the call yet.
        assert_eq!(behind.unwrap_err().code(), Code::NotRepairable);
        assert!(soon(before.cancel("enough")).await.unwrap());
        becomes(&engine, "before", Status::Cancelled).await;
        assert!(before.children().await.unwrap().is_empty());
        lab.open_gate("a");
        assert_eq!(soon(&run).await.unwrap(), "a");
        // At this event the child was already called and had not ended.
        let ended = run.events().so_far().try_collect::<Vec<_>>().await.unwrap().into_iter();
        let ended = ended.filter(|event| matches!(event.kind, RunEventKind::RunEnded { .. })).map(|event| event.index);
        let behind = run.fork(ended.min().unwrap()).id("behind").await.unwrap();
        assert_eq!(soon(&behind).await.unwrap(), "a");
        assert!(behind.children().await.unwrap().is_empty());
        assert_eq!(lab.count("a"), 1);
    }

    async fn the_next_generation_waits_for_the_child_of_the_previous_one(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(goes_on, ("c".into(), "a".into(), false)).id("p").await.unwrap();
        lab.executed("a", 1).await;
        lab.open_gate("generation");
        soon(async {
            while run.info().await.unwrap().generation == 0 || status(&engine, "p").await != Status::Suspended {
                workflow_harness::pause().await;
            }
        })
        .await;
        assert_eq!(run.children().await.unwrap(), ["c"]);
        assert!(soon(run.cancel("enough")).await.unwrap());
        becomes(&engine, "p", Status::Cancelled).await;
        lab.open_gate("a");
        assert_eq!(soon(engine.get_run::<String, Error>("c")).await.unwrap(), "a");
        assert_eq!(lab.count("a"), 1);
    }

    async fn an_evicted_run_still_owns_its_child_after_activation(place: Place) {
        let lab = Lab::new();
        let evicts = || place.builder(&lab).replay_every_turn().evict_after(Duration::ZERO);
        let engine = evicts().open().await.unwrap();
        engine.start(patient, "a".into()).id("there").await.unwrap();
        for (parent, child, name) in [("owns", "own", "b"), ("cancelled", "own too", "c"), ("attached", "there", "a")] {
            engine.start(asks, (child.into(), name.into())).id(parent).await.unwrap();
            lab.executed(name, 1).await;
            let store = place.store();
            soon(async {
                while store.run(parent).await.unwrap().unwrap().fence.owner != 0 {
                    workflow_harness::pause().await;
                }
            })
            .await;
        }
        drop(engine);
        let engine = evicts().open().await.unwrap();
        for parent in ["cancelled", "attached"] {
            assert!(soon(engine.get_run::<String, Error>(parent).cancel("enough")).await.unwrap());
            becomes(&engine, parent, Status::Cancelled).await;
        }
        becomes(&engine, "own too", Status::Cancelled).await;
        lab.open_gate("a");
        lab.open_gate("b");
        assert_eq!(soon(engine.get_run::<String, Error>("owns")).await.unwrap(), "b");
        assert_eq!(soon(engine.get_run::<String, Error>("there")).await.unwrap(), "a");
        assert_eq!(engine.get_run::<String, Error>("owns").children().await.unwrap(), ["own"]);
    }

    async fn a_child_whose_start_is_sent_again_belongs_to_its_parent(place: Place) {
        let lab = Lab::new();
        let faulty = Faulty::new(place.store());
        let lost = Arc::new(AtomicUsize::new(0));
        let counted = lost.clone();
        faulty.plan(move |group| {
            let starts = group.iter().any(|write| match write {
                Write::Turn(turn) => turn.effects.as_ref().is_some_and(|effects| !effects.children.is_empty()),
                Write::Create(new) => new.effects.as_ref().is_some_and(|effects| !effects.children.is_empty()),
                _ => false,
            });
            (starts && counted.fetch_add(1, Ordering::SeqCst) == 0).then_some(When::CommittedButInDoubt)
        });
        let engine = Engine::builder().store(Arc::new(faulty)).resource(lab.clone()).open().await.unwrap();
        let run = engine.start(asks, ("c".into(), "a".into())).id("p").await.unwrap();
        lab.executed("a", 1).await;
        assert!(lost.load(Ordering::SeqCst) > 1, "the start was sent again");
        assert_eq!(run.children().await.unwrap(), ["c"]);
        assert!(soon(run.cancel("enough")).await.unwrap());
        becomes(&engine, "c", Status::Cancelled).await;
        assert_eq!(lab.count("a"), 1);
    }

    async fn a_retry_owns_the_child_that_the_run_started_before(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(calls_what_succeeds_later, ("c".into(), "a".into())).await.unwrap();
        assert_eq!(soon(&run).await.unwrap_err().to_string(), "not yet");
        engine.get_run::<(), Error>("c").retry().await.unwrap();
        lab.executed("a", 2).await;
        run.retry().await.unwrap();
        becomes(&engine, run.id(), Status::Suspended).await;
        assert!(soon(run.cancel("enough")).await.unwrap());
        becomes(&engine, "c", Status::Cancelled).await;
        assert_eq!(run.children().await.unwrap(), ["c"]);
    }

    async fn cancelling_a_run_that_cannot_be_replayed_cancels_only_its_own_child(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).recoveries(0).open().await.unwrap();
        engine.start(patient, "a".into()).id("there").await.unwrap();
        engine.start(asks, ("own".into(), "b".into())).id("owns").await.unwrap();
        engine.start(asks, ("there".into(), "a".into())).id("attached").await.unwrap();
        lab.executed("b", 1).await;
        becomes(&engine, "attached", Status::Suspended).await;
        drop(engine);
        let engine = place.builder(&lab).recoveries(0).open().await.unwrap();
        for parent in ["owns", "attached"] {
            assert!(soon(engine.get_run::<String, Error>(parent).cancel("hopeless")).await.unwrap());
            becomes(&engine, parent, Status::Cancelled).await;
        }
        becomes(&engine, "own", Status::Cancelled).await;
        lab.open_gate("a");
        let there: Run<String> = engine.get_run("there");
        let end = async {
            loop {
                match (&there).await {
                    // The run has exceeded its limit of recoveries, too.
                    Err(error) if error.code() == Code::Stuck => there.retry().await.unwrap(),
                    end => break end,
                }
            }
        };
        assert_eq!(soon(end).await.unwrap(), "a");
    }
}
