use std::time::Duration;
use tokio::time;
use workflow_runtime::{Result, step, workflow};

const SECOND: Duration = Duration::from_secs(1);

#[step]
async fn charge(order: u64) -> Result<u64> {
    Ok(order)
}

#[workflow]
async fn foreign_sleep() -> Result<()> {
    time::sleep(SECOND).await;
    Ok(())
}

#[workflow]
async fn spelled_sleep() -> Result<()> {
    tokio::time::sleep(SECOND).await;
    Ok(())
}

#[workflow]
async fn foreign_timeout() -> Result<u64> {
    time::timeout(SECOND, charge(1)).await?
}

#[workflow]
async fn interval() -> Result<()> {
    let mut interval = time::interval(SECOND);
    interval.tick().await;
    Ok(())
}

#[workflow]
async fn blocking_sleep() -> Result<()> {
    std::thread::sleep(SECOND);
    Ok(())
}

#[workflow]
async fn yielding() -> Result<()> {
    tokio::task::yield_now().await;
    Ok(())
}

#[workflow]
async fn yielding_thread() -> Result<()> {
    std::thread::yield_now();
    Ok(())
}

fn main() {}
