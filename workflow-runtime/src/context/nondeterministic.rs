//! The explicit exception to determinism: any future, executed once, its result recorded.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec;
use crate::definition::attempt_result;
use crate::durable::Durable;
use crate::error::{Error, Result};
use crate::replay::{Completion, Kind, LocalFuture, NONDETERMINISTIC, Operation};

/// Executes a future that is not durable as a step without a name and without retries: its output is recorded, and a replay
/// returns the recorded one.
///
/// It is executed outside the workflow, as a task; after a crash before its output was recorded, the replay
/// makes the future again and executes it again. If the output does not survive JSON, or the future panics,
/// the result is an error. Dropping it stops it at its next await. Outside a workflow it is just the future.
///
/// ```
/// # use workflow_runtime::{Result, nondeterministic, workflow};
/// #[workflow]
/// async fn roll() -> Result<u64> {
///     nondeterministic(async { 4 }).await
/// }
/// ```
#[track_caller]
pub fn nondeterministic<F>(future: F) -> Nondeterministic<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Serialize + DeserializeOwned + Send + 'static,
{
    let attempt = Box::pin(async move { attempt_result::<Result<F::Output>>(NONDETERMINISTIC, Ok(future.await)) });
    Nondeterministic { operation: Operation::new(Location::caller()), attempt: Some(attempt), output: PhantomData }
}

/// The recorded output of a future: see [`nondeterministic`].
#[must_use = "it does nothing unless it is awaited: add `.await`"]
pub struct Nondeterministic<T> {
    operation: Option<Operation>,
    attempt: Option<LocalFuture>,
    output: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Future for Nondeterministic<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let this = &mut *self;
        let result = match &mut this.operation {
            Some(operation) => match ready!(operation.poll(context, || Some(Kind::Local(this.attempt.take()))))? {
                Completion::Completed(value) => Ok(value),
                Completion::Failed(error) => Err(error),
                Completion::Due | Completion::Woken | Completion::Ended(_) => unreachable!("it is no timer and no run"),
            },
            None => {
                let attempt = this.attempt.as_mut().expect("it is not polled after its end");
                ready!(attempt.as_mut().poll(context)).map_err(|failure| failure.error)
            }
        };
        match result {
            Err(error) => {
                Poll::Ready(Err(codec::decode::<Error>("the recorded error", &error).unwrap_or_else(|error| error)))
            }
            Ok(value) => match (codec::decode("the recorded output", &value), &this.operation) {
                // The output was readable when it was recorded, so the type has changed since. There is no value to return.
                (Err(error), Some(operation)) => {
                    operation.run().fail(error);
                    Poll::Pending
                }
                (decoded, _) => Poll::Ready(decoded),
            },
        }
    }
}

impl<T: DeserializeOwned> Durable for Nondeterministic<T> {
    fn hand_over(&mut self) {
        if let Some(operation) = &mut self.operation {
            operation.hand_over();
        }
    }
}
