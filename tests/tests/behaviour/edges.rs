//! Rare combinations of features.

use std::collections::HashSet;
use std::future::IntoFuture;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt;
use serde::{Deserialize, Deserializer, Serialize};
use workflow_runtime::store::Write;
use workflow_runtime::{
    CancellationToken, Code, Engine, Error, Failure, Result, Run, Status, TracingOptions, cancellation, heartbeat,
    run_id, sleep, spawn, start, step, step_info, traceparent, workflow, writer,
};

use crate::support::{Faulty, Lab, ManualClock, soon};

#[step]
async fn note(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    Ok(name)
}

#[step]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(name)
}

#[workflow]
async fn notes(name: String) -> Result<String> {
    note(name).await
}

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    number: u128,
    tags: HashSet<String>,
}

fn order(number: u128) -> Order {
    Order { number, tags: (0..50).map(|n| format!("tag {n}")).collect() }
}

#[step]
async fn save(#[resource] lab: &Lab, order: Order) -> Result<Order> {
    lab.note("save");
    Ok(order)
}

#[workflow]
async fn saves_twice(order: Order) -> Result<usize> {
    let again = save(order).await?;
    Ok(save(again).await?.tags.len())
}

/// An error type whose conversion from `Error` panics.
#[derive(Debug, Serialize, Deserialize)]
struct Broken;

impl From<Error> for Broken {
    fn from(_: Error) -> Self {
        panic!("not written yet")
    }
}

impl Failure for Broken {}

#[step(retries = 0)]
async fn breaks(#[resource] lab: &Lab) -> Result<u32, Broken> {
    lab.note("breaks");
    panic!("first")
}

#[workflow]
async fn calls_what_breaks() -> Result<u32> {
    breaks().await.map_err(|_| Error::new("broken"))
}

/// An error type that serializes, but does not deserialize.
#[derive(Debug, Serialize)]
struct OneWay(String);

impl<'de> Deserialize<'de> for OneWay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.starts_with("adopted") { Ok(OneWay(text)) } else { Err(serde::de::Error::custom("one way")) }
    }
}

impl From<Error> for OneWay {
    fn from(error: Error) -> Self {
        OneWay(format!("adopted {}", error.code()))
    }
}

impl Failure for OneWay {}

#[step(retries = 0)]
async fn fails_one_way(#[resource] lab: &Lab) -> Result<u32, OneWay> {
    lab.note("one way");
    Err(OneWay("lost".into()))
}

#[workflow]
async fn returns_one_error() -> Result<String> {
    Ok(fails_one_way().await.map_or_else(|error| error.0, |_| "none".into()))
}

#[step]
async fn charge(#[resource] lab: &Lab, _cents: u32) -> Result<String> {
    let key = step_info().expect("a step has one").idempotency_key;
    lab.note(&key);
    Ok(key)
}

#[step]
fn charge_blocking(#[resource] lab: &Lab) -> Result<String> {
    let key = step_info().expect("a step has one").idempotency_key;
    lab.note(&key);
    Ok(key)
}

#[step]
async fn charges_inside(#[resource] lab: &Lab) -> Result<Vec<String>> {
    lab.note("outer");
    Ok(vec![charge(1).await?, charge(2).await?, charge_blocking().await?])
}

#[workflow]
async fn charges() -> Result<Vec<String>> {
    charges_inside().await
}

/// What a workflow finds of the step that started it: [`looks_around`] returns it.
type Seen = (bool, Option<String>, bool, Option<String>);

/// The cancellation tokens that the workflows below received, by key.
static TOKENS: Mutex<Vec<(String, CancellationToken)>> = Mutex::new(Vec::new());

#[workflow]
async fn looks_around(key: String) -> Result<Seen> {
    let in_a_step = step_info().is_some();
    let trace = traceparent();
    TOKENS.lock().unwrap().push((key, cancellation()));
    heartbeat();
    note("looked".into()).await?;
    Ok((in_a_step, trace, step_info().is_some(), run_id()))
}

#[step]
async fn starts_another(#[resource] lab: &Lab, key: String) -> Result<Seen> {
    lab.note("starts");
    assert!(traceparent().is_some() && step_info().is_some(), "a step has both");
    let run = start(looks_around, key).id("inner").await?;
    // After the start, this code is still part of the step.
    assert!(traceparent().is_some() && step_info().is_some(), "a step has both");
    run.await
}

#[workflow]
async fn starts_inside(key: String) -> Result<Seen> {
    starts_another(key).await
}

/// Its first turn is executed inside the step that starts it.
#[workflow]
async fn beats_and_writes() -> Result<()> {
    heartbeat();
    writer::<u32>("seen").write(&1).await?;
    sleep(Duration::from_secs(3_600)).await;
    Ok(())
}

#[step(retries = 0, heartbeat = "10s")]
async fn starts_late(#[resource] lab: &Lab) -> Result<()> {
    lab.note("begun");
    lab.pass_gate("start").await;
    start(beats_and_writes, ()).id("inner").await?;
    lab.note("started");
    lab.pass_gate("never").await;
    Ok(())
}

#[workflow]
async fn starts_late_inside() -> Result<()> {
    starts_late().await
}

struct SpawnsWhenDropped;

impl Drop for SpawnsWhenDropped {
    fn drop(&mut self) {
        drop(spawn(note("from a destructor".into())));
    }
}

#[workflow]
async fn has_a_busy_destructor() -> Result<String> {
    let _busy = SpawnsWhenDropped;
    gated("gate".into()).await
}

#[workflow]
async fn spins() -> Result<()> {
    loop {
        sleep(Duration::ZERO).await;
    }
}

on_each_store! {
    async fn a_start_whose_future_is_dropped_still_starts_the_run(place: Place) {
        let lab = Lab::new();
        let faulty = Faulty::new(place.store());
        let held = lab.clone();
        faulty.before(move |group| {
            let create = group.iter().any(|write| matches!(write, Write::Create(_)));
            let lab = held.clone();
            create.then(|| Box::pin(async move {
                lab.note("held");
                lab.pass_gate("commit").await;
            }) as _)
        });
        let engine = Engine::builder().store(Arc::new(faulty)).resource(lab.clone()).open().await.unwrap();
        let starting = tokio::spawn(engine.start(notes, "abandoned".into()).id("run").into_future());
        lab.executed("held", 1).await;
        starting.abort();
        assert!(starting.await.is_err());
        lab.open_gate("commit");
        lab.executed("abandoned", 1).await;
        let run: Run<String> = engine.get_run("run");
        assert_eq!(run.await.unwrap(), "abandoned");
    }

    async fn a_set_inside_a_struct_may_be_iterated_in_another_order(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(saves_twice, order(u128::MAX)).id("order").await.unwrap();
        assert_eq!(run.await.unwrap(), 50);
        let same = engine.start(saves_twice, order(u128::MAX)).id("order").await.unwrap();
        assert_eq!(same.await.unwrap(), 50);
        let other = engine.start(saves_twice, order(u128::MAX - 1)).id("order").await.unwrap_err();
        assert_eq!(other.code(), Code::RunExists, "numbers that are equal only as floats differ");
    }

    async fn an_attempt_that_panics_outside_its_body_ends(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(calls_what_breaks, ()).await.unwrap();
        let error = (&run).await.unwrap_err();
        assert!(format!("{error:?}").contains("Broken"), "{error:?}");
        assert_eq!(run.status().await.unwrap(), Status::Stuck);
    }

    async fn an_error_that_does_not_deserialize_is_not_recorded(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(returns_one_error, ()).await.unwrap();
        assert_eq!(run.await.unwrap(), "adopted payload");
    }

    async fn steps_inside_a_step_have_keys_of_their_own(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let keys = engine.start(charges, ()).id("run").await.unwrap().await.unwrap();
        let inside = ["charge/0", "charge/1", "charge_blocking/0"];
        assert_eq!(keys, inside.map(|call| format!("run/0/0/0/behaviour::edges::{call}")));
    }

    async fn a_workflow_that_a_step_starts_does_not_inherit_the_step(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let key = uuid::Uuid::new_v4().to_string();
        let tracing = TracingOptions::new().trace_id("7".repeat(32));
        let seen = engine.start(starts_inside, key.clone()).tracing(tracing).await.unwrap().await.unwrap();
        assert_eq!(seen, (false, None, false, Some("inner".into())));
        // If these were tokens of the step, they would be cancelled, because the step has ended.
        let tokens = TOKENS.lock().unwrap();
        let mut tokens = tokens.iter().filter(|(of, _)| *of == key).map(|(_, token)| token).peekable();
        assert!(tokens.peek().is_some() && tokens.all(|token| !token.is_cancelled()));
    }

    async fn the_first_turn_of_a_workflow_does_not_beat_or_write_for_the_step_that_starts_it(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(1_000_000));
        let engine = place.builder_at(&lab, &clock).open().await.unwrap();
        let run = engine.start(starts_late_inside, ()).id("outer").await.unwrap();
        soon(lab.executed("begun", 1)).await;
        clock.pass(6_000);
        lab.open_gate("start");
        soon(lab.executed("started", 1)).await;
        let inner: Run<()> = engine.get_run("inner");
        let first = soon(inner.stream::<u32>("seen").try_next()).await.unwrap();
        assert_eq!(first.map(|chunk| chunk.value), Some(1));
        clock.pass(5_000);
        assert_eq!(soon(&run).await.unwrap_err().code(), Code::Timeout, "the step has not beaten for eleven seconds");
        assert_eq!(run.stream::<u32>("seen").try_collect::<Vec<_>>().await.unwrap().len(), 0);
    }

    async fn rule_8_a_destructor_cannot_act_when_the_engine_ends(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).open().await.unwrap();
        drop(engine.start(has_a_busy_destructor, ()).id("run").await.unwrap());
        lab.executed("gate", 1).await;
        drop(engine);
        let engine = place.builder(&lab).open().await.unwrap();
        lab.open_gate("gate");
        let run: Run<String> = engine.get_run("run");
        run.await.unwrap();
        assert_eq!(lab.count("from a destructor"), 0);
    }

    async fn a_shutdown_ends_a_run_that_never_waits(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).open().await.unwrap();
        engine.start(spins, ()).id("run").await.unwrap();
        engine.shutdown().await.unwrap();
        assert!(!place.rows("run").await.is_empty());
    }
}
