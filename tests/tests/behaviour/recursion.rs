//! Runs that wait for themselves, and recursion without an end.

use std::sync::Arc;
use std::time::Duration;

use workflow_runtime::store::{First, Message, NewRun, Write};
use workflow_runtime::{Code, Error, Result, Run, Status, get_run, hook, run_id, step, workflow};

use crate::support::{Lab, Place, soon};

/// Hundreds of runs take longer than the usual limit of a test.
const A_WHILE: Duration = Duration::from_secs(60);

#[workflow]
async fn waits_for(run: Run<String>) -> Result<String> {
    match run.await {
        Err(error) if error.code() == Code::AwaitsItself => Ok(format!("{} {}", error.code(), error.is_fatal())),
        other => other,
    }
}

#[step(retries = 0)]
async fn awaits_in_a_step(way: String, id: String) -> Result<String> {
    let run: Run<String> = get_run(id);
    let error = match &*way {
        "await" => run.await.map(drop),
        "outcome" => run.outcome().await.map(drop),
        _ => run.cancel("by itself").await.map(drop),
    };
    Ok(error.map_or_else(|error| error.code().to_string(), |()| "it has ended".to_owned()))
}

#[step(retries = 0, queue = "itself")]
async fn awaits_in_a_queue(id: String) -> Result<String> {
    let run: Run<String> = get_run(id);
    Ok(run.await.map_or_else(|error| error.code().to_string(), |_| "it has ended".to_owned()))
}

#[step(retries = 0)]
async fn undoes(#[resource] lab: &Lab, was: String) -> Result<()> {
    lab.note(&format!("undoes {was}"));
    Ok(())
}

#[workflow]
async fn asks(way: String) -> Result<String> {
    let id = run_id().unwrap_or_default();
    match &*way {
        "queue" => awaits_in_a_queue(id).await,
        "cancel" => {
            awaits_in_a_step(way, id).rollback(undoes).await?;
            hook::<String>().await
        }
        _ => awaits_in_a_step(way, id).await,
    }
}

#[workflow]
async fn without_end(count: u64) -> Result<u64> {
    without_end(count + 1).await
}

/// Stores a run at this depth of recursion.
async fn stored_at(place: &Place, depth: u32) {
    let started = r#"{"started":{"seed":"00","args":0,"carried":{"inherited":{"depth":DEPTH}}}}"#;
    let body: Arc<[u8]> = started.replace("DEPTH", &depth.to_string()).into_bytes().into();
    let checksum = crc32fast::hash(&body);
    let run = NewRun {
        id: "deep".into(),
        workflow: concat!(module_path!(), "::without_end").into(),
        fingerprint: "".into(),
        args_digest: [0; 32],
        created_at: 1,
        token: 1,
        required_deployment: None,
        depth,
        effects: None,
        chunks: Vec::new(),
        first: First::Message(Message { dedupe: None, arrived_at: 1, format: 1, checksum, body }),
    };
    place.store().commit(&[Write::Create(run)]).await.unwrap();
}

#[workflow]
async fn deeper(count: u64) -> Result<u64> {
    passes(count).await?;
    deeper(count + 1).await
}

#[step]
async fn passes(#[resource] lab: &Lab, count: u64) -> Result<()> {
    lab.note(&format!("depth {count}"));
    Ok(())
}

on_each_store! {
    async fn a_run_that_awaits_itself_gets_an_error_at_once(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(waits_for, engine.get_run("r")).id("r").await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "awaits_itself true");
    }

    async fn a_step_that_awaits_its_own_run_gets_an_error_at_once(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("itself", 1).replay_every_turn().open().await.unwrap();
        for way in ["await", "outcome", "queue"] {
            let run = engine.start(asks, way.to_owned()).await.unwrap();
            assert_eq!(soon(&run).await.unwrap(), "awaits_itself");
        }
    }

    async fn a_step_that_cancels_its_own_run_does_not_wait_for_its_end(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(asks, "cancel".to_owned()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap_err().code(), Code::Cancelled);
        assert_eq!(lab.notes(), ["undoes awaits_itself"]);
    }

    async fn a_cancel_overtakes_a_recursion_that_is_getting_deeper(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).open().await.unwrap();
        let run = engine.start(deeper, 0).id("top").await.unwrap();
        // On a database, each level takes several round trips.
        let levels = if matches!(place, Place::Postgres(_)) { 40 } else { 300 };
        let deep = tokio::time::timeout(A_WHILE, lab.executed(&format!("depth {levels}"), 1)).await;
        deep.expect("the recursion does not get deep in time");
        // Each run ends after its child.
        let cancelled = tokio::time::timeout(A_WHILE, run.cancel("enough")).await;
        assert!(cancelled.expect("the cancelled run does not end").unwrap());
        // No run remains that would start another child.
        let counts = tokio::time::timeout(A_WHILE, async {
            loop {
                let counts = engine.runs().count().await.unwrap();
                if counts.iter().all(|(status, count)| status.is_terminal() || *count == 0) {
                    return counts;
                }
                workflow_harness::pause().await;
            }
        });
        let counts = counts.await.expect("some runs do not end");
        let (all, cancelled) = (counts.values().sum::<u64>(), counts.get(&Status::Cancelled).copied());
        assert!(all > levels, "{all}");
        assert_eq!(cancelled, Some(all));
        let mut deepest = engine.get_run::<u64, Error>("top");
        let store = place.store();
        for depth in 0..all {
            assert_eq!(u64::from(store.run(deepest.id()).await.unwrap().unwrap().depth), depth);
            if let Some(child) = deepest.children().await.unwrap().pop() {
                deepest = engine.get_run(child);
            }
        }
    }

    async fn a_recursion_without_an_end_fails_at_the_depth_limit(place: Place) {
        stored_at(&place, 9_995).await;
        let engine = place.open(&Lab::new()).await;
        let run: Run<u64> = engine.get_run("deep");
        let error = soon(&run).await.unwrap_err();
        assert_eq!(error.code(), Code::Limit, "{error:?}");
        // The limit is 10,000 levels, so five more runs were started.
        let (mut depth, mut deepest) = (0, String::new());
        let mut next = run.children().await.unwrap();
        while let Some(id) = next.pop() {
            deepest.clone_from(&id);
            let child: Run<u64, Error> = engine.get_run(id);
            assert_eq!(child.status().await.unwrap(), Status::Failed);
            depth += 1;
            next = child.children().await.unwrap();
        }
        assert_eq!(depth, 5);
        let rows = place.store();
        assert_eq!(rows.run(&deepest).await.unwrap().unwrap().depth, 10_000);
    }
}
