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
use crate::durable::Durable;
use crate::engine::{self, Finished};
use crate::error::{Code, Error, Failure, Result};
use crate::handles::outcome::GetOutcome;
use crate::replay::{Completion, Kind, Operation};

/// Decodes the end of a run as the result of a waiter.
fn result<T: DeserializeOwned, E: Failure>(finished: &Finished) -> Result<Result<T, E>> {
    Ok(match finished {
        Finished::Completed(value) => Ok(codec::decode("the run's result", value)?),
        Finished::Failed(error) => Err(codec::decode("the run's error", error)?),
        Finished::Cancelled(reason) => {
            let error = Error::coded(Code::Cancelled, format!("the run was cancelled: {reason}"));
            Err(error.into_fatal().into())
        }
    })
}

/// Waits inside a workflow for the end of a run: one that the operation starts, or an existing one.
pub(crate) fn poll_end<T: DeserializeOwned, E: Failure>(
    operation: &mut Operation,
    context: &mut Context<'_>,
    kind: impl FnOnce() -> Option<Kind>,
) -> Poll<Result<T, E>> {
    let end = match ready!(operation.poll(context, kind)) {
        Ok(Completion::Ended(end)) => match Finished::of(end) {
            Some(finished) => result(&finished),
            None => Err(Error::coded(Code::Damaged, "a continuation was recorded as the end of a run")),
        },
        // The run does not exist.
        Ok(Completion::Failed(error)) => codec::decode::<Error>("the error", &error).map(|error| Err(error.into())),
        Ok(Completion::Completed(_) | Completion::Due | Completion::Woken) => unreachable!("a run is no step or timer"),
        Err(error) => Ok(Err(error.into())),
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
pub struct RunEnd<T, E>(End<T, E>);

enum End<T, E> {
    /// Outside a workflow.
    Plain(BoxFuture<'static, Result<T, E>>),
    Durable {
        operation: Operation,
        run: Arc<str>,
    },
}

impl<T, E> Future for RunEnd<T, E>
where
    T: DeserializeOwned,
    E: Failure,
{
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, E>> {
        match &mut self.0 {
            End::Plain(result) => result.as_mut().poll(context),
            End::Durable { operation, run } if operation.run().run_id() == run => {
                Poll::Ready(Err(engine::awaits_itself(run).into()))
            }
            End::Durable { operation, run } => poll_end(operation, context, || Some(Kind::Watch(run.clone().into()))),
        }
    }
}

impl<T, E> Durable for RunEnd<T, E>
where
    T: DeserializeOwned,
    E: Failure,
{
    fn hand_over(&mut self) {
        if let End::Durable { operation, .. } = &mut self.0 {
            operation.hand_over();
        }
    }
}

impl<T, E> Run<T, E>
where
    T: DeserializeOwned,
    E: Failure,
{
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
        let engine = self.engine().await?;
        let finished = engine.inner().wait_until_stranded(&self.id, time).await?;
        self.decoded(&finished)
    }

    /// The result of the run, once it has ended or is stuck; an error if the result cannot be determined.
    pub(crate) async fn ended(self) -> Result<Result<T, E>> {
        let engine = self.engine().await?;
        let named = |error: Error| error.run(&self.id);
        match engine.inner().wait(&self.id).await {
            Ok(finished) => result(&finished).map_err(named),
            Err(error) if error.code() == Code::Stuck => Ok(Err(error.into())),
            Err(error) => Err(error),
        }
    }

    async fn result(self) -> Result<T, E> {
        let engine = self.engine().await?;
        let finished = engine.inner().wait(&self.id).await?;
        self.decoded(&finished)
    }

    fn decoded(&self, finished: &Finished) -> Result<T, E> {
        let named = |error: Error| error.run(&self.id);
        if let Finished::Cancelled(reason) = finished {
            let error = Error::coded(Code::Cancelled, format!("the run was cancelled: {reason}"));
            return Err(named(error).into_fatal().into());
        }
        result(finished).map_err(named)?
    }
}

impl<T, E> IntoFuture for Run<T, E>
where
    T: DeserializeOwned + Send + 'static,
    E: Failure,
{
    type Output = Result<T, E>;
    type IntoFuture = RunEnd<T, E>;

    #[track_caller]
    fn into_future(self) -> Self::IntoFuture {
        RunEnd(match Operation::new(Location::caller()) {
            Some(operation) => End::Durable { operation, run: self.id },
            None => End::Plain(Box::pin(self.result())),
        })
    }
}

impl<T, E> IntoFuture for &Run<T, E>
where
    T: DeserializeOwned + Send + 'static,
    E: Failure,
{
    type Output = Result<T, E>;
    type IntoFuture = RunEnd<T, E>;

    #[track_caller]
    fn into_future(self) -> Self::IntoFuture {
        self.clone().into_future()
    }
}
