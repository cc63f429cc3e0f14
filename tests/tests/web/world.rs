//! Runs of each kind.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use workflow_runtime::{
    Engine, Error, Result, Status, hook, set_attribute, set_state, sleep, step, suspend, workflow, writer,
};

use crate::support::soon;

/// What must never reach a page as it is.
pub const HOSTILE: &str = "</code><script>alert(1)</script><img src=x onerror=alert(2)>'\"&\u{1b}[2J\u{7}\u{202e}";

#[derive(Debug, Deserialize, Serialize, schemars::JsonSchema)]
pub struct Answer {
    pub approved: bool,
    pub by: String,
}

workflow_runtime::payload!(Answer);

#[step(retries = 0)]
pub async fn charge(text: String) -> Result<String> {
    Err(Error::fatal(std::io::Error::other(text)))
}

#[step(retries = 100, backoff = "1h..2h")]
pub async fn call(text: String) -> Result<String> {
    Err(Error::new(std::io::Error::other(text)))
}

#[workflow(id = "breaks")]
pub async fn fails(text: String) -> Result<String> {
    set_attribute("text", &text)?;
    set_state(&text)?;
    writer::<String>("log").write(&text).await?;
    charge(text).await
}

#[workflow(id = "retries")]
pub async fn retries(text: String) -> Result<String> {
    call(text).await
}

#[workflow(id = "naps")]
pub async fn naps() -> Result<()> {
    sleep(Duration::from_secs(3_600)).await;
    Ok(())
}

#[workflow(id = "family")]
pub async fn family() -> Result<()> {
    naps().id("below").await
}

#[workflow(id = "asks")]
pub async fn asks(text: String) -> Result<String> {
    suspend(&text).label("approval").await
}

#[workflow(id = "approves")]
pub async fn approves(question: String) -> Result<Answer> {
    suspend(&question).label("approve").await
}

#[workflow(id = "listens")]
pub async fn listens(token: String, note: String) -> Result<Answer> {
    hook::<Answer>().token(token).metadata(&note).await
}

/// Waits until a run has a status.
pub async fn is(engine: &Engine, id: &str, status: Status) {
    let run = engine.get_run::<(), Error>(id);
    soon(async {
        while run.status().await.expect("the run exists") != status {
            workflow_harness::pause().await;
        }
    })
    .await;
}

/// An engine with runs of each kind, all of which rest.
pub async fn filled(text: &str) -> Engine {
    let engine = Engine::builder().url("memory:").deployment("v1").open().await.expect("an engine");
    engine.start(fails, text.to_owned()).id("fails").await.expect("it is started");
    engine.start(retries, text.to_owned()).id("retries").await.expect("it is started");
    engine.start(naps, ()).id("naps").await.expect("it is started");
    engine.start(asks, text.to_owned()).id("asks").await.expect("it is started");
    engine.start(listens, ("listens".to_owned(), text.to_owned())).id("listens").await.expect("it is started");
    is(&engine, "fails", Status::Failed).await;
    for id in ["naps", "asks", "listens"] {
        is(&engine, id, Status::Suspended).await;
    }
    let run = engine.get_run::<(), Error>("retries");
    soon(async {
        while !format!("{:?}", run.waiting().await).contains("Retrying") {
            workflow_harness::pause().await;
        }
    })
    .await;
    engine
}

/// The deployments: whether each is drained and promoted, and how many runs are bound to it.
pub async fn deployments(engine: &Engine) -> Vec<(String, bool, bool, u64)> {
    let all = engine.deployments().await.expect("they are listed").into_iter();
    all.map(|it| (it.id, it.is_draining, it.is_promoted, it.runs)).collect()
}

/// The ids of all runs with their statuses.
pub async fn all(engine: &Engine) -> Vec<(String, Status)> {
    engine.runs().await.expect("they are listed").runs.into_iter().map(|run| (run.id, run.status)).collect()
}
