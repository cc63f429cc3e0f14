//! A workflow whose code changes: `deploy DATABASE LOG LIFE VARIANT` goes on with the run as that variant of it, and
//! prints its result or why it is stuck. A copy of this program counts as another build.

use std::path::PathBuf;
use std::sync::OnceLock;

use workflow_runtime::{Code, Engine, Error, Result, step, workflow};
use workflow_tests::Log;

static VARIANT: OnceLock<String> = OnceLock::new();

/// What stands for the code that was deployed. The same in every process of one build, so no replay sees it change.
fn is(variant: &str) -> bool {
    VARIANT.get().is_some_and(|chosen| chosen == variant)
}

#[step]
async fn add(#[resource] log: &Log, value: u64) -> Result<u64> {
    log.note();
    Ok(value + 1)
}

#[step]
async fn multiply(#[resource] log: &Log, value: u64) -> Result<u64> {
    log.note();
    Ok(value * 2)
}

#[step]
async fn hold(#[resource] log: &Log, value: u64) -> Result<u64> {
    log.note();
    if is("holds") {
        println!("holding");
        std::future::pending::<()>().await;
    }
    Ok(value)
}

#[workflow]
async fn changes(value: u64) -> Result<u64> {
    let first = add(value).await?;
    if is("returns early") {
        return Ok(first);
    }
    let second = if is("calls another step") {
        multiply(first).await? // another step
    } else if is("gives another input") {
        add(first + 100).await? // another input
    } else {
        add(first).await?
    };
    assert!(!is("panics"), "a mistake in this variant");
    let third = hold(second).await?;
    add(third).await
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or_else(|| Error::new("deploy DATABASE LOG LIFE VARIANT"));
    let (database, log, life) = (next()?, PathBuf::from(next()?), next()?);
    VARIANT.get_or_init(|| next().unwrap_or_default());
    let engine = Engine::builder().url(format!("sqlite:{database}")).resource(Log::file(log, life)).open().await?;
    let run = engine.start(changes, 1).id("run").await?;
    println!("started");
    match run.await {
        Ok(value) => println!("result {value}"),
        Err(error) if error.code() == Code::Stuck => {
            println!("stuck {}", serde_json::to_string(&format!("{error:?}"))?)
        }
        Err(error) => return Err(error),
    }
    engine.shutdown().await
}
