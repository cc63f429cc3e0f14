//! The clock of a test engine does not move while a step that is not replaced executes.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Instant;

use futures_util::future::{Either, select};
use futures_util::poll;

use crate::definition::{AttemptFailure, AttemptResult};
use crate::error::{Code, Error, Result};
use crate::limits::TEST_STEP_MAX;

fn too_long(step: &str) -> Error {
    Error::coded(Code::Timeout, format!("step `{step}` held the clock of the test engine for {TEST_STEP_MAX:?}"))
        .help("the clock of a test does not advance while a step without a mock executes: mock it with `.mock(..)`")
        .into_fatal()
}

/// Checks that a blocking attempt has not taken too long, in real time.
pub(super) fn check(step: &str, begun: Instant) -> Result<()> {
    if begun.elapsed() < TEST_STEP_MAX { Ok(()) } else { Err(too_long(step)) }
}

/// Executes an attempt. Tokio does not move a paused clock while a blocking task runs, so one runs until the attempt ends.
pub(super) async fn asynchronous(
    step: &'static str,
    adopt: fn(Error) -> AttemptFailure,
    attempt: impl Future<Output = AttemptResult>,
) -> AttemptResult {
    let mut attempt = pin!(attempt);
    if let std::task::Poll::Ready(result) = poll!(attempt.as_mut()) {
        return result;
    }
    let (ends, ended) = channel::<()>();
    let late = tokio::task::spawn_blocking(move || ended.recv_timeout(TEST_STEP_MAX));
    match select(attempt, late).await {
        Either::Left((result, _)) => {
            drop(ends);
            result
        }
        Either::Right((Ok(Err(RecvTimeoutError::Timeout)), _)) => Err(adopt(too_long(step))),
        // The runtime stops.
        Either::Right((_, attempt)) => attempt.await,
    }
}
