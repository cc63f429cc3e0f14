//! Continuing a run as a new generation with an empty journal.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::codec::Payload;
use crate::definition::{Fallible, Workflow};
use crate::durable::Durable;
use crate::error::{Code, Error, Result};
use crate::model::Deployment;
use crate::names;
use crate::replay::{Operation, current};

/// Ends the run's generation when it is awaited: see [`Invocation::continue_as_new`](crate::Invocation::continue_as_new).
#[must_use = "the run continues unchanged unless this is awaited: `return workflow(args).continue_as_new().await`"]
pub struct ContinueAsNew<W: Workflow> {
    state: Result<(Operation, Option<Payload>), Option<Error>>,
    deployment: Option<Deployment>,
    workflow: PhantomData<fn() -> W>,
}

impl<W: Workflow> ContinueAsNew<W> {
    pub(crate) fn new(operation: Operation, args: Payload) -> Self {
        ContinueAsNew { state: Ok((operation, Some(args))), deployment: None, workflow: PhantomData }
    }

    pub(crate) fn refused(error: Error) -> Self {
        ContinueAsNew { state: Err(Some(error)), deployment: None, workflow: PhantomData }
    }

    /// Sets which deployments execute the run from its next generation on. Without this call a run that is bound to a deployment
    /// stays bound to it, and a run that is not bound stays so.
    ///
    /// [`Deployment::Latest`] is determined when the generation ends; if no deployment that is not drained has a live worker with
    /// the workflow, the run keeps its binding. [`Deployment::Current`] is the deployment of the worker that executes this
    /// generation. The run waits for a worker of the deployment if there is none
    /// ([`Waiting::NoWorker`](crate::Waiting::NoWorker)). What is set here is not recorded in the journal: it can be changed
    /// while runs are in flight, and a replay does not compare it.
    ///
    /// # Errors
    ///
    /// Awaiting the call returns [`Code::InvalidName`](crate::Code::InvalidName) for an id that no deployment can have.
    ///
    /// ```
    /// # use workflow_runtime::{Deployment, Engine, Result, step, workflow};
    /// # #[step] async fn bill(month: u32) -> Result<()> { Ok(()) }
    /// // Each month is billed to its end by the build that has begun it, and the next month by the newest one.
    /// #[workflow(pinned)]
    /// async fn subscription(month: u32) -> Result<u32> {
    ///     bill(month).await?;
    ///     if month == 12 {
    ///         return Ok(month);
    ///     }
    ///     subscription(month + 1).continue_as_new().deployment(Deployment::Latest).await
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let engine = Engine::builder().url("memory:").deployment("v7").open().await?;
    /// assert_eq!(engine.start(subscription, 1).await?.await?, 12);
    /// # Ok(())
    /// # }
    /// ```
    pub fn deployment(mut self, deployment: impl Into<Deployment>) -> Self {
        let deployment = deployment.into();
        if let Deployment::Id(id) = &deployment
            && let Err(error) = names::check("the id of a deployment", id)
            && let Ok((operation, _)) = &mut self.state
        {
            operation.hand_over();
            self.state = Err(Some(error.into_fatal()));
        }
        self.deployment = Some(deployment);
        self
    }
}

impl<W: Workflow> Future for ContinueAsNew<W> {
    type Output = W::Output;

    fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<W::Output> {
        let this = &mut *self;
        let refused = match &mut this.state {
            Ok((operation, args)) => match operation.continue_as_new(W::DEFINITION, args, this.deployment.as_ref()) {
                Ok(()) => return Poll::Pending,
                Err(error) => error,
            },
            Err(error) => {
                error.take().unwrap_or_else(|| Error::coded(Code::OutsideRun, "polled after its end").into_fatal())
            }
        };
        Poll::Ready(W::Output::from_result(Err(refused.into())))
    }
}

impl<W: Workflow> Drop for ContinueAsNew<W> {
    fn drop(&mut self) {
        // Withdraws the request if the future is dropped in the poll that made it, such as by a `select!`.
        if let Ok((operation, None)) = &self.state {
            operation.stay();
        }
    }
}

impl<W: Workflow> Durable for ContinueAsNew<W> {
    fn hand_over(&mut self) {
        if let Ok((operation, _)) = &mut self.state {
            operation.hand_over();
        }
    }
}

/// Whether the journal of this run is so long that the run should
/// [continue as new](crate::Invocation::continue_as_new): each recovery replays the journal. Returns `true` after 10,000
/// events ([`Builder::suggest_continuing_after`](crate::engine::Builder::suggest_continuing_after));
/// a replay returns the recorded answer. Outside a workflow it is `false`.
#[track_caller]
pub fn continue_as_new_suggested() -> bool {
    let site = Location::caller();
    current().is_some_and(|run| run.suggests_continuing(site))
}
