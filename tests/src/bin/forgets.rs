//! Executes short runs, deletes some and retains few of the others: the program that the removal sweep kills.
//!
//! `forgets URL LOG LIFE RUN..` prints the id of each run that it has started or deleted, and the number of runs left
//! at the end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use workflow_runtime::store::{
    Answer, Budget, Clean, CleanAnswer, Expired, PostgresStore, SqliteStore, Status, Store, Synchronous, Write,
};
use workflow_runtime::{Code, Engine, Error, Result};
use workflow_tests::Log;
use workflow_tests::brief::brief;

/// Fewer rows than a run has, so that its removal takes several transactions.
const PART: Budget = Budget { rows: 4, bytes: 1 << 20 };

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or_else(|| Error::new("forgets URL LOG LIFE RUN.."));
    let (url, log, life) = (next()?, PathBuf::from(next()?), next()?);
    let store: Arc<dyn Store> = match url.strip_prefix("sqlite:") {
        Some(path) => Arc::new(SqliteStore::open(path, Synchronous::Full)?),
        None => Arc::new(PostgresStore::open(&url).await?),
    };
    let engine = Engine::builder().store(store.clone()).resource(Log::file(log, life)).open().await?;
    let mut runs = Vec::new();
    for (number, id) in args.enumerate() {
        runs.push(engine.start(brief, number % 3 == 2).id(id).await?);
        println!("started {}", runs[number].id());
    }
    // Wait for the runs of earlier processes, too.
    let unfinished = || engine.runs().status(Status::Pending).status(Status::Running).status(Status::Suspended);
    while !unfinished().count().await?.is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for run in runs.iter().step_by(2) {
        match run.delete().await {
            Err(error) if error.code() != Code::RunNotFound => return Err(error),
            _ => println!("deleted {}", run.id()),
        }
    }
    let mut expired = Vec::new();
    for (status, most) in [(Status::Completed, 3), (Status::Failed, 0)] {
        let until = store.ended_before(status, most).await?;
        expired.extend(until.map(|until| Expired { status, until }));
    }
    let clean = [Write::Clean(Clean { expired, now: 0, messages_before: 0, runs: 2, most: PART })];
    // A transaction of the killed process may still be open and hold the lock of the cleaning, so try again.
    let ended = || engine.runs().status(Status::Completed).status(Status::Failed);
    while ended().count().await?.values().sum::<u64>() > 3 {
        while store.commit(&clean).await.map_err(|failed| failed.error)? == [Answer::Clean(CleanAnswer { more: true })]
        {
        }
    }
    let kept: Vec<String> = engine.runs().stream().map_ok(|run| run.id).try_collect().await?;
    println!("kept {}", kept.len());
    engine.shutdown().await
}
