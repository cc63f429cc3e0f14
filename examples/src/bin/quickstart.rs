//! The shortest whole program. Kill it while it sleeps and run it again: it continues, and charges once.
//!
//! The run is kept in `.workflow/workflow.db`. Once it has ended, running the program again prints the recorded receipt.

use std::time::Duration;
use workflow_runtime::{Result, sleep, start, step, workflow};

#[step]
async fn charge(order: u64, cents: u32) -> Result<String> {
    println!("charging {cents} cents for order {order}");
    Ok(format!("receipt-{order}-{cents}"))
}

#[workflow]
async fn checkout(order: u64, cents: u32) -> Result<String> {
    let receipt = charge(order, cents).await?;
    sleep(Duration::from_secs(3)).await;
    Ok(receipt)
}

#[tokio::main]
async fn main() -> Result<()> {
    let run = start(checkout, (1, 4200)).id("order-1").await?;
    println!("{}", run.await?);
    Ok(())
}
