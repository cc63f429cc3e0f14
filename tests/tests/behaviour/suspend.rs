//! Suspensions, and runs that end early.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use workflow_runtime::store::{Answer, Deliver, DeliverAnswer, Keep, Message, Write};
use workflow_runtime::{
    Code, Error, Result, Run, Status, durable, finish, hook, sleep, spawn, step, step_info, suspend, suspend_data,
    timeout, workflow, writer,
};

use crate::support::{Lab, ManualClock, recorded, soon};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Decision {
    approved: bool,
    by: String,
}

fn yes() -> Decision {
    Decision { approved: true, by: "Ada".into() }
}

/// Fails `failures` times, asks, and fails `failures` times again.
#[step(retries = 2, backoff = "0ms..0ms")]
async fn asks(#[resource] lab: &Lab, question: String, failures: usize) -> Result<String> {
    let attempt = lab.note(&question);
    if attempt <= failures {
        return Err(Error::new("not yet"));
    }
    let log = writer::<usize>("log");
    log.write(&attempt).await?;
    let decision: Decision = suspend(&question).label(&question).await?;
    if attempt <= failures + 1 + failures {
        return Err(Error::new("not yet either"));
    }
    let number = step_info().map(|info| info.attempt).unwrap_or_default();
    Ok(format!("{}: {} in attempt {number}", decision.by, decision.approved))
}

/// Ignores the error of `suspend`, and returns something else.
#[step]
async fn goes_on_after_it(#[resource] lab: &Lab, how: String) -> Result<u32> {
    lab.note("begun");
    let answer = suspend::<u32>(&how).await;
    if answer.is_err() {
        lab.note("went on");
    }
    match (answer, how.as_str()) {
        (Ok(answer), _) => Ok(answer),
        (Err(_), "succeeds") => Ok(0),
        (Err(_), "panics") => panic!("after it was suspended"),
        (Err(_), _) => Err(Error::fatal("something else")),
    }
}

#[step]
fn asks_blocking(question: String) -> Result<u32> {
    futures::executor::block_on(suspend::<u32>(&question).into_future())
}

#[step]
async fn asks_twice() -> Result<u32> {
    let first: u32 = suspend(&"first".to_owned()).label("first").await?;
    let second: u32 = suspend(&"second".to_owned()).label("second").await?;
    Ok(first + second)
}

#[step]
async fn asks_inside() -> Result<u32> {
    Ok(asks_twice().await? + 1)
}

#[step(queue = "people")]
async fn asks_elsewhere(question: String) -> Result<u32> {
    suspend(&question).await
}

#[step]
async fn undone(#[resource] lab: &Lab) -> Result<()> {
    lab.note("undone");
    Ok(())
}

/// Returns the data of its suspension after the resumption.
#[step]
async fn remembers(#[resource] lab: &Lab) -> Result<(String, String)> {
    let asked: Option<String> = suspend_data()?;
    let number = lab.note("remembers");
    if number == 2 {
        assert_eq!(asked.as_deref(), Some("question 1"));
        return suspend::<(String, String)>(&"question 2".to_owned()).label("second").await;
    }
    let first: String = suspend(&format!("question {number}")).await?;
    Ok((asked.unwrap_or_default(), first))
}

#[step(queue = "people")]
async fn remembers_elsewhere(#[resource] lab: &Lab) -> Result<String> {
    lab.note("elsewhere");
    let answer: String = suspend(&"elsewhere?".to_owned()).await?;
    Ok(format!("{:?} {answer}", suspend_data::<String>()?))
}

#[workflow]
async fn remembering() -> Result<(String, String)> {
    assert_eq!(suspend_data::<String>()?, None);
    remembers().await
}

#[workflow]
async fn remembering_elsewhere() -> Result<String> {
    remembers_elsewhere().await
}

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
async fn approval(question: String, failures: usize) -> Result<String> {
    asks(question, failures).await
}

#[workflow]
async fn goes_on(how: String) -> Result<u32> {
    goes_on_after_it(how).await
}

#[workflow]
async fn blocking() -> Result<u32> {
    asks_blocking("blocking".into()).await
}

#[workflow]
async fn twice() -> Result<u32> {
    asks_inside().await
}

#[workflow]
async fn elsewhere() -> Result<u32> {
    asks_elsewhere("elsewhere".into()).await
}

#[workflow]
async fn waits_itself() -> Result<(Decision, u32)> {
    let first = suspend(&vec!["a", "b"].into_iter().map(str::to_owned).collect::<Vec<_>>()).await?;
    let second = suspend(&5).label("waits_itself").await?;
    Ok((first, second))
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

#[workflow]
async fn gives_up() -> Result<String> {
    match timeout(Duration::from_secs(60), asks("given up".into(), 0)).await {
        Ok(answer) => answer,
        Err(_) => {
            hook::<()>().token("after it was given up").await?;
            Ok("nobody answered".into())
        }
    }
}

#[workflow]
async fn fails_beside_it() -> Result<()> {
    let asked = async { asks("beside".into(), 0).rollback(|_| undone()).await.map(drop) };
    let fails = async { hook::<()>().token("fail beside it").await.and(Err::<(), _>(Error::fatal("enough"))) };
    tokio::try_join!(asked, fails).map(drop)
}

#[durable]
async fn looks_deeper(n: u32) -> Result<u32> {
    if n == 3 {
        finish(format!("found {n}")).await?;
    }
    sleep(Duration::from_millis(1)).await;
    Ok(n + 1)
}

#[workflow]
async fn ends_from_a_helper() -> Result<String> {
    let mut n = 0;
    while n < 10 {
        n = looks_deeper(n).await?;
    }
    Ok("nothing".into())
}

#[workflow]
async fn ends_from_a_branch() -> Result<String> {
    let branch = spawn(async {
        sleep(Duration::from_millis(1)).await;
        finish("by the branch".to_owned()).await
    });
    hook::<()>().token("never").await?;
    branch.await
}

/// Ends the run, whatever its own result is.
#[step(retries = 3)]
async fn ends_the_run(#[resource] lab: &Lab, how: String) -> Result<()> {
    lab.note("ends");
    let ended = finish(format!("by a step that {how}")).await.map(drop);
    match how.as_str() {
        "succeeds" => Ok(()),
        "fails" => Err(Error::new("after it has ended the run")),
        _ => ended,
    }
}

#[workflow]
async fn ends_from_a_step(how: String) -> Result<String> {
    undone().rollback(|()| undone()).await?;
    let never = async { hook::<()>().token("never").await.map(drop) };
    let ends = async { ends_the_run(how).await };
    tokio::try_join!(never, ends)?;
    Ok("not early".into())
}

#[workflow]
async fn ends_with_what_it_does_not_return() -> Result<u32> {
    finish("a text".to_owned()).await?;
    Ok(1)
}

#[workflow]
async fn parent_of_one_that_ends() -> Result<String> {
    let ended = ends_from_a_step("returns it".into()).await?;
    Ok(format!("{ended}, and its parent went on"))
}

async fn labels<T, E>(run: &Run<T, E>) -> Vec<String> {
    run.suspended().await.unwrap().into_iter().map(|suspended| suspended.label).collect()
}

/// Waits until the run has this number of suspensions.
async fn waits_for<T, E>(run: &Run<T, E>, count: usize) -> Vec<String> {
    soon(async {
        loop {
            let labels = labels(run).await;
            if labels.len() == count {
                return labels;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

on_each_store! {
    async fn a_step_that_suspends_itself_is_executed_again_with_the_data(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(approval, ("publish?".into(), 0)).await.unwrap();
        assert_eq!(waits_for(&run, 1).await, ["publish?"]);
        let suspended = run.suspended().await.unwrap().remove(0);
        assert_eq!(suspended.payload, "publish?");
        soon(async { while run.status().await.unwrap() != Status::Suspended { tokio::task::yield_now().await } }).await;
        assert_eq!(lab.count("publish?"), 1);
        run.resume(&yes()).label("publish?").await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "Ada: true in attempt 2");
        assert_eq!(lab.count("publish?"), 2);
        assert_eq!(labels(&run).await, [""; 0]);
    }

    async fn suspending_costs_no_retries(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        // One failure before the suspension, one behind it, and two retries.
        let run = engine.start(approval, ("retries".into(), 1)).await.unwrap();
        waits_for(&run, 1).await;
        run.resume(&yes()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "Ada: true in attempt 4");
        assert_eq!(lab.count("retries"), 4);
    }

    async fn an_attempt_that_suspends_is_suspended_whatever_it_returns(place: Place) {
        for how in ["succeeds", "fails", "panics"] {
            let lab = Lab::new();
            let engine = place.open(&lab).await;
            let run = engine.start(goes_on, how.into()).id(how).await.unwrap();
            assert_eq!(waits_for(&run, 1).await, ["goes_on_after_it"]);
            assert_eq!(lab.count("went on"), 1);
            run.resume(&7).await.unwrap();
            assert_eq!(soon(&run).await.unwrap(), 7);
            assert_eq!((lab.count("begun"), lab.count("went on")), (2, 1));
            engine.shutdown().await.unwrap();
        }
    }

    async fn a_blocking_step_suspends_itself(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(blocking, ()).await.unwrap();
        waits_for(&run, 1).await;
        run.resume(&3).label("asks_blocking").await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 3);
    }

    async fn a_step_inside_a_step_asks_several_things(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(twice, ()).await.unwrap();
        assert_eq!(waits_for(&run, 1).await, ["first"]);
        run.resume(&3).await.unwrap();
        soon(async { while labels(&run).await != ["second"] { tokio::task::yield_now().await } }).await;
        run.resume(&4).label("second").await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 8);
    }

    async fn a_workflow_suspends_itself(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(waits_itself, ()).await.unwrap();
        assert_eq!(run.status().await.unwrap(), Status::Suspended);
        let suspended = run.suspended().await.unwrap().remove(0);
        assert_eq!((suspended.label.as_str(), suspended.payload), ("waits_itself", serde_json::json!(["a", "b"])));
        run.resume(&yes()).await.unwrap();
        soon(async { while run.suspended().await.unwrap().first().is_none_or(|next| next.payload != 5) { tokio::task::yield_now().await } }).await;
        run.resume(&6).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), (yes(), 6));
    }

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

    async fn a_step_of_a_queue_suspends_the_run_that_has_called_it(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("people", 1).replay_every_turn().open().await.unwrap();
        let run = engine.start(elsewhere, ()).await.unwrap();
        assert_eq!(waits_for(&run, 1).await, ["asks_elsewhere"]);
        run.resume(&9).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 9);
    }

    async fn a_suspension_survives_an_eviction_and_a_restart(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).evict_after(Duration::ZERO).open().await.unwrap();
        let run = engine.start(approval, ("outlives".into(), 0)).id("r").await.unwrap();
        waits_for(&run, 1).await;
        engine.shutdown().await.unwrap();
        let client = place.builder(&lab).connect().await.unwrap();
        let run: Run<String> = client.get_run("r");
        assert_eq!(labels(&run).await, ["outlives"]);
        run.resume(&yes()).label("outlives").await.unwrap();
        assert_eq!(run.resume(&yes()).label("outlives").await.unwrap_err().code(), Code::AlreadyResumed);
        assert_eq!(lab.count("outlives"), 1);
        let engine = place.open(&lab).await;
        assert_eq!(soon(&run).await.unwrap(), "Ada: true in attempt 2");
        assert_eq!(lab.count("outlives"), 2);
        engine.shutdown().await.unwrap();
    }

    async fn a_suspended_step_that_is_dropped_takes_no_data(place: Place) {
        let lab = Lab::new();
        let clock = ManualClock::at(1_000);
        let engine = place.open_at(&lab, &clock).await;
        let run = engine.start(gives_up, ()).await.unwrap();
        waits_for(&run, 1).await;
        clock.set(70_000);
        soon(async { while engine.get_hook("after it was given up").await.is_err() { tokio::task::yield_now().await } }).await;
        assert_eq!(labels(&run).await, [""; 0]);
        let error = run.resume(&yes()).label("given up").await.unwrap_err();
        assert_eq!(error.code(), Code::NotSuspended, "{error:?}");
        assert!(format!("{error:?}").contains("dropped it before it was resumed"), "{error:?}");
        engine.resume_hook("after it was given up", &()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "nobody answered");
        assert_eq!(lab.count("given up"), 1);
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
        soon(async { while run.suspended().await.unwrap().first().is_none_or(|next| next.payload != "second") { tokio::task::yield_now().await } }).await;
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
        soon(async { while run.suspended().await.unwrap().first().is_none_or(|next| next.payload != "second") { tokio::task::yield_now().await } }).await;
        assert!(run.cancel("enough").await.unwrap());
    }

    async fn resuming_a_dropped_suspension_is_an_error_with_its_reason(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(1_000));
        let engine = place.open_at(&lab, &clock).await;
        let run = engine.start(asks_in_turn, 60).await.unwrap();
        let first = run.suspended().await.unwrap().remove(0);
        clock.set(70_000);
        soon(async { while run.suspended().await.unwrap().first().is_none_or(|next| next.payload != "second") { tokio::task::yield_now().await } }).await;
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
        soon(async { while labels(&run).await != ["second"] { tokio::task::yield_now().await } }).await;
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
                tokio::task::yield_now().await;
            }
        })
        .await;
        soon(async { while run.suspended().await.unwrap().first().is_none_or(|next| next.payload != "second") { tokio::task::yield_now().await } }).await;
        run.resume(&2u32).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), [1, 2]);
    }

    async fn a_resumed_step_has_the_data_of_its_suspension(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("people", 1).replay_every_turn().open().await.unwrap();
        let run = engine.start(remembering, ()).id("r").await.unwrap();
        waits_for(&run, 1).await;
        run.resume("one").await.unwrap();
        soon(async { while labels(&run).await != ["second"] { tokio::task::yield_now().await } }).await;
        // The data also survives a restart.
        engine.shutdown().await.unwrap();
        let engine = place.builder(&lab).queue("people", 1).replay_every_turn().open().await.unwrap();
        let run: Run<(String, String)> = engine.get_run("r");
        run.resume(&("a", "b")).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), ("question 2".to_owned(), "one".to_owned()));
        let run = engine.start(remembering_elsewhere, ()).await.unwrap();
        waits_for(&run, 1).await;
        run.resume("yes").await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), r#"Some("elsewhere?") yes"#);
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

    async fn a_suspended_step_is_not_rolled_back(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(fails_beside_it, ()).await.unwrap();
        waits_for(&run, 1).await;
        engine.resume_hook("fail beside it", &()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap_err().code(), Code::User);
        assert_eq!((lab.count("undone"), labels(&run).await.len()), (0, 0));
    }

    async fn a_suspended_run_is_cancelled(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(approval, ("cancelled".into(), 0)).await.unwrap();
        waits_for(&run, 1).await;
        assert!(soon(run.cancel("no answer")).await.unwrap());
        let error = run.resume(&yes()).label("cancelled").await.unwrap_err();
        assert_eq!(error.code(), Code::NotSuspended, "{error:?}");
        assert!(format!("{error:?}").contains("the run is cancelled"), "{error:?}");
        assert_eq!(lab.count("cancelled"), 1);
    }

    async fn chunks_of_a_suspended_attempt_are_discarded(place: Place) {
        use futures::TryStreamExt;
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(approval, ("chunks".into(), 0)).await.unwrap();
        waits_for(&run, 1).await;
        run.resume(&yes()).await.unwrap();
        soon(&run).await.unwrap();
        let chunks: Vec<_> = run.stream::<usize>("log").try_collect().await.unwrap();
        let seen: Vec<_> = chunks.iter().map(|chunk| (chunk.value, chunk.discarded)).collect();
        assert_eq!(seen, [(1, true), (2, false)]);
    }

    async fn a_run_ends_early_from_a_helper_and_from_a_branch(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(ends_from_a_helper, ()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "found 3");
        let run = engine.start(ends_from_a_branch, ()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "by the branch");
        assert_eq!(engine.resume_hook("never", &()).await.unwrap_err().code(), Code::HookFinished);
    }

    async fn a_step_ends_the_run_whatever_it_returns(place: Place) {
        for how in ["succeeds", "fails", "returns it"] {
            let lab = Lab::new();
            let engine = place.open(&lab).await;
            let run = engine.start(ends_from_a_step, how.into()).id(how).await.unwrap();
            assert_eq!(soon(&run).await.unwrap(), format!("by a step that {how}"));
            assert_eq!((lab.count("ends"), lab.count("undone")), (1, 1), "the step before is not undone");
            engine.shutdown().await.unwrap();
        }
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(parent_of_one_that_ends, ()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "by a step that returns it, and its parent went on");
    }

    async fn a_result_of_another_type_leaves_the_run_stuck(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(ends_with_what_it_does_not_return, ()).await;
        let error = match run {
            Ok(run) => soon(&run).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(format!("{error:?}").contains("`finish` was given what is no result of workflow"), "{error:?}");
    }
}

case! {
    async fn suspend_and_finish_outside_a_run_are_errors() {
        assert_eq!(suspend::<u32>(&1).await.unwrap_err().code(), Code::OutsideRun);
        assert_eq!(finish(1).await.unwrap_err().code(), Code::OutsideRun);
        assert_eq!(asks_twice().await.unwrap_err().code(), Code::OutsideRun);
        assert_eq!(suspend::<u32>(&f64::NAN).await.unwrap_err().code(), Code::Payload);
    }
}
