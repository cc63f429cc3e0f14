//! Shutting an engine down.

use workflow_runtime::store::{SqliteStore, Synchronous};
use workflow_runtime::{Client, Code, Engine, Result, Run, Status, step, workflow};

use crate::support::{Lab, Place, soon};

#[step]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(name)
}

#[workflow]
async fn two_steps() -> Result<String> {
    gated("first".into()).await?;
    gated("second".into()).await
}

on_each_store! {
    async fn a_shutdown_waits_for_running_steps_and_records_them(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(two_steps, ()).id("run").await.unwrap();
        lab.executed("first", 1).await;
        let shutdown = tokio::spawn({
            let engine = engine.clone();
            async move { engine.shutdown().await }
        });
        while engine.start(two_steps, ()).id("run").await.is_ok() {
            workflow_harness::pause().await;
        }
        lab.open_gate("first");
        shutdown.await.unwrap().unwrap();
        assert_eq!(run.await.unwrap_err().code(), Code::Closed);
        assert_eq!((lab.count("first"), lab.count("second")), (1, 0));
        assert_eq!(place.rows("run").await.len(), 2);
        lab.open_gate("second");
        let engine = place.open(&lab).await;
        let run: Run<String> = engine.get_run("run");
        assert_eq!(run.await.unwrap(), "second");
        assert_eq!((lab.count("first"), lab.count("second")), (1, 1));
    }

    async fn an_engine_that_is_shut_down_starts_nothing(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        engine.shutdown().await.unwrap();
        engine.shutdown().await.unwrap();
        assert_eq!(engine.start(two_steps, ()).await.unwrap_err().code(), Code::Closed);
    }

    async fn the_next_engine_continues_the_released_runs(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        for n in 0..50 {
            engine.start(two_steps, ()).id(format!("run-{n}")).await.unwrap();
        }
        lab.open_gate("first");
        lab.open_gate("second");
        engine.shutdown().await.unwrap();
        let engine = place.open(&lab).await;
        for n in 0..50 {
            let run: Run<String> = engine.get_run(format!("run-{n}"));
            assert_eq!((&run).await.unwrap(), "second");
            assert_eq!(run.status().await.unwrap(), Status::Completed);
        }
        assert_eq!((lab.count("first"), lab.count("second")), (50, 50));
    }

    async fn health_is_asked_of_the_store(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let health = engine.health().await.unwrap();
        assert_eq!((health.executes, health.runs, health.attempts), (true, 0, 0));
        engine.start(two_steps, ()).await.unwrap();
        lab.executed("first", 1).await;
        let health = engine.health().await.unwrap();
        assert_eq!((health.executes, health.runs, health.attempts), (true, 1, 1));
        let expected = serde_json::json!({ "executes": true, "blocked_by": null, "runs": 1, "attempts": 1 });
        assert_eq!(serde_json::to_value(health).unwrap(), expected);
        let client = Engine::builder().store(place.store()).connect().await.unwrap();
        let health = client.health().await.unwrap();
        assert_eq!((health.executes, health.runs, health.attempts), (false, 0, 0));
        lab.open_gate("first");
        lab.open_gate("second");
        engine.shutdown().await.unwrap();
        assert_eq!(engine.health().await.unwrap_err().code(), Code::Closed);
        client.health().await.unwrap();
    }
}

/// The files of a SQLite store, without the files of its locks.
fn files(directory: &std::path::Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.ends_with(".lock") && !name.ends_with(".workers")).collect();
    names.sort();
    names
}

case! {
    async fn a_store_in_sqlite_is_one_file_after_a_shutdown() {
        let (lab, place) = (Lab::new(), Place::sqlite());
        let Place::Sqlite(directory) = &place else { unreachable!() };
        let engine = place.open(&lab).await;
        lab.open_gate("first");
        engine.start(two_steps, ()).id("run").await.unwrap();
        lab.executed("second", 1).await;
        assert!(files(directory.path()).contains(&"runs.db-wal".to_owned()));
        // The engine value still exists at the shutdown, as an installed engine does.
        engine.shutdown().await.unwrap();
        assert_eq!(files(directory.path()), ["runs.db"]);
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(directory.path().join("runs.db"), copy.path().join("runs.db")).unwrap();
        lab.open_gate("second");
        let other = Place::Sqlite(std::sync::Arc::new(copy));
        assert_eq!(soon(other.open(&lab).await.get_run::<String, workflow_runtime::Error>("run")).await.unwrap(), "second");
        // Reads still work.
        let run: Run<String> = engine.get_run("run");
        assert_eq!(run.status().await.unwrap(), Status::Running);
    }
}

case! {
    async fn a_shutdown_does_not_wait_for_another_process_with_the_file() {
        let (lab, place) = (Lab::new(), Place::sqlite());
        let Place::Sqlite(directory) = &place else { unreachable!() };
        let engine = place.open(&lab).await;
        let client = Client::connect(&place.url().unwrap()).await.unwrap();
        lab.open_gate("first");
        lab.open_gate("second");
        let run = client.start(two_steps, ()).id("run").await.unwrap();
        soon(run).await.unwrap();
        soon(engine.shutdown()).await.unwrap();
        assert!(files(directory.path()).contains(&"runs.db-wal".to_owned()), "the client has the file open");
        client.start(two_steps, ()).id("next").await.unwrap();
        drop(client);
        let engine = place.open(&lab).await;
        assert_eq!(soon(engine.get_run::<String, workflow_runtime::Error>("next")).await.unwrap(), "second");
    }
}

case! {
    async fn engines_that_share_a_store_close_it_one_by_one() {
        let lab = Lab::new();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("runs.db");
        let store = std::sync::Arc::new(SqliteStore::open(&path, Synchronous::Normal).unwrap());
        let first = Engine::builder().store(store.clone()).resource(lab.clone()).open().await.unwrap();
        let second = Engine::builder().store(store.clone()).resource(lab.clone()).open().await.unwrap();
        first.shutdown().await.unwrap();
        // Another process opens the file, and is briefly its only user, so SQLite creates the files beside it again.
        let other = Client::connect(&format!("sqlite:{}", path.display())).await.unwrap();
        other.start(two_steps, ()).id("run").await.unwrap();
        lab.open_gate("first");
        lab.open_gate("second");
        let run: Run<String> = second.get_run("run");
        assert_eq!(soon(run).await.unwrap(), "second");
        drop(other);
        second.shutdown().await.unwrap();
        assert_eq!(files(directory.path()), ["runs.db"]);
    }
}
