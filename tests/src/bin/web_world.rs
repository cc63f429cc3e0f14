//! The command line of a program with a workflow for each kind of run, for the browser tests: `web_world --store ..
//! dev`.
//!
//! `web_world --store .. start world null` starts a run that starts the others.

use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use workflow_runtime::{Engine, Error, Result, hook, set_attribute, set_state, sleep, step, suspend, workflow, writer};

/// An answer to a question.
#[derive(Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct Answer {
    /// Whether it may go on
    approved: bool,
    by: String,
    note: Option<String>,
}

workflow_runtime::payload!(Answer);

#[step(retries = 1000, backoff = "60s..1h")]
async fn charge(order: u64) -> Result<String> {
    Err(Error::new(std::io::Error::other(format!("503 Service Unavailable from api.stripe.com for order {order}"))))
}

#[step(retries = 0)]
async fn reserve(order: u64) -> Result<u64> {
    match order % 7 {
        5 => Err(Error::fatal(std::io::Error::other(format!("order {order} is out of stock")))),
        _ => Ok(order * 3),
    }
}

#[workflow(id = "order")]
async fn order(order: u64, item: String, cents: u32) -> Result<String> {
    set_attribute("shop", if order.is_multiple_of(2) { "ulm" } else { "bonn" })?;
    set_state(&format!("{item} for {cents}"))?;
    reserve(order).await?;
    match order % 7 {
        1 => charge(order).await,
        2 => {
            let answer: Answer = hook().token(format!("order-{order}")).metadata(&item).await?;
            Ok(format!("{}: {}", answer.by, answer.approved))
        }
        3 => {
            let answer: Answer = suspend(&format!("Ship order {order}?")).label("approval").await?;
            Ok(format!("{}: {}", answer.by, answer.approved))
        }
        4 => {
            sleep(Duration::from_secs(2_640 + order)).await;
            Ok("slept".to_owned())
        }
        _ => Ok(format!("receipt-{order}")),
    }
}

#[workflow(id = "follow")]
#[allow(dead_code, reason = "it is started by its id only")]
async fn follow() -> Result<u32> {
    let log = writer::<String>("log");
    let go: u32 = hook().token("follow-go").await?;
    log.write(&format!("went {go}")).await?;
    Ok(go)
}

#[workflow(id = "world")]
#[allow(dead_code, reason = "it is started by its id only")]
async fn world() -> Result<()> {
    for number in 0..28 {
        order(number, "two nights in Ulm".to_owned(), 4200).id(format!("order-{}", 1000 + number)).detach().await?;
    }
    Ok(())
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    workflow_runtime::cli::main(Engine::builder()).await
}
