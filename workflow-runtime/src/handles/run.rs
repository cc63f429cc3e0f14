//! A handle on a run.

mod end;
mod repair;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::end::RunEnd;
use self::end::{Returns, returns_of};
pub(crate) use self::end::{poll_end, returns};
use crate::definition::{Fallible, Returned, Workflow};
use crate::engine::{self, Client};
use crate::error::{Error, Failure, Result};
use crate::handles::events::Events;
use crate::handles::outcome;
use crate::handles::resume_run::Resume;
use crate::handles::stream::Reader;
use crate::history::StepOutcome;
use crate::model::{RunInfo, Status, Suspended, Waiting};

/// A handle on a run whose result is `Result<T, E>`. Cheap to clone; dropping a handle does not affect the run.
///
/// Awaiting a handle, by value or by reference, any number of times, waits for the run's result, whichever process executes
/// it. The error is the workflow's own, or one of the engine ([`Code::RunNotFound`](crate::Code::RunNotFound),
/// [`Code::Stuck`](crate::Code::Stuck), ..). A stuck run returns its error at once and can be awaited again. A workflow
/// or step that awaits the run it is part of gets [`Code::AwaitsItself`](crate::Code::AwaitsItself) at once.
///
/// A step that waits for another run, through this handle or in any other way, releases its concurrency
/// permit while it waits, so that steps that wait for other runs do not block the steps of those runs.
///
/// A handle can be an argument or a result of workflows and steps: it is stored as the run's id. A workflow that awaits it
/// waits durably, and occupies only its rows in the store. If the awaited run is stuck, the workflow keeps waiting.
pub struct Run<T, E = Error> {
    engine: Option<Client>,
    id: Arc<str>,
    /// Whether the outcome includes the run's state.
    with_state: bool,
    /// Decodes the result.
    returns: Returns<T, E>,
}

/// The handle on a run of the workflow `W`.
pub type RunOf<W> = Run<<<W as Workflow>::Output as Returned>::Value, <<W as Workflow>::Output as Returned>::Error>;

/// A handle on a run by its id, in any process that uses the store. This does not look up the run: see [`Run::exists`].
///
/// The caller chooses the type of the result. If the stored result does not fit the type, awaiting the run returns an
/// error.
///
/// ```no_run
/// # use workflow_runtime::{Result, Run, get_run};
/// # async fn example() -> Result<()> {
/// let run: Run<String> = get_run("order-1");
/// println!("{} {}", run.status().await?, run.await?);
/// # Ok(())
/// # }
/// ```
pub fn get_run<T: DeserializeOwned, E: Failure>(id: impl Into<String>) -> Run<T, E> {
    Run::new(None, Arc::from(id.into()))
}

impl<T: DeserializeOwned, E: Failure> Run<T, E> {
    pub(crate) fn new(engine: Option<Client>, id: Arc<str>) -> Self {
        Run { engine, id, with_state: false, returns }
    }
}

impl<T, E> Run<T, E> {
    /// The handle on a run of a workflow that returns `R`.
    pub(crate) fn of<R>(engine: Option<Client>, id: Arc<str>) -> Self
    where
        R: Fallible + Returned<Value = T, Error = E>,
    {
        Run { engine, id, with_state: false, returns: returns_of::<R> }
    }

    /// The handle on another run with a result of the same types.
    pub(crate) fn on(self, engine: Client, id: Arc<str>) -> Self {
        Run { engine: Some(engine), id, with_state: false, ..self }
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
        engine::given_or_ambient(&self.engine).await
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

    /// Ends every [`sleep`](crate::sleep()) that the run currently waits for, before its deadline, and begins the next
    /// attempts of its steps that wait for their backoff.
    /// The run's clock does not jump: [`now`](crate::now) returns the time of this wake-up.
    /// Timeouts are not affected. A run that waits for neither, or that has ended, does not change.
    ///
    /// The wake-up is durable once this returns.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), or if the store rejects the write.
    pub async fn wake_up(&self) -> Result<()> {
        self.engine().await?.inner().wake_up(&self.id).await
    }

    /// Cancels the run, whichever process executes it, and waits for its end. Returns whether the run
    /// was cancelled: if it had already ended in another way, it does not change and the result is `false`.
    ///
    /// The engine stops the run's steps at their next await (see [`cancellation`](crate::cancellation)),
    /// ends its sleeps and retries, and cancels its children. The run ends once all of these have ended and
    /// every [rollback](crate::StepCall::rollback) has been executed; a second cancel in the meantime has
    /// no effect on this. The engine does not poll the workflow again, so the workflow cannot refuse. If no
    /// live worker has the workflow, this waits for one. The request is durable before this starts
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

    /// Requests the [cancel](Run::cancel) of the run, whichever process executes it, and does not wait for its end.
    /// Returns `false` if the run had already ended; it does not change then.
    ///
    /// The request is durable once this returns. The run ends when a process with its workflow executes it; a run that is
    /// stuck and has rollbacks that this process cannot execute stays stuck. Another request has no effect.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound); [`Code::Limit`](crate::Code::Limit) if the reason has more than
    /// 512 bytes; or if the store rejects the write.
    ///
    /// ```
    /// # use workflow_runtime::{Client, Engine, Result, sleep, workflow};
    /// # use std::time::Duration;
    /// # #[workflow] async fn year() -> Result<()> { sleep(Duration::from_secs(31_536_000)).await; Ok(()) }
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let url = format!("sqlite:{}/workflow.db", directory.path().display());
    /// let client = Client::connect(&url).await?;
    /// let run = client.start(year, ()).await?;
    /// assert!(run.request_cancel("changed our minds").await?); // no worker is needed for this
    /// # Ok(())
    /// # }
    /// ```
    pub async fn request_cancel(&self, reason: impl Into<String>) -> Result<bool> {
        self.engine().await?.inner().request_cancel(&self.id, reason.into()).await
    }

    /// The steps and the child runs that the run has called so far, in the order of the calls.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), or if the store cannot be read.
    pub async fn steps(&self) -> Result<Vec<StepOutcome>> {
        outcome::steps(self).await.map(|(steps, _)| steps.into_steps())
    }

    /// A stream of the run's events, past and future, from the first event that is [kept](crate::Retention::generations).
    /// See [`Events`].
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
    /// The run must have ended, or never have been started. Afterwards it does not exist, and its id is free.
    ///
    /// The deletion is durable once this returns; an engine that executes runs removes the data of a very long run in
    /// small parts. Children of the run stay, and keep its id as their parent. Waiters that were waiting for its end
    /// have already received it; later calls get [`Code::RunNotFound`](crate::Code::RunNotFound), and so does a reader
    /// that has not read its stream to the end. A waiter of a run that was never started receives a cancellation. A
    /// run that is started later under the same id has the same [idempotency keys](crate::StepInfo::idempotency_key).
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound); [`Code::NotEnded`](crate::Code::NotEnded), in which
    /// case nothing changes: [`cancel`](Run::cancel) the run first; or if the store rejects the write.
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

    /// The state that the workflow has [set](crate::set_state), at the last committed turn; `None` if it has set
    /// none.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), [`Code::Payload`](crate::Code::Payload) if the state is of another
    /// type, or if the store cannot be read.
    pub async fn state<S: DeserializeOwned>(&self) -> Result<Option<S>> {
        self.engine().await?.inner().state_of(&self.id).await
    }

    /// The attributes of the run, at its last committed turn: see [`set_attribute`](crate::set_attribute).
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
    /// let mut lines = run.stream::<String>("log").from(-10); // the last ten, and later ones
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

    /// Why the run does not move: a reason for each operation that it waits for. The most important reason is the first:
    /// stuck, no worker, not begun, a due turn, a step that is executed, a step that is retried, a queue, another run, a
    /// hook or a suspension, a time. A run that has ended has one reason, [`Waiting::Ended`](crate::Waiting::Ended).
    ///
    /// Any process that opens the store can call this, also if its build does not have the workflow. It reads the journal
    /// of the run, page by page. The reasons are those at the last commit of the run.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), [`Code::NewerFormat`](crate::Code::NewerFormat) if a newer version
    /// of this library has written the journal, or if the store cannot be read.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use workflow_runtime::{Engine, Result, Waiting, sleep, workflow};
    /// # #[workflow] async fn year() -> Result<()> { sleep(Duration::from_secs(31_536_000)).await; Ok(()) }
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let engine = Engine::open("memory:").await?;
    /// let run = engine.start(year, ()).await?;
    /// for reason in run.waiting().await? {
    ///     println!("{reason}"); // waiting until 2027-11-29 12:04:07 UTC
    /// #   assert!(matches!(reason, Waiting::Timer { .. }));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn waiting(&self) -> Result<Vec<Waiting>> {
        self.engine().await?.inner().reasons(&self.id).await
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

/// Serialized as the id of the run.
impl<T, E> Serialize for Run<T, E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.id)
    }
}

impl<'de, T: DeserializeOwned, E: Failure> Deserialize<'de> for Run<T, E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Ok(Run::new(None, String::deserialize(deserializer)?.into()))
    }
}

impl<T, E> Clone for Run<T, E> {
    fn clone(&self) -> Self {
        Run { engine: self.engine.clone(), id: self.id.clone(), with_state: self.with_state, returns: self.returns }
    }
}

impl<T, E> fmt::Debug for Run<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("id", &self.id).finish_non_exhaustive()
    }
}
