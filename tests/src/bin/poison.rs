//! A step that aborts its process, and a bystander run that makes progress: `poison DATABASE LOG LIFE` starts or
//! continues both.

use std::path::PathBuf;

use tokio::sync::watch;
use workflow_runtime::{Code, Engine, Error, Result, step, workflow};
use workflow_tests::Log;

/// The number of the bystander's steps that this process has begun.
struct Progress(watch::Sender<u32>);

#[step]
async fn work(#[resource] log: &Log, #[resource] progress: &Progress, value: u64) -> Result<u64> {
    log.note();
    progress.0.send_modify(|steps| *steps += 1);
    Ok(value + 1)
}

/// Waits for the bystander's second step in this process, which begins once the first is recorded: so the bystander
/// makes progress in each process.
#[step]
async fn kill_the_process(#[resource] log: &Log, #[resource] progress: &Progress) -> Result<()> {
    progress.0.subscribe().wait_for(|steps| *steps >= 2).await?;
    log.note();
    std::process::abort()
}

#[workflow]
async fn bystander(steps: u64) -> Result<u64> {
    let mut value = 0;
    while value < steps {
        value = work(value).await?;
    }
    Ok(value)
}

#[workflow]
async fn poisoned() -> Result<()> {
    kill_the_process().await
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or_else(|| Error::new("poison DATABASE LOG LIFE"));
    let (database, log, life) = (next()?, PathBuf::from(next()?), next()?);
    let engine = Engine::builder()
        .url(format!("sqlite:{database}"))
        .resource(Log::file(log, life))
        .resource(Progress(watch::Sender::new(0)))
        .open()
        .await?;
    let poisoned = engine.start(poisoned, ()).id("poisoned").await?;
    let bystander = engine.start(bystander, 1000).id("bystander").await?;
    match poisoned.await {
        Err(error) if error.code() == Code::Stuck => {
            println!("stuck {}", serde_json::to_string(&format!("{error:?}"))?)
        }
        other => println!("unexpected {other:?}"),
    }
    println!("result {}", bystander.await?);
    engine.shutdown().await
}
