//! A time limit for an operation.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::{Sleep, wait};
use crate::durable::Durable;

/// The time limit has passed: see [`timeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time was up before the operation had ended")
    }
}

impl std::error::Error for Elapsed {}

/// Waits for an operation, but at most for `duration`, counted from this call, across crashes and restarts.
///
/// The time limit works like a [`sleep`](crate::sleep): setting the clock does not change it while the engine is open.
///
/// When the time limit passes, the operation is dropped, and so cancelled. A result that arrived before the deadline wins,
/// even if both are processed together after the process was down.
///
/// ```
/// # use std::time::Duration;
/// # use workflow_runtime::{Result, step, timeout, workflow};
/// # #[step] async fn ask() -> Result<String> { Ok("yes".into()) }
/// #[workflow]
/// async fn patient() -> Result<String> {
///     match timeout(Duration::from_secs(3600), ask()).await {
///         Ok(answer) => answer,
///         Err(_elapsed) => Ok("no answer".into()),
///     }
/// }
/// ```
#[track_caller]
pub fn timeout<F: IntoFuture>(duration: Duration, operation: F) -> Timeout<F::IntoFuture> {
    let mut bound = wait(duration, true);
    // If the operation is ready at once, the sleep is dropped without being polled, which is not a mistake.
    bound.hand_over();
    Timeout { both: Some((Box::pin(operation.into_future()), bound)) }
}

/// Waits for an operation or a time limit: see [`timeout`].
#[must_use = "a timeout does nothing unless it is awaited: add `.await`"]
pub struct Timeout<F> {
    both: Option<(Pin<Box<F>>, Sleep)>,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (operation, sleep) = self.both.as_mut().expect("a timeout is not polled after its end");
        let result = match operation.as_mut().poll(context) {
            Poll::Ready(output) => Ok(output),
            Poll::Pending => match Pin::new(sleep).poll(context) {
                Poll::Ready(()) => Err(Elapsed),
                Poll::Pending => return Poll::Pending,
            },
        };
        // The loser is dropped here, in this poll, so that it is cancelled at the same place on each replay.
        self.both = None;
        Poll::Ready(result)
    }
}

impl<F: Durable> Durable for Timeout<F> {}
