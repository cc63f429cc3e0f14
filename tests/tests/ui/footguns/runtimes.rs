//! Threads and runtimes, imported: the name of a module, or of
//! the type itself.

use std::thread;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{JoinSet, LocalSet};
use workflow_runtime::{Result, durable, workflow};

#[workflow]
async fn scope(mut orders: Vec<u64>) -> Result<Vec<u64>> {
    thread::scope(|scope| {
        scope.spawn(|| orders.push(1));
    });
    Ok(orders)
}

#[workflow]
async fn thread_builder() -> Result<()> {
    thread::Builder::new().spawn(|| {})?;
    Ok(())
}

#[workflow]
async fn handle() -> Result<()> {
    Handle::current().spawn(std::future::ready(()));
    Ok(())
}

#[durable]
async fn handle_that_may_be_there() -> bool {
    Handle::try_current().is_ok()
}

#[workflow]
async fn runtime() -> Result<()> {
    Runtime::new()?.block_on(std::future::ready(()));
    Builder::new_current_thread().build()?;
    Builder::new_multi_thread().build()?;
    Ok(())
}

#[workflow]
async fn local_set() -> Result<()> {
    drop(LocalSet::new());
    drop(JoinSet::<()>::new());
    Ok(())
}

fn main() {}
