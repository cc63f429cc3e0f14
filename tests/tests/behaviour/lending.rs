//! Steps that wait for other runs while they hold the only permit.

use std::time::Duration;

use futures::TryStreamExt;
use futures::future::try_join_all;
use tokio::runtime::Handle;
use workflow_runtime::{Error, Result, Run, Status, get_run, hook, step, workflow, writer};

use crate::support::{Lab, Place, soon};

#[step(retries = 0)]
async fn noted(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&name);
    writer::<String>("names").write(&name).await
}

#[step(retries = 0)]
fn blocks(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&name);
    Ok(())
}

#[workflow]
async fn works(name: String) -> Result<String> {
    hook::<()>().token(format!("go {name}")).await?;
    noted(name.clone()).await?;
    blocks(name.clone()).await?;
    Ok(name)
}

/// Waits for a run in the given way.
async fn wait(way: String) -> Result<String> {
    let run: Run<String> = get_run(format!("of {way}"));
    match &*way {
        "await" => run.await,
        "outcome" => run.outcome().await?.result,
        "events" => {
            let events: Vec<_> = run.events().try_collect().await?;
            assert!(!events.is_empty());
            run.await
        }
        "stream" => {
            let names: Vec<String> = run.stream::<String>("names").map_ok(|chunk| chunk.value).try_collect().await?;
            Ok(names.concat())
        }
        "cancel" => Ok(run.cancel("enough").await?.to_string()),
        "all" => {
            // More runs than `try_join_all` polls as one group.
            let runs = (0..40).map(|number| get_run::<String, Error>(format!("of all {number}")));
            try_join_all(runs.map(IntoFuture::into_future)).await.map(|names| names.concat())
        }
        other => panic!("unknown way: {other}"),
    }
}

#[step(retries = 0)]
async fn waits(#[resource] lab: &Lab, way: String) -> Result<String> {
    lab.note("waits");
    let value = wait(way).await?;
    lab.note("has waited");
    Ok(value)
}

#[step(retries = 0)]
fn blocks_and_waits(#[resource] lab: &Lab, way: String) -> Result<String> {
    lab.note("waits");
    Handle::current().block_on(wait(way))
}

#[step(retries = 0, queue = "lending")]
async fn waits_in_a_queue(#[resource] lab: &Lab, way: String) -> Result<String> {
    lab.note(&format!("waits {way}"));
    wait(way).await
}

#[workflow]
async fn asks_in_a_queue(way: String) -> Result<String> {
    waits_in_a_queue(way).await
}

#[workflow]
async fn asks(way: String, blocking: bool) -> Result<String> {
    if blocking { blocks_and_waits(way).await } else { waits(way).await }
}

async fn waits_in(place: Place, way: &str, blocking: bool) {
    let lab = Lab::new();
    let engine = place.builder(&lab).concurrency(1).blocking_concurrency(1).open().await.unwrap();
    let names: Vec<String> = match way {
        "all" => (0..40).map(|number| format!("all {number}")).collect(),
        way => vec![way.to_owned()],
    };
    for name in &names {
        engine.start(works, name.clone()).id(format!("of {name}")).await.unwrap();
    }
    let run = engine.start(asks, (way.to_owned(), blocking)).await.unwrap();
    soon(lab.executed("waits", 1)).await;
    if way != "cancel" {
        for name in &names {
            engine.resume_hook(format!("go {name}"), &()).hold_for(Duration::from_secs(60)).await.unwrap();
        }
    }
    let expected = if way == "cancel" { "true".to_owned() } else { names.concat() };
    assert_eq!(soon(&run).await.unwrap(), expected);
    // The first step has returned its permit. Otherwise this run could not execute.
    let last = engine.start(asks, (way.to_owned(), blocking)).await.unwrap();
    assert_eq!(soon(&last).await.unwrap(), expected);
    assert_eq!(last.status().await.unwrap(), Status::Completed);
    drop(run);
    engine.shutdown().await.unwrap();
}

on_each_store! {
    async fn an_async_step_that_waits_for_a_run_lends_its_permit(place: Place) {
        for way in ["await", "outcome", "events", "stream", "cancel", "all"] {
            waits_in(place.clone(), way, false).await;
        }
    }

    async fn a_blocking_step_that_waits_for_a_run_lends_its_permit(place: Place) {
        for way in ["await", "outcome", "events", "stream", "cancel", "all"] {
            waits_in(place.clone(), way, true).await;
        }
    }

    async fn a_step_of_a_queue_that_waits_for_a_run_keeps_its_place(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).concurrency(1).queue("lending", 1).open().await.unwrap();
        for way in ["await", "outcome"] {
            engine.start(works, way.to_owned()).id(format!("of {way}")).await.unwrap();
        }
        let first = engine.start(asks_in_a_queue, "await".to_owned()).await.unwrap();
        soon(lab.executed("waits await", 1)).await;
        let second = engine.start(asks_in_a_queue, "outcome".to_owned()).await.unwrap();
        // The engine claims this run later than the second step, and the step of this run needs the only permit.
        let client = place.builder(&lab).connect().await.unwrap();
        let run = client.start(works, "claimed".to_owned()).opens("go claimed").await.unwrap();
        client.resume_hook("go claimed", &()).await.unwrap();
        soon(run).await.unwrap();
        assert_eq!(lab.count("waits outcome"), 0);
        for (way, run) in [("await", first), ("outcome", second)] {
            engine.resume_hook(format!("go {way}"), &()).await.unwrap();
            assert_eq!(soon(run).await.unwrap(), way);
        }
    }
}
