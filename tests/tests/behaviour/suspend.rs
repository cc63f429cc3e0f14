//! Suspensions of workflows and steps.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use workflow_runtime::{
    Code, Error, Result, Run, Status, finish, hook, step, step_info, suspend, suspend_data, timeout, workflow, writer,
};

use crate::support::{Lab, ManualClock, soon};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Decision {
    pub(super) approved: bool,
    pub(super) by: String,
}

pub(super) fn yes() -> Decision {
    Decision { approved: true, by: "Ada".into() }
}

/// Fails `failures` times, asks, and fails `failures` times again.
#[step(retries = 2, backoff = "0ms..0ms")]
pub(super) async fn asks(#[resource] lab: &Lab, question: String, failures: usize) -> Result<String> {
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
pub(super) async fn undone(#[resource] lab: &Lab) -> Result<()> {
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

#[workflow]
pub(super) async fn approval(question: String, failures: usize) -> Result<String> {
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
pub(super) async fn twice() -> Result<u32> {
    asks_inside().await
}

#[workflow]
pub(super) async fn elsewhere() -> Result<u32> {
    asks_elsewhere("elsewhere".into()).await
}

#[workflow]
async fn waits_itself() -> Result<(Decision, u32)> {
    let first = suspend(&vec!["a", "b"].into_iter().map(str::to_owned).collect::<Vec<_>>()).await?;
    let second = suspend(&5).label("waits_itself").await?;
    Ok((first, second))
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

pub(super) async fn labels<T, E>(run: &Run<T, E>) -> Vec<String> {
    run.suspended().await.unwrap().into_iter().map(|suspended| suspended.label).collect()
}

/// Waits until the run has this number of suspensions.
pub(super) async fn waits_for<T, E>(run: &Run<T, E>, count: usize) -> Vec<String> {
    soon(async {
        loop {
            let labels = labels(run).await;
            if labels.len() == count {
                return labels;
            }
            workflow_harness::pause().await;
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
        soon(async { while run.status().await.unwrap() != Status::Suspended { workflow_harness::pause().await } }).await;
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
        soon(async { while labels(&run).await != ["second"] { workflow_harness::pause().await } }).await;
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
        soon(async { while run.suspended().await.unwrap().first().is_none_or(|next| next.payload != 5) { workflow_harness::pause().await } }).await;
        run.resume(&6).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), (yes(), 6));
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
        soon(async { while engine.get_hook("after it was given up").await.is_err() { workflow_harness::pause().await } }).await;
        assert_eq!(labels(&run).await, [""; 0]);
        let error = run.resume(&yes()).label("given up").await.unwrap_err();
        assert_eq!(error.code(), Code::NotSuspended, "{error:?}");
        assert!(format!("{error:?}").contains("dropped it before it was resumed"), "{error:?}");
        engine.resume_hook("after it was given up", &()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "nobody answered");
        assert_eq!(lab.count("given up"), 1);
    }

    async fn a_resumed_step_has_the_data_of_its_suspension(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("people", 1).replay_every_turn().open().await.unwrap();
        let run = engine.start(remembering, ()).id("r").await.unwrap();
        waits_for(&run, 1).await;
        run.resume("one").await.unwrap();
        soon(async { while labels(&run).await != ["second"] { workflow_harness::pause().await } }).await;
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
}

case! {
    async fn suspend_and_finish_outside_a_run_are_errors() {
        assert_eq!(suspend::<u32>(&1).await.unwrap_err().code(), Code::OutsideRun);
        assert_eq!(finish(1).await.unwrap_err().code(), Code::OutsideRun);
        assert_eq!(asks_twice().await.unwrap_err().code(), Code::OutsideRun);
        assert_eq!(suspend::<u32>(&f64::NAN).await.unwrap_err().code(), Code::Payload);
    }
}
