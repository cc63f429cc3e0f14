//! Parks the runs of [`more`](super::more).

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use workflow_runtime::store::{NewWorker, Ownership, Store};
use workflow_runtime::{Builder, Client, Engine, Error, Result, RunEventKind, Status, Waiting};

use super::more::*;
use super::workflows::{asks, signs};
use super::write::{is, until};

/// The deployment to which a run is bound that has begun.
const BOUND: &str = "bound elsewhere";

/// Parks a run that is bound to another deployment. This comes first: to a stuck run the other deployment is another build.
pub(super) async fn bind(builder: Builder) -> Result<()> {
    let elsewhere = builder.deployment(BOUND).open().await?;
    let bound = elsewhere.start(asks, "bound".into()).id("bound and begun").deployment(BOUND).await?;
    is(&bound, Status::Suspended).await?;
    elsewhere.shutdown().await
}

/// Parks the other runs. Each call of `builder` opens the store as another process would.
pub(super) async fn park<F: Future<Output = Result<Builder>>>(builder: impl Fn() -> F) -> Result<()> {
    // While nobody executes, the payloads are sent to a hook that will take only the first of them.
    let engine = builder().await?.open().await?;
    let takes = engine.start(takes, ("takes".into(), 3)).id("has payloads left").await?;
    let carries = engine.start(carries, ("carries".into(), 3, Vec::new())).id("carries payloads").await?;
    is(&takes, Status::Suspended).await?;
    is(&carries, Status::Suspended).await?;
    engine.shutdown().await?;
    drop(engine);
    let client = builder().await?.connect().await?;
    for (payload, key) in [(10u64, "one"), (20, "two"), (30, "three")] {
        for token in ["takes", "carries"] {
            client.resume_hook(token, &payload).idempotency_key(key).await?;
        }
    }
    let begun = client.start(signs, ()).id("cancelled before its first turn").await?;
    if let Ok(ended) = tokio::time::timeout(Duration::from_millis(200), begun.cancel("too early")).await {
        return Err(Error::new(format!("nobody was to execute the cancel: {ended:?}")));
    }
    drop(client);

    let engine = builder().await?.queue("more-samples", 4).open().await?;
    waits(&engine).await?;
    for run in [takes.id(), carries.id()] {
        is(&engine.get_run::<Vec<u64>, Error>(run), Status::Suspended).await?;
    }
    for run in [takes.id(), carries.id()] {
        until("payloads are left", async || suspensions(&engine, run).await.map(|number| number == 1)).await?;
    }
    is(&begun, Status::Cancelled).await?;
    engine.shutdown().await
}

/// Starts the runs that one engine parks.
async fn waits(engine: &Engine) -> Result<()> {
    engine.start(adopts, ("own child".into(), "own".into())).id("has an own child").await?;
    let attached = engine.start(asks, "attached".into()).id("attached child").await?;
    is(&attached, Status::Suspended).await?;
    engine.start(adopts, ("attached child".into(), "attached".into())).id("has an attached child").await?;

    let retried = engine.start(retries, "retried".into()).id("retried").await?;
    is(&retried, Status::Failed).await?;
    retried.retry().await?;
    let signed = engine.start(signs, ()).id("signed").await?;
    is(&signed, Status::Suspended).await?;
    signed.resume("Grace").await?;
    signed.await?;
    let signed = engine.get_run::<String, Error>("signed");
    let event = signed.steps().await?[0].event;
    signed.fork(event).id("fork of signed").await?;

    for (id, continues) in [("received payloads", false), ("received and continued", true)] {
        receive(engine, id, continues).await?;
    }

    engine.start(approves_in_queue, ()).id("approves in a queue").await?;
    engine.start(backs_off_in_queue, ()).id("backs off in a queue").await?;
    engine.start(listens, ()).id("listens").await?;
    let left = engine.start(left, "left".into()).id("left to another build").await?;
    let created = engine.create_run(signs).id("cancelled before its start").await?;
    created.run().cancel("never").await?;

    for run in
        ["has an own child", "own child", "has an attached child", "retried", "fork of signed", "listens", left.id()]
    {
        is(&engine.get_run::<(), Error>(run), Status::Suspended).await?;
    }
    until("the step of the queue suspends", async || Ok(suspensions(engine, "approves in a queue").await? == 1))
        .await?;
    until("the step of the queue backs off", async || {
        let queued = engine.runs().parent("backs off in a queue").await?.runs;
        let Some(queued) = queued.first() else { return Ok(false) };
        let reason = engine.get_run::<(), Error>(&*queued.id).waiting().await?;
        Ok(matches!(reason[..], [Waiting::Retrying { .. }]))
    })
    .await
}

/// Sends three payloads to a run, and lets it take the first once it has received all.
async fn receive(engine: &Engine, id: &str, continues: bool) -> Result<()> {
    let run = engine.start(receives, (id.into(), continues, Vec::new())).id(id).await?;
    for (payload, key) in [(10u64, "one"), (20, "two"), (30, "three")] {
        engine.resume_hook(id, &payload).idempotency_key(key).await?;
    }
    until("it has received them", async || {
        let events: Vec<_> = run.events().so_far().try_collect().await?;
        let received = events.iter().filter(|event| matches!(event.kind, RunEventKind::HookReceived { .. }));
        Ok(received.count() == 3)
    })
    .await?;
    let suspended = run.suspended().await?;
    let [begun] = &suspended[..] else { return Err(Error::new("it does not wait for its begin")) };
    run.resume(&()).of(&*begun.id).await?;
    until("it has taken one", async || {
        let suspended = run.suspended().await?;
        Ok(suspended.iter().any(|suspended| suspended.payload.as_array().is_some_and(|got| got.len() == 1)))
    })
    .await
}

async fn suspensions(engine: &Engine, run: &str) -> Result<usize> {
    Ok(engine.get_run::<(), Error>(run).suspended().await?.len())
}

/// Lets this build refuse a run. If another build is alive that may continue it, as there can be on PostgreSQL, it is left to that one.
pub(super) async fn refuse(builder: Builder, client: &Client, store: Option<Arc<dyn Store>>) -> Result<()> {
    let run = client.get_run::<u64, Error>("left to another build");
    let other = match &store {
        Some(store) => Some(other_build(&**store, &run.info().await?.workflow).await?),
        None => None,
    };
    change_code_of_left(true);
    let engine = builder.open().await?;
    client.resume_hook("left", &5u64).idempotency_key("left").await?;
    match &store {
        None => is(&run, Status::Stuck).await?,
        Some(store) => {
            until("the run is refused", async || {
                Ok(store.run(run.id()).await?.is_some_and(|row| row.refused_by.is_some() && row.wake_at == Some(0)))
            })
            .await?;
        }
    }
    engine.shutdown().await?;
    change_code_of_left(false);
    if let Some(other) = other {
        other.give_up().await;
    }
    Ok(())
}

/// A worker of another build that is alive, has the workflow, and takes nothing.
async fn other_build(store: &dyn Store, workflow: &str) -> Result<Box<dyn Ownership>> {
    const OWNER: u64 = 7;
    let right = store.acquire(OWNER).await?.ok_or_else(|| Error::new("another engine executes"))?;
    let serves = format!(r#"{{"workflows":["{workflow}"],"queues":[],"build":"another"}}"#);
    let worker = NewWorker {
        owner: OWNER,
        deployment: "another".into(),
        serves: serves.into(),
        catalogue: "{}".into(),
        digest: [0; 32],
        now: 0,
        since: None,
    };
    drop(store.register(&worker).await?);
    Ok(right)
}
