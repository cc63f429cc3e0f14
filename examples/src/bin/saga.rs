//! An order as a saga: reserve the goods, charge the card, ship. If a step fails, the engine undoes those before it.
//!
//! `cargo run --bin saga`: the first order is shipped, the second has a card without funds, and no carrier takes the
//! third. Kill the program at any moment and run it again: it continues, or rolls back, after the last recorded step.
//! `saga.db` has the runs; remove the file to start over.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use workflow_runtime::{Engine, Error, Result, step, step_info, workflow};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    id: u32,
    card: String,
    cents: u32,
    country: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Payment {
    order: u32,
    cents: u32,
}

/// Simulates a request to another service.
async fn request(what: String) {
    println!("  {what}");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[step]
async fn reserve(order: u32) -> Result<u32> {
    request(format!("reserve the goods of order {order}")).await;
    Ok(order)
}

#[step]
async fn release(order: u32) -> Result<()> {
    request(format!("release the goods of order {order}")).await;
    Ok(())
}

#[step(retries = 5, backoff = "100ms..30s", timeout = "10s")]
async fn charge(order: Order) -> Result<Payment> {
    // Pass `step_info().idempotency_key` to a real payment service: it then charges once, however often the step runs.
    request(format!("charge {} cents for order {}", order.cents, order.id)).await;
    if order.card == "empty" {
        return Err(Error::fatal("the card was declined")); // another attempt would not help
    }
    Ok(Payment { order: order.id, cents: order.cents })
}

#[step(retries = 10, backoff = "1s..1h")] // money must not be lost because the bank is down for a minute
async fn refund(payment: Payment) -> Result<()> {
    request(format!("refund {} cents for order {}", payment.cents, payment.order)).await;
    Ok(())
}

#[step(retries = 3, backoff = "50ms..1s")]
async fn ship(order: Order) -> Result<String> {
    let attempt = step_info().map_or(1, |info| info.attempt);
    request(format!("ship order {} to {}, attempt {attempt}", order.id, order.country)).await;
    match order.country.as_str() {
        "Atlantis" => Err(Error::fatal("no carrier delivers there")),
        _ if attempt == 1 => Err(Error::new("the carrier does not answer")), // an ordinary error: the step is retried
        _ => Ok(format!("parcel-{}", order.id)),
    }
}

#[workflow]
async fn fulfil(order: Order) -> Result<String> {
    reserve(order.id).rollback(release).await?;
    charge(order.clone()).rollback(refund).await?;
    ship(order).await
}

#[tokio::main]
async fn main() -> Result<()> {
    let engine = Engine::open("sqlite:saga.db").await?;
    let order = |id, card: &str, country: &str| Order { id, card: card.into(), cents: 4200, country: country.into() };
    let orders = [order(1, "valid", "Norway"), order(2, "empty", "Norway"), order(3, "valid", "Atlantis")];
    for order in orders {
        let id = format!("order-{}", order.id);
        let run = engine.start(fulfil, order).id(&id).await?;
        match (&run).await {
            Ok(parcel) => println!("{id}: shipped as {parcel}"),
            Err(error) => println!("{id}: {}, everything undone: {error}", run.status().await?),
        }
    }
    engine.shutdown().await
}

#[cfg(test)]
#[path = "tests/saga.rs"]
mod tests;
