//! Resumptions: which suspension receives a value, and which values are refused.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use workflow_runtime::store::{Answer, Deliver, DeliverAnswer, Keep, Message, Write};
use workflow_runtime::{Code, Error, Result, Run, suspend, timeout, workflow};

use super::suspend::{approval, asks, elsewhere, labels, twice, waits_for, yes};
use crate::support::{Lab, ManualClock, recorded, soon};

/// Asks two questions under one label. The first one times out after `seconds`, unless that is 0.
#[workflow]
async fn asks_in_turn(seconds: u64) -> Result<Vec<u32>> {
    let first = suspend::<u32>(&"first".to_owned()).label("question").into_future();
    let first = match seconds {
        0 => Some(first.await?),
        _ => timeout(Duration::from_secs(seconds), first).await.ok().transpose()?,
    };
    let second = suspend::<u32>(&"second".to_owned()).label("question").await?;
    Ok(first.into_iter().chain([second]).collect())
}

#[workflow]
async fn asks_as_a_child(name: String) -> Result<u32> {
    suspend::<u32>(&name).label("child's").await
}

#[workflow]
async fn asks_as_a_grandchild() -> Result<u32> {
    asks_as_a_child("grandchild".into()).await
}

#[workflow]
async fn asks_by_its_children() -> Result<Vec<u32>> {
    let own = suspend::<u32>(&"own".to_owned()).label("own").into_future();
    let (own, child, grandchild) = futures::join!(own, asks_as_a_child("child".into()), asks_as_a_grandchild());
    Ok(vec![own?, child?, grandchild?])
}

#[workflow]
async fn several(labels: Vec<String>) -> Result<Vec<u32>> {
    join_all(labels.iter().map(|label| suspend::<u32>(label).label(label.clone()).into_future()))
        .await
        .into_iter()
        .collect()
}

#[workflow]
async fn steps_of_one_name() -> Result<String> {
    let (a, b) = futures::join!(asks("same".into(), 0), asks("same".into(), 0));
    Ok([a, b].map(|asked| asked.map_or_else(|error| error.code().to_string(), |_| "ok".into())).join(" "))
}

on_each_store! {
    async fn with_several_suspensions_a_resumption_must_name_one(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(several, vec!["a".into(), "b".into()]).await.unwrap();
        assert_eq!(waits_for(&run, 2).await, ["a", "b"]);
        let error = run.resume(&1).await.unwrap_err();
        assert_eq!(error.code(), Code::NotSuspended);
        assert!(format!("{error:?}").contains("`a`, `b`"), "{error:?}");
        let error = run.resume(&1).label("c").await.unwrap_err();
        assert_eq!(error.code(), Code::NotSuspended, "{error:?}");
        run.resume(&1).label("b").await.unwrap();
        run.resume(&2).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), [2, 1]);
        let error = run.resume(&1).label("b").await.unwrap_err();
        assert!([Code::AlreadyResumed, Code::NotSuspended].contains(&error.code()), "{error:?}");
        let error = run.resume(&1).await.unwrap_err();
        assert_eq!(error.code(), Code::NotSuspended);
        let nobody: Run<()> = engine.get_run("nobody");
        assert_eq!(nobody.resume(&1).await.unwrap_err().code(), Code::RunNotFound);
        assert_eq!(nobody.resume(&1).label("a").await.unwrap_err().code(), Code::RunNotFound);
        assert_eq!(nobody.suspended().await.unwrap_err().code(), Code::RunNotFound);
    }

    async fn of_concurrent_resumptions_one_succeeds(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let client = place.builder(&lab).connect().await.unwrap();
        for round in 0..20 {
            let run = engine.start(several, vec!["it".into()]).id(round.to_string()).await.unwrap();
            waits_for(&run, 1).await;
            let theirs: Run<Vec<u32>> = client.get_run(round.to_string());
            let resumed = join_all((0..4).map(|n| {
                let run = if n % 2 == 0 { run.clone() } else { theirs.clone() };
                tokio::spawn(async move { run.resume(&n).label("it").await.map(|()| n) })
            }))
            .await;
            let resumed: Vec<_> = resumed.into_iter().map(|resumed| resumed.unwrap()).collect();
            let won: Vec<u32> = resumed.iter().filter_map(|resumed| resumed.as_ref().ok().copied()).collect();
            let lost = resumed.iter().filter_map(|resumed| resumed.as_ref().err().map(Error::code));
            assert_eq!(won.len(), 1, "{resumed:?}");
            assert!(lost.into_iter().all(|code| code == Code::AlreadyResumed || code == Code::NotSuspended));
            assert_eq!(soon(&run).await.unwrap(), won);
        }
    }

    async fn data_that_does_not_fit_resumes_nothing(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(approval, ("fits?".into(), 0)).await.unwrap();
        waits_for(&run, 1).await;
        let error = run.resume(&"yes").await.unwrap_err();
        assert_eq!(error.code(), Code::Payload, "{error:?}");
        assert_eq!(labels(&run).await, ["fits?"]);
        run.resume(&yes()).await.unwrap();
        soon(&run).await.unwrap();
    }

    async fn two_concurrent_suspensions_cannot_share_a_label(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(steps_of_one_name, ()).id("r").await.unwrap();
        recorded(&place, "r", "hook_conflict").await;
        assert_eq!(waits_for(&run, 1).await, ["same"]);
        run.resume(&yes()).await.unwrap();
        let answers = soon(&run).await.unwrap();
        assert!(["hook_conflict ok", "ok hook_conflict"].contains(&answers.as_str()), "{answers}");
    }

    async fn an_id_resumes_only_its_own_suspension(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(asks_in_turn, 0).id("r").await.unwrap();
        let first = run.suspended().await.unwrap().remove(0);
        assert_eq!((&*first.label, &*first.run, first.step.as_deref()), ("question", "r", None));
        assert_eq!(first.id.split('.').count(), 3, "generation, operation and number: {}", first.id);
        let click = |value: u32, id: &str| run.resume(&value).of(id).into_future();
        click(1, &first.id).await.unwrap();
        soon(async { while run.suspended().await.unwrap().first().is_none_or(|next| next.payload != "second") { workflow_harness::pause().await } }).await;
        let second = run.suspended().await.unwrap().remove(0);
        assert_ne!(second.id, first.id);
        click(1, &first.id).await.unwrap();
        let error = click(2, &first.id).await.unwrap_err();
        assert_eq!(error.code(), Code::AlreadyResumed, "{error:?}");
        assert_eq!(run.suspended().await.unwrap().remove(0), second, "the second question is unchanged");
        let error = click(2, "0.99.1").await.unwrap_err();
        assert_eq!(error.code(), Code::NotSuspended, "{error:?}");
        click(2, &second.id).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), [1, 2]);
        click(1, &first.id).await.unwrap();
        click(2, &second.id).await.unwrap();
        assert_eq!(click(3, &second.id).await.unwrap_err().code(), Code::AlreadyResumed);
        // A new run with the same id has suspensions with the same ids.
        run.delete().await.unwrap();
        assert_eq!(click(1, &first.id).await.unwrap_err().code(), Code::RunNotFound);
        let run = engine.start(asks_in_turn, 0).id("r").await.unwrap();
        let again = run.suspended().await.unwrap().remove(0);
        run.resume(&1u32).of(again.id).await.unwrap();
        soon(async { while run.suspended().await.unwrap().first().is_none_or(|next| next.payload != "second") { workflow_harness::pause().await } }).await;
        assert!(run.cancel("enough").await.unwrap());
    }

    async fn resuming_a_dropped_suspension_is_an_error_with_its_reason(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(1_000));
        let engine = place.open_at(&lab, &clock).await;
        let run = engine.start(asks_in_turn, 60).await.unwrap();
        let first = run.suspended().await.unwrap().remove(0);
        clock.set(70_000);
        soon(async { while run.suspended().await.unwrap().first().is_none_or(|next| next.payload != "second") { workflow_harness::pause().await } }).await;
        let error = run.resume(&1u32).of(first.id).await.unwrap_err();
        assert_eq!(error.code(), Code::NotSuspended, "{error:?}");
        assert!(format!("{error:?}").contains("dropped it before it was resumed"), "{error:?}");
        run.resume(&2u32).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), [2]);
    }

    async fn each_suspension_of_a_step_has_an_id_of_its_own(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(twice, ()).await.unwrap();
        assert_eq!(waits_for(&run, 1).await, ["first"]);
        let first = run.suspended().await.unwrap().remove(0);
        assert!(first.step.as_deref().is_some_and(|step| step.ends_with("::asks_inside")), "{first:?}");
        run.resume(&3u32).of(first.id.clone()).await.unwrap();
        soon(async { while labels(&run).await != ["second"] { workflow_harness::pause().await } }).await;
        let second = run.suspended().await.unwrap().remove(0);
        assert_ne!(second.id, first.id);
        assert_eq!(run.resume(&4u32).of(first.id).await.unwrap_err().code(), Code::AlreadyResumed);
        run.resume(&4u32).of(second.id).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 8);
    }

    async fn an_answer_that_does_not_fit_does_not_use_up_the_suspension(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(asks_in_turn, 0).id("r").await.unwrap();
        let first = run.suspended().await.unwrap().remove(0);
        // The delivery of a process that does not know the type of the answer, and so cannot check it.
        let store = place.store();
        let row = store.run("r").await.unwrap().unwrap();
        let (token, _) = store.open_tokens(row.key).await.unwrap().remove(0);
        let body: Arc<[u8]> = serde_json::to_vec(&serde_json::json!({"payload": {"op": 0, "value": "one"}})).unwrap().into();
        let message = Message { dedupe: None, arrived_at: 1, format: 1, checksum: crc32fast::hash(&body), body };
        let now = row.created_at;
        let scope = Some(Arc::from(token.strip_suffix("question").unwrap()));
        let (key, asked) = (Arc::from(&*first.id), Some(Arc::from(&*first.id)));
        let (keep, digest) = (Keep::FromEnd(1_000), [1; 32]);
        let misfit = Deliver { token: token.clone(), message, key, scope, since: 0, digest, keep, asked, hold_until: None, now };
        assert_eq!(store.commit(&[Write::Deliver(misfit)]).await.unwrap(), [Answer::Deliver(DeliverAnswer::Committed)]);
        soon(async {
            while run.resume(&1u32).of(first.id.clone()).await.is_err() {
                workflow_harness::pause().await;
            }
        })
        .await;
        soon(async { while run.suspended().await.unwrap().first().is_none_or(|next| next.payload != "second") { workflow_harness::pause().await } }).await;
        run.resume(&2u32).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), [1, 2]);
    }

    async fn a_parent_shows_what_its_children_are_suspended_for(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(asks_by_its_children, ()).id("parent").await.unwrap();
        waits_for(&run, 3).await;
        let suspended = run.suspended().await.unwrap();
        assert_eq!((&*suspended[0].run, &*suspended[0].label), ("parent", "own"));
        let error = run.resume(&1u32).label("child's").await.unwrap_err();
        assert_eq!(error.code(), Code::NotSuspended, "{error:?}");
        run.resume(&1u32).await.unwrap();
        for suspended in &suspended[1..] {
            let value = if suspended.payload == "child" { 2u32 } else { 3 };
            let child: Run<u32> = engine.get_run(suspended.run.clone());
            child.resume(&value).of(suspended.id.clone()).await.unwrap();
        }
        assert_eq!(soon(&run).await.unwrap(), [1, 2, 3]);
        assert_eq!(run.suspended().await.unwrap(), []);
    }

    async fn a_step_of_a_queue_is_resumed_by_its_id(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("people", 1).replay_every_turn().open().await.unwrap();
        let run = engine.start(elsewhere, ()).id("r").await.unwrap();
        waits_for(&run, 1).await;
        let asked = run.suspended().await.unwrap().remove(0);
        assert!(asked.run == "r" && asked.step.as_deref().is_some_and(|step| step.ends_with("::asks_elsewhere")), "{asked:?}");
        run.resume(&9u32).of(asked.id.clone()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 9);
        run.resume(&9u32).of(asked.id.clone()).await.unwrap();
        assert_eq!(run.resume(&8u32).of(asked.id).await.unwrap_err().code(), Code::AlreadyResumed);
    }
}
