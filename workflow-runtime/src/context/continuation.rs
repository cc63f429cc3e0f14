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
use crate::replay::{Operation, current};

/// Ends the run's generation when it is awaited: see [`Invocation::continue_as_new`](crate::Invocation::continue_as_new).
#[must_use = "the run continues unchanged unless this is awaited: `return workflow(args).continue_as_new().await`"]
pub struct ContinueAsNew<W: Workflow> {
    state: Result<(Operation, Option<Payload>), Option<Error>>,
    workflow: PhantomData<fn() -> W>,
}

impl<W: Workflow> ContinueAsNew<W> {
    pub(crate) fn new(operation: Operation, args: Payload) -> Self {
        ContinueAsNew { state: Ok((operation, Some(args))), workflow: PhantomData }
    }

    pub(crate) fn refused(error: Error) -> Self {
        ContinueAsNew { state: Err(Some(error)), workflow: PhantomData }
    }
}

impl<W: Workflow> Future for ContinueAsNew<W> {
    type Output = W::Output;

    fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<W::Output> {
        let refused = match &mut self.state {
            Ok((operation, args)) => match operation.continue_as_new(W::DEFINITION, args) {
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
