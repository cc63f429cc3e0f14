//! `backup` and `vacuum` while an engine executes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use workflow_runtime::{Engine, Error, Result, step, workflow};

use crate::support::{Place, soon};

#[step]
async fn counts(n: u64) -> Result<u64> {
    Ok(n)
}

#[workflow(id = "counting")]
async fn counting(steps: u64) -> Result<u64> {
    let mut sum = 0;
    for n in 0..steps {
        sum += counts(n).await?;
    }
    Ok(sum)
}

/// Keeps an engine busy until the returned flag is set.
fn busy(engine: &Engine) -> (Arc<AtomicBool>, tokio::task::JoinHandle<()>) {
    let (stop, engine) = (Arc::new(AtomicBool::new(false)), engine.clone());
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        while !stopped.load(Ordering::Relaxed) {
            let mut runs = Vec::new();
            for _ in 0..50 {
                runs.push(engine.start(counting, 20).await.unwrap());
            }
            for run in runs {
                assert_eq!(run.await.unwrap(), 190);
            }
        }
    });
    (stop, task)
}

case!(
    #[threads]
    async fn a_backup_under_load_is_a_store_whose_runs_continue() {
        let place = Place::sqlite();
        let engine = Engine::open(&place.url).await.unwrap();
        let long = engine.start(counting, 2_000).id("long").await.unwrap();
        let (stop, task) = busy(&engine);
        let backup = tokio::task::block_in_place(|| place.run("backup copy.db"));
        assert!(backup.ok().starts_with("copy.db  "));
        let again = tokio::task::block_in_place(|| place.run("backup copy.db"));
        assert_eq!(again.code, 1, "{again:?}");
        assert!(again.err.contains("does not overwrite files"), "{again:?}");
        stop.store(true, Ordering::Relaxed);
        task.await.unwrap();
        soon(long).await.unwrap();
        engine.shutdown().await.unwrap();
        assert!(!place.path("copy.db.partial").exists());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(place.path("copy.db")).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let copy = Engine::open(&format!("sqlite:{}", place.path("copy.db").display())).await.unwrap();
        let run = copy.get_run::<u64, Error>("long");
        assert_eq!(soon(run).await.unwrap(), 1_999_000);
        copy.shutdown().await.unwrap();
    }
);

case!(
    #[threads]
    async fn a_vacuum_under_load_shrinks_the_file_and_the_engine_continues() {
        let place = Place::sqlite();
        let engine = Engine::open(&place.url).await.unwrap();
        for n in 0..20 {
            soon(engine.start(counting, 500).id(format!("old-{n}")).await.unwrap()).await.unwrap();
        }
        place.run("delete --all --yes").ok();
        let (stop, task) = busy(&engine);
        let vacuumed = tokio::task::block_in_place(|| place.run("vacuum -o json"));
        stop.store(true, Ordering::Relaxed);
        task.await.unwrap();
        let sizes = vacuumed.json();
        assert!(sizes["bytes_after"].as_u64() < sizes["bytes_before"].as_u64(), "{sizes}");
        engine.shutdown().await.unwrap();
    }
);

case!(
    #[postgres]
    async fn backup_and_vacuum_of_a_database_are_refused() {
        let place = Place::postgres();
        Engine::open(&place.url).await.unwrap().shutdown().await.unwrap();
        let refused = place.run("backup copy.sql");
        assert_eq!(refused.code, 3, "{refused:?}");
        assert!(refused.err.contains("pg_dump"), "{refused:?}");
    }
);
