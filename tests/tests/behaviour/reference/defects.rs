//! Known defects of the reference, which this library does not have.

use std::sync::Mutex;
use std::time::Duration;

use futures::future::join_all;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use workflow_runtime::{
    Code, Engine, Error, IfExists, Result, Run, RunEventKind, Status, hook, run_id, sleep, step, suspend, workflow,
};

use crate::support::{Lab, ManualClock, Place, recorded, soon};

const HOUR: u64 = 3_600_000;
const START: u64 = 1_700_000_000_000;

#[step]
async fn noted(#[resource] lab: &Lab, what: String) -> Result<String> {
    lab.note(&what);
    Ok(what)
}

/// Waits for the gate of its name, and returns how often it was executed.
#[step]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<String> {
    let times = lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(format!("{name} {times}"))
}

#[step(retries = 3, backoff = "0ms..0ms")]
async fn fails(#[resource] lab: &Lab, what: String) -> Result<()> {
    lab.note(&what);
    Err(Error::new(format!("{what} fails")))
}

#[step]
async fn fails_for_an_hour(#[resource] lab: &Lab) -> Result<()> {
    lab.note("attempt");
    Err(Error::retry_after(Duration::from_secs(3600)))
}

#[step(backoff = "3600s..3600s")]
async fn halves(#[resource] lab: &Lab, number: f64) -> Result<f64> {
    lab.note("halves");
    Ok(number / 2.0)
}

#[step]
async fn divides(number: f64, by: f64) -> Result<f64> {
    Ok(number / by)
}

#[step]
async fn asks(question: String) -> Result<String> {
    match question.as_str() {
        "what?" => suspend(&question).label(&question).await,
        _ => Ok(question),
    }
}

#[workflow]
async fn notes(what: String) -> Result<String> {
    noted(what).await
}

fn goes_on(done: u32, how: &str) -> Result<bool> {
    match (done, how) {
        (2, "fails") => Err(Error::fatal("nobody knows")),
        (2, "panics") => panic!("nobody knows"),
        _ => Ok(done < 3),
    }
}

#[workflow]
async fn loops(how: String) -> Result<u32> {
    let mut done = 0;
    while goes_on(done, &how)? {
        noted(how.clone()).await?;
        done += 1;
    }
    Ok(done)
}

#[workflow(id = "reference.for_each")]
async fn for_each(items: Vec<String>) -> Result<Vec<String>> {
    stream::iter(items).map(gated).buffered(1).try_collect().await
}

#[workflow]
async fn at_once(items: Vec<String>) -> Result<Vec<String>> {
    join_all(items.into_iter().map(gated)).await.into_iter().collect()
}

#[workflow]
async fn ratio(number: f64, by: f64) -> Result<f64> {
    divides(number, by).await
}

#[workflow]
async fn branches(amount: u32) -> Result<String> {
    if amount > 100 {
        noted("large".into()).await
    } else if amount > 10 {
        noted("medium".into()).await
    } else if amount.checked_sub(1).ok_or_else(|| Error::fatal("nothing to branch on"))? > 1 {
        noted("small".into()).await
    } else {
        noted("tiny".into()).await
    }
}

#[workflow]
async fn fails_before_and_behind_a_suspension() -> Result<()> {
    let _ = fails("before".into()).await;
    suspend::<()>(&0).label("between").await?;
    fails("behind".into()).await
}

#[workflow]
async fn retries() -> Result<()> {
    fails_for_an_hour().await
}

fn check(order: &u32) -> Result<()> {
    if *order == 0 { Err(Error::new("orders are counted from 1")) } else { Ok(()) }
}

#[workflow(id = "reference.checked", validate = check)]
async fn checked(order: u32) -> Result<()> {
    fails(format!("order {order}")).await
}

/// A copy of the workflow under another name.
#[workflow]
async fn checked_again(order: u32) -> Result<()> {
    checked(order).await
}

#[workflow]
async fn the_same_twice() -> Result<(String, String)> {
    Ok((noted("first".into()).await?, noted("second".into()).await?))
}

#[workflow]
async fn naps() -> Result<String> {
    sleep(Duration::from_millis(HOUR)).await;
    noted("awake".into()).await
}

/// The runs whose code has changed.
static CHANGED: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[workflow]
async fn changes() -> Result<String> {
    if CHANGED.lock().unwrap().contains(&run_id().unwrap_or_default()) {
        noted("inserted".into()).await?;
    }
    noted("before".into()).await?;
    let answer: String = suspend(&0).label("between").await?;
    noted(answer).await
}

#[workflow]
async fn passes_on(word: String) -> Result<String> {
    let word = asks(word).await?;
    asks(word).await
}

#[workflow]
async fn asks_all(questions: Vec<String>) -> Result<Vec<String>> {
    join_all(questions.into_iter().map(asks)).await.into_iter().collect()
}

#[workflow]
async fn invalid() -> Result<f64> {
    halves(f64::NAN).await
}

#[workflow]
async fn says_often(times: u32) -> Result<()> {
    for _ in 0..times {
        noted("something that is always as long as it is now".into()).await?;
    }
    Ok(())
}

#[workflow]
async fn waits() -> Result<u32> {
    hook::<u32>().token("go on").await
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Waits until an operation of the run is suspended.
async fn until_suspended<T, E>(run: &Run<T, E>) {
    soon(async {
        while run.suspended().await.unwrap().is_empty() {
            workflow_harness::pause().await;
        }
    })
    .await;
}

/// Starts a sleep of an hour, crashes its engine after half an hour, and opens a second one.
async fn nap_over_a_crash(place: &Place, lab: &Lab, clock: &ManualClock) -> (Engine, Run<String>) {
    let engine = place.open_at(lab, clock).await;
    drop(engine.start(naps, ()).id("nap").await.unwrap());
    clock.set(START + HOUR / 2);
    drop(engine);
    let engine = place.open_at(lab, clock).await;
    let run = engine.get_run("nap");
    assert_eq!(lab.count("awake"), 0);
    (engine, run)
}

on_each_store! {
    async fn defect_a_second_start_executes_everything_again(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let starts = (0..4).map(|_| engine.start(notes, "once".into()).id("r").into_future());
        for run in join_all(starts).await {
            assert_eq!(soon(run.unwrap()).await.unwrap(), "once");
        }
        soon(engine.start(notes, "once".into()).id("r").await.unwrap()).await.unwrap();
        let refused = engine.start(notes, "once".into()).id("r").if_exists(IfExists::Reject).await.unwrap_err();
        assert_eq!((refused.code(), lab.count("once")), (Code::RunExists, 1));
        let created = engine.create_run(notes).await.unwrap();
        soon(created.start("twice".into()).await.unwrap()).await.unwrap();
        assert_eq!(created.start("twice".into()).await.unwrap_err().code(), Code::AlreadyStarted);
        assert_eq!(lab.count("twice"), 1);
    }

    async fn defect_a_loop_condition_that_throws_leaves_a_run_running_for_ever(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(loops, "succeeds".into()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 3);
        let run = engine.start(loops, "fails".into()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap_err().to_string(), "nobody knows");
        assert_eq!(run.status().await.unwrap(), Status::Failed);
        let run = engine.start(loops, "panics".into()).await.unwrap();
        assert!(format!("{:?}", soon(&run).await.unwrap_err()).contains("nobody knows"));
        assert_eq!(run.status().await.unwrap(), Status::Stuck, "a panic waits for fixed code");
        assert_eq!((lab.count("fails"), lab.count("panics")), (2, 2));
    }

    async fn defect_foreach_over_what_is_no_array_succeeds_with_nothing(place: Place) {
        let engine = place.open(&Lab::new()).await;
        for input in [json!(5), json!({"length": 1}), json!(null)] {
            let refused = engine.start_by_id("reference.for_each", input.clone()).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArguments, "{input}");
        }
        let run = engine.start(for_each, Vec::new()).await.unwrap();
        assert_eq!(soon(run).await.unwrap(), [""; 0]);
    }

    async fn defect_an_output_that_does_not_fit_its_schema_is_a_success(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(ratio, (1.0, 4.0)).id("quarter").await.unwrap();
        assert_eq!(soon(run).await.unwrap(), 0.25);
        let run = engine.start(ratio, (0.0, 0.0)).await.unwrap();
        assert_eq!(soon(&run).await.unwrap_err().code(), Code::Payload);
        assert_eq!(run.status().await.unwrap(), Status::Failed);
        let mistaken: Run<String> = engine.get_run("quarter");
        assert_eq!(soon(mistaken).await.unwrap_err().code(), Code::Payload);
    }

    async fn defect_every_branch_whose_condition_holds_is_taken(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        assert_eq!(soon(engine.start(branches, 1000).await.unwrap()).await.unwrap(), "large");
        assert_eq!(lab.notes(), ["large"]);
    }

    async fn defect_a_branch_condition_that_throws_counts_as_false(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(branches, 0).await.unwrap();
        assert_eq!(soon(&run).await.unwrap_err().to_string(), "nothing to branch on");
        assert_eq!(run.status().await.unwrap(), Status::Failed);
        assert_eq!(lab.notes(), [""; 0]);
    }

    async fn defect_the_retries_of_steps_are_lost_by_a_resume(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(fails_before_and_behind_a_suspension, ()).id("r").await.unwrap();
        until_suspended(&run).await;
        engine.shutdown().await.unwrap();
        let engine = place.open(&lab).await;
        let run: Run<()> = engine.get_run("r");
        run.resume(&()).label("between").await.unwrap();
        assert!(soon(run).await.is_err());
        assert_eq!((lab.count("before"), lab.count("behind")), (4, 4));
    }

    async fn defect_a_cancel_overwrites_a_run_that_has_ended(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(notes, "done".into()).await.unwrap();
        soon(&run).await.unwrap();
        let before: Vec<_> = run.events().try_collect().await.unwrap();
        assert!(!soon(run.cancel("too late")).await.unwrap(), "cancel returns that it was too late");
        assert_eq!(run.status().await.unwrap(), Status::Completed);
        assert_eq!(soon(&run).await.unwrap(), "done");
        assert_eq!(run.events().try_collect::<Vec<_>>().await.unwrap(), before);
    }

    async fn defect_retries_go_on_after_a_cancel(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let engine = place.open_at(&lab, &clock).await;
        let run = engine.start(retries, ()).await.unwrap();
        soon(async { while run.steps().await.unwrap()[0].attempts < 2 { workflow_harness::pause().await } }).await;
        assert!(soon(run.cancel("enough")).await.unwrap());
        assert_eq!(soon(&run).await.unwrap_err().code(), Code::Cancelled);
        clock.set(START + 10 * HOUR);
        soon(engine.start(notes, "behind it".into()).await.unwrap()).await.unwrap();
        assert_eq!(lab.notes(), ["attempt", "behind it"]);
    }

    async fn defect_a_start_in_the_background_hides_what_is_wrong_with_it(place: Place) {
        let engine = place.open(&Lab::new()).await;
        // Starts do not wait for the workflow, but report invalid arguments at once.
        assert_eq!(engine.start(checked, 0).await.unwrap_err().code(), Code::InvalidArguments);
        let refused = engine.start_by_id("reference.checked", json!("one")).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArguments);
        assert!(engine.runs().count().await.unwrap().is_empty(), "no pending run remains");
    }

    async fn defect_two_calls_of_one_step_overwrite_each_other(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let outcome = soon(engine.start(the_same_twice, ()).await.unwrap().outcome()).await.unwrap();
        let outputs: Vec<_> = outcome.steps.iter().map(|step| (step.operation, step.output.clone())).collect();
        assert_eq!(outputs, [(0, Some(json!("first"))), (1, Some(json!("second")))]);
        assert_eq!(outcome.steps[0].step, outcome.steps[1].step);
    }

    async fn defect_a_restart_executes_finished_branches_again(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        drop(engine.start(at_once, words(&["a", "b", "c"])).id("r").await.unwrap());
        for done in ["a", "c"] {
            lab.open_gate(done);
            recorded(&place, "r", &format!("{done} 1")).await;
        }
        lab.executed("b", 1).await;
        drop(engine);
        lab.open_gate("b");
        let engine = place.open(&lab).await;
        assert_eq!(soon(engine.get_run::<Vec<String>, Error>("r")).await.unwrap(), ["a 1", "b 2", "c 1"]);
    }

    async fn defect_a_restart_begins_a_foreach_with_its_first_item(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        drop(engine.start(for_each, words(&["a", "b", "c"])).id("r").await.unwrap());
        ["a", "b"].iter().for_each(|done| lab.open_gate(done));
        lab.executed("c", 1).await;
        drop(engine);
        lab.open_gate("c");
        let engine = place.open(&lab).await;
        assert_eq!(soon(engine.get_run::<Vec<String>, Error>("r")).await.unwrap(), ["a 1", "b 1", "c 2"]);
    }

    async fn defect_a_restart_begins_a_sleep_anew(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let (_engine, run) = nap_over_a_crash(&place, &lab, &clock).await;
        clock.set(START + HOUR);
        assert_eq!(soon(run).await.unwrap(), "awake");
    }

    async fn defect_the_id_of_a_sleep_is_another_one_after_a_restart(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(START));
        let (_engine, run) = nap_over_a_crash(&place, &lab, &clock).await;
        clock.set(START + HOUR);
        soon(&run).await.unwrap();
        let events: Vec<_> = run.events().try_collect().await.unwrap();
        let sleeps = events.iter().filter_map(|event| match event.kind {
            RunEventKind::Sleeping { operation, .. } => Some(("sleeping", operation)),
            RunEventKind::Awake { operation, .. } => Some(("awake", operation)),
            _ => None,
        });
        assert_eq!(sleeps.collect::<Vec<_>>(), [("sleeping", 0), ("awake", 0)]);
    }

    async fn defect_two_processes_that_restart_a_run_both_execute_it(place: Place) {
        let lab = Lab::new();
        let first = place.open(&lab).await;
        let second = place.open(&lab).await;
        let ours = first.start(at_once, words(&["a"])).id("r").await.unwrap();
        let theirs = second.start(at_once, words(&["a"])).id("r").await.unwrap();
        lab.executed("a", 1).await;
        lab.open_gate("a");
        assert_eq!((soon(ours).await.unwrap(), soon(theirs).await.unwrap()), (words(&["a 1"]), words(&["a 1"])));
        assert_eq!(lab.count("a"), 1);
    }

    async fn defect_a_changed_workflow_is_resumed_by_position(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).open().await.unwrap();
        let run = engine.start(changes, ()).await.unwrap();
        let id = run.id().to_owned();
        until_suspended(&run).await;
        engine.shutdown().await.unwrap();
        CHANGED.lock().unwrap().push(id.clone());
        let engine = place.builder(&lab).open().await.unwrap();
        let run: Run<String> = engine.get_run(&id);
        run.resume(&"behind").label("between").await.unwrap();
        let stuck = soon(&run).await.unwrap_err();
        assert_eq!((stuck.code(), run.status().await.unwrap()), (Code::Stuck, Status::Stuck));
        assert!(format!("{stuck:?}").contains("expected: as recorded, operation 0"), "{stuck:?}");
        assert_eq!(lab.notes(), ["before"], "code that does not fit executed nothing");
        CHANGED.lock().unwrap().retain(|changed| *changed != id);
        run.retry().await.unwrap();
        let goes_on = async {
            loop {
                match (&run).await {
                    Ok(answer) => break answer,
                    Err(_) => workflow_harness::pause().await,
                }
            }
        };
        assert_eq!(soon(goes_on).await, "behind");
        assert_eq!(lab.notes(), ["before", "behind"]);
    }

    async fn defect_a_clone_of_a_workflow_drops_its_configuration(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let refused = engine.start(checked_again, 0).await.unwrap();
        assert_eq!(soon(refused).await.unwrap_err().code(), Code::InvalidArguments);
        let failed = engine.start(checked_again, 1).await.unwrap();
        assert!(soon(failed).await.is_err());
        assert_eq!(lab.count("order 1"), 4, "with the retries of its step");
    }

    async fn defect_the_error_of_a_run_is_no_error(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let outcome = soon(engine.start(checked, 1).await.unwrap().outcome()).await.unwrap();
        let error: Box<dyn std::error::Error + Send + Sync> = outcome.result.unwrap_err().into();
        assert_eq!(error.to_string(), "order 1 fails");
    }

    async fn defect_canceled_is_no_status(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(waits, ()).await.unwrap();
        assert!(soon(run.cancel("enough")).await.unwrap());
        let outcome = soon(run.outcome()).await.unwrap();
        assert!(matches!((outcome.status, outcome.result), (Status::Cancelled, Err(why)) if why.code() == Code::Cancelled));
    }

    async fn defect_the_payload_of_a_step_disappears_if_it_is_the_output_before(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let outcome = soon(engine.start(passes_on, "word".into()).await.unwrap().outcome()).await.unwrap();
        let steps: Vec<_> = outcome.steps.into_iter().map(|step| (step.input, step.output)).collect();
        assert_eq!(steps, vec![(json!("word"), Some(json!("word"))); 2]);
    }

    async fn defect_data_of_the_engine_leaks_into_what_a_user_sees(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(asks_all, words(&["a", "what?", "b"])).await.unwrap();
        until_suspended(&run).await;
        assert_eq!(run.suspended().await.unwrap()[0].payload, json!("what?"));
        run.resume(&"that").await.unwrap();
        let steps = soon(run.outcome()).await.unwrap().steps;
        let told: Vec<_> = steps.into_iter().map(|step| (step.suspended, step.output)).collect();
        assert_eq!(told, [
            (None, Some(json!("a"))),
            (Some(json!("what?")), Some(json!("that"))),
            (None, Some(json!("b"))),
        ]);
    }

    async fn defect_invalid_input_is_retried(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(invalid, ()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap_err().code(), Code::Payload);
        assert_eq!(lab.count("halves"), 0);
        assert!(run.steps().await.unwrap().iter().all(|step| step.attempts <= 1));
    }

    async fn defect_each_step_writes_the_whole_run_again(place: Place) {
        let engine = place.builder(&Lab::new()).open().await.unwrap();
        let mut bytes = Vec::new();
        for times in [100, 200, 300] {
            let run = engine.start(says_often, times).await.unwrap();
            soon(&run).await.unwrap();
            bytes.push(place.journal(run.id()).await.iter().map(String::len).sum::<usize>());
        }
        let [first, second] = [bytes[1] - bytes[0], bytes[2] - bytes[1]];
        assert!(second < first + first / 20, "the third hundred steps write as much as the second: {bytes:?}");
        assert!(bytes[0] < 100 * 1024, "a step writes only its own record: {bytes:?}");
    }

    async fn defect_a_shutdown_is_stored_as_a_cancel(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        drop(engine.start(waits, ()).id("r").await.unwrap());
        engine.shutdown().await.unwrap();
        let client = place.builder(&lab).connect().await.unwrap();
        let run: Run<u32> = client.get_run("r");
        assert_eq!(run.status().await.unwrap(), Status::Suspended);
        let _engine = place.open(&lab).await;
        client.resume_hook("go on", &7).await.unwrap();
        assert_eq!(soon(run).await.unwrap(), 7);
    }
}
