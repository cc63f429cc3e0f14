use std::thread;
use tokio::task;
use workflow_runtime::{Result, step, workflow};

#[step]
async fn charge(order: u64) -> Result<u64> {
    Ok(order)
}

#[workflow]
async fn thread() -> Result<()> {
    thread::spawn(|| {});
    Ok(())
}

#[workflow]
async fn thread_id() -> Result<String> {
    Ok(format!("{:?}", thread::current().id()))
}

#[workflow]
async fn task_of_tokio() -> Result<u64> {
    Ok(tokio::spawn(async { 1 }).await?)
}

#[workflow]
async fn detached_task() -> Result<()> {
    task::spawn(std::future::ready(()));
    Ok(())
}

#[workflow]
async fn blocking_task() -> Result<()> {
    Ok(task::spawn_blocking(|| {}).await?)
}

#[workflow]
async fn task_set() -> Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(std::future::ready(1));
    while tasks.join_next().await.is_some() {}
    Ok(())
}

#[workflow]
async fn block_on() -> Result<u64> {
    futures::executor::block_on(charge(1))
}

#[workflow]
async fn runtime() -> Result<()> {
    drop(tokio::runtime::Handle::current());
    Ok(())
}

fn main() {}
