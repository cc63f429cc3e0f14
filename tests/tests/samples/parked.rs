//! Completes each run of a sample.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::{again, more};
use futures::TryStreamExt;
use serde::de::DeserializeOwned;
use workflow_runtime::store::Store;
use workflow_runtime::{Code, Engine, Error, Result, Run, RunInfo, Status};
use workflow_tests::samples::{DAY, Mixed, World, asks};

/// By run, the steps that this build must execute, with the number of the attempt.
const EXECUTED: [(&str, &[(&str, u32)]); 22] = [
    ("approves", &[("approval", 2)]),
    ("asked early", &[("echo", 1), ("echo", 1)]),
    ("asks", &[]),
    ("asleep for a day", &[("echo", 1)]),
    ("asleep for a minute", &[("echo", 1)]),
    ("backs off", &[("fails_first", 2)]),
    ("cancelled", &[]),
    ("completed", &[]),
    ("continues", &[("echo", 1), ("echo", 1)]),
    ("created", &[("echo", 1), ("echo", 1)]),
    ("failed", &[]),
    ("forked", &[("echo", 1)]),
    ("gets what was held", &[("echo", 1), ("echo", 1)]),
    ("has got a payload", &[]),
    ("mixes", &[("echo", 1)]),
    ("parent", &[("echo", 1)]),
    ("queues", &[("queued", 1)]),
    ("signs", &[]),
    ("started by a client", &[("echo", 1), ("echo", 1)]),
    ("stuck", &[]),
    ("tells", &[("line", 1)]),
    ("unwinds", &[("undo", 2)]),
];

pub async fn soon<F: IntoFuture>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), what.into_future()).await.expect("the operation ends in time")
}

/// The statuses and runs for which callbacks were called.
#[derive(Clone, Default)]
struct Called(Arc<Mutex<Vec<(Status, String)>>>);

impl Called {
    fn note(&self) -> impl Fn(RunInfo) -> std::future::Ready<Result<()>> + Send + Sync + 'static {
        let called = self.0.clone();
        move |run| {
            called.lock().unwrap().push((run.status, run.id));
            std::future::ready(Ok(()))
        }
    }

    fn has(&self, status: Status, run: &str) -> bool {
        self.0.lock().unwrap().contains(&(status, run.to_owned()))
    }
}

/// The same for the runs that the first sample does not have.
const EXECUTED_LATER: [(&str, &[(&str, u32)]); 2] = [("bound", &[("echo", 1), ("echo", 1)]), ("patches", &[])];

pub async fn complete_all(world: &World, store: &Arc<dyn Store>, number: u32) {
    let called = Called::default();
    let builder = world.builder(store.clone()).queue("samples", 1).queue("more-samples", 4).replay_every_turn();
    let builder = builder.on_completed(called.note()).on_failed(called.note());
    let builder = builder.on_cancelled(called.note()).on_stuck(called.note());
    let engine = builder.open().await.expect("the engine opens");
    let child = engine.get_run::<(), Error>("parent").children().await.unwrap().remove(0);
    tokio::join!(
        by_themselves(&engine),
        sleeping(&engine),
        suspended(&engine),
        asking(&engine),
        telling(&engine),
        mixing(&engine),
        not_started(&engine),
        ended(&engine),
        later(&engine, number),
        async {
            if number >= 3 {
                Box::pin(more::complete(&engine)).await;
            }
            if number >= 4 {
                Box::pin(again::complete(&engine)).await;
            }
        },
    );
    soon(async {
        let ended = [(Status::Completed, "completed"), (Status::Failed, "failed"), (Status::Cancelled, "cancelled")];
        for (status, run) in ended.into_iter().chain([(Status::Stuck, "stuck")]) {
            while !called.has(status, run) {
                workflow_harness::pause().await;
            }
        }
    })
    .await;
    let mut executed: BTreeMap<String, Vec<(String, u32)>> = BTreeMap::new();
    for execution in world.executions() {
        executed.entry(execution.run).or_default().push((execution.step, execution.attempt));
    }
    let of = |run: &str, executed: &mut BTreeMap<String, Vec<(String, u32)>>| executed.remove(run).unwrap_or_default();
    let later = EXECUTED_LATER.into_iter().filter(|_| number >= 2);
    let expected = EXECUTED.into_iter().chain(later).chain(more::EXECUTED.into_iter().filter(|_| number >= 3));
    let expected = expected.chain(again::EXECUTED.into_iter().filter(|_| number >= 4));
    for (run, expected) in expected.chain([(&*child, &[("echo", 1)][..])]) {
        let steps = of(run, &mut executed);
        assert_eq!(steps.iter().map(|(step, attempt)| (&**step, *attempt)).collect::<Vec<_>>(), expected, "{run}");
    }
    assert!(executed.is_empty(), "{executed:?}");
    let unfinished = engine.runs().stream().try_filter(|run| {
        let ends = [Status::Completed, Status::Failed, Status::Cancelled];
        std::future::ready(!ends.contains(&run.status))
    });
    assert!(soon(unfinished.try_collect::<Vec<_>>()).await.unwrap().is_empty());
    engine.shutdown().await.unwrap();
}

pub async fn result<T: DeserializeOwned + Send + 'static>(engine: &Engine, id: &str) -> T {
    soon(engine.get_run::<T, Error>(id)).await.unwrap_or_else(|error| panic!("{id}: {error:?}"))
}

/// Sends a payload with a key twice, and expects that another payload with the same key is refused.
pub async fn send(engine: &Engine, token: &str, payload: u64, key: &str) {
    for _ in 0..2 {
        engine.resume_hook(token, &payload).idempotency_key(key).await.unwrap();
    }
    let other = engine.resume_hook(token, &(payload + 1)).idempotency_key(key).await;
    assert_eq!(other.unwrap_err().code(), Code::KeyReused, "{token}");
}

async fn by_themselves(engine: &Engine) {
    for (id, value) in
        [("asleep for a minute", 3), ("started by a client", 3), ("queues", 2), ("backs off", 2), ("stuck", 5)]
    {
        assert_eq!(result::<u64>(engine, id).await, value, "{id}");
    }
    let error = soon(engine.get_run::<(), Error>("unwinds")).await.unwrap_err();
    assert_eq!(error.message(), "not today");
}

async fn sleeping(engine: &Engine) {
    let run: Run<u64> = engine.get_run("asleep for a day");
    assert_eq!(run.status().await.unwrap(), Status::Suspended);
    run.wake_up().await.unwrap();
    assert_eq!(soon(run).await.unwrap(), 3);
}

async fn suspended(engine: &Engine) {
    for id in ["signs", "approves"] {
        let run: Run<String> = engine.get_run(id);
        let suspended = run.suspended().await.unwrap().remove(0);
        run.resume("Ada").of(suspended.id).await.unwrap();
        assert_eq!(soon(run).await.unwrap(), "Ada", "{id}");
    }
}

/// Sends payloads, some of them again under keys from before the sample was written.
async fn asking(engine: &Engine) {
    let runs = [
        ("asks", "asks", &[(10, "first"), (20, "second")][..]),
        ("asked early", "early", &[(10, "early"), (20, "second")]),
        ("continues", "continues", &[(1, "one"), (2, "two"), (3, "three")]),
        ("parent", "child", &[(1, "one"), (2, "two")]),
    ];
    for (id, token, payloads) in runs {
        for (payload, key) in payloads {
            soon(async {
                // The hook is not open between two generations.
                while !engine.get_hook(token).await.unwrap().is_open {
                    workflow_harness::pause().await;
                }
                send(engine, token, *payload, key).await;
            })
            .await;
            if id == "continues" && *payload > 1 {
                let generation = *payload;
                let run: Run<Vec<u64>> = engine.get_run(id);
                soon(async {
                    while run.info().await.unwrap().generation < generation.min(2) {
                        workflow_harness::pause().await;
                    }
                })
                .await;
            }
        }
        let got = soon(engine.get_run::<Vec<u64>, Error>(id)).await.unwrap();
        assert_eq!(got, payloads.iter().map(|(payload, _)| *payload).collect::<Vec<_>>(), "{id}");
    }
    // The key of a delivery to a finished run is still known.
    send(engine, "ended", 7, "once").await;
    let again = engine.resume_hook("changes", &5u64).idempotency_key("go").await;
    again.unwrap();
}

async fn telling(engine: &Engine) {
    let run: Run<()> = engine.get_run("tells");
    engine.resume_hook("tells", &()).await.unwrap();
    soon(&run).await.unwrap();
    let story: Vec<_> = soon(run.stream::<String>("story").try_collect::<Vec<_>>()).await.unwrap();
    let chunks: Vec<_> = story.iter().map(|chunk| (chunk.index, &*chunk.value, chunk.discarded)).collect();
    assert_eq!(chunks, [(0, "one", false), (1, "two", false), (2, "three", false), (3, "four", false)]);
    assert_eq!(run.state::<String>().await.unwrap().as_deref(), Some("told"));
    assert_eq!(run.attributes().await.unwrap()["teller"], "Ada");
}

async fn mixing(engine: &Engine) {
    let run: Run<Mixed> = engine.get_run("mixes");
    send(engine, "mixes", 8, "eight").await;
    run.wake_up().await.unwrap();
    let mixed = soon(run).await.unwrap();
    // The steps got the random values of the workflow, so the replay returned the recorded ones.
    assert_eq!((mixed.dice[0], &mixed.ids[0]), (mixed.dice[1], &mixed.ids[1]));
    assert_eq!((mixed.chosen, mixed.joined, &*mixed.refused), (3, (4, 5), "no"));
    assert_eq!((mixed.winner, mixed.is_late, mixed.answer, mixed.branch), (7, true, 8, 6));
}

/// Starts a run that was created, and a run for which a payload is held.
async fn not_started(engine: &Engine) {
    let created = engine.create_run(asks).id("created").await.unwrap();
    let run = created.start("created".into()).opens("created").await.unwrap();
    assert_eq!(created.start("created".into()).await.unwrap_err().code(), Code::AlreadyStarted);
    for (payload, key) in [(1, "one"), (2, "two")] {
        send(engine, "created", payload, key).await;
    }
    assert_eq!(soon(run).await.unwrap(), [1, 2]);

    engine.resume_hook("held", &10u64).idempotency_key("held").hold_for(DAY).await.unwrap();
    let run = engine.start(asks, "held".into()).id("gets what was held").opens("held").await.unwrap();
    send(engine, "held", 10, "held").await;
    send(engine, "held", 20, "second").await;
    assert_eq!(soon(run).await.unwrap(), [10, 20]);
}

/// Releases a run that is bound to a deployment, and continues one on the new branch of a patch.
async fn later(engine: &Engine, number: u32) {
    if number < 2 {
        return;
    }
    let bound: Run<u64> = engine.get_run("bound");
    assert_eq!(bound.status().await.unwrap(), Status::Pending);
    engine.release("elsewhere").await.unwrap();
    assert_eq!(soon(bound).await.unwrap(), 3);
    send(engine, "patches", 5, "five").await;
    assert_eq!(result::<u64>(engine, "patches").await, 7);
}

/// Retries a failed run and forks a completed one.
async fn ended(engine: &Engine) {
    let failed: Run<u64> = engine.get_run("failed");
    failed.retry().await.unwrap();
    assert_eq!(soon(&failed).await.unwrap_err().message(), "not today");
    let completed: Run<u64> = engine.get_run("completed");
    let event = completed.steps().await.unwrap()[0].event;
    let fork = completed.fork(event).id("forked").input(&(9u64,)).await.unwrap();
    assert_eq!(soon(fork).await.unwrap(), 9);
}
