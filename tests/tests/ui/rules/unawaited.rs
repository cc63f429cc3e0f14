use std::time::Duration;
use workflow_runtime::{Result, durable, sleep, step, workflow};

#[step]
async fn charge(order: u64) -> Result<u32> {
    Ok(order as u32)
}

#[durable]
async fn helper() -> Result<u32> {
    charge(1);
    charge(2).await
}

#[workflow]
async fn checkout() -> Result<u32> {
    charge(1);
    charge(1).retries(2);
    helper();
    sleep(Duration::from_secs(1));
    async {
        charge(2).await
    };
    charge(3).await;
    Ok(1)
}

fn main() {}
