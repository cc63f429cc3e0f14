use std::time::Duration;
use futures::future::{join_all, select};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::sleep;
use workflow_runtime::{Result, step, workflow};

const SECOND: Duration = Duration::from_secs(1);

#[step]
async fn charge(order: u64) -> Result<u64> {
    Ok(order)
}

#[workflow]
async fn in_a_block() -> Result<u64> {
    let block = async {
        sleep(SECOND).await;
        1
    };
    Ok(block.await)
}

#[workflow]
async fn in_a_closure() -> Result<()> {
    let wait = |n: u32| async move { sleep(SECOND * n).await };
    wait(1).await;
    Ok(())
}

#[workflow]
async fn in_joins() -> Result<u64> {
    let (a, _) = tokio::join!(charge(1), sleep(SECOND));
    let (b, _) = futures::join!(charge(1), sleep(SECOND));
    use tokio::join;
    let (c, _) = join!(charge(1), sleep(SECOND));
    Ok(a? + b? + c?)
}

#[workflow]
async fn in_selects() -> Result<u64> {
    tokio::select! {
        n = charge(1) => n,
        _ = sleep(SECOND) => {
            sleep(SECOND).await;
            Ok(0)
        }
    }
}

#[workflow]
async fn in_a_select_of_futures() -> Result<u64> {
    use futures::FutureExt;
    let mut timer = Box::pin(sleep(SECOND)).fuse();
    futures::select! {
        n = charge(1).fuse() => n,
        _ = timer => Ok(0),
    }
}

#[workflow]
async fn in_macros() -> Result<String> {
    assert_eq!(sleep(SECOND).await, ());
    Ok(format!("{:?} {:?}", sleep(SECOND).await, vec![sleep(SECOND).await]))
}

#[workflow]
async fn in_collections() -> Result<()> {
    join_all([sleep(SECOND)]).await;
    select(Box::pin(sleep(SECOND)), charge(1)).await;
    let mut timers = FuturesUnordered::from_iter([sleep(SECOND)]);
    timers.next().await;
    Ok(())
}

#[workflow]
async fn in_branches() -> Result<()> {
    workflow_runtime::spawn(sleep(SECOND)).await;
    workflow_runtime::timeout(SECOND, sleep(SECOND)).await?;
    Ok(())
}

fn main() {}
