//! Executes runs of a workflow that uses every operation: the program that the crash sweep kills.
//!
//! `sweep URL LOG LIFE RUN..` starts or continues the runs and prints their results, and starts and cancels one more. The
//! run `further` is of another workflow, and is followed by another client.
//! Without a run it executes the stored runs until its standard input ends.

use std::path::PathBuf;
use std::time::Duration;

use workflow_runtime::{Engine, Error, Result};
use workflow_tests::Log;
use workflow_tests::everything::{DOOMED, assert_story, everything};
use workflow_tests::further::{self, FURTHER};

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or_else(|| Error::new("sweep URL LOG LIFE RUN.."));
    let (url, log, life) = (next()?, PathBuf::from(next()?), next()?);
    // Every other process evicts each run as soon as it waits.
    let evict_after = if life.bytes().all(|digit| digit % 2 == 0) { Duration::ZERO } else { Duration::MAX };
    let builder = Engine::builder().url(&url).resource(Log::file(&log, life.clone()));
    let builder = further::configure(builder, &log, &life);
    let engine = builder.evict_after(evict_after).open().await?;
    println!("open");
    let mut runs = Vec::new();
    let mut followed = None;
    for id in args {
        if id == FURTHER {
            followed = Some(further::begin(&engine).await?);
            println!("started {FURTHER}");
            continue;
        }
        runs.push(engine.start(everything, 1).id(id).await?);
        println!("started {}", runs[runs.len() - 1].id());
    }
    if !runs.is_empty() {
        let doomed = engine.start(everything, 2).id(DOOMED).await?;
        println!("started {DOOMED}");
        println!("cancelled {}", doomed.cancel("it is doomed").await?);
    }
    for run in &runs {
        println!("result {} {}", run.id(), serde_json::to_string(&run.await?)?);
        assert_story(run).await?;
    }
    if let Some(run) = &followed {
        further::end(&url, run).await?;
        println!("result {FURTHER} {}", serde_json::to_string(&run.await?)?);
        let ids: Vec<&str> = runs.iter().map(|run| run.id()).chain([FURTHER, further::NAMED]).collect();
        further::called(&log, &ids).await;
    }
    if runs.is_empty() {
        tokio::task::spawn_blocking(|| std::io::stdin().lines().for_each(drop)).await?;
    }
    engine.shutdown().await
}
