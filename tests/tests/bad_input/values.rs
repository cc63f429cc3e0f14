//! Values that survive a round trip through the journal, and values that are refused because they would not.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize, Serializer};
use workflow_runtime::{Code, Engine, Error, Failure, Result, Status, step, workflow};

use super::support::assert_error;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Value {
    Float(f64),
    Floats(BTreeMap<String, Vec<f64>>),
    Unsigned(u128),
    Signed(i128),
    Text(String),
    ByInteger(BTreeMap<i64, String>),
    ByPair(BTreeMap<(u8, u8), u8>),
    Nested(Option<Option<u8>>),
    Unit(Option<()>),
    List(Vec<u8>),
    Refusing { inside: Refusing },
}

/// A value that fails to serialize.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Refusing;

impl Serialize for Refusing {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it does not want to"))
    }
}

/// Values that are refused, and parts of the error for each.
fn refused() -> Vec<(Value, Vec<&'static str>)> {
    let floats = BTreeMap::from([("good".to_owned(), vec![1.0]), ("bad".to_owned(), vec![0.5, f64::NEG_INFINITY])]);
    vec![
        (Value::Float(f64::NAN), vec!["NaN", ".Float"]),
        (Value::Float(f64::INFINITY), vec!["infinity", ".Float"]),
        (Value::Floats(floats), vec!["-infinity", r#".Floats["bad"][1]"#]),
        (Value::ByPair(BTreeMap::from([((1, 2), 3)])), vec!["cannot be the key of a map", ".ByPair"]),
        (Value::Nested(Some(None)), vec!["come back as None", ".Nested"]),
        (Value::Unit(Some(())), vec!["come back as None", ".Unit"]),
        (Value::Refusing { inside: Refusing }, vec!["it does not want to", ".Refusing.inside"]),
    ]
}

/// Values that survive a round trip.
fn kept() -> Vec<Value> {
    vec![
        Value::Float(0.1 + 0.2),
        Value::Float(f64::MAX),
        Value::Float(f64::MIN_POSITIVE),
        Value::Float(-0.0),
        Value::Unsigned(u128::MAX),
        Value::Unsigned(0),
        Value::Signed(i128::MIN),
        Value::Signed(i128::MAX),
        Value::Text("a\0b\u{1}\u{7f}\u{2028}\u{1f600}\"\\".to_owned()),
        Value::Text(String::new()),
        Value::ByInteger(BTreeMap::from([
            (i64::MIN, "least".to_owned()),
            (-1, String::new()),
            (i64::MAX, "most".to_owned()),
        ])),
        Value::ByPair(BTreeMap::new()),
        Value::Nested(None),
        Value::Nested(Some(Some(0))),
        Value::Unit(None),
        Value::List(Vec::new()),
        Value::List(vec![0, 255]),
    ]
}

static MADE: AtomicU32 = AtomicU32::new(0);

#[step]
async fn pass(value: Value) -> Result<Value> {
    Ok(value)
}

#[step]
async fn make(index: usize) -> Result<Value> {
    MADE.fetch_add(1, Ordering::Relaxed);
    Ok(refused().swap_remove(index).0)
}

#[workflow]
async fn round_trip(value: Value) -> Result<Value> {
    pass(value).await
}

#[workflow]
async fn passes(index: usize) -> Result<Value> {
    pass(refused().swap_remove(index).0).await
}

#[workflow]
async fn makes(index: usize) -> Result<Value> {
    make(index).await
}

#[workflow]
async fn returns(index: usize) -> Result<Value> {
    Ok(refused().swap_remove(index).0)
}

#[derive(Debug, Serialize, Deserialize)]
enum Wrong {
    Ratio(f64),
    Engine(String),
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Wrong::Engine(error.to_string())
    }
}

impl Failure for Wrong {}

#[workflow]
async fn fails(ratio: f64) -> Result<(), Wrong> {
    Err(Wrong::Ratio(ratio / 0.0))
}

async fn engine() -> Engine {
    Engine::builder().url("memory:").replay_every_turn().open().await.expect("the engine opens")
}

#[tokio::test]
async fn extreme_values_survive_a_round_trip() {
    let engine = engine().await;
    for value in kept() {
        let back =
            engine.start(round_trip, value.clone()).await.expect("the run starts").await.expect("the run completes");
        assert_eq!(format!("{back:?}"), format!("{value:?}"));
    }
}

#[tokio::test]
async fn arguments_that_would_not_survive_start_no_run() {
    let engine = engine().await;
    for (index, (value, parts)) in refused().into_iter().enumerate() {
        let id = format!("run-{index}");
        let error = engine.start(round_trip, value).id(&id).await.expect_err("the call is refused");
        assert_error(&error, Code::Payload, &parts);
        assert_error(&error, Code::Payload, &["the workflow's arguments", "help:"]);
        assert!(!engine.get_run::<Value, Error>(id).exists().await.expect("the store is readable"));
    }
}

#[tokio::test]
async fn a_step_argument_that_would_not_survive_fails_the_call() {
    let engine = engine().await;
    for (index, (_, parts)) in refused().into_iter().enumerate() {
        let run = engine.start(passes, index).await.expect("the run starts");
        let error = (&run).await.expect_err("the run fails");
        assert_error(&error, Code::Payload, &parts);
        assert_error(&error, Code::Payload, &["an argument of the step", "values::pass", "bad_input/values.rs:"]);
        assert_eq!(run.status().await.expect("the run has a status"), Status::Failed);
    }
}

#[tokio::test]
async fn a_step_result_that_would_not_survive_fails_the_step_after_one_attempt() {
    let engine = engine().await;
    for (index, (_, parts)) in refused().into_iter().enumerate() {
        let before = MADE.load(Ordering::Relaxed);
        let error = engine.start(makes, index).await.expect("the run starts").await.expect_err("the run fails");
        assert_error(&error, Code::Payload, &parts);
        assert_error(&error, Code::Payload, &["the step's result"]);
        assert_eq!(MADE.load(Ordering::Relaxed), before + 1, "the step ran again");
    }
}

#[tokio::test]
async fn a_workflow_result_that_would_not_survive_fails_the_run() {
    let engine = engine().await;
    for (index, (_, parts)) in refused().into_iter().enumerate() {
        let run = engine.start(returns, index).await.expect("the run starts");
        let error = (&run).await.expect_err("the run fails");
        assert_error(&error, Code::Payload, &parts);
        assert_error(&error, Code::Payload, &["the workflow's result"]);
        assert_eq!(run.status().await.expect("the run has a status"), Status::Failed);
    }
}

#[tokio::test]
async fn a_typed_error_that_would_not_survive_is_replaced_by_the_reason() {
    let error = engine().await.start(fails, 1.0).await.expect("the run starts").await.expect_err("the run fails");
    let Wrong::Engine(error) = error else { panic!("infinity came back as {error:?}") };
    assert!(error.contains("infinity") && error.contains(".Ratio"), "{error}");
}

#[tokio::test]
async fn reading_a_result_as_another_type_is_an_error() {
    let engine = engine().await;
    let run = engine.start(round_trip, Value::Unsigned(7)).id("typed").await.expect("the run starts");
    (&run).await.expect("the run completes");
    let error = engine.get_run::<Vec<String>, Error>("typed").await.expect_err("the result is no list");
    assert_error(&error, Code::Payload, &["the run's result", "Vec<", r#"{"Unsigned":7}"#, "typed"]);
}
