//! The end of a run: its result, in and outside workflows, and its outcome.

use std::future::{Future, IntoFuture};
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;

use super::Run;
use crate::codec;
use crate::definition::Fallible;
use crate::durable::Durable;
use crate::engine::{self, Client, Finished};
use crate::error::{Code, Error, Failure, Result};
use crate::handles::outcome::GetOutcome;
use crate::replay::{Completion, Kind, Operation};

/// Converts the end of a run, or an error of the engine, to the result of a waiter. A handle has this function, so that only
/// its creation has bounds on the types of the result: a result that cannot be stored is a compile error of the workflow and
/// of none of its callers.
pub(crate) type Returns<T, E> = fn(Result<&Finished>) -> Result<Result<T, E>>;

/// Decodes the end of a run as the result of a waiter.
pub(crate) fn returns<T: DeserializeOwned, E: Failure>(finished: Result<&Finished>) -> Result<Result<T, E>> {
    Ok(match finished {
        Ok(Finished::Completed(value)) => Ok(codec::decode("the run's result", value)?),
        Ok(Finished::Failed(error)) => Err(codec::decode("the run's error", error)?),
        Ok(Finished::Cancelled(reason)) => Err(cancelled(reason).into_fatal().into()),
        Err(error) => Err(error.into()),
    })
}

/// The same for the result of a workflow.
pub(super) fn returns_of<R: Fallible>(finished: Result<&Finished>) -> Result<Result<R::Value, R::Error>> {
    Ok(R::from_result(returns::<R::Ok, R::Err>(finished)?).into_parts())
}

fn cancelled(reason: &str) -> Error {
    Error::coded(Code::Cancelled, format!("the run was cancelled: {reason}"))
}

/// The result of a waiter that gets this error.
fn failed<T, E>(returns: Returns<T, E>, error: Error) -> Result<T, E> {
    returns(Err(error)).unwrap_or_else(|_| unreachable!("an error is returned as it is"))
}

/// Waits inside a workflow for the end of a run: one that the operation starts, or an existing one.
pub(crate) fn poll_end<T, E>(
    operation: &mut Operation,
    context: &mut Context<'_>,
    returns: Returns<T, E>,
    kind: impl FnOnce() -> Option<Kind>,
) -> Poll<Result<T, E>> {
    let end = match ready!(operation.poll(context, kind)) {
        Ok(Completion::Ended(end)) => match Finished::of(end) {
            Some(finished) => returns(Ok(&finished)),
            None => Err(Error::coded(Code::Damaged, "a continuation was recorded as the end of a run")),
        },
        // The run does not exist.
        Ok(Completion::Failed(error)) => {
            codec::decode::<Error>("the error", &error).map(|error| failed(returns, error))
        }
        Ok(Completion::Completed(_) | Completion::Due | Completion::Woken) => unreachable!("a run is no step or timer"),
        Err(error) => Ok(failed(returns, error)),
    };
    match end {
        Ok(result) => Poll::Ready(result),
        // The result cannot be decoded as `T`, so there is no value to return. The run waits for a build that can decode
        // it.
        Err(error) => {
            operation.run().fail(error);
            Poll::Pending
        }
    }
}

/// Waits for the end of a run: see [`Run`].
#[must_use = "nothing waits unless it is awaited: add `.await`"]
pub struct RunEnd<T, E> {
    end: End,
    run: Arc<str>,
    returns: Returns<T, E>,
}

enum End {
    /// Outside a workflow.
    Plain(BoxFuture<'static, Result<Finished>>),
    Durable(Operation),
}

impl<T, E> Future for RunEnd<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, E>> {
        let RunEnd { end, run, returns } = &mut *self;
        match end {
            End::Plain(finished) => finished.as_mut().poll(context).map(|finished| decoded(run, *returns, finished)),
            End::Durable(operation) if operation.run().run_id() == run => {
                Poll::Ready(failed(*returns, engine::awaits_itself(run)))
            }
            End::Durable(operation) => poll_end(operation, context, *returns, || Some(Kind::Watch(run.clone().into()))),
        }
    }
}

impl<T, E> Durable for RunEnd<T, E> {
    fn hand_over(&mut self) {
        if let End::Durable(operation) = &mut self.end {
            operation.hand_over();
        }
    }
}

/// The result for a waiter outside a workflow.
fn decoded<T, E>(run: &str, returns: Returns<T, E>, finished: Result<Finished>) -> Result<T, E> {
    let result = match &finished {
        Ok(Finished::Cancelled(reason)) => returns(Err(cancelled(reason).run(run).into_fatal())),
        Ok(finished) => returns(Ok(finished)),
        Err(error) => returns(Err(error.clone())),
    };
    result.unwrap_or_else(|error| failed(returns, error.run(run)))
}

/// Waits for the end of a run, without the types of its result, so that all waiters share it.
async fn finished(engine: Option<Client>, run: Arc<str>) -> Result<Finished> {
    engine::given_or_ambient(&engine).await?.inner().wait(&run).await
}

impl<T, E> Run<T, E> {
    /// Waits for the end of the run, and returns a report of everything that it did: a failed, cancelled or stuck run is an
    /// outcome like any other. See [`Outcome`](crate::Outcome).
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), [`Code::Closed`](crate::Code::Closed) if the engine is shut down
    /// first, or if the store cannot be read.
    ///
    /// ```
    /// # use workflow_runtime::{Engine, Error, Result, Status, step, workflow};
    /// # #[step] async fn charge(order: u64) -> Result<String> { Err(Error::fatal("no credit")) }
    /// # #[workflow] async fn checkout(order: u64) -> Result<String> { charge(order).await }
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let engine = Engine::open("memory:").await?;
    /// let outcome = engine.start(checkout, 1).await?.outcome().await?;
    /// assert_eq!(outcome.status, Status::Failed);
    /// for step in &outcome.steps {
    ///     println!("{} {:?} after {} attempts: {:?}", step.step, step.status, step.attempts, step.error);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn outcome(&self) -> GetOutcome<T, E> {
        GetOutcome::new(self.clone(), self.with_state)
    }

    /// Waits for the result of the run as `run.await` does, but no longer than some time in which no live worker can execute it:
    /// none has its workflow, or none is of the deployment that it is [bound](crate::Start::deployment) to. Time in which a worker
    /// is there does not count, so this returns no error for a run that only takes long; a run that waits for a stranded child is
    /// not stranded itself. The workers are looked at each five seconds or more often. Dropping the future does not affect the run.
    ///
    /// # Errors
    ///
    /// [`Code::Stranded`](crate::Code::Stranded): the run is unfinished, and can be awaited again. Otherwise as `run.await`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use workflow_runtime::{Client, Code, Engine, Result, workflow};
    /// # #[workflow] async fn checkout(order: u64) -> Result<u64> { Ok(order) }
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let url = format!("sqlite:{}/workflow.db", directory.path().display());
    /// # let client = Client::connect(&url).await?;
    /// let run = client.start(checkout, 1).id("order-1").await?; // nobody executes it
    /// let stranded = run.until_stranded(Duration::from_millis(50)).await.unwrap_err();
    /// assert_eq!(stranded.code(), Code::Stranded);
    /// let engine = Engine::open(&url).await?;
    /// assert_eq!(run.until_stranded(Duration::from_secs(60)).await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn until_stranded(&self, time: Duration) -> Result<T, E> {
        let finished = async { self.engine().await?.inner().wait_until_stranded(&self.id, time).await };
        decoded(&self.id, self.returns, finished.await)
    }

    /// The result of the run, once it has ended or is stuck; an error if the result cannot be determined.
    pub(crate) async fn ended(self) -> Result<Result<T, E>> {
        let finished = self.engine().await?.inner().wait(&self.id).await;
        match &finished {
            Err(error) if error.code() != Code::Stuck => Err(error.clone()),
            finished => (self.returns)(finished.as_ref().map_err(Error::clone)).map_err(|error| error.run(&self.id)),
        }
    }
}

impl<T, E> IntoFuture for Run<T, E> {
    type Output = Result<T, E>;
    type IntoFuture = RunEnd<T, E>;

    #[track_caller]
    fn into_future(self) -> Self::IntoFuture {
        let Run { engine, id: run, returns, .. } = self;
        let end = match Operation::new(Location::caller()) {
            Some(operation) => End::Durable(operation),
            None => End::Plain(Box::pin(finished(engine, run.clone()))),
        };
        RunEnd { end, run, returns }
    }
}

impl<T, E> IntoFuture for &Run<T, E> {
    type Output = Result<T, E>;
    type IntoFuture = RunEnd<T, E>;

    #[track_caller]
    fn into_future(self) -> Self::IntoFuture {
        self.clone().into_future()
    }
}
