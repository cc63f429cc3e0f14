//! What a run returns about itself: its outcome with all steps, and its history while it runs.

use std::time::Duration;

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use workflow_runtime::{
    Code, Ending, Error, Failure, Result, Run, RunEvent, RunEventKind, Status, StepStatus, hook, set_attribute,
    set_state, sleep, step, suspend, timeout, workflow, writer,
};

use crate::support::{Lab, soon};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Refused {
    Broke { cents: u32 },
    Other(String),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::Other(error.to_string())
    }
}

impl Failure for Refused {}

#[step(retries = 3, backoff = "0ms..0ms")]
async fn doubles(#[resource] lab: &Lab, n: u32, failures: usize) -> Result<u32> {
    let attempt = lab.note("doubles");
    if attempt <= failures { Err(Error::new(format!("attempt {attempt}"))) } else { Ok(2 * n) }
}

#[step(retries = 0)]
async fn refuses(cents: u32) -> Result<(), Refused> {
    Err(Refused::Broke { cents })
}

#[step]
async fn same(n: u32) -> Result<u32> {
    Ok(n)
}

#[step]
async fn asks() -> Result<u32> {
    suspend(&"how much?".to_owned()).label("amount").await
}

#[step(queue = "outcomes")]
async fn elsewhere(n: u32) -> Result<u32> {
    Ok(n + 1)
}

#[workflow]
async fn two_steps(n: u32) -> Result<u32> {
    let n = same(n).await?;
    same(n).name("again").await
}

#[workflow]
async fn retries() -> Result<u32> {
    doubles(4, 2).await
}

#[workflow]
async fn fails() -> Result<(), Refused> {
    same(1).await?;
    refuses(99).await
}

#[workflow]
async fn has_state() -> Result<u32> {
    set_attribute("kind", "stateful")?;
    set_state(&json!({"done": 1}))?;
    writer("log").write(&"working".to_owned()).await?;
    hook::<u32>().token("go on with it").metadata(&"what".to_owned()).await
}

#[workflow]
async fn of_all_sorts() -> Result<u32> {
    let child = two_steps(5).await?;
    let queued = elsewhere(child).await?;
    sleep(Duration::from_millis(1)).await;
    let late = timeout(Duration::from_millis(1), hook::<u32>().token("nobody sends")).await;
    assert!(late.is_err());
    Ok(queued)
}

#[workflow]
async fn generations(left: u32) -> Result<u32> {
    same(left).await?;
    if left > 0 {
        return generations(left - 1).continue_as_new().await;
    }
    Ok(7)
}

#[workflow]
async fn suspends() -> Result<u32> {
    asks().await
}

#[workflow]
async fn races_two() -> Result<u32> {
    let slow = async { asks().await };
    let fast = async { same(3).await };
    tokio::select! {
        n = slow => n,
        n = fast => n,
    }
}

async fn history<T, E>(run: &Run<T, E>) -> Vec<RunEvent> {
    soon(run.events().try_collect::<Vec<_>>()).await.unwrap()
}

fn kinds(events: &[RunEvent]) -> Vec<String> {
    let kind = |event: &RunEvent| serde_json::to_value(event).unwrap()["type"].as_str().unwrap().to_owned();
    events.iter().map(kind).collect()
}

on_each_store! {
    async fn outcome_has_the_status_the_result_and_every_step_in_order(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(two_steps, 5).id("r").await.unwrap();
        let outcome = soon(run.outcome()).await.unwrap();
        assert_eq!((outcome.run_id.as_str(), outcome.status), ("r", Status::Completed));
        assert_eq!((outcome.result.unwrap(), outcome.input, outcome.state), (5, json!(5), None));
        let steps: Vec<_> = outcome
            .steps
            .iter()
            .map(|step| (step.operation, step.name.as_deref(), step.status, step.attempts, &step.input, step.output.clone()))
            .collect();
        let input = json!(5);
        assert_eq!(steps, [
            (0, None, StepStatus::Completed, 1, &input, Some(json!(5))),
            // The input of this step equals the output of the step before. It is still listed.
            (1, Some("again"), StepStatus::Completed, 1, &input, Some(json!(5))),
        ]);
        assert!(outcome.steps.iter().all(|step| step.step.ends_with("::same") && step.error.is_none()));
        assert!(outcome.steps.iter().all(|step| step.ended_at >= Some(step.started_at)));
    }

    async fn outcome_counts_attempts(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let outcome = soon(engine.start(retries, ()).await.unwrap().outcome()).await.unwrap();
        let step = &outcome.steps[0];
        assert_eq!((step.attempts, step.status, &step.error), (3, StepStatus::Completed, &None));
        assert_eq!((step.input.clone(), step.output.clone()), (json!([4, 2]), Some(json!(8))));
    }

    async fn outcome_of_a_failed_run_is_no_error(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let outcome = soon(engine.start(fails, ()).await.unwrap().outcome()).await.unwrap();
        assert_eq!(outcome.status, Status::Failed);
        assert_eq!(outcome.result, Err(Refused::Broke { cents: 99 }), "the error has the workflow's type");
        let last = outcome.steps.last().unwrap();
        assert_eq!((last.status, last.error.clone()), (StepStatus::Failed, Some(json!({"Broke": {"cents": 99}}))));
        assert_eq!(last.output, None);
    }

    async fn outcome_of_a_cancelled_run_says_so(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(has_state, ()).await.unwrap();
        assert!(soon(run.cancel("enough")).await.unwrap());
        let outcome = soon(run.outcome()).await.unwrap();
        assert_eq!((outcome.status, outcome.result.unwrap_err().code()), (Status::Cancelled, Code::Cancelled));
        let suspended = engine.start(suspends, ()).await.unwrap();
        soon(async { while suspended.suspended().await.unwrap().is_empty() { workflow_harness::pause().await } }).await;
        assert!(soon(suspended.cancel("enough")).await.unwrap());
        assert_eq!(soon(suspended.outcome()).await.unwrap().steps[0].status, StepStatus::Cancelled);
    }

    async fn outcome_of_an_unknown_run_is_an_error(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let nobody: Run<u32> = engine.get_run("nobody");
        assert_eq!(nobody.outcome().await.unwrap_err().code(), Code::RunNotFound);
        assert_eq!(nobody.steps().await.unwrap_err().code(), Code::RunNotFound);
        assert_eq!(nobody.events().try_next().await.unwrap_err().code(), Code::RunNotFound);
    }

    async fn steps_of_an_unfinished_run(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(suspends, ()).await.unwrap();
        soon(async { while run.suspended().await.unwrap().is_empty() { workflow_harness::pause().await } }).await;
        let steps = run.steps().await.unwrap();
        assert_eq!((steps[0].status, steps[0].attempts), (StepStatus::Suspended, 1));
        assert_eq!((steps[0].suspended.clone(), steps[0].ended_at), (Some(json!("how much?")), None));
        run.resume(&5).await.unwrap();
        let outcome = soon(run.outcome()).await.unwrap();
        assert_eq!((outcome.result.unwrap(), outcome.steps[0].attempts), (5, 2));
    }

    async fn children_and_steps_of_queues_are_listed_as_steps(place: Place) {
        let engine = place.builder(&Lab::new()).queue("outcomes", 1).open().await.unwrap();
        let run = engine.start(of_all_sorts, ()).await.unwrap();
        let outcome = soon(run.outcome()).await.unwrap();
        assert_eq!(outcome.result.unwrap(), 6);
        let steps: Vec<_> = outcome.steps.iter().map(|step| (step.run.clone(), step.output.clone())).collect();
        let children = run.children().await.unwrap();
        assert_eq!(steps, [
            (Some(children[0].clone()), Some(json!(5))),
            (Some(children[1].clone()), Some(json!(6))),
        ]);
        let child: Run<u32> = engine.get_run(&children[0]);
        assert_eq!(soon(child.outcome()).await.unwrap().steps.len(), 2);
    }

    async fn steps_of_all_generations(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(generations, 2).await.unwrap();
        let outcome = soon(run.outcome()).await.unwrap();
        let steps: Vec<_> = outcome.steps.iter().map(|step| (step.generation, step.operation, &step.output)).collect();
        let outputs = [json!(2), json!(1), json!(0)].map(Some);
        assert_eq!(steps, [(0, 0, &outputs[0]), (1, 0, &outputs[1]), (2, 0, &outputs[2])]);
        assert_eq!((outcome.input, outcome.result.unwrap()), (json!(2), 7));
    }

    async fn steps_that_were_dropped_are_cancelled(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let outcome = soon(engine.start(races_two, ()).await.unwrap().outcome()).await.unwrap();
        assert_eq!(outcome.result.unwrap(), 3);
        let mut statuses: Vec<_> = outcome.steps.iter().map(|step| (step.step.rsplit("::").next(), step.status)).collect();
        statuses.sort_unstable_by_key(|(step, _)| *step);
        assert_eq!(statuses, [(Some("asks"), StepStatus::Cancelled), (Some("same"), StepStatus::Completed)]);
    }

    async fn events_of_two_steps_come_in_order(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(two_steps, 5).await.unwrap();
        let events = history(&run).await;
        let expected = ["started", "step_started", "step_completed", "step_started", "step_completed", "ended"];
        assert_eq!(kinds(&events), expected);
        assert!(events.iter().zip(0..).all(|(event, index)| event.index == index && event.generation == 0));
        assert!(events.is_sorted_by_key(|event| event.at));
        assert_eq!(events[0].kind, RunEventKind::Started { input: json!(5) });
        assert_eq!(events[5].kind, RunEventKind::Ended { end: Ending::Completed { output: json!(5) } });
        let there_and_back: Vec<RunEvent> = serde_json::from_value(serde_json::to_value(&events).unwrap()).unwrap();
        assert_eq!(there_and_back, events);
    }

    async fn events_cover_all_other_operations(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("outcomes", 1).open().await.unwrap();
        let run = engine.start(retries, ()).await.unwrap();
        assert_eq!(kinds(&history(&run).await), [
            "started", "step_started", "step_retrying", "step_retrying", "step_completed", "ended",
        ]);
        let run = engine.start(of_all_sorts, ()).await.unwrap();
        assert_eq!(kinds(&history(&run).await), [
            "started", "child_started", "run_ended", "step_started", "step_completed", "sleeping", "awake",
            "hook_opened", "sleeping", "awake", "dropped", "ended",
        ]);
        let run = engine.start(has_state, ()).await.unwrap();
        engine.resume_hook("go on with it", &3).await.unwrap();
        let events = history(&run).await;
        assert_eq!(kinds(&events), [
            "started", "attribute", "state", "output", "hook_opened", "hook_received", "dropped", "ended",
        ]);
        assert_eq!(events[3].kind, RunEventKind::Output { stream: "log".into(), value: json!("working") });
        let run = engine.start(generations, 1).await.unwrap();
        let events = history(&run).await;
        assert_eq!(kinds(&events), [
            "started", "step_started", "step_completed", "ended", "started", "step_started", "step_completed", "ended",
        ]);
        assert_eq!(events[3].kind, RunEventKind::Ended { end: Ending::Continued { input: json!(0) } });
        assert_eq!(events.iter().map(|event| event.generation).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 1, 1, 1]);
        let run = engine.start(suspends, ()).await.unwrap();
        soon(async { while run.suspended().await.unwrap().is_empty() { workflow_harness::pause().await } }).await;
        run.resume(&5).await.unwrap();
        assert_eq!(kinds(&history(&run).await), [
            "started", "step_started", "step_suspended", "step_resumed", "step_completed", "ended",
        ]);
    }

    async fn events_are_read_from_an_index_and_from_the_end(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(two_steps, 5).await.unwrap();
        let all = history(&run).await;
        for from in 0..=all.len() + 1 {
            let some: Vec<_> = run.events().from(from as i64).try_collect().await.unwrap();
            assert_eq!(some, all.get(from..).unwrap_or_default());
            let last: Vec<_> = run.events().from(-(from as i64)).try_collect().await.unwrap();
            assert_eq!(last, if from == 0 { &all[..] } else { &all[all.len().saturating_sub(from)..] });
        }
    }

    async fn events_are_followed_live_from_a_process_that_did_not_start_the_run(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(has_state, ()).await.unwrap();
        let client = place.builder(&lab).connect().await.unwrap();
        for reads in [client.get_run::<u32, Error>(run.id()), engine.get_run(run.id())] {
            let so_far: Vec<_> = reads.events().so_far().try_collect().await.unwrap();
            assert_eq!(so_far.last().map(|event| event.index), Some(4));
        }
        let theirs: Run<u32> = client.get_run(run.id());
        let reader = tokio::spawn(async move { theirs.events().try_collect::<Vec<_>>().await });
        let mut ours = run.events().from(-1);
        assert_eq!(soon(ours.try_next()).await.unwrap().map(|event| event.index), Some(4));
        let here = tokio::spawn(ours.try_collect::<Vec<_>>());
        // The reader waits for new events.
        let mut opened = run.events().from(4);
        assert!(matches!(soon(opened.try_next()).await.unwrap().unwrap().kind, RunEventKind::HookOpened { .. }));
        engine.resume_hook("go on with it", &3).await.unwrap();
        assert!(matches!(soon(opened.try_next()).await.unwrap().unwrap().kind, RunEventKind::HookReceived { .. }));
        let theirs = soon(reader).await.unwrap().unwrap();
        assert_eq!(theirs, history(&run).await);
        assert_eq!(soon(here).await.unwrap().unwrap().first().map(|event| event.index), Some(5));
    }

    async fn events_are_the_same_after_an_eviction_and_a_crash(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).evict_after(Duration::ZERO).open().await.unwrap();
        let run = engine.start(has_state, ()).id("r").await.unwrap();
        let before: Vec<_> = run.events().so_far().try_collect().await.unwrap();
        drop((engine, run));
        let engine = place.open(&lab).await;
        engine.resume_hook("go on with it", &3).await.unwrap();
        let run: Run<u32> = engine.get_run("r");
        let after = history(&run).await;
        assert_eq!(after[..before.len()], before[..]);
        assert_eq!(soon(&run).await.unwrap(), 3);
    }
}

case! {
    fn an_event_is_json_that_a_page_can_show() {
        let event: RunEvent = serde_json::from_value(json!({
            "index": 3, "generation": 0, "at": "1970-01-01T00:00:01.000Z",
            "type": "run_ended", "operation": 1, "end": {"status": "failed", "error": "broke"},
        }))
        .unwrap();
        let RunEventKind::RunEnded { operation: 1, end: Ending::Failed { error } } = event.kind else {
            panic!("another kind: {event:?}")
        };
        assert_eq!(error, Value::from("broke"));
    }
}
