//! Retries of failed runs.

use std::time::Duration;

use futures::TryStreamExt;
use futures::future::join_all;
use workflow_runtime::{
    Code, Error, Result, Run, RunEventKind, Status, StepStatus, hook, random, set_attribute, set_state, sleep, state,
    step, step_info, suspend, uuid, workflow, writer,
};

use crate::support::{Lab, soon};

/// A step whose name starts with `broken` fails until the test calls [`mend`] with that name.
#[step(retries = 1, backoff = "0ms..0ms")]
async fn works(#[resource] lab: &Lab, name: String) -> Result<String> {
    let times = lab.note(&name);
    if name.starts_with("broken") && lab.count(&format!("mend {name}")) == 0 {
        return Err(Error::new(format!("{name} is broken")));
    }
    Ok(format!("{name} {times}"))
}

#[step]
async fn key_of() -> Result<String> {
    Ok(step_info().map(|info| info.idempotency_key).unwrap_or_default())
}

#[step]
async fn undoes(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&format!("undo {name}"));
    Ok(())
}

#[step(queue = "repair")]
pub(super) async fn works_elsewhere(#[resource] lab: &Lab, name: String) -> Result<usize> {
    Ok(lab.note(&name))
}

#[workflow]
pub(super) async fn in_order(names: Vec<String>) -> Result<Vec<String>> {
    let mut done = Vec::new();
    for name in names {
        done.push(works(name).await?);
        set_state(&done)?;
    }
    Ok(done)
}

#[workflow]
async fn at_once(names: Vec<String>) -> Result<Vec<String>> {
    join_all(names.into_iter().map(works)).await.into_iter().collect()
}

#[workflow]
async fn undone(names: Vec<String>) -> Result<Vec<String>> {
    let first = works("first".into()).await?;
    let second = works("second".into()).rollback(|_| undoes("second".into())).await?;
    let mut done = vec![first, second];
    for name in names {
        done.push(works(name).await?);
    }
    Ok(done)
}

/// Fails without a failed step, until the test calls [`mend`].
#[workflow]
async fn fails_by_itself() -> Result<String> {
    let name = works("good".into()).await?;
    if REPAIRED.lock().unwrap().contains(&workflow_runtime::run_id().unwrap_or_default()) {
        return Ok(name);
    }
    Err(Error::fatal("a bug"))
}

static REPAIRED: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());

/// Fails because of a payload, until the test calls [`mend`].
#[workflow]
async fn fails_by_a_payload() -> Result<u32> {
    let payload = hook::<u32>().token("payload").await?;
    if REPAIRED.lock().unwrap().contains(&workflow_runtime::run_id().unwrap_or_default()) {
        return Ok(payload);
    }
    Err(Error::fatal("a bug"))
}

#[workflow]
async fn panics_until_it_is_repaired() -> Result<u32> {
    assert!(REPAIRED.lock().unwrap().contains(&workflow_runtime::run_id().unwrap_or_default()), "not repaired");
    Ok(5)
}

#[workflow]
async fn parent(names: Vec<String>) -> Result<Vec<String>> {
    let first = works("by the parent".into()).await?;
    let mut done = in_order(names).await?;
    done.push(first);
    Ok(done)
}

#[workflow]
pub(super) async fn waits_for_much(name: String) -> Result<String> {
    set_attribute("kind", "patient")?;
    writer::<u32>("log").write(&1).await?;
    let drawn = works(name).await?;
    let answers = hook::<String>().open();
    let queued = works_elsewhere("elsewhere".into());
    let child = in_order(vec!["child".into()]);
    let asked = suspend::<String>(&1).label("ask");
    let (answer, queued, child, asked) = tokio::try_join!(answers, queued, child, async { asked.await })?;
    sleep(Duration::from_millis(1)).await;
    Ok(format!("{drawn}, {answer}, {queued}, {child:?}, {asked}"))
}

#[workflow]
pub(super) async fn asks_and_works(name: String) -> Result<Vec<String>> {
    let first = works(name).await?;
    let second = works(suspend(&1).label("ask").await?).await?;
    Ok(vec![first, second])
}

#[workflow]
pub(super) async fn draws() -> Result<(u64, String, u64, String, String)> {
    let (first, id) = (random::<u64>(), uuid().to_string());
    let key = key_of().await?;
    works("between".into()).await?;
    Ok((first, id, random(), uuid().to_string(), key))
}

#[workflow]
pub(super) async fn continues(left: u32) -> Result<u32> {
    set_state(&left)?;
    works(format!("left {left}")).await?;
    match left {
        0 => works("broken at the end".into()).await.map(|_| state().ok().flatten().unwrap_or(9)),
        left => continues(left - 1).continue_as_new().await,
    }
}

pub(super) fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(super) fn mend(lab: &Lab, name: &str) {
    lab.note(&format!("mend {name}"));
}

/// The index of the event that started the run's step with this index.
pub(super) async fn call<T, E>(run: &Run<T, E>, step: usize) -> u64 {
    run.steps().await.unwrap()[step].event
}

on_each_store! {
    async fn retry_continues_behind_the_steps_that_succeeded(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(in_order, names(&["a", "broken", "c"])).await.unwrap();
        assert!(soon(&run).await.is_err());
        assert_eq!(lab.count("broken"), 2);
        // The cause is not fixed, so the run fails again after all attempts of its step.
        run.retry().await.unwrap();
        assert!(soon(&run).await.is_err());
        assert_eq!((lab.count("a"), lab.count("broken")), (1, 4));
        mend(&lab, "broken");
        run.retry().await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), ["a 1", "broken 5", "c 1"]);
        assert_eq!((lab.count("a"), lab.count("c")), (1, 1));
        assert_eq!(run.state::<Vec<String>>().await.unwrap().unwrap().len(), 3);
        let info = run.info().await.unwrap();
        assert_eq!((info.generation, info.status), (2, Status::Completed));
        // The events before the retries are still listed.
        let events: Vec<_> = run.events().try_collect().await.unwrap();
        let reopened = events.iter().filter(|event| matches!(event.kind, RunEventKind::Reopened { source: None }));
        assert_eq!(reopened.count(), 3, "the second retry inherits the event of the first");
        let steps: Vec<_> = run.steps().await.unwrap().iter().map(|step| (step.generation, step.status)).collect();
        assert_eq!(steps, [(2, StepStatus::Completed); 3], "each step is listed once");
        let failed = events.iter().filter(|event| matches!(event.kind, RunEventKind::StepFailed { .. }));
        assert_eq!(failed.count(), 2);
    }

    async fn retry_repeats_only_the_failed_ones_of_concurrent_steps(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(at_once, names(&["a", "broken b", "c", "broken d"])).await.unwrap();
        assert!(soon(&run).await.is_err());
        ["broken b", "broken d"].iter().for_each(|name| mend(&lab, name));
        run.retry().await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), ["a 1", "broken b 3", "c 1", "broken d 3"]);
    }

    async fn retry_executes_undone_steps_again(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(undone, names(&["third", "broken"])).await.unwrap();
        assert!(soon(&run).await.is_err());
        assert_eq!(lab.count("undo second"), 1);
        mend(&lab, "broken");
        run.retry().await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), ["first 1", "second 2", "third 2", "broken 3"]);
        assert_eq!(lab.count("undo second"), 1);
    }

    async fn retry_of_a_workflow_that_failed_by_itself_executes_nothing_again(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).open().await.unwrap();
        let run = engine.start(fails_by_itself, ()).await.unwrap();
        assert!(soon(&run).await.is_err());
        REPAIRED.lock().unwrap().push(run.id().to_owned());
        run.retry().await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "good 1");
    }

    async fn retry_of_a_workflow_that_failed_by_a_payload_receives_it_again(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(fails_by_a_payload, ()).await.unwrap();
        crate::support::recorded(&place, run.id(), "hook").await;
        engine.resume_hook("payload", &7_u32).await.unwrap();
        soon(&run).await.unwrap_err();
        REPAIRED.lock().unwrap().push(run.id().to_owned());
        run.retry().await.unwrap();
        assert_eq!(soon(run).await.unwrap(), 7);
    }

    async fn retry_of_a_stuck_run_tries_at_once(place: Place) {
        let engine = place.builder(&Lab::new()).open().await.unwrap();
        let client = place.builder(&Lab::new()).connect().await.unwrap();
        let run = client.start(panics_until_it_is_repaired, ()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap_err().code(), Code::Stuck);
        REPAIRED.lock().unwrap().push(run.id().to_owned());
        run.retry().await.unwrap();
        let repaired = async {
            loop {
                match (&run).await {
                    Ok(five) => break five,
                    Err(_) => workflow_harness::pause().await,
                }
            }
        };
        assert_eq!(soon(repaired).await, 5);
        drop(engine);
    }

    async fn retry_of_a_cancelled_run(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("repair", 1).open().await.unwrap();
        let run = engine.start(waits_for_much, "a".into()).await.unwrap();
        until_suspended(&run).await;
        assert!(soon(run.cancel("by mistake")).await.unwrap());
        run.retry().await.unwrap();
        until_suspended(&run).await;
        run.resume(&"asked").label("ask").await.unwrap();
        let token = hook_of(&run).await;
        engine.resume_hook(token, &"answered").await.unwrap();
        let result = soon(&run).await.unwrap();
        assert!(result.starts_with("a 1, answered, ") && result.ends_with("asked"), "{result}");
    }

    async fn retry_of_a_parent_continues_its_failed_child(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(parent, names(&["a", "broken"])).await.unwrap();
        assert!(soon(&run).await.is_err());
        mend(&lab, "broken");
        run.retry().await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), ["a 1", "broken 3", "by the parent 1"]);
        assert_eq!(run.children().await.unwrap().len(), 1);
    }

    async fn retry_is_refused_where_there_is_nothing_to_retry(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(in_order, names(&["a"])).await.unwrap();
        soon(&run).await.unwrap();
        let error = run.retry().await.unwrap_err();
        assert_eq!(error.code(), Code::NotRepairable, "{error:?}");
        let waits = engine.start(waits_for_much, "b".into()).await.unwrap();
        assert_eq!(waits.retry().await.unwrap_err().code(), Code::NotRepairable);
        let nobody: Run<()> = engine.get_run("nobody");
        assert_eq!(nobody.retry().await.unwrap_err().code(), Code::RunNotFound);
    }

    async fn of_concurrent_retries_one_succeeds(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let client = place.builder(&lab).connect().await.unwrap();
        let run = engine.start(in_order, names(&["broken"])).id("r").await.unwrap();
        assert!(soon(&run).await.is_err());
        mend(&lab, "broken");
        let theirs: Run<Vec<String>> = client.get_run("r");
        let retries = (0..6).map(|n| if n % 2 == 0 { run.retry() } else { theirs.retry() });
        let retried = soon(join_all(retries)).await;
        assert_eq!(retried.iter().filter(|retried| retried.is_ok()).count(), 1, "{retried:?}");
        assert_eq!(soon(&run).await.unwrap(), ["broken 3"]);
    }

    async fn retry_of_a_run_that_has_continued_as_new(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(continues, 2).await.unwrap();
        assert!(soon(&run).await.is_err());
        mend(&lab, "broken at the end");
        run.retry().await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 0);
        assert_eq!(["left 2", "left 1", "left 0"].map(|name| lab.count(name)), [1, 1, 1]);
    }

    async fn retry_outlives_the_process(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(in_order, names(&["a", "broken"])).id("r").await.unwrap();
        assert!(soon(&run).await.is_err());
        engine.shutdown().await.unwrap();
        let client = place.builder(&lab).connect().await.unwrap();
        let run: Run<Vec<String>> = client.get_run("r");
        run.retry().await.unwrap();
        assert_eq!(run.retry().await.unwrap_err().code(), Code::NotRepairable);
        assert_eq!(run.status().await.unwrap(), Status::Running);
        mend(&lab, "broken");
        let engine = place.open(&lab).await;
        assert_eq!(soon(&run).await.unwrap(), ["a 1", "broken 3"]);
        engine.shutdown().await.unwrap();
    }
}

/// Waits until an operation of the run is suspended.
pub(super) async fn until_suspended<T, E>(run: &Run<T, E>) {
    soon(async {
        while run.suspended().await.unwrap().is_empty() {
            workflow_harness::pause().await;
        }
    })
    .await;
}

/// The token of the hook that the run opened last.
pub(super) async fn hook_of<T, E>(run: &Run<T, E>) -> String {
    let events: Vec<_> = run.events().so_far().try_collect().await.unwrap();
    let opened = events.into_iter().rev().find_map(|event| match event.kind {
        RunEventKind::HookOpened { token, .. } if !token.starts_with("suspended/") => Some(token),
        _ => None,
    });
    opened.unwrap()
}
