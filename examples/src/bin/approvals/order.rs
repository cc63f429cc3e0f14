//! An order, from the payment to the parcel, or back.

use std::time::Duration;

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use workflow_runtime::http::{Answer, Webhook, webhook};
use workflow_runtime::{Error, Result, durable, set_state, step, step_info, timeout, workflow, writer};

use crate::ledger::{Entry, Ledger, What};

const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The stream in which an order tells what has happened to it.
pub const PROGRESS: &str = "progress";

/// What an order shows of itself: the state of its run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    pub item: String,
    pub cents: u32,
    pub stage: Stage,
    /// Where the decision is taken, below `/webhooks`. Whoever knows it may decide; here everybody who looks does, while a
    /// real shop would mail it to whom it concerns.
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
    tell(&order, "charging").await?;
    let charged = order.clone();
    charge(id.clone(), cents).rollback(move |payment| give_back(charged, payment)).await?;

    let approval = webhook().answer(Answer::new(303).header("location", "/")).open();
    let path = Some(approval.path().to_owned());
    tell(&Order { stage: Stage::AwaitingApproval, approval: path, ..order.clone() }, "waiting for approval").await?;
    let refusal = match timeout(PATIENCE, decision(approval)).await {
        Ok(Ok(true)) => None,
        Ok(Ok(false)) => Some("rejected"),
        Ok(Err(error)) => return Err(error),
        Err(_elapsed) => Some("nobody has approved it in time"),
    };
    if let Some(refusal) = refusal {
        tell(&Order { stage: Stage::Rejected, ..order }, refusal).await?;
        // With this the run has failed, and what can be rolled back is.
        return Err(Error::fatal(refusal));
    }

    tell(&Order { stage: Stage::Shipping, ..order.clone() }, "approved").await?;
    ship(id, cents).await?;
    tell(&Order { stage: Stage::Shipped, ..order }, "shipped").await
}

/// Whether it is approved. What is neither yes nor no is passed over, such as the visit of a mail program that looks at
/// every link.
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

/// The state and the line in one turn: who has read the line sees the state. It is the workflow that writes the line, and
/// not a step, so that no crash writes it twice.
#[durable]
async fn tell(order: &Order, line: &str) -> Result<()> {
    set_state(order)?;
    writer::<String>(PROGRESS).write(&line.to_owned()).await
}

#[durable]
async fn give_back(order: Order, payment: Entry) -> Result<()> {
    refund(payment.order, payment.cents).await?;
    tell(&Order { stage: Stage::Refunded, ..order }, "refunded").await
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

/// A step that was interrupted is executed again, with the same key: the ledger has one line all the same.
fn enter(ledger: &Ledger, what: What, order: String, cents: u32) -> Result<Entry> {
    let info = step_info().ok_or_else(|| Error::fatal("only an order touches the ledger"))?;
    let entry = Entry { key: info.idempotency_key, what, order, cents };
    ledger.enter(&entry)?;
    Ok(entry)
}
