use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use workflow_runtime::{Result, durable, step, workflow};

#[step]
async fn charge(order: u64) -> Result<u64> {
    Ok(order)
}

async fn helper() -> Result<u64> {
    charge(1).await
}

#[workflow]
async fn helper_without_attribute() -> Result<u64> {
    helper().await
}

fn boxed() -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async { 1 })
}

#[workflow]
async fn trait_object() -> Result<u64> {
    Ok(boxed().await)
}

#[workflow]
async fn by_hand() -> Result<u64> {
    Ok(poll_fn(|_| Poll::Ready(1)).await)
}

#[durable]
async fn generic<F: Future<Output = u64>>(future: F) -> u64 {
    future.await
}

#[workflow]
async fn argument() -> Result<u64> {
    Ok(generic(std::future::ready(1)).await)
}

#[workflow]
async fn boxed_too_early() -> Result<u64> {
    use futures::FutureExt;
    FutureExt::boxed(charge(1)).await
}

fn main() {}
