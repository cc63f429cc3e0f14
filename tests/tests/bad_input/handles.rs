//! Engines that cannot be opened, or that are used after their shutdown.

use workflow_runtime::{Code, Engine, Error};

use super::support::{arrived, assert_error, gated, open, quick};

#[tokio::test]
async fn an_invalid_url_is_refused_and_the_error_lists_the_valid_forms() {
    for url in ["", "memory", "workflow.db", "sqlite:", "mysql://user:hunter2@localhost/workflow"] {
        let error = Engine::open(url).await.expect_err("the URL is invalid");
        assert_error(&error, Code::InvalidUrl, &["sqlite:PATH", "WORKFLOW_URL"]);
        assert!(!format!("{error:?}").contains("hunter2"), "the error shows the password: {error:?}");
    }
    let error = Engine::open("sqlite::memory:").await.expect_err("SQLite's own name for memory is no file");
    assert_error(&error, Code::InvalidUrl, &["memory:"]);
}

#[test]
fn an_engine_opens_inside_a_tokio_runtime_only() {
    let error = futures::executor::block_on(Engine::open("memory:")).expect_err("there is no runtime");
    assert_error(&error, Code::Closed, &["tokio runtime", "#[tokio::main]"]);
}

#[tokio::test]
async fn starts_during_a_shutdown_fail_and_another_engine_continues_the_runs() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("workflow.db");
    let engine = super::support::engine(&path).await;
    let ended = engine.start(quick, 5).await.expect("the run starts");
    assert_eq!((&ended).await.expect("the run completes"), 5);
    let unfinished = engine.start(gated, "handles".to_owned()).id("unfinished").await.expect("the run starts");
    let waiting = tokio::spawn({
        let unfinished = unfinished.clone();
        async move { unfinished.await }
    });
    arrived("handles", 1).await;
    let stopping = tokio::spawn({
        let engine = engine.clone();
        async move { engine.shutdown().await }
    });
    // Starts are refused once the shutdown has begun.
    let error = loop {
        match engine.start(quick, 6).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert_error(&error, Code::Closed, &["shut down", "help:"]);
    // The attempt at the gate never ends by itself: dropping the shutdown leaves the rest to the engine's drop.
    stopping.abort();
    let _ = stopping.await;
    drop((engine, ended));
    // The handles keep the engine open. Another engine takes over once they are dropped.
    waiting.abort();
    let _ = waiting.await;
    drop(unfinished);

    let next = super::support::engine(&path).await;
    open("handles");
    assert_eq!(next.get_run::<String, Error>("unfinished").await.expect("the run continues"), "handles");
}

#[tokio::test]
async fn a_shutdown_fails_pending_awaits_and_can_be_repeated() {
    let engine = Engine::open("memory:").await.expect("the engine opens");
    let ended = engine.start(quick, 5).await.expect("the run starts");
    (&ended).await.expect("the run completes");
    let sleeping = engine.start(sleeps, ()).await.expect("the run starts");
    let waiting = tokio::spawn({
        let sleeping = sleeping.clone();
        async move { sleeping.await }
    });
    engine.shutdown().await.expect("the engine shuts down");
    let error = waiting.await.expect("the task does not panic").expect_err("the run has not ended");
    assert_error(&error, Code::Closed, &[sleeping.id(), "the next engine continues it"]);
    assert_error(&(&sleeping).await.expect_err("a later await fails, too"), Code::Closed, &[sleeping.id()]);
    assert_error(&engine.start(quick, 5).await.expect_err("nothing starts"), Code::Closed, &["shut down"]);
    assert_eq!(ended.await.expect("the result of a finished run can still be read"), 5);
    engine.shutdown().await.expect("a second shutdown does nothing");
}

#[workflow_runtime::workflow]
async fn sleeps() -> workflow_runtime::Result<()> {
    workflow_runtime::sleep(std::time::Duration::from_secs(3600)).await;
    Ok(())
}
