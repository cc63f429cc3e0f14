//! Operations that are assigned to nothing: none of them is executed.

use std::time::Duration;

use workflow_runtime::{
    Result, durable, finish, hook, nondeterministic, sleep, start, step, suspend, timeout, workflow, writer,
};

#[step]
async fn charge(order: u64) -> Result<u64> {
    Ok(order)
}

#[durable]
async fn helper() -> Result<()> {
    let _ = charge(1);
    Ok(())
}

#[workflow]
async fn child(order: u64) -> Result<u64> {
    Ok(order)
}

#[workflow]
async fn steps() -> Result<()> {
    let _ = charge(1);
    let _ = charge(1).retries(2);
    _ = charge(1);
    let _ = (charge(1));
    let charge_it = || charge(1);
    let _ = charge_it();
    Ok(())
}

#[workflow]
async fn parts() -> Result<()> {
    let _ = helper();
    let _ = child(1);
    let _ = child(1).abandon();
    let _ = child(1).continue_as_new();
    let _ = async { charge(1).await };
    let _ = start(child, 1);
    Ok(())
}

#[workflow]
async fn others() -> Result<()> {
    let _ = sleep(Duration::from_secs(1));
    let _ = timeout(Duration::from_secs(1), charge(1));
    let _ = nondeterministic(async { 1 });
    let _ = hook::<u32>();
    let _ = hook::<u32>().token("one");
    let _ = hook::<u32>().open();
    let _ = suspend::<u32>("approval").label("one");
    let _ = writer("words").write(&1);
    let _ = finish(());
    Ok(())
}

fn main() {}
