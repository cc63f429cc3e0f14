//! The shortest complete program. Kill it during the sleep and run it again: it continues, and does not charge again.
//!
//! The store is `.workflow/workflow.db`. Once it has ended, running the program again prints the recorded receipt.

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

#[cfg(test)]
#[path = "tests/quickstart.rs"]
mod tests;
