//! A call of a step: a builder and a future.

use std::borrow::Cow;
use std::future::{Future, IntoFuture};
use std::ops::Range;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::codec::{self, Payload};
use crate::definition::{AttemptResult, Encoded, Fallible, Policy, StepDefinition, StepTypes};
use crate::durable::Durable;
use crate::engine;
use crate::error::{Code, Error, Failure};
use crate::limits;
use crate::registry::registry;
use crate::replay::{Completion, Kind, Operation, Place, Rollback, StepRequest};

/// A call of a `#[step]` function.
///
/// In a workflow it is executed once its first poll is recorded; awaiting it returns the recorded result. Dropping it
/// before that cancels it: the running attempt is stopped at its next await, and retries end. Outside any run, and inside
/// another step, it is executed directly, once and unrecorded.
///
/// ```
/// # use std::time::Duration;
/// # use workflow_runtime::{Result, step, workflow};
/// #[step(retries = 5, backoff = "100ms..30s", timeout = "10s")]
/// async fn fetch(url: String) -> Result<String> {
///     Ok(url)
/// }
///
/// #[workflow]
/// async fn mirror(url: String) -> Result<String> {
///     fetch(url).retries(10).timeout(Duration::from_secs(60)).name("first page").await
/// }
/// ```
#[must_use = "a step does nothing unless it is awaited: add `.await`"]
pub struct StepCall<R> {
    state: State,
    /// Decodes the result of the call. It is stored here, so that the type of a call has no bound on `R`,
    /// and a result that cannot be stored is a compile error of the step and of none of its callers.
    returned: fn(Result<&Encoded, Error>) -> Result<R, Error>,
}

enum State {
    /// In a workflow.
    Run { operation: Operation, step: &'static str, request: Option<Box<StepRequest>> },
    /// Outside any run, or in another step.
    Plain {
        request: Box<StepRequest>,
        /// The part of its idempotency key that identifies the call, inside another step.
        path: Option<String>,
        attempt: Option<BoxFuture<'static, AttemptResult>>,
    },
    /// The call cannot be made.
    Refused(Option<Error>),
}

#[doc(hidden)]
#[track_caller]
pub fn call<A: 'static, R: 'static>(definition: &'static StepDefinition, args: A) -> StepCall<R> {
    let Some(types) = definition.types.downcast_ref::<StepTypes<A, R>>() else {
        unreachable!("the attribute calls a step with its own types")
    };
    StepCall { state: State::new(definition, (types.encode)(&args)), returned: types.returned }
}

impl State {
    #[track_caller]
    fn new(definition: &'static StepDefinition, input: Result<Payload, Error>) -> Self {
        let site = Location::caller();
        let mut operation = Operation::new(site);
        let refused =
            |error: Error| error.into_fatal().operation(format!("step `{}` called at {site}", definition.source.id));
        let checked = definition.check();
        if let (Some(operation), (Err(_), _) | (_, Err(_))) = (&mut operation, (&checked, &input)) {
            operation.hand_over();
        }
        match (checked, input) {
            (Err(error), _) => {
                let error = refused(error);
                // The build is faulty: the run waits for another build instead of failing.
                if let Some(operation) = operation {
                    operation.run().fail(error.clone());
                }
                State::Refused(Some(error))
            }
            (Ok(()), Err(error)) => State::Refused(Some(refused(error))),
            (Ok(()), Ok(input)) => {
                let request = Box::new(StepRequest {
                    definition,
                    input,
                    policy: Cow::Borrowed(&definition.policy),
                    name: None,
                    attempt: 1,
                    not_before: 0,
                    rollback: None,
                    place: registry().queued(definition).map_or(Place::Here, Place::Queue),
                    origin: None,
                    suspensions: None,
                    failing: None,
                });
                match operation {
                    Some(operation) => State::Run { operation, step: definition.source.id, request: Some(request) },
                    None => State::Plain { request, path: engine::path_of_call(definition.source.id), attempt: None },
                }
            }
        }
    }
}

impl<R> StepCall<R> {
    fn request(mut self, change: impl FnOnce(&mut StepRequest)) -> Self {
        match &mut self.state {
            State::Run { request: Some(request), .. } | State::Plain { request, .. } => change(request),
            State::Run { request: None, .. } | State::Refused(_) => {}
        }
        self
    }

    fn policy(self, change: impl FnOnce(&mut Policy)) -> Self {
        self.request(|request| change(request.policy.to_mut()))
    }

    /// The maximum number of attempts after the first one.
    pub fn retries(self, retries: u32) -> Self {
        self.policy(|policy| policy.retries = retries)
    }

    /// The upper bound of the delay before the first retry, and the largest bound: it doubles with each retry. The delay is
    /// drawn uniformly from 0 to the bound.
    pub fn backoff(self, bounds: Range<Duration>) -> Self {
        self.policy(|policy| (policy.backoff_min, policy.backoff_max) = (bounds.start, bounds.end.max(bounds.start)))
    }

    /// The time limit of one attempt, by a monotonic clock that does not advance while the machine is suspended. An attempt
    /// that takes longer is stopped and counts as failed; a blocking one cannot be stopped, and its late result is ignored.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.policy(|policy| policy.timeout = Some(timeout))
    }

    /// The maximum time between two calls of [`heartbeat`](crate::heartbeat) by an attempt, before it counts as failed.
    pub fn heartbeat(self, heartbeat: Duration) -> Self {
        self.policy(|policy| policy.heartbeat = Some(heartbeat))
    }

    /// Sets how the step is undone. If the run fails or is cancelled after the step has succeeded, `undo` receives its
    /// result; rollbacks are executed one after the other, in the reverse order of the results in the journal, each with
    /// its own steps and retries, and then the run ends. A rollback that fails is logged and added to the run's error,
    /// and the others are still executed. After a crash at any moment they continue, and a second cancel changes nothing.
    ///
    /// No rollback begins before everything has ended that may have to be undone first. A step with a rollback is not
    /// stopped when the workflow drops it or ends: the run waits for an attempt in progress, whose timeout still applies
    /// and whose [`cancellation`](crate::cancellation) is set; an attempt that waits for a permit, for its place in a
    /// queue, or for its backoff is not begun any more. A run that fails or is cancelled also waits for the ends of the
    /// children that it has cancelled, and so for their rollbacks. A step that the workflow has dropped and that
    /// succeeds late is undone too, at the end of the run, however the run ends. Outside a workflow this does nothing.
    ///
    /// ```
    /// # use workflow_runtime::{Engine, Error, Result, step, workflow};
    /// # #[step] async fn charge(order: u64) -> Result<String> { Ok(format!("receipt-{order}")) }
    /// # #[step] async fn refund(receipt: String) -> Result<()> { Ok(()) }
    /// # #[step] async fn ship(order: u64) -> Result<()> { Err(Error::fatal("out of stock")) }
    /// #[workflow]
    /// async fn checkout(order: u64) -> Result<()> {
    ///     charge(order).rollback(|receipt| refund(receipt)).await?;
    ///     ship(order).await // if this fails, the charge is refunded
    /// }
    /// ```
    pub fn rollback<F, U>(self, undo: F) -> Self
    where
        R: Fallible,
        F: FnOnce(R::Ok) -> U + Send + 'static,
        U: IntoFuture,
        U::IntoFuture: Durable + Send + 'static,
        U::Output: Fallible,
    {
        self.request(|request| {
            request.rollback = Some(Rollback::new(|value| {
                let value = codec::decode("the step's result", value)?;
                let undo = undo(value).into_future();
                Ok(Box::pin(async move { undo.await.into_result().map(drop).map_err(|error| plain_error(&error)) }))
            }));
        })
    }

    /// Sets a name of this call, for logs and the journal. At most 512 bytes; longer names are truncated.
    pub fn name(self, name: &str) -> Self {
        let end = name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= limits::NAME_BYTES_MAX);
        let name = &name[..end.last().unwrap_or(0)];
        self.request(|request| request.name = Some(Arc::from(name)))
    }
}

impl State {
    /// The encoded result of the step, once there is one; an error if it was not executed at all.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Encoded, Error>> {
        match self {
            State::Refused(error) => {
                let error = error.take().unwrap_or_else(|| Error::coded(Code::OutsideRun, "polled after its end"));
                Poll::Ready(Err(error))
            }
            State::Plain { request, path, attempt } => {
                let attempt =
                    attempt.get_or_insert_with(|| engine::plain_attempt(request.as_ref().clone(), path.take()).boxed());
                attempt.as_mut().poll(context).map(|result| Ok(result.map_err(|failure| failure.error)))
            }
            State::Run { operation, request, .. } => match operation.poll(context, || request.take().map(Kind::Step)) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(Completion::Completed(value))) => Poll::Ready(Ok(Ok(value))),
                Poll::Ready(Ok(Completion::Failed(error))) => Poll::Ready(Ok(Err(error))),
                Poll::Ready(Ok(Completion::Due | Completion::Woken | Completion::Ended(_))) => {
                    unreachable!("a step is no timer and no run")
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            },
        }
    }

    /// Handles a recorded value that is not a result of the step.
    fn unreadable(&self, error: Error) -> Result<(), Error> {
        match self {
            // The result was readable when it was recorded, so the type has changed since. There is no value to return.
            State::Run { operation, step, .. } => {
                operation.run().fail(error.operation(format!("step `{step}`")));
                Ok(())
            }
            _ => Err(error),
        }
    }
}

impl<R> Future for StepCall<R> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        let Poll::Ready(result) = self.state.poll(context) else { return Poll::Pending };
        let error = match (self.returned)(result.as_ref().map_err(Error::clone)) {
            Ok(returned) => return Poll::Ready(returned),
            Err(error) => error,
        };
        let Err(error) = self.state.unreadable(error) else { return Poll::Pending };
        match (self.returned)(Err(error)) {
            Ok(returned) => Poll::Ready(returned),
            Err(_) => unreachable!("an error is returned as it is"),
        }
    }
}

/// Converts an error of a user's type into an error of the engine.
fn plain_error<E: Failure>(error: &E) -> Error {
    match codec::encode("the error", error) {
        Ok(json) => codec::decode("the error", &json).unwrap_or_else(|_| Error::new(json.as_str())),
        Err(error) => error,
    }
}

impl<R> Durable for StepCall<R> {
    fn hand_over(&mut self) {
        if let State::Run { operation, .. } = &mut self.state {
            operation.hand_over();
        }
    }
}
