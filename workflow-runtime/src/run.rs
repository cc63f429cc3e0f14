//! A handle on a run.

use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;

use crate::codec;
use crate::engine::{self, Engine, Finished};
use crate::error::{Code, Error, Failure, Result};
use crate::store::Status;
use crate::stream::Reader;

/// A handle on a run that gives `Result<T, E>`. Cheap to clone; dropping it does nothing to the run.
///
/// Awaiting it, by value or by reference and any number of times, waits for the run's result, in whichever process it
/// is executed. The error is the workflow's own, or made from ours ([`Code::RunNotFound`](crate::Code::RunNotFound),
/// [`Code::Stuck`](crate::Code::Stuck), ..): a run that is stuck gives its error at once, and can be awaited again.
pub struct Run<T, E = Error> {
    engine: Option<Engine>,
    id: Arc<str>,
    output: PhantomData<fn() -> (T, E)>,
}

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

/// What is known of a run: see [`Run::info`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunInfo {
    /// Its id.
    pub id: String,
    /// The id of its workflow.
    pub workflow: String,
    /// Where it is in its life.
    pub status: Status,
    /// When it was started.
    pub created_at: SystemTime,
    /// When its first turn was taken.
    pub started_at: Option<SystemTime>,
    /// When it ended.
    pub completed_at: Option<SystemTime>,
    /// When it goes on at the latest, if it waits for a time.
    pub wakes_at: Option<SystemTime>,
    /// What it waits for, if that is neither a time nor a step: why it is stuck, or a build that has its workflow.
    pub waits_for: Option<String>,
}

impl<T, E> Run<T, E> {
    pub(crate) fn new(engine: Option<Engine>, id: Arc<str>) -> Self {
        Run { engine, id, output: PhantomData }
    }

    /// Its id: the one that it was given, else a UUID.
    pub fn id(&self) -> &str {
        &self.id
    }

    async fn engine(&self) -> Result<Engine> {
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
    /// Its steps are stopped at their next await (see [`cancellation`](crate::cancellation)), its sleeps and retries end.
    /// The workflow is not polled any more: it cannot refuse. If no process that has the workflow is there, this waits for
    /// one. The request is durable before this waits, so dropping the
    /// future does not take it back. A run that is stuck can be cancelled too.
    ///
    /// # Errors
    ///
    /// [`Code::RunNotFound`](crate::Code::RunNotFound), [`Code::Limit`](crate::Code::Limit) if the reason has more than
    /// 512 bytes, or if the store refuses.
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

impl<T, E> Run<T, E>
where
    T: DeserializeOwned,
    E: Failure,
{
    async fn result(self) -> Result<T, E> {
        let engine = self.engine().await?;
        let finished = engine.inner().wait(&self.id).await?;
        match finished {
            Finished::Completed(value) => {
                Ok(codec::decode::<T>("the run's result", &value).map_err(|e| e.run(&self.id))?)
            }
            Finished::Cancelled(reason) => {
                let error = Error::coded(Code::Cancelled, format!("the run was cancelled: {reason}"));
                Err(error.run(&self.id).into_fatal().into())
            }
            Finished::Failed(error) => Err(codec::decode::<E>("the run's error", &error).map_err(|e| e.run(&self.id))?),
        }
    }
}

impl<T, E> IntoFuture for Run<T, E>
where
    T: DeserializeOwned + Send + 'static,
    E: Failure,
{
    type Output = Result<T, E>;
    type IntoFuture = BoxFuture<'static, Result<T, E>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.result())
    }
}

impl<T, E> IntoFuture for &Run<T, E>
where
    T: DeserializeOwned + Send + 'static,
    E: Failure,
{
    type Output = Result<T, E>;
    type IntoFuture = BoxFuture<'static, Result<T, E>>;

    fn into_future(self) -> Self::IntoFuture {
        self.clone().into_future()
    }
}

impl<T, E> Clone for Run<T, E> {
    fn clone(&self) -> Self {
        Run { engine: self.engine.clone(), id: self.id.clone(), output: PhantomData }
    }
}

impl<T, E> fmt::Debug for Run<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A stored time.
pub(crate) fn time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}
