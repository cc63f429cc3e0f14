//! A subscription as a state machine that runs for months or years: it bills every month, and accepts signals any time.
//!
//! - active: every month is paid, and the customer can change the plan
//! - past due: the card was declined; a new card is charged at once
//! - cancelled: by the customer, or after the third unpaid month
//!
//! `cargo run --bin subscription`: ten months in seconds. Kill the program at any moment and run it again: it sends no
//! recorded bill again. `subscription.db` has the runs; remove the file to start over.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use workflow_runtime::{
    Engine, Result, continue_as_new_suggested, durable, hook, set_attribute, set_state, sleep, step, workflow,
};

/// A month of this demonstration. In production: 30 * 24 * 3600 s, or `sleep_until` the first of the next month.
const MONTH: Duration = Duration::from_millis(200);

/// The state of a subscription: the arguments of each generation of the run, and the state that other programs read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Subscription {
    customer: String,
    cents: u32,
    card: String,
    month: u32,
    unpaid: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Stage {
    Active,
    PastDue,
    Cancelled,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Signal {
    ChangePlan { cents: u32 },
    NewCard(String),
    Cancel,
}

/// Simulates the payment service. The function `customer` receives each bill.
struct Bank(mpsc::UnboundedSender<(u32, bool)>);

/// Returns whether the bank has paid. A declined card is a result, not an error of the step.
#[step(retries = 10, backoff = "1s..1h", timeout = "30s")]
async fn charge(#[resource] bank: &Bank, card: String, cents: u32, month: u32) -> Result<bool> {
    let paid = card != "expired" || month < 4;
    println!("month {month}: {cents} cents {}", if paid { "paid" } else { "declined" });
    bank.0.send((month, paid))?;
    Ok(paid)
}

#[durable]
async fn bill(now: &mut Subscription) -> Result<()> {
    let paid = charge(now.card.clone(), now.cents, now.month).await?;
    now.unpaid = if paid { 0 } else { now.unpaid + 1 };
    now.stage = match now.unpaid {
        0 => Stage::Active,
        1..=2 => Stage::PastDue,
        _ => Stage::Cancelled,
    };
    show(now)
}

/// Publishes the state, for `run.state()`, and the stage as an attribute, for `runs()`.
fn show(now: &Subscription) -> Result<()> {
    set_attribute("stage", &format!("{:?}", now.stage))?;
    set_state(now)
}

#[durable]
async fn take(signal: Signal, now: &mut Subscription) -> Result<()> {
    match signal {
        Signal::ChangePlan { cents } => now.cents = cents,
        Signal::Cancel => now.stage = Stage::Cancelled,
        Signal::NewCard(card) => {
            now.card = card;
            if now.stage == Stage::PastDue {
                return bill(now).await;
            }
        }
    }
    show(now)
}

#[workflow]
async fn subscription(mut now: Subscription) -> Result<Subscription> {
    let mut signals = hook::<Signal>().token(format!("subscription-{}", now.customer)).open();
    loop {
        bill(&mut now).await?;
        let mut month = sleep(MONTH);
        while now.stage != Stage::Cancelled {
            tokio::select! {
                signal = &mut signals => take(signal?, &mut now).await?,
                () = &mut month => break,
            }
        }
        if now.stage == Stage::Cancelled {
            return Ok(now);
        }
        now.month += 1;
        if continue_as_new_suggested() {
            return subscription(now).continue_as_new().await; // with a new, short journal
        }
    }
}

/// Simulates a customer, who reacts to the bills.
async fn customer(engine: &Engine, mut bills: mpsc::UnboundedReceiver<(u32, bool)>) -> Result<()> {
    while let Some((month, paid)) = bills.recv().await {
        let signal = match month {
            2 => Signal::ChangePlan { cents: 1900 },
            5.. if !paid => Signal::NewCard("valid".into()),
            10.. => Signal::Cancel,
            _ => continue,
        };
        println!("  ada: {signal:?}");
        engine.resume_hook("subscription-ada", &signal).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let (bank, bills) = mpsc::unbounded_channel();
    let engine = Engine::builder().url("sqlite:subscription.db").resource(Bank(bank));
    let engine = engine.suggest_continuing_after(10).open().await?; // 10,000 events, unless set
    let (ada, card, stage) = ("ada".into(), "expired".into(), Stage::Active);
    let first = Subscription { customer: ada, cents: 900, card, month: 1, unpaid: 0, stage };
    let run = engine.start(subscription, first).id("subscription-ada").await?;
    tokio::select! {
        end = &run => println!("{:?}", end?),
        ended = customer(&engine, bills) => ended?,
    }
    let cancelled = engine.runs().of(subscription).attribute("stage", "Cancelled").await?.runs.len();
    println!("{cancelled} cancelled; this one in generation {}", run.info().await?.generation);
    engine.shutdown().await
}

#[cfg(test)]
#[path = "tests/subscription.rs"]
mod tests;
