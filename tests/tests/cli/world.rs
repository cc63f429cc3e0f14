//! A store with runs of each kind, at fixed times.

use std::sync::Arc;
use std::time::Duration;

use workflow_runtime::{
    Builder, Engine, Error, Result, Status, durable, hook, set_attribute, set_state, sleep, step, suspend, workflow,
    writer,
};

use crate::clock::ManualClock;
use crate::support::{Place, soon};

const START: u64 = 1_700_000_000_000;

#[step(retries = 0)]
pub async fn charge(order: u64) -> Result<String> {
    match order {
        1 => Ok(format!("receipt-{order}")),
        order => Err(Error::fatal(format!("card of order {order} declined"))),
    }
}

#[workflow(id = "checkout")]
pub async fn checkout(order: u64) -> Result<String> {
    set_attribute("customer", if order == 1 { "Ada" } else { "Eve" })?;
    set_state(&format!("charging {order}"))?;
    charge(order).await
}

#[workflow(id = "approval")]
pub async fn approval(subject: String) -> Result<bool> {
    hook::<bool>().token(format!("approve-{subject}")).metadata(&subject).await
}

#[workflow(id = "asks")]
pub async fn asks() -> Result<bool> {
    suspend("may I?").label("question").await
}

#[workflow(id = "nap")]
pub async fn nap() -> Result<()> {
    sleep(Duration::from_secs(3_600)).await;
    Ok(())
}

#[durable]
async fn both() -> Result<()> {
    nap().await
}

#[workflow(id = "family")]
pub async fn family() -> Result<()> {
    checkout(1).id("order-1-again").await?;
    both().await
}

#[workflow(id = "writes")]
pub async fn writes() -> Result<()> {
    let log = writer::<String>("log");
    log.write(&"first".to_owned()).await?;
    log.write(&"second".to_owned()).await?;
    Ok(())
}

/// A builder of an engine with a stopped clock.
pub fn builder(place: &Place) -> Builder {
    let clock = ManualClock::up_for_an_hour_at(START);
    Engine::builder().url(&place.url).environment(Arc::new(clock))
}

/// Starts a run of each kind, and shuts the engine down when all runs have ended or wait.
pub async fn filled(place: &Place) {
    let engine = builder(place).open().await.expect("the engine opens");
    let _ = soon(engine.start(checkout, 1).id("order-1").await.unwrap()).await;
    let _ = soon(engine.start(checkout, 2).id("order-2").await.unwrap()).await;
    let _ = soon(engine.start(checkout, 33).id("order-3").await.unwrap()).await;
    engine.start(approval, "7".to_owned()).id("approval-7").await.unwrap();
    engine.start(asks, ()).id("asks-1").await.unwrap();
    engine.start(nap, ()).id("nap-1").await.unwrap();
    let cancelled = engine.start(nap, ()).id("nap-2").await.unwrap();
    soon(cancelled.cancel("not tired")).await.unwrap();
    engine.start(family, ()).id("family-1").await.unwrap();
    let _ = soon(engine.start(writes, ()).id("writes-1").await.unwrap()).await;
    soon(engine.get_run::<String, Error>("order-1-again")).await.unwrap();
    soon(async {
        loop {
            let children = engine.get_run::<(), Error>("family-1").children().await.unwrap().len();
            let busy = engine.runs().status(Status::Pending).status(Status::Running).count().await.unwrap();
            if children == 2 && busy.is_empty() {
                break;
            }
            workflow_harness::pause().await;
        }
    })
    .await;
    engine.shutdown().await.expect("the engine stops");
}
