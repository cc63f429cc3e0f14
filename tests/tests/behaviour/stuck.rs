//! Nondeterminism that the compiler cannot see and the engine detects.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures::future::join_all;
use workflow_runtime::testing::TestEngine;
use workflow_runtime::{Code, Durable, Error, Result, Status, sleep, spawn, step, workflow};

use crate::support::{Lab, soon};

#[step]
async fn number(#[resource] lab: &Lab, n: u32) -> Result<u32> {
    lab.note("number");
    Ok(n)
}

#[step]
async fn total(#[resource] lab: &Lab, numbers: HashSet<u32>) -> Result<u32> {
    lab.note("total");
    Ok(numbers.into_iter().sum())
}

static CALLS: AtomicU32 = AtomicU32::new(0);

#[workflow]
async fn counts_in_a_static() -> Result<u32> {
    let n = CALLS.fetch_add(1, Ordering::SeqCst);
    number(n).await
}

#[workflow]
async fn takes_another_way() -> Result<u32> {
    if CALLS.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
        number(1).await
    } else {
        number(2).await?;
        number(3).await
    }
}

#[workflow]
async fn returns_something_else() -> Result<u32> {
    number(1).await?;
    Ok(CALLS.fetch_add(1, Ordering::SeqCst))
}

#[workflow]
async fn passes_a_set() -> Result<u32> {
    let numbers = (0..100).collect::<HashSet<u32>>();
    total(numbers.clone()).await?;
    total(numbers).await
}

#[workflow]
async fn panics() -> Result<u32> {
    number(1).await?;
    panic!("broken")
}

on_each_store! {
    async fn state_in_a_static_is_detected_when_every_turn_is_replayed(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let error = engine.start(counts_in_a_static, ()).await.unwrap_err();
        assert_eq!(error.code(), Code::Nondeterminism);
        assert_eq!(lab.count("number"), 0, "no step was executed");
        let error = engine.start(takes_another_way, ()).await.unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains("expected: as recorded, operation 0") && text.contains("found: with this code, operation 0") && text.contains("stuck.rs:"), "{text}");
    }

    async fn another_result_on_replay_is_detected(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(returns_something_else, ()).await.unwrap();
        let error: Error = (&run).await.unwrap_err();
        assert_eq!(error.code(), Code::Stuck);
        assert_eq!(run.status().await.unwrap(), Status::Stuck);
        assert!(run.info().await.unwrap().reason.unwrap().to_string().contains("stuck"));
        assert_eq!(place.rows(run.id()).await.len(), 1, "the journal has not changed");
    }

    async fn a_set_as_an_argument_may_be_iterated_in_another_order(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        assert_eq!(engine.start(passes_a_set, ()).await.unwrap().await.unwrap(), 4950);
    }

    async fn a_workflow_that_panics_is_stuck_and_not_failed(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(panics, ()).await.unwrap();
        for _ in 0..2 {
            let error = (&run).await.unwrap_err();
            assert_eq!(error.code(), Code::Stuck);
            assert!(format!("{error:?}").contains("broken"), "{error:?}");
        }
    }
}

#[step]
async fn text(#[resource] lab: &Lab, text: String) -> Result<String> {
    lab.note("text");
    Ok(text)
}

fn map() -> HashMap<u32, u32> {
    (0..100).map(|n| (n, n)).collect()
}

#[workflow]
async fn follows_the_order_of_a_map() -> Result<()> {
    let map = map();
    join_all(map.values().map(|n| number(*n))).await;
    Ok(())
}

#[workflow]
async fn prints_a_map() -> Result<()> {
    text(format!("{:?}", map())).await?;
    Ok(())
}

thread_local! {
    static LOCAL: Cell<u32> = const { Cell::new(0) };
}

#[workflow]
async fn counts_in_its_thread() -> Result<()> {
    let calls = LOCAL.with(|calls| calls.replace(calls.get() + 1));
    number(calls).await?;
    Ok(())
}

#[workflow]
async fn leaves_work_to_the_first() -> Result<()> {
    static FILLED: OnceLock<()> = OnceLock::new();
    if FILLED.set(()).is_ok() {
        number(1).await?;
    }
    text("always".into()).await?;
    Ok(())
}

#[workflow]
async fn prints_an_address() -> Result<()> {
    let boxed = Box::new(1);
    text(format!("{:p}", &raw const *boxed)).await?;
    drop(boxed);
    Ok(())
}

fn hidden_clock() -> String {
    format!("{:?}", SystemTime::now())
}

#[workflow]
async fn looks_at_a_hidden_clock() -> Result<()> {
    text(hidden_clock()).await?;
    Ok(())
}

/// A future that wakes itself forever.
struct Restless;

impl Future for Restless {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Durable for Restless {}

#[workflow]
async fn never_rests() -> Result<()> {
    Restless.await;
    Ok(())
}

#[workflow]
async fn branches(many: u32) -> Result<()> {
    for _ in 0..many {
        drop(spawn(sleep(Duration::from_secs(3600))));
    }
    sleep(Duration::from_secs(7200)).await;
    Ok(())
}

#[workflow]
async fn sleeps_often(many: u32) -> Result<()> {
    join_all((0..many).map(|_| sleep(Duration::from_secs(3600)))).await;
    Ok(())
}

on_each_store! {
    async fn a_run_that_exceeds_a_limit_in_its_first_turn_is_started_and_stuck(place: Place) {
        let engine = place.builder(&Lab::new()).open().await.unwrap();
        let client = place.builder(&Lab::new()).connect().await.unwrap();
        let runs = [
            engine.start(branches, 10_001).id("a").await.unwrap(),
            client.start(branches, 10_001).await.unwrap(),
            engine.start(sleeps_often, 100_001).id("b").await.unwrap(),
        ];
        for (run, what) in runs.iter().zip(["branches", "branches", "operations"]) {
            let error = soon(run).await.unwrap_err();
            assert_eq!(error.code(), Code::Stuck, "{error:?}");
            assert!(format!("{error:?}").contains(what), "{error:?}");
            assert_eq!(run.status().await.unwrap(), Status::Stuck);
        }
        // The run counts as started, as it would if it exceeded the limit in a later turn, so the same start returns
        // it.
        assert_eq!(engine.start(branches, 10_001).id("a").await.unwrap().id(), "a");
        assert!(soon(runs[0].cancel("too many")).await.unwrap());
    }
}

case! {
    async fn a_start_whose_first_turn_is_nondeterministic_is_refused() {
        let lab = Lab::new();
        let engine = TestEngine::builder().resource(lab.clone()).configure(|engine| engine.replay_every_turn());
        let engine = engine.open().await.unwrap();
        macro_rules! refused {
            ($($workflow:ident)*) => {
                $(
                    let error = engine.start($workflow, ()).await.unwrap_err();
                    assert_eq!(error.code(), Code::Nondeterminism, "{}: {error:?}", stringify!($workflow));
                    let text = format!("{error:?}");
                    assert!(text.contains("stuck.rs:") && text.contains("expected") && text.contains("found"), "{text}");
                )*
            };
        }
        refused! {
            follows_the_order_of_a_map
            prints_a_map
            counts_in_its_thread
            leaves_work_to_the_first
            prints_an_address
            looks_at_a_hidden_clock
        }
        assert_eq!(lab.notes(), [""; 0], "no step was executed");
        let error = engine.start(never_rests, ()).await.unwrap_err();
        assert_eq!(error.code(), Code::Limit);
    }
}
