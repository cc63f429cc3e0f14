//! Deliveries with an idempotency key: accepted once, however often and by whichever engine they are sent again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use workflow_runtime::engine::Environment;
use workflow_runtime::{Code, Engine, Error, Result, Run, Status, hook, sleep, step, workflow};

use crate::support::{Faulty, Lab, ManualClock, When, soon};

const DAY: u64 = 24 * 3_600 * 1_000;

#[step(retries = 0)]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(())
}

#[workflow]
async fn takes(token: String, count: usize) -> Result<Vec<u32>> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(hook::<u32>().token(token.clone()).await?);
    }
    Ok(taken)
}

/// Asks two questions with the same token.
#[workflow]
async fn asks_twice() -> Result<(String, String)> {
    let first = hook::<String>().token("question").metadata(&1).await?;
    gated("between".into()).await?;
    let second = hook::<String>().token("question").metadata(&2).await?;
    Ok((first, second))
}

#[workflow]
async fn takes_a_map() -> Result<BTreeMap<String, u32>> {
    hook::<BTreeMap<String, u32>>().token("t").await
}

#[workflow]
async fn opens_late() -> Result<u32> {
    gated("before".into()).await?;
    hook::<u32>().token("t").await
}

#[workflow]
async fn ends_while_its_hook_is_open() -> Result<()> {
    let _hook = hook::<u32>().token("open").open();
    sleep(Duration::ZERO).await;
    Ok(())
}

async fn send(engine: &Engine, number: u32, key: &str) -> Result<()> {
    engine.resume_hook("t", &number).idempotency_key(key).await
}

async fn asked(engine: &Engine, number: u32) {
    soon(async {
        while !engine.get_hook("question").await.is_ok_and(|hook| hook.metadata == Some(number.into()) && hook.is_open)
        {
            workflow_harness::pause().await;
        }
    })
    .await;
}

on_each_store! {
    async fn a_delivery_that_is_repeated_is_accepted_after_end_and_delete_and_reaches_no_other_run(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(takes, ("t".into(), 1)).id("r").await.unwrap();
        send(&engine, 1, "k").await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), [1]);
        send(&engine, 1, "k").await.unwrap();
        assert_eq!(send(&engine, 1, "another").await.unwrap_err().code(), Code::HookFinished);
        run.delete().await.unwrap();
        send(&engine, 1, "k").await.unwrap();
        assert_eq!(send(&engine, 1, "another").await.unwrap_err().code(), Code::HookNotFound);
        let run = engine.start(takes, ("t".into(), 1)).id("r").await.unwrap();
        send(&engine, 1, "k").await.unwrap();
        send(&engine, 2, "another").await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), [2]);
    }

    async fn a_repeated_answer_does_not_answer_the_next_question(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(asks_twice, ()).await.unwrap();
        asked(&engine, 1).await;
        let click = || engine.resume_hook("question", "yes").idempotency_key("mail 1").into_future();
        click().await.unwrap();
        soon(lab.executed("between", 1)).await;
        click().await.unwrap();
        assert_eq!(engine.resume_hook("question", "x").await.unwrap_err().code(), Code::HookDisposed);
        lab.open_gate("between");
        asked(&engine, 2).await;
        click().await.unwrap();
        engine.resume_hook("question", "no").idempotency_key("mail 2").await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), ("yes".to_owned(), "no".to_owned()));
        click().await.unwrap();
    }

    async fn a_key_cannot_be_reused_for_another_payload(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(takes, ("t".into(), 2)).await.unwrap();
        send(&engine, 1, "k").await.unwrap();
        let error = send(&engine, 2, "k").await.unwrap_err();
        assert_eq!(error.code(), Code::KeyReused, "{error:?}");
        assert!(format!("{error:?}").contains("`k`") && format!("{error:?}").contains("`t`"), "{error:?}");
        send(&engine, 2, "l").await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), [1, 2]);
        assert_eq!(send(&engine, 2, "k").await.unwrap_err().code(), Code::KeyReused);
    }

    async fn objects_with_keys_in_another_order_are_the_same_payload(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(takes_a_map, ()).await.unwrap();
        for json in [r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#] {
            let payload: Box<serde_json::value::RawValue> = serde_json::from_str(json).unwrap();
            engine.resume_hook("t", &payload).idempotency_key("k").await.unwrap();
        }
        assert_eq!(soon(&run).await.unwrap().len(), 2);
    }

    async fn a_refused_delivery_leaves_its_key_unused(place: Place) {
        let engine = place.open(&Lab::new()).await;
        assert_eq!(send(&engine, 1, "k").await.unwrap_err().code(), Code::HookNotFound);
        let run = engine.start(takes, ("t".into(), 1)).await.unwrap();
        let misfit = engine.resume_hook("t", "one").idempotency_key("k").await;
        assert_eq!(misfit.unwrap_err().code(), Code::Payload);
        send(&engine, 1, "k").await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), [1]);
        // Another workflow with another payload type now has the token.
        let run = engine.start(takes_a_map, ()).await.unwrap();
        send(&engine, 1, "k").await.unwrap();
        assert_eq!(send(&engine, 1, "l").await.unwrap_err().code(), Code::Payload);
        assert!(run.cancel("enough").await.unwrap());
    }

    async fn delivery_keys_are_kept_as_long_as_the_builder_sets(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(DAY));
        for (id, keep) in [("default", None), ("shorter", Some(Duration::from_secs(3_600)))] {
            let mut builder = place.builder_at(&lab, &clock);
            if let Some(keep) = keep {
                builder = builder.keep_deliveries(keep);
            }
            let engine = builder.open().await.unwrap();
            let sends = |number: u32, key: &str| engine.resume_hook(id, &number).idempotency_key(key).into_future();
            let run = engine.start(takes, (id.into(), 2)).await.unwrap();
            sends(1, "k").await.unwrap();
            clock.set(clock.now() + 30 * DAY);
            sends(1, "k").await.unwrap();
            sends(2, "l").await.unwrap();
            assert_eq!(soon(&run).await.unwrap(), [1, 2], "{id}");
            let end = clock.now();
            let kept = keep.map_or(7 * DAY, |keep| keep.as_millis() as u64);
            let run = engine.start(takes, (id.into(), 1)).await.unwrap();
            clock.set(end + kept);
            sends(1, "k").await.unwrap();
            assert_eq!(sends(3, "k").await.unwrap_err().code(), Code::KeyReused, "{id}");
            clock.set(end + kept + 1);
            sends(1, "k").await.unwrap();
            assert_eq!(soon(&run).await.unwrap(), [1], "{id}");
            engine.shutdown().await.unwrap();
        }
    }

    async fn a_held_delivery_arrives_once_and_can_be_sent_again_after_it_expired(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(DAY));
        let engine = place.open_at(&lab, &clock).await;
        let held = || engine.resume_hook("t", &1u32).idempotency_key("k").hold_for(Duration::from_secs(60)).into_future();
        held().await.unwrap();
        held().await.unwrap();
        clock.set(DAY + 60_001);
        assert_eq!(send(&engine, 1, "k").await.unwrap_err().code(), Code::HookNotFound);
        held().await.unwrap();
        let run = engine.start(opens_late, ()).opens("t").await.unwrap();
        clock.set(2 * DAY);
        assert_eq!(send(&engine, 2, "k").await.unwrap_err().code(), Code::KeyReused);
        held().await.unwrap();
        send(&engine, 1, "k").await.unwrap();
        soon(lab.executed("before", 1)).await;
        lab.open_gate("before");
        assert_eq!(soon(&run).await.unwrap(), 1);
        held().await.unwrap();
        let run = engine.start(takes, ("t".into(), 1)).await.unwrap();
        held().await.unwrap();
        send(&engine, 2, "l").await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), [2]);
    }

    async fn a_promised_token_takes_a_delivery_once(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(opens_late, ()).opens("t").await.unwrap();
        for _ in 0..3 {
            send(&engine, 1, "k").await.unwrap();
        }
        assert_eq!(send(&engine, 2, "k").await.unwrap_err().code(), Code::KeyReused);
        lab.open_gate("before");
        assert_eq!(soon(&run).await.unwrap(), 1);
        send(&engine, 1, "k").await.unwrap();
    }

    async fn a_delivery_in_doubt_can_be_repeated_after_the_end_of_its_run(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(takes, ("t".into(), 1)).id("r").await.unwrap();
        let faulty = Faulty::new(place.store());
        let builder = Engine::builder().store(Arc::new(faulty.clone())).resource(lab.clone());
        let sender = builder.connect().await.unwrap();
        faulty.plan(|_| Some(When::CommittedButInDoubt));
        let sends = || sender.resume_hook("t", &1u32).idempotency_key("k").into_future();
        let error = sends().await.unwrap_err();
        assert_eq!(error.code(), Code::InDoubt, "{error:?}");
        assert_eq!(soon(&run).await.unwrap(), [1]);
        // The client is dropped without an answer. Another engine sends the delivery again after the run has ended.
        drop(sender);
        engine.shutdown().await.unwrap();
        let engine = place.open(&lab).await;
        send(&engine, 1, "k").await.unwrap();
        let run: Run<Vec<u32>> = engine.get_run("r");
        assert_eq!((run.status().await.unwrap(), run.await.unwrap()), (Status::Completed, vec![1]));
    }

    async fn a_payload_without_a_key_in_doubt_is_sent_again_after_the_end_of_its_run(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(takes, ("t".into(), 1)).id("r").await.unwrap();
        let faulty = Faulty::new(place.store());
        let sender = Engine::builder().store(Arc::new(faulty.clone())).resource(lab.clone()).connect().await.unwrap();
        let mut doubts = [When::CommittedButInDoubt].into_iter();
        let sent = AtomicBool::new(false);
        let ended = run.clone();
        faulty.plan(move |_| doubts.next());
        faulty.before(move |_| {
            let again = sent.swap(true, Ordering::SeqCst);
            let run = ended.clone();
            again.then(|| Box::pin(async move { drop(soon(run).await) }) as futures::future::BoxFuture<'static, ()>)
        });
        sender.resume_hook("t", &1u32).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), [1]);
    }

    async fn after_the_end_of_a_run_its_hooks_are_finished_however_it_ended(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(takes, ("t".into(), 1)).await.unwrap();
        engine.resume_hook("t", &1u32).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), [1]);
        let error = engine.resume_hook("t", &2u32).await.unwrap_err();
        assert_eq!((error.code(), error.run_id()), (Code::HookFinished, Some(run.id())));
        soon(engine.start(ends_while_its_hook_is_open, ()).await.unwrap()).await.unwrap();
        assert_eq!(engine.resume_hook("open", &2u32).await.unwrap_err().code(), Code::HookFinished);
        run.delete().await.unwrap();
        assert_eq!(engine.resume_hook("t", &2u32).await.unwrap_err().code(), Code::HookNotFound);
    }

    async fn keys_with_special_characters_work(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(takes, ("t".into(), 4)).await.unwrap();
        for (number, key) in ["'; DROP TABLE deliveries --", "é/%/\"", " ", "letter/0"].into_iter().enumerate() {
            for _ in 0..2 {
                send(&engine, number as u32, key).await.unwrap();
            }
        }
        assert_eq!(soon(&run).await.unwrap(), [0, 1, 2, 3]);
        for key in ["", "a\nb", &"x".repeat(513)] {
            assert_eq!(send(&engine, 1, key).await.unwrap_err().code(), Code::InvalidName);
        }
        let nobody: Run<(), Error> = engine.get_run("nobody");
        assert!(!nobody.exists().await.unwrap());
    }
}
