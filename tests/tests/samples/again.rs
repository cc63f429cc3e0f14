//! The kind of parked run that the samples have since the fourth one: retried after rollbacks, with payloads that it receives again.

use workflow_runtime::{Client, Engine, Run, Status};

use crate::parked::{send, soon};

const RUN: &str = "received again";

/// The steps that this build must execute, with the number of the attempt.
pub const EXECUTED: [(&str, &[(&str, u32)]); 1] = [(RUN, &[("fails_before_the_retry", 1)])];

/// Checks what a client reads of it.
pub async fn assert_unchanged(client: &Client) {
    let run: Run<Vec<u64>> = client.get_run(RUN);
    let info = run.info().await.unwrap();
    assert_eq!((info.status, info.generation), (Status::Suspended, 1));
    let suspended = run.suspended().await.unwrap();
    assert_eq!(suspended.iter().map(|suspended| suspended.payload.to_string()).collect::<Vec<_>>(), ["[10]"]);
}

/// Receives the payload that has waited, and another one.
pub async fn complete(engine: &Engine) {
    let run: Run<Vec<u64>> = engine.get_run(RUN);
    run.resume(&()).of(run.suspended().await.unwrap().remove(0).id).await.unwrap();
    soon(async {
        while engine.resume_hook("again", &30u64).idempotency_key("three").await.is_err() {
            workflow_harness::pause().await;
        }
    })
    .await;
    for (payload, key) in [(10, "one"), (20, "two"), (30, "three")] {
        send(engine, "again", payload, key).await;
    }
    assert_eq!(soon(run).await.unwrap(), [10, 20, 30]);
}
