//! The workflow of an order: payment, approval, parcel; or a refund.

use std::time::Duration;

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use workflow_runtime::http::{Answer, Webhook, webhook};
use workflow_runtime::{Error, Result, durable, set_state, step, step_info, timeout, workflow, writer};

use crate::ledger::{Entry, Ledger, What};

const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The stream with the progress of an order.
pub const PROGRESS: &str = "progress";

/// The state of the run of an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    pub item: String,
    pub cents: u32,
    pub stage: Stage,
    /// The path of the webhook for the decision, below `/webhooks`. Anyone who knows it can decide. The page shows it
    /// to all visitors; a real shop would mail it to the approver.
    pub approval: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Charging,
    AwaitingApproval,
    Shipping,
    Shipped,
    Rejected,
    Refunded,
}

#[workflow]
pub async fn order(id: String, item: String, cents: u32) -> Result<()> {
    let order = Order { item, cents, stage: Stage::Charging, approval: None };
    publish(&order, "charging").await?;
    let charged = order.clone();
    charge(id.clone(), cents).rollback(move |payment| give_back(charged, payment)).await?;

    let approval = webhook().answer(Answer::new(303).header("location", "/")).open();
    let path = Some(approval.path().to_owned());
    publish(&Order { stage: Stage::AwaitingApproval, approval: path, ..order.clone() }, "waiting for approval").await?;
    let refusal = match timeout(PATIENCE, decision(approval)).await {
        Ok(Ok(true)) => None,
        Ok(Ok(false)) => Some("rejected"),
        Ok(Err(error)) => return Err(error),
        Err(_elapsed) => Some("nobody has approved it in time"),
    };
    if let Some(refusal) = refusal {
        publish(&Order { stage: Stage::Rejected, ..order }, refusal).await?;
        // The run fails, and the engine rolls the payment back.
        return Err(Error::fatal(refusal));
    }

    publish(&Order { stage: Stage::Shipping, ..order.clone() }, "approved").await?;
    ship(id, cents).await?;
    publish(&Order { stage: Stage::Shipped, ..order }, "shipped").await
}

/// Waits for the decision. Ignores requests that are neither an approval nor a rejection, such as those of a mail
/// program that opens every link.
#[durable]
async fn decision(mut requests: Webhook) -> Result<bool> {
    while let Some(request) = requests.next().await {
        match request?.text() {
            Some("decision=approve") => return Ok(true),
            Some("decision=reject") => return Ok(false),
            _ => {}
        }
    }
    Err(Error::fatal("the webhook was closed"))
}

/// Sets the state and writes the line in one turn, so that a reader of the line also sees the state. The workflow
/// writes the line, not a step, so that it is in the stream once, whatever crashes.
#[durable]
async fn publish(order: &Order, line: &str) -> Result<()> {
    set_state(order)?;
    writer::<String>(PROGRESS).write(&line.to_owned()).await
}

#[durable]
async fn give_back(order: Order, payment: Entry) -> Result<()> {
    refund(payment.order, payment.cents).await?;
    publish(&Order { stage: Stage::Refunded, ..order }, "refunded").await
}

#[step]
fn charge(#[resource] ledger: &Ledger, order: String, cents: u32) -> Result<Entry> {
    enter(ledger, What::Charge, order, cents)
}

#[step]
fn refund(#[resource] ledger: &Ledger, order: String, cents: u32) -> Result<Entry> {
    enter(ledger, What::Refund, order, cents)
}

#[step]
fn ship(#[resource] ledger: &Ledger, order: String, cents: u32) -> Result<Entry> {
    enter(ledger, What::Ship, order, cents)
}

/// An interrupted step is executed again with the same key, so the ledger has one line for it.
fn enter(ledger: &Ledger, what: What, order: String, cents: u32) -> Result<Entry> {
    let info = step_info().ok_or_else(|| Error::fatal("only an order touches the ledger"))?;
    let entry = Entry { key: info.idempotency_key, what, order, cents };
    ledger.enter(&entry)?;
    Ok(entry)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
