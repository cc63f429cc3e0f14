//! Children whose ids and attributes are chosen by their parents.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::TryStreamExt;
use workflow_runtime::{Code, Engine, Error, Result, Run, RunEventKind, Status, hook, step, workflow};

use crate::support::{Lab, Place, soon};

#[step(retries = 0)]
pub(super) async fn gated(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(())
}

#[workflow]
pub(super) async fn patient(name: String) -> Result<String> {
    gated(name.clone()).await?;
    Ok(name)
}

#[workflow]
async fn other(name: String) -> Result<String> {
    Ok(name)
}

#[workflow]
pub(super) async fn asks(id: String, name: String) -> Result<String> {
    patient(name).id(id).await
}

#[workflow]
async fn sums(numbers: HashMap<u32, u32>) -> Result<u32> {
    Ok(numbers.values().sum())
}

#[workflow]
async fn asks_for_a_sum(id: String) -> Result<u32> {
    sums((0..50).map(|n| (n, 1)).collect()).id(id).await
}

/// Calls the child in each of the three ways, and returns the error codes.
#[workflow]
async fn is_refused(id: String, name: String) -> Result<Vec<String>> {
    let code = |error: Error| format!("{} {}", error.code(), error.is_fatal());
    let awaited = patient(name.clone()).id(&*id).await.map_err(code);
    let abandoned = patient(name.clone()).id(&*id).abandon().await.map_err(code);
    let detached = patient(name).id(&*id).detach().await.map(|run| run.id().to_owned()).map_err(code);
    Ok(vec![awaited.unwrap_err(), abandoned.unwrap_err(), detached.unwrap_err()])
}

#[workflow]
async fn sends_off(id: String, name: String) -> Result<Run<String>> {
    patient(name).id(id).detach().await
}

#[workflow]
async fn sends_off_and_waits(id: String, name: String) -> Result<String> {
    let run = patient(name).id(id).detach().await?;
    hook::<()>().token("go on").await?;
    run.await
}

#[workflow]
async fn labels(order: String) -> Result<()> {
    other("a".into()).attribute("order", &*order).attribute("kind", "plain").await?;
    other("b".into()).attribute("order", &*order).id("with-id").attribute("kind", "named").await?;
    other("c".into()).id("detached").attribute("order", order).detach().await?;
    Ok(())
}

#[workflow]
async fn labels_too_much(many: bool) -> Result<String> {
    let call = other("a".into());
    let call = match many {
        true => (0..65).fold(call, |call, n| call.attribute(n.to_string(), "")),
        false => call.attribute("key", "x".repeat(513)),
    };
    Ok(call.await.map_or_else(|error| error.code().to_string(), |_| "started".to_owned()))
}

#[workflow]
async fn asks_badly(id: String) -> Result<String> {
    Ok(other("a".into()).id(id).await.map_or_else(|error| error.code().to_string(), |_| "started".to_owned()))
}

#[workflow]
async fn continues_with_attributes() -> Result<()> {
    continues_with_attributes().attribute("a", "b").continue_as_new().await
}

/// Which id and attributes the workflow gives its child.
static VARIANT: AtomicUsize = AtomicUsize::new(0);

#[workflow]
async fn changes() -> Result<String> {
    let child = patient("changing".into());
    match VARIANT.load(Ordering::SeqCst) {
        0 => child.attribute("a", "1").id("first").await,
        1 => child.attribute("a", "1").id("second").await,
        2 => child.attribute("a", "1").await,
        _ => child.attribute("a", "2").id("first").await,
    }
}

pub(super) async fn status(engine: &Engine, id: &str) -> Status {
    engine.get_run::<(), Error>(id).status().await.unwrap()
}

pub(super) async fn becomes(engine: &Engine, id: &str, wanted: Status) {
    soon(async {
        while status(engine, id).await != wanted {
            workflow_harness::pause().await;
        }
    })
    .await;
}

/// The number of runs with this attribute.
async fn found(engine: &Engine, key: &str, value: &str) -> u64 {
    engine.runs().attribute(key, value).count().await.unwrap().values().sum()
}

on_each_store! {
    async fn a_child_is_started_under_the_id_that_its_parent_has_chosen(place: Place) {
        let lab = Lab::new();
        lab.open_gate("a");
        let engine = place.open(&lab).await;
        let run = engine.start(asks, ("c".into(), "a".into())).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "a");
        assert_eq!(run.children().await.unwrap(), ["c"]);
        let info = engine.get_run::<String, Error>("c").info().await.unwrap();
        assert_eq!(info.parent.as_deref(), Some(run.id()));
        assert_eq!(place.store().run("c").await.unwrap().unwrap().depth, 1);
        // A start by a client with the same id and arguments returns the child's run.
        let same = engine.start(patient, "a".into()).id("c").await.unwrap();
        assert_eq!(soon(same).await.unwrap(), "a");
        assert_eq!(lab.count("a"), 1);
    }

    async fn a_call_with_the_id_of_an_existing_run_waits_for_that_run(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let there = engine.start(patient, "a".into()).id("c").await.unwrap();
        lab.executed("a", 1).await;
        let run = engine.start(asks, ("c".into(), "a".into())).id("p").await.unwrap();
        becomes(&engine, "p", Status::Suspended).await;
        lab.open_gate("a");
        assert_eq!(soon(&run).await.unwrap(), "a");
        assert!(run.children().await.unwrap().is_empty());
        assert_eq!(there.info().await.unwrap().parent, None);
        // The child has ended before this call.
        let late = engine.start(asks, ("c".into(), "a".into())).await.unwrap();
        assert_eq!(soon(&late).await.unwrap(), "a");
        assert_eq!(lab.count("a"), 1);
    }

    async fn a_call_with_the_id_of_a_different_run_is_a_recorded_error(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        engine.start(patient, "b".into()).id("other arguments").await.unwrap();
        engine.start(other, "a".into()).id("other workflow").await.unwrap();
        engine.create_run(patient).id("not started").await.unwrap();
        for id in ["other arguments", "other workflow", "not started"] {
            let run = engine.start(is_refused, (id.into(), "a".into())).await.unwrap();
            assert_eq!(soon(&run).await.unwrap(), ["run_exists true"; 3], "{id}");
            assert!(run.children().await.unwrap().is_empty());
            let events = run.events().so_far().try_collect::<Vec<_>>().await.unwrap();
            let ended = |kind: &RunEventKind| matches!(kind, RunEventKind::RunEnded { .. });
            assert_eq!(events.iter().filter(|event| ended(&event.kind)).count(), 3);
        }
        assert_eq!(lab.count("a"), 0);
    }

    async fn a_call_with_the_id_of_its_own_run_is_an_error(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(is_refused, ("p".into(), "a".into())).id("p").await.unwrap();
        assert_eq!(soon(run).await.unwrap(), ["awaits_itself true"; 3]);
    }

    async fn maps_in_another_order_are_the_same_arguments(place: Place) {
        let engine = place.open(&Lab::new()).await;
        engine.start(sums, (0..50).map(|n| (n, 1)).collect()).id("sum").await.unwrap();
        for _ in 0..3 {
            let run = engine.start(asks_for_a_sum, "sum".into()).await.unwrap();
            assert_eq!(soon(&run).await.unwrap(), 50);
            assert!(run.children().await.unwrap().is_empty());
        }
    }

    async fn a_detached_run_with_an_id_is_started_once_and_outlives_its_parent(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let first = engine.start(sends_off, ("c".into(), "a".into())).await.unwrap();
        let run = soon(&first).await.unwrap();
        assert_eq!((run.id(), first.children().await.unwrap()), ("c", vec!["c".to_owned()]));
        let second = engine.start(sends_off_and_waits, ("c".into(), "a".into())).id("second").await.unwrap();
        soon(async {
            while engine.resume_hook("go on", &()).await.is_err() {
                workflow_harness::pause().await;
            }
        })
        .await;
        assert!(second.children().await.unwrap().is_empty());
        lab.executed("a", 1).await;
        assert_eq!(place.store().run("c").await.unwrap().unwrap().depth, 0);
        lab.open_gate("a");
        assert_eq!(soon(second).await.unwrap(), "a");
        assert_eq!(lab.count("a"), 1);
        // No message remains in either inbox.
        assert_eq!((place.inbox("second").await, place.inbox(first.id()).await), (0, 0));
    }

    async fn children_are_found_by_the_attributes_from_their_parent(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(labels, "7".into()).await.unwrap();
        soon(&run).await.unwrap();
        assert_eq!(found(&engine, "order", "7").await, 3);
        assert_eq!(found(&engine, "kind", "plain").await, 1);
        let named = engine.get_run::<String, Error>("with-id").attributes().await.unwrap();
        let named: Vec<_> = named.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(named, [("kind", "named"), ("order", "7")]);
        assert!(run.attributes().await.unwrap().is_empty());
        // A call that waits for an existing run gives that run no attributes.
        soon(engine.start(labels, "8".into()).await.unwrap()).await.unwrap();
        assert_eq!((found(&engine, "order", "7").await, found(&engine, "order", "8").await), (3, 1));
    }

    async fn invalid_ids_and_attributes_of_children_are_refused(place: Place) {
        let engine = place.open(&Lab::new()).await;
        for many in [false, true] {
            let run = engine.start(labels_too_much, many).await.unwrap();
            assert_eq!(soon(&run).await.unwrap(), "limit");
            assert!(run.children().await.unwrap().is_empty());
        }
        for id in [String::new(), "a\n".to_owned(), "x".repeat(513)] {
            assert_eq!(soon(engine.start(asks_badly, id).await.unwrap()).await.unwrap(), "invalid_name");
        }
        let run = engine.start(continues_with_attributes, ()).await.unwrap();
        assert_eq!(soon(run).await.unwrap_err().code(), Code::InvalidContinuation);
    }
}

case! {
    #[threads]
    async fn a_replay_with_another_child_id_or_attribute_is_detected() {
        let place = Place::sqlite();
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        engine.start(changes, ()).id("p").await.unwrap();
        lab.executed("changing", 1).await;
        engine.shutdown().await.unwrap();
        for variant in [1, 2, 3] {
            VARIANT.store(variant, Ordering::SeqCst);
            let engine = place.open(&lab).await;
            let run: Run<String> = engine.get_run("p");
            // The variant before left the run stuck, or the run waits for its child out of memory.
            let _ = run.retry().await;
            let _ = run.wake_up().await;
            let error = soon(&run).await.unwrap_err();
            assert_eq!(run.status().await.unwrap(), Status::Stuck);
            assert!(format!("{error:?}").contains("with the id `first`"), "{error:?}");
            engine.shutdown().await.unwrap();
        }
        VARIANT.store(0, Ordering::SeqCst);
        lab.open_gate("changing");
        let engine = place.open(&lab).await;
        let run: Run<String> = engine.get_run("p");
        let _ = run.retry().await;
        assert_eq!(soon(&run).await.unwrap(), "changing");
    }
}
