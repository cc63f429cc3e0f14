//! Payloads around the limit of 64 MiB.

use workflow_runtime::{Code, Engine, Error, Result, step, workflow};

use super::support::assert_error;

const MEBIBYTE: usize = 1 << 20;

#[step]
async fn make(bytes: usize) -> Result<String> {
    Ok("x".repeat(bytes))
}

#[step]
async fn measure(text: String) -> Result<usize> {
    Ok(text.len())
}

#[workflow]
async fn makes(bytes: usize) -> Result<usize> {
    measure(make(bytes).await?).await
}

#[workflow]
async fn takes(text: String) -> Result<usize> {
    measure(text).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_payload_is_stored_and_a_too_large_one_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = super::support::engine(&directory.path().join("workflow.db")).await;
    let large = "x".repeat(20 * MEBIBYTE);
    let run = engine.start(takes, large).id("large").await.expect("20 MiB are accepted");
    assert_eq!(run.await.expect("the run completes"), 20 * MEBIBYTE);

    let too_large = "x".repeat(100 * MEBIBYTE);
    let error = engine.start(takes, too_large).id("too-large").await.expect_err("100 MiB are refused");
    assert_error(&error, Code::PayloadTooLarge, &["104857602 bytes", "67108864", "the workflow's arguments", "help:"]);
    let run = engine.get_run::<usize, Error>("too-large");
    assert!(!run.exists().await.expect("the store is readable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_result_is_too_large_fails() {
    let engine = Engine::open("memory:").await.expect("the engine opens");
    let error = engine.start(makes, 64 * MEBIBYTE).await.expect("the run starts").await.expect_err("the run fails");
    assert_error(&error, Code::PayloadTooLarge, &["67108866 bytes", "67108864", "the step's result"]);
}
