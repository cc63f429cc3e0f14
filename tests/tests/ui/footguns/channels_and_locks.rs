use std::sync::Arc;
use tokio::sync::{Mutex, Notify, Semaphore, mpsc, oneshot, watch};
use workflow_runtime::{Result, workflow};

#[workflow]
async fn channel() -> Result<u64> {
    let (sender, mut receiver) = mpsc::channel(1);
    sender.send(1).await?;
    Ok(receiver.recv().await.unwrap_or(0))
}

#[workflow]
async fn answer() -> Result<u64> {
    let (_sender, receiver) = oneshot::channel::<u64>();
    Ok(receiver.await?)
}

#[workflow]
async fn observed() -> Result<()> {
    let (_sender, mut receiver) = watch::channel(1);
    receiver.changed().await?;
    Ok(())
}

#[workflow]
async fn lock() -> Result<u64> {
    let total = Arc::new(Mutex::new(1));
    Ok(*total.lock().await)
}

#[workflow]
async fn permit() -> Result<()> {
    let permits = Semaphore::new(1);
    drop(permits.acquire().await?);
    Ok(())
}

#[workflow]
async fn notification() -> Result<()> {
    Notify::new().notified().await;
    Ok(())
}

#[workflow]
async fn channel_of_futures() -> Result<u64> {
    use futures::StreamExt;
    let (_sender, mut receiver) = futures::channel::mpsc::channel::<u64>(1);
    Ok(receiver.next().await.unwrap_or(0))
}

fn main() {}
