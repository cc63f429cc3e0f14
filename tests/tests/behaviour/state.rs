//! State and attributes of runs.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use workflow_runtime::{
    Code, Error, Result, Run, RunEvent, RunEventKind, finish, hook, remove_attribute, set_attribute, set_state, state,
    step, suspend, workflow, writer,
};

use crate::support::{Lab, soon};

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Progress {
    done: Vec<u32>,
}

#[step]
async fn gated(#[resource] lab: &Lab, n: u32) -> Result<u32> {
    lab.note(&n.to_string());
    lab.pass_gate(&n.to_string()).await;
    Ok(n)
}

#[workflow]
async fn shows_itself(count: u32) -> Result<usize> {
    set_attribute("phase", "begun")?;
    for n in 0..count {
        gated(n).await?;
        let mut progress: Progress = state()?.unwrap_or_default();
        progress.done.push(n);
        set_state(&progress)?;
    }
    set_attribute("phase", "done")?;
    remove_attribute("hidden")?;
    Ok(state::<Progress>()?.unwrap_or_default().done.len())
}

#[workflow]
async fn wears_one_more() -> Result<()> {
    set_attribute("one more", "x")?;
    set_attribute("and another", "x")
}

#[workflow]
async fn wears_too_much() -> Result<String> {
    for n in 0..64 {
        set_attribute(&n.to_string(), "x")?;
    }
    set_attribute("0", "y")?;
    let error = set_attribute("one more", "x").unwrap_err();
    remove_attribute("0")?;
    set_attribute("one more", "x")?;
    let long = set_attribute("long", &"x".repeat(600)).unwrap_err();
    let unnamed = set_attribute("", "x").unwrap_err();
    Ok(format!("{} {} {}", error.code(), long.code(), unnamed.code()))
}

#[workflow]
async fn shows_nothing_that_is_lost() -> Result<()> {
    set_state(&f64::NAN)
}

/// Sets a state and an attribute when it is dropped.
struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = set_state(&"dropped".to_owned());
        let _ = set_attribute("phase", "dropped");
    }
}

#[workflow]
async fn has_a_destructor_that_shows_something() -> Result<()> {
    set_state(&"waiting".to_owned())?;
    set_attribute("phase", "waiting")?;
    let _guard = Guard;
    hook::<u32>().await?;
    Ok(())
}

#[workflow]
async fn wears_more_in_each_generation(generation: u32) -> Result<()> {
    for n in 0..32 {
        set_attribute(&format!("{generation} {n}"), "x")?;
    }
    match generation {
        3 => Ok(()),
        _ => wears_more_in_each_generation(generation + 1).continue_as_new().await,
    }
}

/// A state that borrows, with a set whose order differs on each replay.
#[derive(Serialize)]
struct Borrowed<'a> {
    name: &'a str,
    tags: HashSet<&'a str>,
}

#[workflow]
async fn shows_what_it_borrows(name: String) -> Result<String> {
    set_state("begun")?;
    gated(0).await?;
    let tags = ["a", "b", "c", "d", "e", "f", "g", "h"].into_iter().collect();
    set_state(&Borrowed { name: &name, tags })?;
    writer::<str>("words").write(&name).await?;
    let approved: String = suspend(&Borrowed { name: &name, tags: HashSet::new() }).await?;
    set_state(&"done")?;
    finish(&*approved).await?;
    Ok(name)
}

/// Waits for another gate in each execution.
#[step]
async fn reserves(#[resource] lab: &Lab) -> Result<u32> {
    let times = lab.note("reserves");
    lab.pass_gate(&format!("reserves {times}")).await;
    Ok(7)
}

#[step]
async fn takes_back(#[resource] lab: &Lab) -> Result<()> {
    lab.note("takes back");
    Ok(())
}

/// Fails in its first execution.
#[step(retries = 0)]
async fn fails_at_first(#[resource] lab: &Lab) -> Result<()> {
    match lab.note("fails at first") {
        1 => Err(Error::fatal("sold out")),
        _ => Ok(()),
    }
}

#[workflow]
async fn shows_what_is_undone() -> Result<()> {
    set_attribute("phase", "begun")?;
    writer::<str>("log").write("begun").await?;
    let order = reserves().rollback(|_| takes_back()).await?;
    set_state(&order)?;
    set_attribute("phase", "reserved")?;
    set_attribute("order", "7")?;
    writer::<str>("log").write("reserved").await?;
    fails_at_first().await
}

static SHOWN: AtomicU32 = AtomicU32::new(0);

#[workflow]
async fn shows_another_state_on_each_replay() -> Result<()> {
    gated(0).await?;
    set_state(&SHOWN.fetch_add(1, Ordering::Relaxed))?;
    gated(1).await.map(drop)
}

static FIELDS: AtomicU32 = AtomicU32::new(0);

/// Simulates deploys that add one field to the state and remove another.
#[workflow]
async fn shows_other_fields_on_each_replay() -> Result<()> {
    gated(0).await?;
    let deploy = FIELDS.fetch_add(1, Ordering::Relaxed);
    set_state(&json!({ "phase": "charging", format!("since {deploy}"): deploy }))?;
    gated(1).await.map(drop)
}

static VARIANTS: AtomicU32 = AtomicU32::new(0);

#[workflow]
async fn shows_another_variant_on_each_replay() -> Result<()> {
    gated(0).await?;
    let deploy = VARIANTS.fetch_add(1, Ordering::Relaxed);
    set_state(&json!({ format!("variant {deploy}"): {} }))?;
    gated(1).await.map(drop)
}

on_each_store! {
    async fn states_and_payloads_need_only_be_serializable(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(shows_what_it_borrows, "Ada".into()).id("r").initial_state("not begun").await.unwrap();
        lab.executed("0", 1).await;
        assert_eq!(run.state().await.unwrap(), Some("begun".to_owned()));
        lab.open_gate("0");
        soon(async {
            while run.suspended().await.unwrap().is_empty() {
                workflow_harness::pause().await;
            }
        })
        .await;
        drop((run, engine));
        let engine = place.open(&lab).await;
        let run: Run<String> = engine.get_run("r");
        assert_eq!(run.state::<Value>().await.unwrap().unwrap()["name"], "Ada");
        assert_eq!(run.suspended().await.unwrap()[0].payload["name"], "Ada");
        run.resume("approved").await.unwrap();
        assert_eq!((&run).await.unwrap(), "approved");
        assert_eq!(run.state().await.unwrap(), Some("done".to_owned()));
    }

    async fn a_retried_run_shows_the_state_and_the_attributes_of_what_it_keeps(place: Place) {
        for initial in [None, Some(5)] {
            let lab = Lab::new();
            let engine = place.open(&lab).await;
            let mut start = engine.start(shows_what_is_undone, ()).id(format!("{initial:?}"));
            if let Some(initial) = initial {
                start = start.initial_state(&initial);
            }
            let run = start.await.unwrap();
            lab.open_gate("reserves 1");
            assert_eq!((&run).await.unwrap_err().message(), "sold out");
            assert_eq!(run.state().await.unwrap(), Some(7));
            assert_eq!(run.attributes().await.unwrap()["order"], "7");

            run.retry().await.unwrap();
            lab.executed("reserves", 2).await;
            assert_eq!(run.state().await.unwrap(), initial);
            let attributes = run.attributes().await.unwrap();
            assert_eq!(attributes.iter().map(|(key, value)| (&**key, &**value)).collect::<Vec<_>>(), [("phase", "begun")]);

            // So does a fork of the retried run: it has nothing of the generation that the retry has replaced.
            let events: Vec<RunEvent> = run.events().so_far().try_collect().await.unwrap();
            let call = events.iter().rfind(|event| matches!(event.kind, RunEventKind::StepStarted { .. })).unwrap();
            let fork = run.fork(call.index).await.unwrap();
            assert_eq!(fork.state().await.unwrap(), initial);
            assert_eq!(fork.attributes().await.unwrap(), attributes);
            assert_eq!(fork.stream::<String>("log").tail().await.unwrap(), Some(0), "the index of the last chunk");

            ["reserves 2", "reserves 3"].iter().for_each(|gate| lab.open_gate(gate));
            (&run).await.unwrap();
            (&fork).await.unwrap();
            assert_eq!(run.state().await.unwrap(), Some(7));
            assert_eq!(run.attributes().await.unwrap()["phase"], "reserved");
        }
    }

    async fn another_state_on_a_replay_is_detected(place: Place) {
        let lab = Lab::new();
        for gate in ["0", "1"] {
            lab.open_gate(gate);
        }
        let engine = place.open(&lab).await;
        let run = engine.start(shows_another_state_on_each_replay, ()).await.unwrap();
        assert_eq!(run.await.unwrap_err().code(), Code::Stuck);
        let run = engine.start(shows_another_variant_on_each_replay, ()).await.unwrap();
        assert_eq!(run.await.unwrap_err().code(), Code::Stuck);
        let run = engine.start(shows_other_fields_on_each_replay, ()).await.unwrap();
        run.await.unwrap();
    }

    async fn the_state_is_that_of_the_last_turn_also_after_a_crash(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(shows_itself, 3).id("r").await.unwrap();
        lab.executed("0", 1).await;
        assert_eq!(run.state::<Progress>().await.unwrap(), None);
        lab.open_gate("0");
        lab.executed("1", 1).await;
        assert_eq!(run.state().await.unwrap(), Some(Progress { done: vec![0] }));
        assert_eq!(run.attributes().await.unwrap()["phase"], "begun");
        drop((run, engine));
        let engine = place.open(&lab).await;
        let run: Run<usize> = engine.get_run("r");
        assert_eq!(run.state().await.unwrap(), Some(Progress { done: vec![0] }));
        lab.open_gate("1");
        lab.open_gate("2");
        assert_eq!((&run).await.unwrap(), 3);
        assert_eq!(run.state().await.unwrap(), Some(Progress { done: vec![0, 1, 2] }));
        let error = run.state::<u64>().await.unwrap_err();
        assert_eq!(error.code(), Code::Payload);
        assert_eq!(error.run_id(), Some("r"));
    }

    async fn runs_are_found_by_attributes_of_their_start_and_of_their_workflow(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        lab.open_gate("0");
        let start = engine.start(shows_itself, 1).attribute("customer", "Ada").attribute("hidden", "yes");
        let run = start.id("r").await.unwrap();
        engine.start(shows_itself, 1).attribute("customer", "Bob").await.unwrap().await.unwrap();
        run.await.unwrap();
        let found = engine.runs().attribute("customer", "Ada").attribute("phase", "done").await.unwrap().runs;
        assert_eq!(found.iter().map(|run| &*run.id).collect::<Vec<_>>(), ["r"]);
        assert!(engine.runs().attribute("hidden", "yes").await.unwrap().runs.iter().all(|run| run.id != "r"));
        assert_eq!(engine.runs().attribute("phase", "done").await.unwrap().runs.len(), 2);
    }

    async fn the_attributes_of_the_start_count_for_the_limit(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let mut start = engine.start(wears_one_more, ());
        for n in 0..63 {
            start = start.attribute(n.to_string(), "x");
        }
        let run = start.await.unwrap();
        assert_eq!((&run).await.unwrap_err().code(), Code::Limit);
        assert_eq!(run.attributes().await.unwrap().len(), 64);
    }

    async fn an_invalid_attribute_is_an_error(place: Place) {
        let engine = place.open(&Lab::new()).await;
        assert_eq!(engine.start(wears_too_much, ()).await.unwrap().await.unwrap(), "limit limit invalid_name");
        let long = engine.start(wears_too_much, ()).attribute("a", "x".repeat(512)).id("r").await.unwrap_err();
        assert_eq!(long.code(), Code::Limit);
        assert!(!engine.get_run::<(), Error>("r").exists().await.unwrap());
        let error = engine.start(shows_nothing_that_is_lost, ()).await.unwrap().await.unwrap_err();
        assert_eq!(error.code(), Code::Payload);
    }

    async fn a_destructor_of_a_cancelled_run_cannot_set_state_or_attributes(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(has_a_destructor_that_shows_something, ()).id("r").await.unwrap();
        assert!(soon(run.cancel("enough")).await.unwrap());
        assert_eq!(run.state::<String>().await.unwrap().as_deref(), Some("waiting"));
        assert_eq!(run.attributes().await.unwrap()["phase"], "waiting");
        assert!(!place.journal("r").await.concat().contains("dropped"));
    }

    async fn attributes_are_limited_over_all_generations_of_a_run(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(wears_more_in_each_generation, 0).await.unwrap();
        assert_eq!(soon(&run).await.unwrap_err().code(), Code::Limit);
        assert_eq!((run.attributes().await.unwrap().len(), run.info().await.unwrap().generation), (64, 2));
    }
}

case! {
    async fn outside_a_workflow_there_is_no_state() {
        assert_eq!(set_state(&1).unwrap_err().code(), Code::OutsideRun);
        assert_eq!(state::<u32>().unwrap_err().code(), Code::OutsideRun);
        assert_eq!(set_attribute("a", "b").unwrap_err().code(), Code::OutsideRun);
    }
}
