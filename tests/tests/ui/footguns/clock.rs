use std::time::{Instant, SystemTime, SystemTime as WallClock};
use workflow_runtime::{Result, step, workflow};

#[step]
async fn charge(order: u64) -> Result<u64> {
    Ok(order)
}

#[workflow]
async fn system_time() -> Result<u64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    charge(since.as_secs()).await
}

#[workflow]
async fn under_another_name() -> Result<bool> {
    Ok(WallClock::now() > SystemTime::UNIX_EPOCH)
}

#[workflow]
async fn instant() -> Result<u64> {
    let start = Instant::now();
    charge(1).await?;
    Ok(start.elapsed().as_secs())
}

#[workflow]
async fn instant_of_tokio() -> Result<u64> {
    use tokio::time::Instant;
    let start = Instant::now();
    charge(1).await?;
    Ok(start.elapsed().as_secs())
}

#[workflow]
async fn elapsed() -> Result<bool> {
    let start = workflow_runtime::now();
    Ok(start.elapsed()?.as_secs() > 1)
}

#[workflow]
async fn spelled_out() -> Result<String> {
    let now = std::time::SystemTime::now();
    Ok(format!("{now:?} {:?}", std::time::Instant::now()))
}

#[workflow]
async fn utc() -> Result<String> {
    use chrono::Utc;
    Ok(Utc::now().to_rfc3339())
}

#[workflow]
async fn local() -> Result<String> {
    use chrono::Local;
    Ok(format!("{} {}", Local::now(), chrono::Utc::now()))
}

fn main() {}
