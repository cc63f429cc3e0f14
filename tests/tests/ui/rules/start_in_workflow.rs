//! A workflow that starts another one instead of calling it.

use workflow_runtime::{Engine, Result, durable, start, workflow};

#[workflow]
async fn child(order: u64) -> Result<u64> {
    Ok(order)
}

#[workflow]
async fn parent() -> Result<u64> {
    let run = start(child, 1).await?;
    run.await
}

#[workflow]
async fn with_an_id() -> Result<()> {
    start(child, 1).id("one").await.map(drop)
}

#[durable]
async fn of_an_engine(engine: &Engine) -> Result<()> {
    engine.start(child, 1).await.map(drop)
}

#[workflow]
async fn as_the_message_says() -> Result<u64> {
    child(1).detach()?;
    child(2).await
}

fn main() {}
