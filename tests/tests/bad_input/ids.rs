//! Ids of runs, and definitions that share an id.

use workflow_runtime::{Code, Engine, Error, Result, step, workflow};

use super::support::{assert_error, quick};

#[workflow]
async fn other(value: u64) -> Result<u64> {
    Ok(value)
}

async fn engine() -> Engine {
    Engine::open("memory:").await.expect("the engine opens")
}

#[tokio::test]
async fn an_invalid_id_is_refused_with_the_reason() {
    let engine = engine().await;
    let long = "ü".repeat(257);
    for (id, part) in
        [("", "empty"), (long.as_str(), "514 bytes"), ("a\nb", "control"), ("a\0b", "control"), ("\u{85}", "control")]
    {
        let error = engine.start(quick, 1).id(id).await.expect_err("the id is refused");
        assert_error(&error, Code::InvalidName, &[part]);
    }
    let just_right = "ü".repeat(256);
    let run = engine.start(quick, 1).id(&just_right).await.expect("512 bytes are accepted");
    assert_eq!(run.id(), just_right);
    for id in [" ", "order 1/2#3?", "'; DROP TABLE runs; --", "\u{1f600}"] {
        let run = engine.start(quick, 2).id(id).await.expect("the id is accepted");
        assert_eq!((run.id(), (&run).await.expect("the run completes")), (id, 2));
    }
}

#[tokio::test]
async fn an_id_belongs_to_one_workflow_with_one_list_of_arguments() {
    let engine = engine().await;
    let run = engine.start(quick, 1).id("taken").await.expect("the run starts");
    let error = engine.start(quick, 2).id("taken").await.expect_err("other arguments");
    assert_error(
        &error,
        Code::RunExists,
        &["taken", "expected: the recorded arguments 1", "found: this call's arguments 2", "help:"],
    );
    let error = engine.start(other, 1).id("taken").await.expect_err("another workflow");
    assert_error(&error, Code::RunExists, &["taken", "ids::other", "support::quick", "help:"]);
    let again = engine.start(quick, 1).id("taken").await.expect("the same call returns the existing run");
    assert_eq!((run.await.expect("the run completes"), again.await.expect("the run completes")), (1, 1));
}

#[tokio::test]
async fn a_missing_run_is_an_error_that_names_the_run() {
    let engine = engine().await;
    let run = engine.get_run::<u64, Error>("nowhere");
    let parts = ["nowhere", "help:"];
    assert!(!run.exists().await.expect("the store is readable"));
    assert_error(&run.status().await.expect_err("no status"), Code::RunNotFound, &parts);
    assert_error(&run.info().await.expect_err("no info"), Code::RunNotFound, &parts);
    assert_error(&run.await.expect_err("no result"), Code::RunNotFound, &parts);
}

fn first_twin(engine: &Engine) -> workflow_runtime::Start<impl workflow_runtime::Workflow<Output = Result<u64>>> {
    #[workflow]
    async fn twin() -> Result<u64> {
        Ok(1)
    }
    engine.start(twin, ())
}

fn second_twin(engine: &Engine) -> workflow_runtime::Start<impl workflow_runtime::Workflow<Output = Result<u64>>> {
    #[workflow]
    async fn twin() -> Result<u64> {
        Ok(2)
    }
    engine.start(twin, ())
}

/// The places in this file that a text mentions.
fn places(text: &str) -> Vec<&str> {
    text.split_whitespace().filter(|word| word.contains("bad_input/ids.rs:")).collect()
}

#[tokio::test]
async fn two_workflows_with_one_id_are_refused_when_one_is_started() {
    let engine = engine().await;
    let mut errors = Vec::new();
    errors.push(first_twin(&engine).await.map(drop).expect_err("the first is refused"));
    errors.push(second_twin(&engine).await.map(drop).expect_err("the second is refused"));
    for error in errors {
        assert_error(&error, Code::DuplicateId, &["bad_input::ids::twin", "id = "]);
        let text = format!("{error:?}");
        let [first, second] = places(&text)[..] else { panic!("the error does not name both places: {text}") };
        assert_ne!(first, second);
    }
}

#[workflow]
async fn calls_a_double(first: bool) -> Result<u64> {
    match first {
        true => first_double().await,
        false => second_double().await,
    }
}

fn first_double() -> workflow_runtime::StepCall<Result<u64>> {
    #[step]
    async fn double() -> Result<u64> {
        Ok(1)
    }
    double()
}

fn second_double() -> workflow_runtime::StepCall<Result<u64>> {
    #[step]
    async fn double() -> Result<u64> {
        Ok(2)
    }
    double()
}

#[workflow]
async fn calls_a_double_later() -> Result<u64> {
    quick_step().await?;
    first_double().await
}

#[step]
async fn quick_step() -> Result<()> {
    Ok(())
}

/// Asserts that an error names the places of both definitions, and that of the call.
#[track_caller]
fn assert_places(error: &Error, code: Code) {
    assert_error(error, code, &["several steps have the id `bad_input::ids::double`", "id = "]);
    let text = format!("{error:?}");
    let [first, second, _called] = places(&text)[..] else { panic!("the error does not name both places: {text}") };
    assert_ne!(first, second);
}

#[tokio::test]
async fn two_steps_with_one_id_are_refused_when_one_is_called() {
    let engine = engine().await;
    for first in [true, false] {
        let error = engine.start(calls_a_double, first).await.map(drop).expect_err("its first turn is refused");
        assert_places(&error, Code::DuplicateId);
    }
    // The mistake is in the build, so the run is stuck and not failed.
    let error =
        engine.start(calls_a_double_later, ()).await.expect("the run starts").await.expect_err("the run is stuck");
    assert_places(&error, Code::Stuck);
}

#[test]
fn an_engine_does_not_open_if_definitions_outside_of_tests_share_an_id() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_twins")).output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text.lines().collect();
    let engine = lines.iter().find(|line| line.starts_with("an engine")).expect("the program opens an engine");
    assert!(engine.starts_with("an engine does not open: duplicate_id"), "{text}");
    for part in ["workflows have the id `twins::open`", "twins.rs:", "id = "] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    assert!(lines.contains(&"a client opens"), "{text}");
    assert_eq!(lines.iter().filter(|line| **line == "a start is refused").count(), 2, "{text}");
    for part in ["not_registered", "twins::count_all", "two programs share", "id = "] {
        assert!(text.contains(part), "no {part} in {text}");
    }
}
