use futures::{FutureExt, select};
use workflow_runtime::{Result, step, workflow};

#[step]
async fn charge(order: u64) -> Result<u64> {
    Ok(order)
}

#[workflow]
async fn imported() -> Result<u64> {
    select! {
        one = charge(1).fuse() => one,
        two = charge(2).fuse() => two,
    }
}

#[workflow]
async fn by_its_path() -> Result<u64> {
    futures::select! {
        one = charge(1).fuse() => one,
        two = charge(2).fuse() => two,
    }
}

fn main() {}
