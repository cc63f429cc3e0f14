//! Calling a workflow inside a workflow: a child run.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::codec;
use crate::context::ContinueAsNew;
use crate::definition::{Fallible, Workflow, WorkflowFn, adopt, encode_arguments};
use crate::durable::Durable;
use crate::error::{Code, Error};
use crate::handles::run::{self, Run, RunOf};
use crate::limits::DEPTH_MAX;
use crate::names::{self, check_attribute, check_attributes};
use crate::registry::registry;
use crate::replay::{ChildRequest, Completion, Kind, Named, Operation};

/// The return type of a call of a `#[workflow]` function.
///
/// Awaited in a workflow, it is a child run: with its own journal and id, executed beside its parent, which
/// waits for it and occupies only its rows in the store. Its result and its typed error are returned as those
/// of a step are; a child that was cancelled returns an error with [`Code::Cancelled`](crate::Code::Cancelled).
/// Dropping the call cancels the child, and so does the end of the parent, unless the child is
/// [abandoned](Invocation::abandon). A stuck child keeps its parent waiting. Children may have children of
/// their own, 10,000 levels deep; a deeper call is an error with [`Code::Limit`](crate::Code::Limit). A
/// [detached](Invocation::detach) run, which is not awaited, starts from level 0. The child has a generated id,
/// unless the workflow chooses [one](Invocation::id), and may have [attributes](Invocation::attribute).
///
/// Elsewhere the call executes nothing: pass the function to [`start`](crate::start).
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

impl State {
    fn refused<W: Workflow>(error: Error, site: &Location<'_>) -> Self {
        let id = W::DEFINITION.source.id;
        State::Refused(Some(error.into_fatal().operation(format!("workflow `{id}` called at {site}"))))
    }

    fn request(&mut self) -> Option<&mut ChildRequest> {
        match self {
            State::Run { request, .. } => request.as_deref_mut(),
            State::Refused(_) => None,
        }
    }
}

/// The error of a refused call that is polled again.
fn polled_again() -> Error {
    Error::coded(Code::OutsideRun, "polled after its end")
}

impl<W: Workflow> Invocation<W> {
    #[doc(hidden)]
    #[track_caller]
    pub fn new(args: W::Args) -> Self {
        let site = Location::caller();
        let definition = W::DEFINITION;
        let refused = |error: Error| Invocation { state: State::refused::<W>(error, site), workflow: PhantomData };
        let Some(mut operation) = Operation::new(site) else {
            return refused(
                Error::coded(Code::OutsideRun, "a workflow is awaited outside a workflow")
                    .help("start it: `start(the_function, arguments).await?.await`"),
            );
        };
        if let Err(error) = registry().workflow(definition.source.id) {
            // The build is faulty: the run waits for another build instead of failing.
            operation.hand_over();
            operation.run().fail(error.clone());
            return refused(error);
        }
        match encode_arguments::<_, W::Form>(definition, W::validate, &args) {
            Ok(input) => {
                let request = Box::new(ChildRequest {
                    definition,
                    input,
                    abandoned: false,
                    detached: false,
                    named: None,
                    attributes: BTreeMap::new(),
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

    /// Lets the child continue if its parent is cancelled, or ends while a [`spawn`](crate::spawn)ed
    /// branch waits for it. Dropping the call still cancels the child, and a local variable is
    /// dropped when the workflow returns: in that case use [`detach`](Invocation::detach).
    pub fn abandon(mut self) -> Self {
        if let Some(request) = self.state.request() {
            request.abandoned = true;
        }
        self
    }

    /// Sets the id of the child, such as `invoice-1001`, as [`Start::id`](crate::Start::id) does: at most 512 bytes,
    /// without control characters. If no run has the id, the call starts the child under it, and this run owns the child.
    ///
    /// If a run with the id, the same workflow and the same arguments exists, the call waits for that run instead,
    /// regardless of who started it and whether it has ended. This run does not own it: it is not cancelled when
    /// the call is dropped or when this run ends, rollbacks do not wait for it, it keeps its attributes, and it is
    /// not among the [children](Run::children) of this run. The same applies to a [fork](Run::fork) of this run,
    /// and to its next generation after [`continue_as_new`](Invocation::continue_as_new). Two calls of one run
    /// with the same id wait for one child, which is cancelled with the first of these calls.
    ///
    /// A [retry](Run::retry) of this run reopens a failed or cancelled child that it started, as it
    /// does other children. Runs that this run has not started do not change.
    ///
    /// The id is recorded with the call. A replay that passes another id does not match the journal.
    ///
    /// # Errors
    ///
    /// The call is an error with [`Code::RunExists`](crate::Code::RunExists) if the run with the id is of another workflow or
    /// has other arguments, or was [created](crate::create_run) and not started yet; with
    /// [`Code::AwaitsItself`](crate::Code::AwaitsItself) if the id is that of this run. These are recorded, like the failure of
    /// a child. [`Code::InvalidName`](crate::Code::InvalidName) for a text that cannot be an id.
    ///
    /// ```
    /// # use workflow_runtime::{Engine, Result, workflow};
    /// #[workflow]
    /// async fn invoice(order: u64) -> Result<String> {
    ///     Ok(format!("invoice of order {order}"))
    /// }
    ///
    /// #[workflow]
    /// async fn ship(order: u64) -> Result<String> {
    ///     // One invoice, whichever run requests it first.
    ///     invoice(order).id(format!("invoice-{order}")).await
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let engine = Engine::open("memory:").await?;
    /// let shipped = engine.start(ship, 7).await?;
    /// assert_eq!((&shipped).await?, "invoice of order 7");
    /// assert_eq!(shipped.children().await?, ["invoice-7"]);
    /// // It exists now, and is not started again.
    /// let again = engine.start(ship, 7).await?;
    /// assert_eq!((&again).await?, "invoice of order 7");
    /// assert!(again.children().await?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn id(mut self, id: impl Into<String>) -> ChildWithId<W> {
        let id: Arc<str> = id.into().into();
        match names::check("the id of a run", &id) {
            Ok(()) => {
                if let Some(request) = self.state.request() {
                    // The token depends on the operation, which is not issued yet.
                    request.named = Some(Named { id: id.clone(), token: 0 });
                }
            }
            Err(error) => self.refuse(error),
        }
        ChildWithId { call: self, id }
    }

    /// Adds an attribute, by which the child can be found: [`Runs::attribute`](crate::Runs::attribute). Can be called more
    /// than once; at most 64 attributes of at most 512 bytes, key and value together, as for
    /// [`Start::attribute`](crate::Start::attribute). They are recorded with the call, and a replay must pass the same ones.
    ///
    /// # Errors
    ///
    /// The call is an error with [`Code::Limit`](crate::Code::Limit) for too many or too long attributes, and with
    /// [`Code::InvalidName`](crate::Code::InvalidName) for an invalid key.
    ///
    /// ```
    /// # use workflow_runtime::{Engine, Result, Status, workflow};
    /// #[workflow]
    /// async fn invoice(order: u64) -> Result<()> {
    ///     Ok(())
    /// }
    ///
    /// #[workflow]
    /// async fn ship(order: u64) -> Result<()> {
    ///     invoice(order).attribute("order", order.to_string()).await
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let engine = Engine::open("memory:").await?;
    /// engine.start(ship, 7).await?.await?;
    /// assert_eq!(engine.runs().attribute("order", "7").count().await?[&Status::Completed], 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let (key, value) = (key.into(), value.into());
        let Some(request) = self.state.request() else { return self };
        let checked = check_attribute(&key, &value);
        request.attributes.insert(key.into(), value.into());
        if let Err(error) = checked.and(check_attributes(request.attributes.len())) {
            self.refuse(error);
        }
        self
    }

    /// Makes the call return this error, unless it already returns another.
    fn refuse(&mut self, error: Error) {
        if let State::Run { operation, .. } = &mut self.state {
            operation.hand_over();
            self.state = State::refused::<W>(error, operation.site());
        }
    }

    /// Continues this run as a new generation when it is awaited: the workflow restarts with
    /// these arguments, under the same id, with an empty journal. For a workflow that runs for
    /// a very long time: each time a run comes back into memory, its whole journal is replayed.
    ///
    /// The next generation keeps the run's id, handles, state, attributes and streams. Payloads for open hooks
    /// that were not taken are kept for it: it receives them once it has opened a hook with the same token. Other
    /// operations in progress end as at the end of the run: steps are aborted and children cancelled (except
    /// [abandoned](Invocation::abandon) and [detached](Invocation::detach) ones), and steps with rollbacks are not
    /// undone. A caller that awaits the run waits for the end of the last generation. The journals of earlier
    /// generations are kept, unless [`Retention::generations`](crate::Retention::generations) limits how many.
    ///
    /// A [suspension](crate::suspend()) that is open ends with the generation: its answer is refused from then on.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidContinuation`](crate::Code::InvalidContinuation) if the workflow is
    /// not the one of this run, or if the call has an [attribute](Invocation::attribute).
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
            State::Run { mut operation, request: Some(request) } if !request.attributes.is_empty() => {
                operation.hand_over();
                let text = "a run that continues as new keeps its attributes, and is given no others";
                let error = Error::coded(Code::InvalidContinuation, text);
                ContinueAsNew::refused(error.help("set them in the workflow: `set_attribute(key, value)`").into_fatal())
            }
            State::Run { operation, request: Some(request) } => ContinueAsNew::new(operation, request.input),
            State::Refused(Some(error)) => ContinueAsNew::refused(error),
            State::Run { request: None, .. } | State::Refused(None) => {
                ContinueAsNew::refused(Error::coded(Code::OutsideRun, "the workflow was called already").into_fatal())
            }
        }
    }

    /// Starts the child without waiting for it: the child exists from the end of this turn on,
    /// and continues independently of its parent. The handle can be awaited later, or passed on.
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
        Ok(Run::of::<W::Output>(None, id))
    }
}

impl<W: Workflow> Future for Invocation<W> {
    type Output = W::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<W::Output> {
        let (operation, request) = match &mut self.state {
            State::Run { operation, request } => (operation, request),
            State::Refused(error) => {
                let error = error.take().unwrap_or_else(polled_again);
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
                    .help("end the recursion, or replace it by a loop in one run or by `continue_as_new()`")
                    .into_fatal();
            return Poll::Ready(W::Output::from_result(Err(error.into())));
        }
        run::poll_end(operation, context, run::returns, || request.take().map(Kind::Child)).map(W::Output::from_result)
    }
}

impl<W: Workflow> Durable for Invocation<W> {
    fn hand_over(&mut self) {
        if let State::Run { operation, .. } = &mut self.state {
            operation.hand_over();
        }
    }
}

/// A call of a workflow as a child with a chosen id: see [`Invocation::id`].
///
/// It is awaited like the call without an id, and returns the same errors.
/// Dropping it cancels the child that it has started, and no other run.
#[must_use = "nothing is started unless it is awaited: add `.await`"]
pub struct ChildWithId<W: Workflow> {
    call: Invocation<W>,
    id: Arc<str>,
}

impl<W: Workflow> ChildWithId<W> {
    /// As [`Invocation::attribute`]. An existing run keeps its attributes.
    pub fn attribute(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        ChildWithId { call: self.call.attribute(key, value), ..self }
    }

    /// As [`Invocation::abandon`].
    pub fn abandon(self) -> Self {
        ChildWithId { call: self.call.abandon(), ..self }
    }

    /// Starts the child without waiting for its end, as [`Invocation::detach`] does. It must still be awaited: the id may be
    /// that of another run, which is known only once the store has answered. If a run with the id, the same workflow
    /// and the same arguments exists, the handle is that of this run.
    ///
    /// Dropping it after it was polled does not affect the child.
    ///
    /// # Errors
    ///
    /// As for [`Invocation::id`].
    ///
    /// ```
    /// # use workflow_runtime::{Engine, Result, Run, workflow};
    /// # #[workflow] async fn invoice(order: u64) -> Result<String> { Ok("sent".into()) }
    /// #[workflow]
    /// async fn ship(order: u64) -> Result<Run<String>> {
    ///     invoice(order).id(format!("invoice-{order}")).detach().await
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let engine = Engine::open("memory:").await?;
    /// let invoice = engine.start(ship, 7).await?.await?;
    /// assert_eq!(invoice.id(), "invoice-7");
    /// let invoice: Run<String> = engine.get_run(invoice.id()); // not by the engine of the free functions
    /// assert_eq!(invoice.await?, "sent");
    /// # Ok(())
    /// # }
    /// ```
    pub fn detach(mut self) -> Detach<W> {
        if let Some(request) = self.call.state.request() {
            request.detached = true;
        }
        Detach(self)
    }
}

impl<W: Workflow> Future for ChildWithId<W> {
    type Output = W::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<W::Output> {
        Pin::new(&mut self.call).poll(context)
    }
}

impl<W: Workflow> Durable for ChildWithId<W> {
    fn hand_over(&mut self) {
        self.call.hand_over();
    }
}

impl<W: Workflow> fmt::Debug for ChildWithId<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildWithId").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A pending start of a child that is not awaited: see [`ChildWithId::detach`].
#[must_use = "nothing is started unless it is awaited: add `.await`"]
pub struct Detach<W: Workflow>(ChildWithId<W>);

impl<W: Workflow> Future for Detach<W> {
    type Output = Result<RunOf<W>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ChildWithId { call, id } = &mut self.0;
        let (operation, request) = match &mut call.state {
            State::Run { operation, request } => (operation, request),
            State::Refused(error) => return Poll::Ready(Err(error.take().unwrap_or_else(polled_again))),
        };
        let refused = match ready!(operation.poll(context, || request.take().map(Kind::Child))) {
            Ok(Completion::Completed(_)) => return Poll::Ready(Ok(Run::of::<W::Output>(None, id.clone()))),
            Ok(Completion::Failed(error)) => error,
            Ok(Completion::Due | Completion::Woken | Completion::Ended(_)) => {
                unreachable!("a start is no timer and no run")
            }
            Err(error) => return Poll::Ready(Err(error)),
        };
        match codec::decode::<Error>("the error", &refused) {
            Ok(error) => Poll::Ready(Err(error)),
            // The error cannot be decoded, so there is no value to return. The run waits for a build that can read it.
            Err(error) => {
                operation.run().fail(error);
                Poll::Pending
            }
        }
    }
}

impl<W: Workflow> Durable for Detach<W> {
    fn hand_over(&mut self) {
        self.0.hand_over();
    }
}

impl<W: Workflow> fmt::Debug for Detach<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detach").field("id", &self.0.id).finish_non_exhaustive()
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
