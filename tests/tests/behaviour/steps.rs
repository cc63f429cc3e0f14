//! Attempts, retries, failures, panics, timeouts, blocking steps, steps outside a run.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use workflow_runtime::testing::{TestEngine, fail_first};
use workflow_runtime::{Code, Error, Failure, Result, StepInfo, nondeterministic, step, step_info, workflow};

use crate::support::Lab;

const QUICK: std::ops::Range<Duration> = Duration::from_millis(1)..Duration::from_millis(2);

/// Fails `failures` times, then returns the number of its execution.
#[step(backoff = "1ms..2ms")]
async fn flaky(#[resource] lab: &Lab, name: String, failures: usize) -> Result<usize> {
    let execution = lab.note(&name);
    if execution <= failures { Err(Error::new(format!("failure {execution}"))) } else { Ok(execution) }
}

#[workflow]
async fn tries(name: String, failures: usize, retries: u32) -> Result<usize> {
    flaky(name, failures).retries(retries).await
}

#[workflow]
async fn tries_by_default(name: String) -> Result<usize> {
    flaky(name, usize::MAX).await
}

on_each_store! {
    async fn a_failed_attempt_is_repeated_until_it_succeeds(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(tries, ("x".into(), 2, 3)).await.unwrap();
        assert_eq!(run.await.unwrap(), 3);
        assert_eq!(lab.count("x"), 3);
    }

    async fn retries_count_the_attempts_after_the_first(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let error = engine.start(tries, ("x".into(), 9, 2)).await.unwrap().await.unwrap_err();
        assert_eq!(lab.count("x"), 3);
        assert_eq!(error.message(), "failure 3");
        let error = engine.start(tries, ("y".into(), 9, 0)).await.unwrap().await.unwrap_err();
        assert_eq!((lab.count("y"), error.message()), (1, "failure 1"));
    }

    async fn three_retries_are_the_default(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        engine.start(tries_by_default, "x".into()).await.unwrap().await.unwrap_err();
        assert_eq!(lab.count("x"), 4);
    }
}

#[step]
async fn fatal(#[resource] lab: &Lab) -> Result<()> {
    lab.note("fatal");
    Err(Error::fatal("the card is stolen"))
}

#[workflow]
async fn fails_fatally() -> Result<()> {
    fatal().await
}

#[step(retries = 1, backoff = "1h..1h")]
async fn busy(#[resource] lab: &Lab) -> Result<usize> {
    match lab.note("busy") {
        1 => Err(Error::retry_after(Duration::from_millis(1)).context("busy")),
        execution => Ok(execution),
    }
}

#[workflow]
async fn waits_as_requested() -> Result<usize> {
    busy().await
}

#[step(retries = 1, backoff = "1ms..1ms")]
async fn panics(#[resource] lab: &Lab) -> Result<usize> {
    match lab.note("panics") {
        1 => panic!("lost my nerve"),
        execution => Ok(execution),
    }
}

#[workflow]
async fn survives_a_panic(retries: u32) -> Result<usize> {
    panics().retries(retries).await
}

#[step(timeout = "5ms", retries = 1, backoff = "1ms..1ms")]
async fn slow(#[resource] lab: &Lab) -> Result<usize> {
    match lab.note("slow") {
        1 => {
            lab.pass_gate("never").await;
            unreachable!("the attempt times out")
        }
        execution => Ok(execution),
    }
}

#[workflow]
async fn times_out(retries: u32) -> Result<usize> {
    slow().retries(retries).await
}

on_each_store! {
    async fn a_fatal_error_ends_the_retries(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let error = engine.start(fails_fatally, ()).await.unwrap().await.unwrap_err();
        assert_eq!(lab.count("fatal"), 1);
        assert!(error.is_fatal());
        assert_eq!(error.message(), "the card is stolen");
    }

    async fn retry_after_replaces_the_backoff(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        assert_eq!(engine.start(waits_as_requested, ()).await.unwrap().await.unwrap(), 2);
    }

    async fn a_panic_is_a_failed_attempt(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        assert_eq!(engine.start(survives_a_panic, 1).await.unwrap().await.unwrap(), 2);
    }

    async fn an_attempt_that_exceeds_its_timeout_has_failed(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        assert_eq!(engine.start(times_out, 1).await.unwrap().await.unwrap(), 2);
    }
}

/// The times between the attempts of a step that fails with this error, in hours, in each of some runs.
async fn hours_between_attempts(runs: usize, error: fn() -> Error) -> Vec<Vec<f64>> {
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let recorded = attempts.clone();
    let bank = move |()| {
        recorded.lock().unwrap().push(tokio::time::Instant::now());
        Err(error())
    };
    let engine = TestEngine::builder().mock(opens_late, bank).open().await.unwrap();
    for _ in 0..runs {
        engine.start(waits_for_the_bank, ()).await.unwrap().await.unwrap_err();
    }
    let attempts = attempts.lock().unwrap();
    let hours = |pair: &[tokio::time::Instant]| (pair[1] - pair[0]).as_secs_f64() / 3600.0;
    attempts.chunks(attempts.len() / runs).map(|run| run.windows(2).map(hours).collect()).collect()
}

#[step(retries = 5, backoff = "1h..4h")]
async fn opens_late() -> Result<usize> {
    Ok(0)
}

#[workflow]
async fn waits_for_the_bank() -> Result<usize> {
    opens_late().await
}

case! {
    async fn the_backoff_doubles_up_to_its_limit() {
        let hours = hours_between_attempts(40, || Error::new("closed")).await;
        // Each wait is drawn from zero to the backoff.
        let longest = |n: usize| hours.iter().map(|run| run[n]).fold(0.0, f64::max);
        for (n, backoff) in [1.0, 2.0, 4.0, 4.0, 4.0].into_iter().enumerate() {
            assert!((backoff * 0.55..backoff + 0.001).contains(&longest(n)), "wait {n}: {hours:?}");
        }
    }
}

case! {
    async fn the_next_attempt_is_made_when_the_error_says() {
        let hours = hours_between_attempts(1, || Error::retry_after(Duration::from_secs(24 * 3600))).await;
        assert_eq!(hours[0].iter().map(|hours| hours.round()).collect::<Vec<_>>(), [24.0; 5]);
    }
}

case! {
    async fn the_error_of_the_last_attempt_is_that_of_the_step() {
        let engine = TestEngine::builder().mock(flaky, fail_first(4, || Error::new("busy"), |_| Ok(7))).open().await.unwrap();
        let error = engine.start(tries_by_default, "x".into()).await.unwrap().await.unwrap_err();
        assert_eq!((error.message(), engine.calls(flaky).len()), ("busy", 4));
        // The mock has failed four times in all.
        assert_eq!(engine.start(tries_by_default, "x".into()).await.unwrap().await.unwrap(), 7);
    }
}

case! {
    async fn without_retries_a_panic_is_the_error_of_the_step() {
        let engine = TestEngine::builder().mock(panics, |()| panic!("lost my nerve")).open().await.unwrap();
        let error = engine.start(survives_a_panic, 0).await.unwrap().await.unwrap_err();
        assert_eq!((error.code(), engine.calls(panics).len()), (Code::Panic, 1));
        assert!(error.message().contains("lost my nerve"), "{error:?}");
    }
}

case! {
    async fn without_retries_an_exceeded_timeout_is_the_error_of_the_step() {
        let engine = TestEngine::builder().mock_async(slow, |()| std::future::pending()).open().await.unwrap();
        let error = engine.start(times_out, 0).await.unwrap().await.unwrap_err();
        assert_eq!((error.code(), engine.calls(slow).len()), (Code::Timeout, 1));
    }
}

case! {
    async fn an_attempt_may_take_almost_as_long_as_its_timeout() {
        let engine = TestEngine::builder().mock_async(slow, |()| async {
            tokio::time::sleep(Duration::from_millis(4)).await;
            Ok(7)
        });
        let engine = engine.open().await.unwrap();
        assert_eq!(engine.start(times_out, 0).await.unwrap().await.unwrap(), 7);
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum BankError {
    Declined { cents: u32 },
    Engine(String),
}

impl From<Error> for BankError {
    fn from(error: Error) -> Self {
        BankError::Engine(format!("{}: {error}", error.code()))
    }
}

impl Failure for BankError {
    fn is_fatal(&self) -> bool {
        matches!(self, BankError::Declined { .. })
    }
}

#[step(retries = 0)]
async fn charge(#[resource] lab: &Lab, cents: u32) -> Result<u32, BankError> {
    lab.note("charge");
    match cents {
        0 => panic!("nothing to charge"),
        1..100 => Ok(cents),
        _ => Err(BankError::Declined { cents }),
    }
}

#[workflow]
async fn pay(cents: u32) -> Result<u32, BankError> {
    charge(cents).retries(5).backoff(QUICK).await
}

#[step]
fn add(#[resource] lab: &Lab, a: u32, b: u32) -> Result<u32> {
    lab.note(std::thread::current().name().unwrap_or("unnamed"));
    Ok(a + b)
}

#[workflow]
async fn adds(a: u32, b: u32) -> Result<u32> {
    add(a, b).await
}

#[step(retries = 2, backoff = "1ms..1ms")]
async fn reports(#[resource] lab: &Lab) -> Result<(String, u32, String, String)> {
    let StepInfo { step, idempotency_key, attempt, run, .. } = step_info().expect("a step has one");
    lab.note(&idempotency_key);
    if attempt < 3 {
        return Err(Error::new("once more"));
    }
    Ok((step, attempt, run, idempotency_key))
}

#[workflow]
async fn reported() -> Result<Vec<(String, u32, String, String)>> {
    Ok(vec![reports().await?, reports().await?])
}

#[step(retries = 7)]
async fn outer(#[resource] lab: &Lab) -> Result<usize> {
    lab.note("outer");
    flaky("inner".into(), 0).await
}

#[workflow]
async fn nests() -> Result<usize> {
    outer().await
}

#[workflow]
async fn wraps() -> Result<(u32, Code)> {
    let value = nondeterministic(async { 4 }).await?;
    let error = nondeterministic(async { assert!(std::env::args().count() == 0) }).await.unwrap_err();
    Ok((value, error.code()))
}

on_each_store! {
    async fn typed_errors_are_returned_unchanged(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        assert_eq!(engine.start(pay, 5).await.unwrap().await, Ok(5));
        let run = engine.start(pay, 100).await.unwrap();
        assert_eq!(run.await, Err(BankError::Declined { cents: 100 }));
        assert_eq!(lab.count("charge"), 2, "a typed error decides whether it is fatal");
    }

    async fn failures_of_the_engine_become_typed_errors(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        match engine.start(pay, 0).await.unwrap().await {
            Err(BankError::Engine(text)) => assert!(text.contains("panic") && text.contains("nothing to charge"), "{text}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(lab.count("charge"), 6);
    }

    async fn a_plain_function_runs_on_the_blocking_pool(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        assert_eq!(engine.start(adds, (1, 2)).await.unwrap().await.unwrap(), 3);
        assert_ne!(lab.notes(), [std::thread::current().name().unwrap_or_default()]);
    }

    async fn all_attempts_of_a_call_share_a_unique_idempotency_key(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(reported, ()).id("order-7").await.unwrap();
        let infos = run.await.unwrap();
        for (step, attempt, run, key) in &infos {
            assert!(step.ends_with("::reports"), "{step}");
            assert_eq!((*attempt, run.as_str()), (3, "order-7"));
            assert_eq!(lab.count(key), 3);
        }
        assert_ne!(infos[0].3, infos[1].3);
    }

    async fn a_step_inside_a_step_runs_inline(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(nests, ()).await.unwrap();
        assert_eq!((&run).await.unwrap(), 1);
        assert_eq!(lab.notes(), ["outer", "inner"]);
        assert!(!place.journal(run.id()).await.concat().contains("flaky"), "the inner step is not recorded");
    }

    async fn any_future_can_be_recorded_once(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(wraps, ()).await.unwrap();
        assert_eq!(run.await.unwrap(), (4, Code::Panic));
    }
}

#[step]
async fn double(n: u32) -> Result<u32> {
    Ok(n * 2)
}

#[step]
fn halve(n: u32) -> Result<u32> {
    if n.is_multiple_of(2) { Ok(n / 2) } else { Err(Error::new("odd")) }
}

case! {
    async fn outside_a_run_a_step_runs_as_a_plain_function() {
        assert_eq!(double(4).await.unwrap(), 8);
        assert_eq!(halve(4).await.unwrap(), 2);
        assert_eq!(halve(3).retries(5).await.unwrap_err().message(), "odd");
        assert_eq!(step_info(), None);
    }
}
