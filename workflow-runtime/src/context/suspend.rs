//! Suspending a run until it is resumed, and ending it early.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, Payload};
use crate::context::{Hook, HookBuilder, hook};
use crate::durable::Durable;
use crate::engine::{self, InStep};
use crate::error::{Code, Error, Result};
use crate::keys;
use crate::names;
use crate::registry;
use crate::replay::{Operation, current};

/// Suspends the run until a caller resumes it with a value of type `R`: an approval, a correction, an answer. The payload
/// describes the suspension to callers of [`Run::suspended`](crate::Run::suspended). [`Run::resume`](crate::Run::resume)
/// resumes it, once.
///
/// In a **workflow** it waits, and occupies only its rows in the store. In a **step** it ends the attempt: it
/// returns an error, which the step should return (whatever the step returns, the attempt counts as suspended from
/// this call on, and not as one of its retries). Once it is resumed, the step is attempted again, and this call
/// returns the value. Chunks that the ended attempt wrote to streams are [discarded](crate::Chunk::discarded).
///
/// Dropping it, or the step, withdraws the suspension; so does the end of the run.
///
/// # Errors
///
/// [`Code::Suspended`] in a step, to end the attempt; [`Code::HookConflict`] if another suspension of the run has the
/// label; [`Code::Payload`] if the payload does not survive JSON; [`Code::OutsideRun`] outside a run. A value that does not
/// fit the type resumes nothing.
///
/// ```
/// # use workflow_runtime::{Engine, Result, step, suspend, workflow};
/// #[step]
/// async fn publish(draft: String) -> Result<String> {
///     if draft.len() > 10 {
///         let shorter: String = suspend(&format!("too long: {draft}")).label("shorten").await?;
///         return Ok(shorter);
///     }
///     Ok(draft)
/// }
///
/// #[workflow]
/// async fn article(draft: String) -> Result<String> {
///     publish(draft).await
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// # let engine = Engine::open("memory:").await?;
/// let run = engine.start(article, "Durable workflows".to_owned()).await?;
/// # while run.suspended().await?.is_empty() { tokio::task::yield_now().await }
/// assert_eq!(run.suspended().await?[0].payload, "too long: Durable workflows");
/// run.resume("Workflows").label("shorten").await?;
/// assert_eq!(run.await?, "Workflows");
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn suspend<R>(payload: &(impl Serialize + ?Sized)) -> Suspend<R>
where
    R: Serialize + DeserializeOwned + Send + 'static,
{
    let hook = hook::<R>().metadata(payload);
    Suspend { label: None, payload: codec::encode("the payload of a suspension", payload), hook }
}

/// A pending suspension, executed when it is awaited: see [`suspend`].
#[must_use = "nothing is suspended unless it is awaited: add `.await`"]
pub struct Suspend<R> {
    label: Option<String>,
    payload: Result<Payload>,
    hook: HookBuilder<R>,
}

impl<R> Suspend<R> {
    /// The label, which identifies the suspension within the run and by which it is resumed. By
    /// default the name of the step, or of the workflow. At most 512 bytes, without control
    /// characters, and not beginning with `queue:`, `suspended/` or `webhook/`, which are reserved.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }
}

impl<R> IntoFuture for Suspend<R>
where
    R: Serialize + DeserializeOwned + Send + 'static,
{
    type Output = Result<R>;
    type IntoFuture = Suspending<R>;

    #[track_caller]
    fn into_future(mut self) -> Suspending<R> {
        let site = Location::caller();
        self.hook.hand_over();
        let checked =
            self.label.as_deref().map_or(Ok(()), |label| names::check_own("the label of a suspension", label));
        let payload = match checked.and(self.payload) {
            Ok(payload) => payload,
            Err(error) => return Suspending(State::Ready(Some(Err(error.operation(format!("at {site}")))))),
        };
        if let Some(run) = current() {
            let workflow = run.identity().workflow;
            let label = self.label.as_deref().unwrap_or(workflow.rsplit("::").next().unwrap_or(workflow));
            let token = keys::suspension(run.run_id(), label);
            return Suspending(State::Hook(self.hook.suspension(token).open()));
        }
        let suspended = engine::suspend(self.label.as_deref(), payload, registry::payload_type::<R>().0);
        Suspending(State::Ready(Some(match suspended {
            Some(InStep::Resumed(value)) => Ok(value),
            Some(InStep::Suspended) => Err(Error::coded(Code::Suspended, "the step has suspended itself")
                .operation(format!("at {site}"))
                .help("return this error: the step is attempted again once it is resumed")
                .into_fatal()),
            None => Err(Error::coded(Code::OutsideRun, "`suspend` was called outside a run")
                .operation(format!("at {site}"))
                .help("do it in a `#[workflow]`, or in a `#[step]` that a workflow calls")),
        })))
    }
}

/// Waits for the resumption: see [`suspend`].
#[must_use = "futures do nothing unless polled"]
pub struct Suspending<R>(State<R>);

enum State<R> {
    Hook(Hook<R>),
    Ready(Option<Result<Payload>>),
}

impl<R: DeserializeOwned> Future for Suspending<R> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        match &mut self.0 {
            State::Hook(hook) => Pin::new(hook).poll(context),
            State::Ready(result) => match result.take() {
                Some(value) => {
                    Poll::Ready(value.and_then(|value| codec::decode("what a step is resumed with", &value)))
                }
                None => Poll::Pending,
            },
        }
    }
}

impl<R: DeserializeOwned> Durable for Suspending<R> {}

/// Ends the run with a result, early, from anywhere in its workflow: from a function that it calls,
/// a branch, or a step. The effect is as if the workflow returned the value: operations in progress
/// are stopped, and nothing is rolled back. The value has the type that the workflow returns.
///
/// In a **workflow** it never returns. In a **step** it returns an error, which the
/// step should return; whatever it returns, the run ends. A child run ends only itself.
///
/// # Errors
///
/// [`Code::Suspended`] in a step; [`Code::Unsupported`] in a step of a queue;
/// [`Code::Payload`] if the value does not survive JSON; [`Code::OutsideRun`] outside a run.
/// A value that is not a result of the workflow makes the run [stuck](crate::Status::Stuck).
///
/// ```
/// # use workflow_runtime::{Engine, Result, finish, step, workflow};
/// # #[step] async fn fetch(page: u32) -> Result<Option<String>> { Ok((page < 3).then(|| page.to_string())) }
/// #[step]
/// async fn check(text: String) -> Result<()> {
///     if text == "1" {
///         finish(format!("found {text}")).await?;
///     }
///     Ok(())
/// }
///
/// #[workflow]
/// async fn search() -> Result<String> {
///     let mut page = 0;
///     while let Some(text) = fetch(page).await? {
///         check(text).await?;
///         page += 1;
///     }
///     Ok("nothing".to_owned())
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// # let engine = Engine::open("memory:").await?;
/// assert_eq!(engine.start(search, ()).await?.await?, "found 1");
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn finish<T: Serialize>(value: T) -> Finish<T> {
    let site = Location::caller();
    let state = codec::encode("the run's result", &value).and_then(|value| {
        if let Some(operation) = Operation::new(site) {
            return Ok(Finishing::Run(operation, Some(value)));
        }
        match engine::finish(value) {
            Some(Ok(())) => Err(Error::coded(Code::Suspended, "the step has ended the run")
                .operation(format!("at {site}"))
                .help("return this error: the run has its result, and no code of the step may follow")
                .into_fatal()),
            Some(Err(error)) => Err(error.operation(format!("at {site}"))),
            None => Err(Error::coded(Code::OutsideRun, "there is no run to be ended")
                .operation(format!("at {site}"))
                .help("do it in a `#[workflow]`, or in a `#[step]` that a workflow calls")),
        }
    });
    Finish { state: state.unwrap_or_else(|error| Finishing::Refused(Some(error))), value: PhantomData }
}

/// Ends the run when it is awaited in a workflow: see [`finish`].
#[must_use = "a run is not ended unless this is awaited: add `.await`"]
pub struct Finish<T> {
    state: Finishing,
    value: PhantomData<fn() -> T>,
}

enum Finishing {
    Run(Operation, Option<Payload>),
    Refused(Option<Error>),
}

impl<T> Future for Finish<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<T>> {
        match &mut self.state {
            Finishing::Run(operation, value) => match (operation.check_turn(), value.take()) {
                (Err(error), _) => Poll::Ready(Err(error)),
                (Ok(()), value) => {
                    if let Some(value) = value {
                        operation.run().finish_with(value);
                    }
                    Poll::Pending
                }
            },
            Finishing::Refused(error) => match error.take() {
                Some(error) => Poll::Ready(Err(error)),
                None => Poll::Pending,
            },
        }
    }
}

impl<T> Durable for Finish<T> {
    fn hand_over(&mut self) {
        if let Finishing::Run(operation, _) = &mut self.state {
            operation.hand_over();
        }
    }
}

/// In a step that was resumed: the payload that it passed to [`suspend`] when it last
/// suspended itself. `None` in a step that was not resumed, in a workflow, and outside a run.
///
/// # Errors
///
/// [`Code::Payload`] if it is of another type.
///
/// ```
/// # use workflow_runtime::{Engine, Result, step, suspend, suspend_data, workflow};
/// #[step]
/// async fn publish(draft: String) -> Result<String> {
///     match suspend_data::<String>()? {
///         None => suspend(&format!("publish {draft}?")).await,
///         Some(question) => {
///             let answer: String = suspend(&question).await?;
///             Ok(format!("{question} {answer}"))
///         }
///     }
/// }
/// # #[workflow] async fn article(draft: String) -> Result<String> { publish(draft).await }
///
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// # let engine = Engine::open("memory:").await?;
/// let run = engine.start(article, "Rust".to_owned()).await?;
/// # while run.suspended().await?.is_empty() { tokio::task::yield_now().await }
/// run.resume("yes").await?;
/// assert_eq!(run.await?, "publish Rust? yes");
/// # Ok(())
/// # }
/// ```
pub fn suspend_data<T: DeserializeOwned>() -> Result<Option<T>> {
    let payload = engine::last_payload();
    payload.map(|payload| codec::decode("the payload of a suspension", &payload)).transpose()
}
