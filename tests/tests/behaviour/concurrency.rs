//! Concurrent operations of one run.

use std::time::Duration;

use futures::future::{join_all, try_join_all};
use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};
use workflow_runtime::{Error, Result, Run, durable, sleep, spawn, step, workflow};

use crate::support::Lab;

#[step]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(name)
}

#[step(retries = 0)]
async fn note(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    if name == "bad" { Err(Error::new("bad")) } else { Ok(name) }
}

#[workflow]
async fn joins() -> Result<String> {
    let (a, b) = tokio::join!(two("a"), two("b"));
    Ok(a? + &b?)
}

#[durable]
async fn two(name: &str) -> Result<String> {
    gated(format!("{name}1")).await?;
    gated(format!("{name}2")).await
}

#[workflow]
async fn gathers(count: u32) -> Result<usize> {
    let all = join_all((0..count).map(|n| gated(format!("{n}")))).await;
    Ok(all.into_iter().filter(Result::is_ok).count())
}

#[workflow]
async fn collects_as_they_come(names: Vec<String>) -> Result<Vec<String>> {
    let mut running: FuturesUnordered<_> = names.into_iter().map(gated).collect();
    let mut done = Vec::new();
    while let Some(name) = running.next().await {
        done.push(name?);
    }
    Ok(done)
}

#[workflow]
async fn fans_out(count: u32, most: usize) -> Result<usize> {
    let results: Vec<String> =
        futures::stream::iter((0..count).map(|n| gated(format!("{n}")))).buffer_unordered(most).try_collect().await?;
    Ok(results.len())
}

#[workflow]
async fn fails_fast() -> Result<()> {
    try_join_all([note("bad".into()), note("good".into())]).await?;
    Ok(())
}

#[workflow]
async fn tries_both() -> Result<(String, String)> {
    tokio::try_join!(gated("never".into()), note("bad".into()))
}

#[workflow]
async fn spawns() -> Result<String> {
    let branches: Vec<_> = ["a", "b"].into_iter().map(|name| spawn(async move { two(name).await })).collect();
    let mut all = String::new();
    for branch in branches {
        all += &branch.await?;
    }
    Ok(all)
}

#[workflow]
async fn picks_the_first() -> Result<String> {
    let winner = tokio::select! {
        a = gated("a".into()) => a?,
        b = gated("b".into()) => b?,
        () = sleep(Duration::from_secs(3600)) => "nobody".to_owned(),
    };
    note("after".into()).await?;
    Ok(winner)
}

on_each_store! {
    async fn joined_branches_resume_in_the_order_of_their_results(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        drop(engine.start(joins, ()).id("run").await.unwrap());
        lab.open_gate("b1");
        lab.executed("b2", 1).await;
        lab.open_gate("a1");
        lab.executed("a2", 1).await;
        drop(engine);
        // If the engine identified operations by arrival order, a2 would get the result of b2 here.
        lab.open_gate("a2");
        let engine = place.open(&lab).await;
        lab.open_gate("b2");
        let run: Run<String> = engine.get_run("run");
        assert_eq!(run.await.unwrap(), "a2b2");
        assert_eq!((lab.count("a1"), lab.count("b1")), (1, 1));
    }

    async fn a_thousand_steps_run_at_the_same_time(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).open().await.unwrap();
        let run = engine.start(gathers, 1_000).await.unwrap();
        for n in 0..1_000 {
            lab.executed(&format!("{n}"), 1).await;
        }
        for n in 0..1_000 {
            lab.open_gate(&format!("{n}"));
        }
        assert_eq!(run.await.unwrap(), 1_000);
    }

    async fn results_are_delivered_in_the_order_of_their_arrival(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let names: Vec<String> = ["x", "y", "z"].map(String::from).to_vec();
        let run = engine.start(collects_as_they_come, names).id("run").await.unwrap();
        for (turns, name) in [(2, "z"), (3, "x"), (4, "y")] {
            lab.open_gate(name);
            while place.rows("run").await.len() < turns {
                workflow_harness::pause().await;
            }
        }
        assert_eq!(run.await.unwrap(), ["z", "x", "y"]);
    }

    async fn a_fan_out_does_not_exceed_its_bound(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(fans_out, (5, 2)).id("run").await.unwrap();
        lab.executed("0", 1).await;
        lab.executed("1", 1).await;
        assert_eq!(lab.notes().len(), 2);
        for n in 0..5 {
            lab.open_gate(&format!("{n}"));
        }
        assert_eq!(run.await.unwrap(), 5);
    }

    async fn the_engine_limits_concurrent_steps(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).concurrency(3).open().await.unwrap();
        let run = engine.start(gathers, 20).await.unwrap();
        while lab.notes().len() < 3 {
            workflow_harness::pause().await;
        }
        for n in 0..20 {
            assert!(lab.notes().len() <= n + 3);
            lab.open_gate(&lab.notes()[n]);
            while lab.notes().len() < (n + 4).min(20) {
                workflow_harness::pause().await;
            }
        }
        assert_eq!(run.await.unwrap(), 20);
    }

    async fn the_first_failure_ends_a_try_join(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        assert_eq!(engine.start(fails_fast, ()).await.unwrap().await.unwrap_err().message(), "bad");
        assert_eq!(engine.start(tries_both, ()).await.unwrap().await.unwrap_err().message(), "bad");
    }

    async fn spawned_branches_run_concurrently(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(spawns, ()).await.unwrap();
        lab.executed("a1", 1).await;
        lab.executed("b1", 1).await;
        for gate in ["b1", "a1", "b2", "a2"] {
            lab.open_gate(gate);
        }
        assert_eq!(run.await.unwrap(), "a2b2");
    }

    async fn a_lost_race_does_not_shift_later_steps(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(picks_the_first, ()).id("run").await.unwrap();
        lab.executed("a", 1).await;
        lab.open_gate("b");
        assert_eq!(run.await.unwrap(), "b");
        lab.open_gate("a");
        assert_eq!(lab.count("after"), 1);
    }
}
