//! A handle on a run.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec;
use crate::definition::{Fallible, Workflow};
use crate::durable::Durable;
use crate::engine::{self, Client, Finished};
use crate::error::{Code, Error, Failure, Result};
use crate::handles::events::Events;
use crate::handles::outcome::{self, GetOutcome};
use crate::handles::repair::Fork;
use crate::handles::resume_run::Resume;
use crate::handles::stream::Reader;
use crate::history::StepOutcome;
use crate::model::{RunInfo, Status, Suspended};
use crate::replay::{Completion, Kind, Operation};

/// A handle on a run whose result is `Result<T, E>`. Cheap to clone; dropping a handle does not affect the run.
///
/// Awaiting a handle, by value or by reference, any number of times, waits for the run's result, in whichever process it
/// is executed. The error is the workflow's own, or one of the engine ([`Code::RunNotFound`](crate::Code::RunNotFound),
/// [`Code::Stuck`](crate::Code::Stuck), ..). A stuck run returns its error at once and can be awaited again. A workflow
/// or step that awaits the run it is part of gets [`Code::AwaitsItself`](crate::Code::AwaitsItself) at once.
///
/// A step that waits for another run, through this handle or in any other way, releases its concurrency
/// permit while it waits: steps that wait for the work of other steps do not count as running.
///
/// A handle can be an argument or a result of workflows and steps: it is stored as the run's id. A workflow that awaits it
/// waits durably, and occupies only its rows in the store. If the awaited run is stuck, the workflow keeps waiting.
pub struct Run<T, E = Error> {
    engine: Option<Client>,
    id: Arc<str>,
    /// Whether the outcome includes the run's state.
    with_state: bool,
    output: PhantomData<fn() -> (T, E)>,
}

/// The handle on a run of the workflow `W`.
pub type RunOf<W> = Run<<<W as Workflow>::Output as Fallible>::Ok, <<W as Workflow>::Output as Fallible>::Err>;

/// A handle on a run by its id, in any process that uses the store. This does not look up the run: see [`Run::exists`].
///
/// The caller chooses the type of the result. If the stored result does not fit the type, awaiting the run returns an error.
///
/// ```no_run
/// # use workflow_runtime::{Result, Run, get_run};
/// # async fn example() -> Result<()> {
/// let run: Run<String> = get_run("order-1");
/// println!("{} {}", run.status().await?, run.await?);
/// # Ok(())
/// # }
/// ```
pub fn get_run<T, E>(id: impl Into<String>) -> Run<T, E> {
    Run::new(None, Arc::from(id.into()))
}

impl<T, E> Run<T, E> {
    pub(crate) fn new(engine: Option<Client>, id: Arc<str>) -> Self {
        Run { engine, id, with_state: false, output: PhantomData }
    }

    pub(crate) fn with_state(self) -> Self {
        Run { with_state: true, ..self }
    }

    pub(crate) fn shared_id(&self) -> &Arc<str> {
        &self.id
    }

    /// The id of the run: the id that was given at its start, or else a UUID.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) async fn engine(&self) -> Result<Client> {
        match &self.engine {
            Some(engine) => Ok(engine.clone()),
            None => engine::ambient().await,
        }
    }

    /// Whether the run exists.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub async fn exists(&self) -> Result<bool> {
        Ok(self.engine().await?.inner().row(&self.id).await?.is_some())
    }

    /// The current status of the run.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), or if the store cannot be read.
    pub async fn status(&self) -> Result<Status> {
        Ok(self.info().await?.status)
    }

    /// Ends every [`sleep`](crate::sleep()) that the run currently waits for, before its deadline.
    /// The run's clock does not jump: [`now`](crate::now) returns the time of this wake-up.
    /// Timeouts are not affected. A run that does not sleep, or that has ended, does not change.
    ///
    /// The wake-up is durable once this returns.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), or if the store rejects the write.
    pub async fn wake_up(&self) -> Result<()> {
        self.engine().await?.inner().wake_up(&self.id).await
    }

    /// Cancels the run, in whichever process it is executed, and waits for its end. Returns whether the run
    /// was cancelled: if it had already ended in another way, it does not change and the result is `false`.
    ///
    /// The engine stops the run's steps at their next await (see [`cancellation`](crate::cancellation)),
    /// ends its sleeps and retries, and cancels its children. The run ends once all of these have ended and
    /// every [rollback](crate::StepCall::rollback) has been executed; a second cancel in the meantime has
    /// no effect on this. The engine does not poll the workflow again, so the workflow cannot refuse. If no
    /// process with the workflow is running, this waits for one. The request is durable before this starts
    /// to wait, so dropping the future does not withdraw the request. A stuck run can be cancelled too.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound); [`Code::Limit`](crate::Code::Limit) if the reason has more than
    /// 512 bytes; [`Code::AwaitsItself`](crate::Code::AwaitsItself) in a step of the run itself, where
    /// the request is recorded but this does not wait; or if the store rejects the write.
    ///
    /// ```
    /// # use workflow_runtime::{Code, Engine, Result, sleep, workflow};
    /// # use std::time::Duration;
    /// # #[workflow] async fn year() -> Result<()> { sleep(Duration::from_secs(31_536_000)).await; Ok(()) }
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let engine = Engine::open("memory:").await?;
    /// let run = engine.start(year, ()).await?;
    /// assert!(run.cancel("changed our minds").await?);
    /// assert_eq!(run.await.unwrap_err().code(), Code::Cancelled);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn cancel(&self, reason: impl Into<String>) -> Result<bool> {
        self.engine().await?.inner().cancel(&self.id, reason.into()).await
    }

    /// The steps and the child runs that the run has called so far, in the order of the calls.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), or if the store cannot be read.
    pub async fn steps(&self) -> Result<Vec<StepOutcome>> {
        outcome::steps(self).await.map(|(steps, _)| steps.into_steps())
    }

    /// A stream of the run's events, past and future, from its beginning, or from the first event that is
    /// [kept](crate::Retention::generations). See [`Events`].
    ///
    /// ```
    /// # use futures_util::TryStreamExt;
    /// # use workflow_runtime::{Engine, Result, RunEventKind, step, workflow};
    /// # #[step] async fn charge(order: u64) -> Result<String> { Ok(format!("receipt-{order}")) }
    /// # #[workflow] async fn checkout(order: u64) -> Result<String> { charge(order).await }
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let engine = Engine::open("memory:").await?;
    /// let run = engine.start(checkout, 1).await?;
    /// let mut events = run.events();
    /// while let Some(event) = events.try_next().await? {
    ///     if let RunEventKind::StepCompleted { output, .. } = event.kind {
    ///         println!("{}: {output}", event.index);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn events(&self) -> Events {
        Events::new(self.engine.clone(), self.id.clone())
    }

    /// Resumes a run that has failed, was cancelled or is stuck, from its last good point: under the same id, and in any
    /// process that executes its workflow. A run whose process has died needs no retry: an engine recovers it automatically.
    ///
    /// A **stuck** run is tried again at once, as a new build would. A **failed** or **cancelled** run gets
    /// another [generation](RunInfo::generation) with the journal of the previous one, which does not change.
    /// Steps that have succeeded are not executed again. The steps that made the run fail are executed again,
    /// with all their attempts and with the [idempotency keys](crate::StepInfo::idempotency_key) that they had.
    /// If the workflow itself returned the error, it receives the last event once more, so that a corrected build
    /// can handle it. Results that rollbacks have undone are not reused: if there were rollbacks, everything from
    /// the first undone result on is executed again, with new keys. A run that was cancelled before its first
    /// turn starts from its arguments. Its state and attributes keep their values until they are set again.
    ///
    /// The **children** that made it fail are retried as well, and so are those that were cancelled because it
    /// had ended: each under its id and from its own last good point, and likewise their children. The result of
    /// such a child arrives as if it had never failed. If a child was already retried, the run waits for it, or
    /// takes its result if it has ended meanwhile. A child that was deleted is started anew, and so is one that
    /// was called after a result that rollbacks of this run have undone. A failure of a child that the workflow
    /// has handled, and after which it has continued, stays a failure. Runs that are not awaited as children are
    /// not retried: detached runs, and runs that are awaited through a handle. Retry such a run before this one.
    /// The retry waits for the end of children, and of steps in queues, that are still being cancelled.
    ///
    /// A parent or another waiter that has already received the failure is not notified again. The retry
    /// is durable once this returns, for all of these runs at once: before that none of them has changed.
    ///
    /// # Errors
    ///
    /// [`Code::NotRepairable`](crate::Code::NotRepairable) if the run has completed or has not ended, if
    /// another call retried it first, or if it was cancelled before it had arguments;
    /// [`Code::Limit`](crate::Code::Limit) if more than 1,000 runs would have to be retried at once (retry its
    /// children first); [`Code::RunNotFound`](crate::Code::RunNotFound); or if the store rejects the write.
    ///
    /// ```
    /// # use std::sync::atomic::{AtomicBool, Ordering};
    /// # use workflow_runtime::{Engine, Error, Result, step, workflow};
    /// # static MENDED: AtomicBool = AtomicBool::new(false);
    /// #[step(retries = 0)]
    /// async fn ship(order: u64) -> Result<u64> {
    ///     if MENDED.load(Ordering::SeqCst) { Ok(order) } else { Err(Error::new("the carrier is down")) }
    /// }
    /// # #[workflow] async fn checkout(order: u64) -> Result<u64> { ship(order).await }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let engine = Engine::open("memory:").await?;
    /// let run = engine.start(checkout, 7).await?;
    /// assert!((&run).await.is_err());
    /// MENDED.store(true, Ordering::SeqCst);
    /// run.retry().await?;
    /// assert_eq!(run.await?, 7);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn retry(&self) -> Result<()> {
        self.engine().await?.inner().retry(&self.id).await
    }

    /// Starts a new run from the history of this one up to just before an [event](Run::events), given by
    /// its index. If the event is the call of a step, the new run keeps that call and executes the step;
    /// it also keeps all other operations that the workflow issued at the same time. Index 0 starts
    /// from the beginning, with the same arguments. This run does not change, and may still be executing.
    ///
    /// Results recorded before the event are not executed again. Operations in progress belong to the new run: it executes
    /// their steps, starts their children and opens their hooks (a token that this run still has is a conflict); sleeps
    /// keep their deadlines. From there on, idempotency keys and random numbers differ. Children of this run do not change.
    ///
    /// Results that [rollbacks](crate::StepCall::rollback) of this run have undone, or will undo, cannot be kept: fork it
    /// at the first result that was undone, or at an event before it. If the new run fails, it undoes only the steps that
    /// it has executed itself; this run undoes the inherited ones, unless [`undo_inherited`](Fork::undo_inherited) is set.
    ///
    /// # Errors
    ///
    /// [`Code::NotRepairable`](crate::Code::NotRepairable) if the event does not exist, if a step that had succeeded by
    /// then was undone (the error names it), if the run was cancelled before it had arguments, or if an
    /// [input](Fork::input) is given and no step is called there; [`Code::EventsRemoved`](crate::Code::EventsRemoved)
    /// if the event was [removed](crate::Retention::generations) (the error names the first kept one); or if the store
    /// rejects the write. [`Code::InvalidArguments`](crate::Code::InvalidArguments) if the input does not fit the step.
    /// [`Code::RunExists`](crate::Code::RunExists) if another run has the [id](Fork::id).
    /// [`Code::RunNotFound`](crate::Code::RunNotFound). If this build does not match the history, the new run is stuck.
    ///
    /// ```
    /// # use workflow_runtime::{Engine, Result, step, workflow};
    /// # #[step] async fn draw(prompt: String) -> Result<String> { Ok(format!("picture of {prompt}")) }
    /// # #[step] async fn frame(picture: String) -> Result<String> { Ok(format!("framed {picture}")) }
    /// #[workflow]
    /// async fn poster(prompt: String) -> Result<String> {
    ///     let picture = draw(prompt).await?;
    ///     frame(picture).await
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let engine = Engine::open("memory:").await?;
    /// let run = engine.start(poster, "a cat".to_owned()).await?;
    /// let outcome = run.outcome().await?;
    /// let framing = &outcome.steps[1]; // the picture is not drawn again
    /// let fork = run.fork(framing.event).input(&("another picture",)).await?;
    /// assert_eq!(fork.await?, "framed another picture");
    /// # Ok(())
    /// # }
    /// ```
    pub fn fork(&self, event: u64) -> Fork<T, E> {
        Fork::new(self.engine.clone(), self.clone(), event)
    }

    /// The [suspensions](crate::suspend) of the run: those of its workflow and of its steps, including steps executed
    /// for a queue; then the suspensions of the child runs that it has started, and of their children in turn, unless these
    /// have ended. Resume a suspension through its own run: `get_run(suspended.run).resume(&data).of(suspended.id)`.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), or if the store cannot be read.
    pub async fn suspended(&self) -> Result<Vec<Suspended>> {
        self.engine().await?.inner().suspended(&self.id).await
    }

    /// Resumes a [suspension](crate::suspend) of the run, from any process that uses the store: see [`Resume`].
    pub fn resume<R: Serialize + ?Sized>(&self, data: &R) -> Resume {
        Resume::new(self.engine.clone(), self.id.clone(), data)
    }

    /// Deletes the run with all its data: journal, state, attributes, streams, tokens and inbox messages.
    /// It must have ended, or never have been started. From then on the run does not exist, and its id is free.
    ///
    /// The deletion is durable once this returns; an engine that executes runs removes the data of a very long run in
    /// small parts. Children of the run stay, and keep its id as their parent. Waiters that were waiting for its end
    /// have already received it; later calls get [`Code::RunNotFound`](crate::Code::RunNotFound), and so does a reader
    /// that has not read its stream to the end. A waiter of a run that was never started receives a cancellation. A
    /// run that is started anew under the same id has the same [idempotency keys](crate::StepInfo::idempotency_key).
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound); [`Code::NotEnded`](crate::Code::NotEnded), in which
    /// case nothing changes: [`cancel`](Run::cancel) the run before; or if the store rejects the write.
    ///
    /// ```
    /// # use workflow_runtime::{Code, Engine, Result, workflow};
    /// # #[workflow] async fn hello() -> Result<()> { Ok(()) }
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let engine = Engine::open("memory:").await?;
    /// let run = engine.start(hello, ()).id("hello").await?;
    /// (&run).await?;
    /// run.delete().await?;
    /// assert_eq!(run.delete().await.unwrap_err().code(), Code::RunNotFound);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete(&self) -> Result<()> {
        self.engine().await?.inner().delete(&self.id).await
    }

    /// The state that the workflow has [set](crate::set_state), as of the last committed turn; `None` if it has set
    /// none.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), [`Code::Payload`](crate::Code::Payload) if the state is of another
    /// type, or if the store cannot be read.
    pub async fn state<S: DeserializeOwned>(&self) -> Result<Option<S>> {
        self.engine().await?.inner().state_of(&self.id).await
    }

    /// The attributes of the run, as of its last committed turn: see [`set_attribute`](crate::set_attribute).
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), or if the store cannot be read.
    pub async fn attributes(&self) -> Result<BTreeMap<String, String>> {
        self.engine().await?.inner().attributes_of(&self.id).await
    }

    /// The ids of the child runs that the workflow has started, in the order of the calls; including those of a run of the
    /// same id that was [deleted](Run::delete).
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), or if the store cannot be read.
    pub async fn children(&self) -> Result<Vec<String>> {
        self.engine().await?.inner().children_of(&self.id).await
    }

    /// Reads a stream that the run or its steps [write](crate::writer), from its beginning, in any process that uses the
    /// store. See [`Reader`].
    ///
    /// ```no_run
    /// # use futures_util::TryStreamExt;
    /// # use workflow_runtime::{Result, Run, get_run};
    /// # async fn example() -> Result<()> {
    /// let run: Run<()> = get_run("order-1");
    /// let mut lines = run.stream::<String>("log").from(-10); // the last ten, and those to come
    /// while let Some(line) = lines.try_next().await? {
    ///     println!("{} {}", line.index, line.value);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn stream<C>(&self, name: impl Into<String>) -> Reader<C> {
        Reader::new(self.engine.clone(), self.id.clone(), name.into())
    }

    /// The names of the streams that exist so far, in the order of their first chunks.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), or if the store cannot be read.
    pub async fn streams(&self) -> Result<Vec<String>> {
        let names = self.engine().await?.inner().stream_names(&self.id).await?;
        Ok(names.iter().map(|name| name.to_string()).collect())
    }

    /// A snapshot of the run's metadata.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), or if the store cannot be read.
    pub async fn info(&self) -> Result<RunInfo> {
        self.engine().await?.inner().info(&self.id).await
    }
}

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
        // The result cannot be decoded as `T`, so there is no value to return. The run waits for a build that can decode it.
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
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), [`Code::Closed`](crate::Code::Closed) if the engine is shut down first, or
    /// if the store cannot be read.
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
        let named = |error: Error| error.run(&self.id);
        if let Finished::Cancelled(reason) = finished {
            let error = Error::coded(Code::Cancelled, format!("the run was cancelled: {reason}"));
            return Err(named(error).into_fatal().into());
        }
        result(&finished).map_err(named)?
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

/// Serialized as the id of the run.
impl<T, E> Serialize for Run<T, E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.id)
    }
}

impl<'de, T, E> Deserialize<'de> for Run<T, E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Ok(Run::new(None, String::deserialize(deserializer)?.into()))
    }
}

impl<T, E> Clone for Run<T, E> {
    fn clone(&self) -> Self {
        Run { engine: self.engine.clone(), id: self.id.clone(), with_state: self.with_state, output: PhantomData }
    }
}

impl<T, E> fmt::Debug for Run<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("id", &self.id).finish_non_exhaustive()
    }
}
