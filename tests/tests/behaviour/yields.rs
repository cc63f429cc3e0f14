//! An engine that yields the right to execute.

use std::time::Duration;

use workflow_runtime::{Client, Code, Engine, Result, Run, Status, sleep, step, workflow};

use crate::support::{Lab, Place, soon};

#[step(id = "yields.gated")]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(name)
}

#[workflow(id = "yields.two_steps")]
async fn two_steps() -> Result<String> {
    gated("first".into()).await?;
    gated("second".into()).await
}

#[workflow(id = "yields.naps")]
async fn naps() -> Result<()> {
    sleep(Duration::from_millis(700)).await;
    Ok(())
}

/// Two engines on a store: the first one executes.
async fn two(lab: &Lab, place: &Place) -> [Engine; 2] {
    let one = place.builder(lab).deployment("one").open().await.unwrap();
    let other = place.builder(lab).deployment("other").open().await.unwrap();
    [one, other]
}

async fn executes(client: &Client) -> bool {
    client.health().await.unwrap().executes
}

async fn until_executes(client: &Client, expected: bool) {
    soon(async {
        while executes(client).await != expected {
            workflow_harness::pause().await;
        }
    })
    .await;
}

async fn shut_down(engines: [Engine; 2]) {
    for engine in engines {
        engine.shutdown().await.unwrap();
    }
}

on_each_store! {
    async fn an_engine_yields_after_its_attempts_and_another_continues_its_runs(place: Place) {
        let lab = Lab::new();
        let [one, other] = two(&lab, &place).await;
        if place.url().is_some_and(|url| url.starts_with("postgres")) {
            let refused = one.yield_execution().await.unwrap_err();
            assert_eq!(refused.code(), Code::CannotYield);
            assert!(executes(&one).await && executes(&other).await);
            return shut_down([one, other]).await;
        }
        let run = one.start(two_steps, ()).id("run").await.unwrap();
        let nap = one.start(naps, ()).id("nap").await.unwrap();
        lab.executed("first", 1).await;
        let client = other.clone();
        let yielded = tokio::spawn(async move { client.yield_execution().await });
        until_executes(&one, false).await;
        // Meanwhile it waits for its attempt, and starts runs as a client.
        let late: Run<()> = one.start(naps, ()).id("late").await.unwrap();
        assert_eq!(late.status().await.unwrap(), Status::Pending);
        assert!(!executes(&other).await);
        lab.open_gate("first");
        let executing = soon(yielded).await.unwrap().unwrap();
        assert_eq!((executing.deployment.as_deref(), executing.executes), (Some("other"), true));
        assert!(executes(&other).await && !executes(&one).await);
        lab.open_gate("second");
        assert_eq!(soon(run).await.unwrap(), "second");
        for sleeper in [nap, late] {
            soon(sleeper).await.unwrap();
        }
        assert_eq!((lab.count("first"), lab.count("second")), (1, 1));
        let row = place.store().run("run").await.unwrap().unwrap();
        assert_eq!(row.fence.epoch, 2, "it was claimed once more");

        // It executes again when the other one yields or ends.
        let back = soon(one.yield_execution()).await.unwrap();
        assert_eq!(back.deployment.as_deref(), Some("one"));
        soon(one.yield_execution()).await.unwrap();
        other.shutdown().await.unwrap();
        until_executes(&one, true).await;
        soon(one.start(two_steps, ()).await.unwrap()).await.unwrap();
        one.shutdown().await.unwrap();
    }

    async fn an_engine_keeps_the_right_to_execute_if_no_other_one_can_execute(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let client = Engine::builder().store(place.store()).connect().await.unwrap();
        for refused in [engine.yield_execution().await, client.yield_execution().await] {
            assert_eq!(refused.unwrap_err().code(), Code::CannotYield);
        }
        // Nor does it yield later.
        let other = place.open(&lab).await;
        lab.open_gate("first");
        lab.open_gate("second");
        soon(engine.start(two_steps, ()).await.unwrap()).await.unwrap();
        assert!(executes(&engine).await);
        shut_down([engine, other]).await;
        assert_eq!(client.yield_execution().await.unwrap_err().code(), Code::CannotYield, "nobody executes");
    }
}
