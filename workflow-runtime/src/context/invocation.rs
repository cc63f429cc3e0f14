//! A call of a workflow inside a workflow: a child run.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::codec;
use crate::context::ContinueAsNew;
use crate::definition::{Fallible, Workflow, WorkflowFn, adopt, validated};
use crate::durable::Durable;
use crate::error::{Code, Error};
use crate::handles::run::{self, Run, RunOf};
use crate::limits::DEPTH_MAX;
use crate::registry::registry;
use crate::replay::{ChildRequest, Kind, Operation};

/// What calling a `#[workflow]` function gives.
///
/// Awaited in a workflow it is a child run: with a journal and an id of its own, executed beside its parent, which waits
/// for it without holding anything but its rows. Its result and its typed error come back as those of a step do; a child
/// that was cancelled gives an error with [`Code::Cancelled`](crate::Code::Cancelled). Dropping it cancels the child, and
/// so does the end of the parent, unless it is [abandoned](Invocation::abandon). A child that is stuck keeps its parent
/// waiting. A child of a child may have children in its turn, 10,000 deep; the call that would go deeper is an error with
/// [`Code::Limit`](crate::Code::Limit). A [detached](Invocation::detach) run, which nobody waits for, begins anew.
///
/// Elsewhere the call runs nothing: pass the function to [`start`](crate::start).
///
/// ```
/// # use workflow_runtime::{Engine, Result, workflow};
/// #[workflow]
/// async fn fibonacci(n: u32) -> Result<u64> {
///     if n < 2 {
///         return Ok(u64::from(n));
///     }
///     let (a, b) = tokio::try_join!(fibonacci(n - 1), fibonacci(n - 2))?;
///     Ok(a + b)
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// let engine = Engine::open("memory:").await?;
/// assert_eq!(engine.start(fibonacci, 7).await?.await?, 13);
/// # Ok(())
/// # }
/// ```
#[must_use = "calling a workflow runs nothing: await it in a workflow, where it is a child run, or start it with `start(the_function, arguments)`"]
pub struct Invocation<W: Workflow> {
    state: State,
    workflow: PhantomData<fn() -> W>,
}

enum State {
    Run { operation: Operation, request: Option<Box<ChildRequest>> },
    Refused(Option<Error>),
}

impl<W: Workflow> Invocation<W> {
    #[doc(hidden)]
    #[track_caller]
    pub fn new(args: W::Args) -> Self {
        let site = Location::caller();
        let definition = W::DEFINITION;
        let refused = |error: Error| {
            let error = error.into_fatal().operation(format!("workflow `{}` called at {site}", definition.source.id));
            Invocation { state: State::Refused(Some(error)), workflow: PhantomData }
        };
        let Some(mut operation) = Operation::new(site) else {
            return refused(
                Error::coded(Code::OutsideRun, "a workflow is awaited outside a workflow")
                    .help("start it: `start(the_function, arguments).await?.await`"),
            );
        };
        if let Err(error) = registry().workflow(definition.source.id) {
            // A mistake of the build: the run waits for another one instead of failing.
            operation.hand_over();
            operation.run().fail(error.clone());
            return refused(error);
        }
        match validated::<W>(&args).and_then(|()| codec::encode("the workflow's arguments", &args)) {
            Ok(input) => {
                let request = Box::new(ChildRequest {
                    definition,
                    input,
                    abandoned: false,
                    detached: false,
                    adopt: adopt::<Error>,
                });
                Invocation { state: State::Run { operation, request: Some(request) }, workflow: PhantomData }
            }
            Err(error) => {
                operation.hand_over();
                refused(error)
            }
        }
    }

    /// Lets the child go on if its parent is cancelled, or ends while a [`spawn`](crate::spawn)ed branch waits for it. Dropping
    /// the call cancels it all the same, and a local variable is dropped when the workflow returns:
    /// [`detach`](Invocation::detach) what is to go on then.
    pub fn abandon(mut self) -> Self {
        if let State::Run { request: Some(request), .. } = &mut self.state {
            request.abandoned = true;
        }
        self
    }

    /// Lets this run go on as a new one when it is awaited: the workflow starts anew with these arguments, under the same
    /// id, and with a journal that begins anew. For a workflow that goes on for very long: what a run has in its journal is
    /// replayed each time it comes back into memory.
    ///
    /// The next generation keeps the run's id, its handles, its state, its attributes and streams. Payloads that came for
    /// hooks which are open, and were not taken, are kept for it: it finds them once it has opened a hook with the same
    /// token. What else is under way ends as by the end of the run: steps are aborted and children cancelled (but for
    /// [abandoned](Invocation::abandon) and [detached](Invocation::detach) ones), and what could be rolled back stays done.
    /// Whoever awaits the run waits for the end of the last generation. The journals of the earlier ones are kept, unless
    /// [`Retention::generations`](crate::Retention::generations) says of how many.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidContinuation`](crate::Code::InvalidContinuation) if the workflow is not the one that runs.
    ///
    /// ```
    /// # use workflow_runtime::{Engine, Result, step, workflow};
    /// # #[step] async fn settle(day: u32) -> Result<u64> { Ok(u64::from(day)) }
    /// #[workflow]
    /// async fn every_day(day: u32, total: u64) -> Result<u64> {
    ///     let total = total + settle(day).await?;
    ///     if day == 3 {
    ///         return Ok(total);
    ///     }
    ///     every_day(day + 1, total).continue_as_new().await
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let engine = Engine::open("memory:").await?;
    /// let run = engine.start(every_day, (1, 0)).await?;
    /// assert_eq!((&run).await?, 6);
    /// assert_eq!(run.info().await?.generation, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn continue_as_new(self) -> ContinueAsNew<W> {
        match self.state {
            State::Run { operation, request: Some(request) } => ContinueAsNew::new(operation, request.input),
            State::Refused(Some(error)) => ContinueAsNew::refused(error),
            State::Run { request: None, .. } | State::Refused(None) => {
                ContinueAsNew::refused(Error::coded(Code::OutsideRun, "the workflow was called already").into_fatal())
            }
        }
    }

    /// Starts the child without waiting for it: from the end of this turn on it is there, and goes on whatever becomes of
    /// its parent. The handle can be awaited later, or passed on.
    ///
    /// # Errors
    ///
    /// If the arguments do not survive JSON, or outside a workflow.
    pub fn detach(self) -> Result<RunOf<W>, Error> {
        let started = match self.state {
            State::Run { operation, request: Some(request) } => {
                operation.detach(ChildRequest { detached: true, ..*request })?
            }
            State::Refused(Some(error)) => return Err(error),
            State::Run { request: None, .. } | State::Refused(None) => None,
        };
        let id = started.ok_or_else(|| Error::coded(Code::OutsideRun, "the child was not started"))?;
        Ok(Run::new(None, id))
    }
}

impl<W: Workflow> Future for Invocation<W> {
    type Output = W::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<W::Output> {
        let (operation, request) = match &mut self.state {
            State::Run { operation, request } => (operation, request),
            State::Refused(error) => {
                let error = error.take().unwrap_or_else(|| Error::coded(Code::OutsideRun, "polled after its end"));
                return Poll::Ready(W::Output::from_result(Err(error.into())));
            }
        };
        if let Some(request) = request.as_ref()
            && operation.run().depth() >= DEPTH_MAX
        {
            let id = request.definition.source.id;
            let error =
                Error::coded(Code::Limit, format!("workflow `{id}` is called too deep: each call waits for the next"))
                    .run(operation.run().run_id())
                    .expected(format!("at most {DEPTH_MAX} runs, of which each is the child of the one before"))
                    .help("end the recursion, let one run do in a loop what each does, or `continue_as_new()`")
                    .into_fatal();
            return Poll::Ready(W::Output::from_result(Err(error.into())));
        }
        run::poll_end(operation, context, || request.take().map(Kind::Child)).map(W::Output::from_result)
    }
}

impl<W: Workflow> Durable for Invocation<W> {
    fn hand_over(&mut self) {
        if let State::Run { operation, .. } = &mut self.state {
            operation.hand_over();
        }
    }
}

macro_rules! workflow_fn {
    ($($argument:ident)*) => {
        impl<F, W, $($argument,)*> WorkflowFn<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> Invocation<W>,
            W: Workflow,
        {
            type Workflow = W;
        }
    };
}

workflow_fn!();
workflow_fn!(A);
workflow_fn!(A B);
workflow_fn!(A B C);
workflow_fn!(A B C D);
workflow_fn!(A B C D E);
workflow_fn!(A B C D E G);
workflow_fn!(A B C D E G H);
workflow_fn!(A B C D E G H I);
workflow_fn!(A B C D E G H I J);
workflow_fn!(A B C D E G H I J K);
workflow_fn!(A B C D E G H I J K L);
workflow_fn!(A B C D E G H I J K L M);
