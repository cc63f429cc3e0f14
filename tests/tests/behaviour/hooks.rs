//! Hooks: payloads that are sent to a workflow.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::json;
use workflow_runtime::{Code, Engine, Error, Result, Run, Status, hook, sleep, step, timeout, workflow};

use crate::support::Lab;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Approval {
    by: String,
    cents: u32,
}

fn approval(by: &str) -> Approval {
    Approval { by: by.into(), cents: 5 }
}

#[step]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(name)
}

#[workflow]
async fn waits(token: String) -> Result<Approval> {
    hook::<Approval>().token(token).await
}

#[workflow]
async fn draws() -> Result<String> {
    let hook = hook::<String>().open();
    gated(format!("token {}", hook.token())).await?;
    let (token, payload) = (hook.token().to_owned(), hook.await?);
    Ok(format!("{token} {payload}"))
}

#[workflow]
async fn collects(token: String, count: usize) -> Result<Vec<u32>> {
    hook::<u32>().token(token).open().take(count).map(|payload| payload).collect::<Vec<_>>().await.into_iter().collect()
}

#[workflow]
async fn reopens(token: String, count: usize) -> Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.push(hook::<u32>().token(token.clone()).await?);
    }
    Ok(numbers)
}

#[workflow]
async fn reads_one_and_sleeps(token: String) -> Result<u32> {
    gated("ready".into()).await?;
    let number = hook::<u32>().token(token).await?;
    sleep(Duration::from_secs(3600)).await;
    Ok(number)
}

#[workflow]
async fn two_tokens() -> Result<(u32, u32)> {
    let (first, second) = (hook::<u32>().token("job").open(), hook::<u32>().token("job/1").open());
    Ok((first.await?, second.await?))
}

#[workflow]
async fn opens_early(token: String) -> Result<String> {
    let hook = hook::<String>().token(token).metadata(&json!({"what": "shoes"})).open();
    gated("busy".into()).await?;
    hook.await
}

#[workflow]
async fn drops(token: String) -> Result<()> {
    drop(hook::<u32>().token(token).open());
    gated("dropped".into()).await?;
    Ok(())
}

#[workflow]
async fn gives_up(token: String) -> Result<String> {
    let hook = hook::<String>().token(token).open();
    let first = tokio::select! {
        payload = hook => payload?,
        other = gated("other".into()) => other?,
    };
    gated("behind".into()).await?;
    Ok(first)
}

#[workflow]
async fn races_a_sleep(token: String, milliseconds: u64) -> Result<Option<u32>> {
    match timeout(Duration::from_millis(milliseconds), hook::<u32>().token(token)).await {
        Ok(payload) => Ok(Some(payload?)),
        Err(_) => Ok(None),
    }
}

on_each_store! {
    async fn a_payload_reaches_the_workflow(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(waits, "t".into()).await.unwrap();
        assert_eq!(run.status().await.unwrap(), Status::Suspended);
        engine.resume_hook("t", &approval("Ada")).await.unwrap();
        assert_eq!(run.await.unwrap(), approval("Ada"));
    }

    async fn any_process_can_send_a_payload(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let client = place.open(&Lab::new()).await;
        let run = engine.start(waits, "t".into()).await.unwrap();
        client.resume_hook("t", &approval("Ada")).await.unwrap();
        assert_eq!(run.await.unwrap(), approval("Ada"));
    }

    async fn a_hook_is_a_stream_of_payloads_in_their_order(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(collects, ("t".into(), 50)).await.unwrap();
        for number in 0..50 {
            engine.resume_hook("t", &number).await.unwrap();
        }
        assert_eq!(run.await.unwrap(), (0..50).collect::<Vec<u32>>());
    }

    async fn rule_7_a_hook_is_registered_when_it_is_opened(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(opens_early, "t".into()).id("run").await.unwrap();
        let info = engine.get_hook("t").await.unwrap();
        assert_eq!((info.run.as_deref(), info.is_open), (Some("run"), true));
        assert_eq!(info.metadata, Some(json!({"what": "shoes"})));
        engine.resume_hook("t", "early").await.unwrap();
        lab.open_gate("busy");
        assert_eq!(run.await.unwrap(), "early");
        assert!(!engine.get_hook("t").await.unwrap().is_open);
    }

    async fn rule_12_a_generated_token_is_unique_and_the_same_on_each_replay(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        for id in ["a", "b"] {
            drop(engine.start(draws, ()).id(id).await.unwrap());
        }
        while lab.notes().len() < 2 {
            workflow_harness::pause().await;
        }
        drop(engine);
        let tokens: BTreeSet<String> = lab.notes().iter().map(|note| note["token ".len()..].to_owned()).collect();
        assert_eq!(tokens.len(), 2);
        let engine = place.open(&lab).await;
        for token in &tokens {
            assert_eq!(token.len(), 32);
            lab.open_gate(&format!("token {token}"));
            engine.resume_hook(token, "hello").await.unwrap();
        }
        let results = ["a", "b"].map(|id| engine.get_run::<String, Error>(id));
        for run in results {
            let (token, payload) = run.await.unwrap().split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
            assert!(tokens.contains(&token) && payload == "hello");
        }
    }

    async fn a_payload_that_cannot_be_delivered_is_an_error_with_its_reason(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let refused = async |token: &str| engine.resume_hook(token, &1).await.unwrap_err();
        assert_eq!(refused("nobody's").await.code(), Code::HookNotFound);
        let run = engine.start(drops, "dropped".into()).await.unwrap();
        lab.executed("dropped", 1).await;
        assert_eq!(refused("dropped").await.code(), Code::HookNotFound, "the hook was never registered");
        lab.open_gate("dropped");
        run.await.unwrap();
        let run = engine.start(gives_up, "given up".into()).await.unwrap();
        lab.open_gate("other");
        lab.executed("behind", 1).await;
        let error = engine.resume_hook("given up", "x").await.unwrap_err();
        assert_eq!(error.code(), Code::HookDisposed, "{error:?}");
        lab.open_gate("behind");
        run.await.unwrap();
        let run = engine.start(waits, "done".into()).await.unwrap();
        assert!(run.cancel("enough").await.unwrap());
        let error = engine.resume_hook("done", &approval("Ada")).await.unwrap_err();
        assert_eq!(error.code(), Code::HookFinished);
        assert!(format!("{error:?}").contains("`done`") && format!("{error:?}").contains("late or a second answer"), "{error:?}");
        for token in ["", "a\nb", &"x".repeat(513)] {
            assert_eq!(engine.resume_hook(token, &1).await.unwrap_err().code(), Code::InvalidName);
        }
    }

    async fn tokens_with_special_characters_work(place: Place) {
        let engine = place.open(&Lab::new()).await;
        for token in ["'; DROP TABLE tokens --", "é/%/\"", " ", "日本", "..", "%00"] {
            let run = engine.start(waits, token.into()).await.unwrap();
            engine.resume_hook(token, &approval(token)).await.unwrap();
            assert_eq!(run.await.unwrap().by, token);
        }
    }

    async fn a_delivery_with_a_key_arrives_once(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(collects, ("t".into(), 3)).await.unwrap();
        for (number, key) in [(1, "a"), (1, "a"), (3, "b"), (1, "a"), (5, "c")] {
            engine.resume_hook("t", &number).idempotency_key(key).await.unwrap();
        }
        assert_eq!(run.await.unwrap(), [1, 3, 5]);
    }

    async fn rule_3_a_token_has_one_owner_and_a_conflict_names_it(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let starts = (0..10).map(|number| engine.start(waits, "t".into()).id(format!("run {number}")).into_future());
        let runs = join_all(starts).await.into_iter().map(Result::unwrap);
        let mut results: Vec<_> = runs.map(|run| tokio::spawn(async move { (run.id().to_owned(), run.await) })).collect();
        let mut refused = Vec::new();
        while results.len() > 1 {
            let (ended, _, rest) = futures::future::select_all(results).await;
            refused.push(ended.unwrap());
            results = rest;
        }
        engine.resume_hook("t", &approval("Ada")).await.unwrap();
        let (owner, result) = results.remove(0).await.unwrap();
        assert_eq!(result.unwrap(), approval("Ada"));
        for (run, result) in refused {
            let error = result.unwrap_err();
            assert_eq!((error.code(), error.run_id()), (Code::HookConflict, Some(&*owner)), "{run}: {error:?}");
        }
    }

    async fn a_payload_can_be_sent_before_the_hook_is_opened(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        engine.resume_hook("t", &approval("early")).hold_for(Duration::from_secs(3600)).await.unwrap();
        let run = engine.start(waits, "t".into()).await.unwrap();
        assert_eq!(run.await.unwrap(), approval("early"));
        let client = place.open(&lab).await;
        let run = client.start(waits, "promised".into()).opens("promised").await.unwrap();
        client.resume_hook("promised", &approval("Ada")).await.unwrap();
        assert_eq!(run.await.unwrap(), approval("Ada"));
    }

    async fn a_payload_that_does_not_fit_is_refused_and_the_hook_stays_open(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(waits, "t".into()).await.unwrap();
        let error = engine.resume_hook("t", &json!({"by": "Ada", "cents": "many"})).await.unwrap_err();
        assert_eq!(error.code(), Code::Payload);
        assert!(error.to_string().contains("\"many\"") || error.to_string().contains("u32"), "{error}");
        let error = engine.resume_hook("t", &json!({"cents": 5})).await.unwrap_err();
        assert!(error.to_string().contains("`by`"), "{error}");
        let error = engine.resume_hook("t", &f64::NAN).await.unwrap_err();
        assert_eq!(error.code(), Code::Payload);
        engine.resume_hook("t", &json!({"by": "Ada", "cents": 5})).await.unwrap();
        assert_eq!(run.await.unwrap(), approval("Ada"));
    }

    async fn a_run_can_open_a_token_again_that_it_has_just_dropped(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(reopens, ("ctl".into(), 4)).id("run").await.unwrap();
        for number in 0..4u32 {
            engine.resume_hook("ctl", &number).await.unwrap();
            // Wait for the turn that opens the hook again. A payload sent before it belongs to the old hook, and would
            // stay unread.
            while place.rows("run").await.len() < number as usize + 2 {
                workflow_harness::pause().await;
            }
        }
        assert_eq!(run.await.unwrap(), [0, 1, 2, 3]);
    }

    async fn an_unread_payload_does_not_keep_a_run_in_memory(place: Place) {
        let lab = Lab::new();
        let mut engine = place.builder(&lab).open().await.unwrap();
        drop(engine.start(reads_one_and_sleeps, "t".into()).id("run").opens("t").await.unwrap());
        engine.resume_hook("t", &1u32).await.unwrap();
        engine.resume_hook("t", &2u32).await.unwrap();
        lab.open_gate("ready");
        while place.inbox("run").await != 1 || engine.get_run::<(), Error>("run").info().await.unwrap().wakes_at.is_none() {
            workflow_harness::pause().await;
        }
        for _ in 0..8 {
            drop(engine);
            engine = place.builder(&lab).open().await.unwrap();
        }
        let run: Run<u32> = engine.get_run("run");
        let info = run.info().await.unwrap();
        assert_eq!(info.status, Status::Suspended, "{:?}", info.reason);
        assert!(info.wakes_at.unwrap() > info.created_at + Duration::from_secs(3000));
        run.wake_up().await.unwrap();
        assert_eq!(run.await.unwrap(), 1);
        assert_eq!(place.inbox("run").await, 1, "the payload is unread");
    }

    async fn engine_deaths_while_a_run_waits_do_not_count_as_its_recoveries(place: Place) {
        let lab = Lab::new();
        let mut engine = place.builder(&lab).open().await.unwrap();
        drop(engine.start(collects, ("t".into(), 2)).id("run").await.unwrap());
        engine.resume_hook("t", &1u32).await.unwrap();
        while place.rows("run").await.len() < 2 {
            workflow_harness::pause().await;
        }
        for _ in 0..8 {
            drop(engine);
            engine = place.builder(&lab).open().await.unwrap();
        }
        engine.resume_hook("t", &2u32).await.unwrap();
        let run: Run<Vec<u32>> = engine.get_run("run");
        assert_eq!(run.await.unwrap(), [1, 2]);
    }

    async fn keys_of_two_tokens_do_not_collide(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(two_tokens, ()).await.unwrap();
        engine.resume_hook("job", &1u32).idempotency_key("1/a").await.unwrap();
        engine.resume_hook("job/1", &2u32).idempotency_key("a").await.unwrap();
        assert_eq!(run.await.unwrap(), (1, 2));
    }

    async fn an_unchecked_payload_that_does_not_fit_stays_unread_and_the_hook_open(place: Place) {
        let engine = place.open(&Lab::new()).await;
        engine.resume_hook("t", &json!({"cents": 5})).hold_for(Duration::from_secs(60)).await.unwrap();
        let run = engine.start(waits, "t".into()).id("run").await.unwrap();
        engine.resume_hook("t", &approval("Ada")).await.unwrap();
        assert_eq!(run.await.unwrap(), approval("Ada"));
        assert_eq!(place.inbox("run").await, 1);
    }

    async fn an_acknowledged_payload_survives_the_engine(place: Place) {
        let lab = Lab::new();
        // The test ends the engine many times, which must not make the run stuck.
        let open = async || place.builder(&lab).recoveries(u32::MAX).replay_every_turn().open().await.unwrap();
        let mut engine = open().await;
        drop(engine.start(collects, ("t".into(), 20)).id("run").await.unwrap());
        for number in 0..20 {
            engine.resume_hook("t", &number).await.unwrap();
            drop(engine);
            engine = open().await;
        }
        let run: Run<Vec<u32>> = engine.get_run("run");
        assert_eq!(run.await.unwrap(), (0..20).collect::<Vec<u32>>());
    }

    async fn rule_9_a_payload_for_a_hook_that_lost_its_race_stays_unread(place: Place) {
        let lab = Lab::new();
        let faulty = crate::support::Faulty::new(place.store());
        let engine = Engine::builder().store(std::sync::Arc::new(faulty.clone())).resource(lab.clone()).open().await.unwrap();
        let run = engine.start(gives_up, "t".into()).id("run").await.unwrap();
        lab.executed("other", 1).await;
        // The store holds the commit of the turn that drops the hook, and a payload arrives meanwhile.
        let holding = lab.clone();
        faulty.before(move |group| {
            let drops = |write: &workflow_runtime::store::Write| matches!(write, workflow_runtime::store::Write::Turn(turn) if turn.effects.as_ref().is_some_and(|effects| !effects.closes.is_empty()));
            let lab = holding.clone();
            group.iter().any(drops).then(|| Box::pin(async move { lab.note("held"); lab.pass_gate("commit").await }) as _)
        });
        lab.open_gate("other");
        lab.executed("held", 1).await;
        let client = place.open(&lab).await;
        client.resume_hook("t", "too late").await.unwrap();
        lab.open_gate("commit");
        lab.executed("behind", 1).await;
        lab.open_gate("behind");
        assert_eq!(run.await.unwrap(), "other");
        let journal = place.journal("run").await.concat();
        assert!(!journal.contains("payload"), "{journal}");
        assert_eq!(place.inbox("run").await, 1, "the payload is unread");
    }

    async fn rule_15_each_acknowledged_payload_is_delivered_or_unread(place: Place) {
        let engine = place.builder(&Lab::new()).open().await.unwrap();
        let race = |number: usize| {
            let (engine, place) = (engine.clone(), place.clone());
            async move {
                let (id, token) = (format!("run {number}"), format!("t{number}"));
                let milliseconds = (number % 4) as u64;
                let run = engine.start(races_a_sleep, (token.clone(), milliseconds)).id(&*id).await.unwrap();
                for _ in 0..number % 11 {
                    tokio::task::yield_now().await;
                }
                if number.is_multiple_of(3) {
                    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                }
                let sent = engine.resume_hook(&token, &7u32).await;
                let got = (&run).await.unwrap();
                let journal = place.journal(&id).await.concat();
                let delivered = journal.matches(r#"{"payload":"#).count();
                let unread = place.inbox(&id).await;
                match sent {
                    Ok(()) => assert_eq!(delivered + unread, 1, "{journal}"),
                    Err(error) => {
                        let code = error.code();
                        assert!([Code::HookDisposed, Code::HookFinished, Code::HookNotFound].contains(&code), "{error:?}");
                        assert_eq!((delivered, unread), (0, 0));
                    }
                }
                assert_eq!(got.is_some(), delivered == 1, "{journal}");
                delivered
            }
        };
        let mut delivered = 0;
        for batch in 0..20 {
            delivered += join_all((0..50).map(|number| race(batch * 50 + number))).await.into_iter().sum::<usize>();
        }
        println!("{delivered} of 1000 payloads arrived before the sleep ended");
        engine.shutdown().await.unwrap();
    }

    async fn concurrent_payloads_all_arrive_in_the_order_of_the_journal(place: Place) {
        let engine = place.open(&Lab::new()).await;
        for round in 0..30 {
            let (id, token) = (format!("run {round}"), format!("t{round}"));
            let run = engine.start(collects, (token.clone(), 8)).id(&*id).await.unwrap();
            let sent = join_all((0..8u32).map(|number| engine.resume_hook(&*token, &number).into_future())).await;
            assert!(sent.into_iter().all(|sent| sent.is_ok()));
            let mut results = run.await.unwrap();
            let journal = place.journal(&id).await.concat();
            let at = |number: &u32| journal.find(&format!(r#""value":{number}}}"#)).unwrap();
            assert!(results.is_sorted_by_key(at), "{results:?} {journal}");
            results.sort_unstable();
            assert_eq!(results, (0..8).collect::<Vec<_>>());
        }
    }

    async fn a_concurrent_payload_and_cancel_are_both_accounted_for(place: Place) {
        let engine = place.builder(&Lab::new()).open().await.unwrap();
        let race = |number: usize| {
            let (engine, place) = (engine.clone(), place.clone());
            async move {
                let (id, token) = (format!("run {number}"), format!("t{number}"));
                let run = engine.start(waits, token.clone()).id(&*id).await.unwrap();
                let payload = approval("Ada");
                let (sent, cancelled) = tokio::join!(engine.resume_hook(&*token, &payload).into_future(), run.cancel("enough"));
                let result = (&run).await;
                assert_eq!(result.is_err(), cancelled.unwrap());
                let delivered = place.journal(&id).await.concat().matches(r#"{"payload":"#).count();
                assert_eq!(delivered, usize::from(result.is_ok()));
                // A cancel that came too late also stays in the inbox.
                let unread = place.inbox(&id).await - usize::from(result.is_ok() && place.inbox(&id).await > 0);
                assert_eq!(delivered + unread, usize::from(sent.is_ok()));
            }
        };
        for batch in 0..10 {
            join_all((0..50).map(|number| race(batch * 50 + number))).await;
        }
    }
}

case! {
    async fn outside_a_workflow_a_hook_is_an_error() {
        assert_eq!(hook::<u32>().await.unwrap_err().code(), Code::OutsideRun);
        sleep(Duration::ZERO).await;
    }
}
