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

/// A handle on a run that gives `Result<T, E>`. Cheap to clone; dropping it does nothing to the run.
///
/// Awaiting it, by value or by reference and any number of times, waits for the run's result, in whichever process it
/// is executed. The error is the workflow's own, or made from ours ([`Code::RunNotFound`](crate::Code::RunNotFound),
/// [`Code::Stuck`](crate::Code::Stuck), ..): a run that is stuck gives its error at once, and can be awaited again. A workflow
/// or a step that awaits the run which it is part of gets [`Code::AwaitsItself`](crate::Code::AwaitsItself) at once.
///
/// A step that waits for another run, by this or in any other way, lends the permit by which it runs to others meanwhile:
/// steps that wait for what other steps are to do are not counted as running.
///
/// It can be an argument or a result of workflows and steps: it is stored as the run's id. A workflow that awaits it waits
/// durably, without holding anything but its rows; a run that is stuck then keeps it waiting.
pub struct Run<T, E = Error> {
    engine: Option<Client>,
    id: Arc<str>,
    /// Whether its outcome has its state in it.
    with_state: bool,
    output: PhantomData<fn() -> (T, E)>,
}

/// The handle on a run of a workflow.
pub type RunOf<W> = Run<<<W as Workflow>::Output as Fallible>::Ok, <<W as Workflow>::Output as Fallible>::Err>;

/// A handle on a run by its id, from any process that has the store. It looks nothing up: see [`Run::exists`].
///
/// The type of the result is the caller's to name; one that does not fit gives an error when the run is awaited.
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

    /// Its id: the one that it was given, else a UUID.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) async fn engine(&self) -> Result<Client> {
        match &self.engine {
            Some(engine) => Ok(engine.clone()),
            None => engine::ambient().await,
        }
    }

    /// Whether there is such a run.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub async fn exists(&self) -> Result<bool> {
        Ok(self.engine().await?.inner().row(&self.id).await?.is_some())
    }

    /// Where it is in its life.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), or if the store cannot be read.
    pub async fn status(&self) -> Result<Status> {
        Ok(self.info().await?.status)
    }

    /// Ends every [`sleep`](crate::sleep()) that the run waits for now, before its time. The run's clock does not jump:
    /// [`now`](crate::now) is the time at which it was woken. Timeouts stay as they are. A run that does not sleep, or
    /// that has ended, is not changed.
    ///
    /// It is durable once this returns.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), or if the store refuses.
    pub async fn wake_up(&self) -> Result<()> {
        self.engine().await?.inner().wake_up(&self.id).await
    }

    /// Ends the run, wherever it is executed, and waits for its end: whether it is cancelled. If it had ended in another
    /// way before, that stays as it is and the answer is `false`.
    ///
    /// Its steps are stopped at their next await (see [`cancellation`](crate::cancellation)), its sleeps and retries end, and its
    /// children are cancelled. It ends once they have ended and everything is undone that has a
    /// [rollback](crate::StepCall::rollback); a second cancel meanwhile changes nothing of that.
    /// The workflow is not polled any more: it cannot refuse. If no process that has the workflow is there, this waits for
    /// one. The request is durable before this waits, so dropping the
    /// future does not take it back. A run that is stuck can be cancelled too.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), [`Code::Limit`](crate::Code::Limit) if the reason has more than
    /// 512 bytes, [`Code::AwaitsItself`](crate::Code::AwaitsItself) in a step of the run itself, where
    /// the request is recorded and this does not wait, or if the store refuses.
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

    /// Its steps so far, and the children that it has called, in the order in which they were called.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), or if the store cannot be read.
    pub async fn steps(&self) -> Result<Vec<StepOutcome>> {
        outcome::steps(self).await.map(|(steps, _)| steps.into_steps())
    }

    /// What has happened to it, and what happens, from its beginning, or from the first event that is
    /// [kept](crate::Retention::generations): a stream. See [`Events`].
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

    /// Lets a run go on that has failed, was cancelled or is stuck, from its last good point: under the same id, and wherever
    /// its workflow is executed. Nothing is to be done for a run whose process has died: it goes on by itself.
    ///
    /// One that is **stuck** is tried again at once, as with another build. One that has **failed** or was **cancelled** gets
    /// another [generation](RunInfo::generation) with the journal of the one before, which stays as it is: steps that have
    /// succeeded are not executed again; those by which it failed are, with all their attempts and with the
    /// [idempotency keys](crate::StepInfo::idempotency_key) that they had. If the workflow has failed by
    /// itself it is given the last event once more, for the build that has been mended. What rollbacks have undone must not be
    /// taken for done: if there were any, everything is executed again from the first result on that was undone, and has new
    /// keys. One that was cancelled before its first turn begins with its arguments. Its state and attributes stay as they
    /// are until they are set again.
    ///
    /// The **children** by which it failed go on as well, and those that were cancelled because it had ended: each under its id
    /// and from its own last good point, and so do the children of these. The result of such a child comes in as if it had never
    /// failed. A child that was retried before is waited for, or its result is taken if it has ended meanwhile; one that was
    /// deleted is started anew, and so is one that was called behind a result which rollbacks of this run have undone. A failure
    /// of a child that the workflow has handled, and has gone on after, stays what it is. Runs that are not waited for as children
    /// are not retried: those that were detached, and those that are awaited by their handles. Retry such a run before this
    /// one.
    ///
    /// Who has been told of the failure, such as a parent, is not told again. It is durable once this returns, for all of these
    /// runs at once: before that none of them has changed.
    ///
    /// # Errors
    ///
    /// [`Code::NotRepairable`](crate::Code::NotRepairable) if the run has completed or has not ended, if another
    /// call retried it first, or if it was cancelled before it had arguments; [`Code::Limit`](crate::Code::Limit) if more than
    /// 1,000 runs would have to go on at once (retry its children first); [`Code::RunNotFound`](crate::Code::RunNotFound); or
    /// if the store refuses.
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

    /// Starts another run that begins where this one had come to just before an [event](Run::events), by its index. If the
    /// event is the call of a step that call is kept, and the step is executed; of other operations that the workflow asked
    /// for at the same time nothing is left out. Index 0 begins anew, with the same arguments. This run is not
    /// changed, and may still go on.
    ///
    /// What was recorded by then is not executed again. What was under way is the new run's own: its steps are executed, its
    /// children started, its hooks opened (a token that this run still has gives a conflict), its sleeps end when they would
    /// have. Idempotency keys, and the random numbers from there on, are others. Children of this run stay as they are.
    ///
    /// What [rollbacks](crate::StepCall::rollback) of this run have undone, or are about to undo, cannot be kept: such a run is
    /// forked at the first result that was undone, or at an event before it. If the new run fails it undoes what it has executed
    /// itself; what it has inherited is this run's to undo, unless [`undo_inherited`](Fork::undo_inherited) says otherwise.
    ///
    /// # Errors
    ///
    /// [`Code::NotRepairable`](crate::Code::NotRepairable) if there is no such event, if a step that had succeeded by then was
    /// undone (the error names it), if the run was cancelled before it had arguments, or if no step is called there that could be
    /// given an [input](Fork::input); [`Code::EventsRemoved`](crate::Code::EventsRemoved) if the event was
    /// [removed](crate::Retention::generations) (the error names the first that is kept); [`Code::InvalidArguments`](crate::Code::InvalidArguments) if the input does not fit the step;
    /// [`Code::RunExists`](crate::Code::RunExists) if another run has the [id](Fork::id);
    /// [`Code::RunNotFound`](crate::Code::RunNotFound); or if the store refuses. If the code that is there now does not fit the
    /// history, the new run is stuck.
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

    /// What the run is [suspended](crate::suspend) for: what its workflow waits for and what its steps do, those that are
    /// executed for a queue included; and then what the runs are suspended for that it has started as its children, and these
    /// as theirs, unless they have ended. Those are resumed by themselves: `get_run(suspended.run).resume(&data).of(suspended.id)`.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), or if the store cannot be read.
    pub async fn suspended(&self) -> Result<Vec<Suspended>> {
        self.engine().await?.inner().suspended(&self.id).await
    }

    /// Resumes what is [suspended](crate::suspend), from any process that has the store: see [`Resume`].
    pub fn resume<R: Serialize + ?Sized>(&self, data: &R) -> Resume {
        Resume::new(self.engine.clone(), self.id.clone(), data)
    }

    /// Deletes the run with all that belongs to it: its journal, its state and attributes, its streams, tokens and letters.
    /// It must have ended, or never have been started. From then on there is no such run, and its id is free.
    ///
    /// It is durable once this returns; what a very long run leaves is removed little by little by an engine that
    /// executes. Its children stay, and name it as their parent. Who has waited for its end before has it; who asks later
    /// gets [`Code::RunNotFound`](crate::Code::RunNotFound), and so does a reader of its streams that was not at the end.
    /// One that waits for a run which was never started is told that it was cancelled. A run that is started anew under
    /// the same id has the same [idempotency keys](crate::StepInfo::idempotency_key).
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound); [`Code::NotEnded`](crate::Code::NotEnded), and nothing is changed:
    /// [`cancel`](Run::cancel) it before; or if the store refuses.
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

    /// The state that its workflow has [set](crate::set_state), as of its last committed turn; nothing if it has set
    /// none.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), [`Code::Payload`](crate::Code::Payload) if the state is of another
    /// type, or if the store cannot be read.
    pub async fn state<S: DeserializeOwned>(&self) -> Result<Option<S>> {
        self.engine().await?.inner().state_of(&self.id).await
    }

    /// Its attributes, as of its last committed turn: see [`set_attribute`](crate::set_attribute).
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), or if the store cannot be read.
    pub async fn attributes(&self) -> Result<BTreeMap<String, String>> {
        self.engine().await?.inner().attributes_of(&self.id).await
    }

    /// The ids of the runs that its workflow has started by calling workflows, in their order; also those of a run of the
    /// same id that was [deleted](Run::delete).
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), or if the store cannot be read.
    pub async fn children(&self) -> Result<Vec<String>> {
        self.engine().await?.inner().children_of(&self.id).await
    }

    /// Reads a stream that the run or its steps [write](crate::writer), from its beginning, from any process that has the
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

    /// The names of the streams that there are by now, in the order of their first chunks.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), or if the store cannot be read.
    pub async fn streams(&self) -> Result<Vec<String>> {
        let names = self.engine().await?.inner().stream_names(&self.id).await?;
        Ok(names.iter().map(|name| name.to_string()).collect())
    }

    /// Everything that is known of it, as of one moment.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), or if the store cannot be read.
    pub async fn info(&self) -> Result<RunInfo> {
        self.engine().await?.inner().info(&self.id).await
    }
}

/// What a run's end is to those who wait for it.
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

/// Waits inside a workflow for the end of the run that an operation starts, or that is there.
pub(crate) fn poll_end<T: DeserializeOwned, E: Failure>(
    operation: &mut Operation,
    context: &mut Context<'_>,
    kind: impl FnOnce() -> Option<Kind>,
) -> Poll<Result<T, E>> {
    let end = match ready!(operation.poll(context, kind)) {
        Ok(Completion::Ended(end)) => match Finished::of(end) {
            Some(finished) => result(&finished),
            None => Err(Error::coded(Code::Damaged, "the end of a run that goes on was recorded")),
        },
        // There is no such run.
        Ok(Completion::Failed(error)) => codec::decode::<Error>("the error", &error).map(|error| Err(error.into())),
        Ok(Completion::Completed(_) | Completion::Due | Completion::Woken) => unreachable!("a run is no step or timer"),
        Err(error) => Ok(Err(error.into())),
    };
    match end {
        Ok(result) => Poll::Ready(result),
        // No value of the type to go on with. The run waits for a build that can read it.
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
    /// Waits for its end, and gives all that it did: a failed or a cancelled run is an outcome like any other, and so is one
    /// that is stuck. See [`Outcome`](crate::Outcome).
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

    /// Its end, once it has ended or is stuck; an error if that is not known.
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

/// As the id of the run.
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
