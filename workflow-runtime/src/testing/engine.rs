//! The engine of a test, and its builder.

use std::collections::BTreeMap;
use std::future::{Future, ready};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{FutureExt, TryStreamExt};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::mocks::{Mocks, definition_of};
use crate::context::step_fn::StepFn;
use crate::definition::{Bodies, Workflow, WorkflowFn};
use crate::engine::{self, Engine};
use crate::environment::{Environment, System};
use crate::error::{Code, Error, Result};
use crate::handles::run::Run;
use crate::history::RunEventKind;
use crate::limits::{TEST_QUEUE_CONCURRENT, TEST_YIELDS};
use crate::registry::registry;
use crate::store::{MemoryStore, Store};

/// An [`Engine`] for a test: on a store of its own in memory, with a clock that jumps and steps that are replaced.
///
/// It has all methods of [`Engine`] and [`Client`](crate::Client). It serves every queue, and does not require resources:
/// a step that is executed without the resource that it declares fails with [`Code::MissingResource`].
///
/// # Time
///
/// The clock is tokio's, paused. When all tasks of the test's runtime wait, it jumps to the next timer: of a sleep, a timeout, a
/// backoff. It does not jump while the test itself, a workflow, a step without a mock or a blocking step executes. Real time
/// that passes does not count. [`advance`](TestEngine::advance) moves the clock by hand. A step without a mock that executes
/// for ten seconds of real time fails with [`Code::Timeout`], and the error names it.
///
/// The test needs a runtime of one thread, as `#[tokio::test]` makes it; `start_paused = true` is not needed, and does no harm.
pub struct TestEngine {
    engine: Engine,
    mocks: Arc<Mocks>,
    deny_unawaited: bool,
}

/// The settings of a [`TestEngine`].
#[must_use = "a builder does nothing until `.open()`"]
pub struct Builder {
    engine: engine::Builder,
    pub(super) mocks: Mocks,
    deny_unawaited: bool,
    /// The error of the first invalid setting.
    pub(super) refused: Option<Error>,
}

impl Default for Builder {
    fn default() -> Self {
        Builder { engine: Engine::builder(), mocks: Mocks::default(), deny_unawaited: false, refused: None }
    }
}

impl Builder {
    /// Executes a closure in place of a step: a tuple of the step's arguments goes in (`|()|` for none, `|order|` for one), its
    /// `Result` comes out. Retries, backoff, timeout, rollback and queue of the step stay as they are. The closure is called once
    /// for each attempt, inside of which [`step_info`](crate::step_info()) works. A second mock of a step replaces the first.
    ///
    /// ```
    /// # use workflow_runtime::testing::{TestEngine, fail_first};
    /// # use workflow_runtime::{Error, Result, step, workflow};
    /// # #[step] async fn charge(order: u64, cents: u32) -> Result<String> { unimplemented!() }
    /// # #[workflow] async fn pay(order: u64) -> Result<String> { charge(order, 5).await }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// // Fails twice, and is retried.
    /// let mock = fail_first(2, || Error::new("the bank is closed"), |(order, cents)| Ok(format!("{order}: {cents}")));
    /// let engine = TestEngine::builder().mock(charge, mock).open().await?;
    /// assert_eq!(engine.start(pay, 7).await?.await?, "7: 5");
    /// assert_eq!(engine.calls(charge).len(), 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`open`](Builder::open) returns [`Code::NotRegistered`] if a closure is passed in place of the function of a step.
    pub fn mock<F, P, M>(self, step: F, mock: M) -> Self
    where
        F: StepFn<P>,
        F::Output: Send + 'static,
        M: Fn(F::Args) -> F::Output + Send + Sync + 'static,
    {
        self.mock_async(step, move |args| ready(mock(args)))
    }

    /// Like [`mock`](Builder::mock), with a closure that returns a future. One that never ends lets the step's timeout pass.
    pub fn mock_async<F, P, M, U>(mut self, _step: F, mock: M) -> Self
    where
        F: StepFn<P>,
        M: Fn(F::Args) -> U + Send + Sync + 'static,
        U: Future<Output = F::Output> + Send + 'static,
    {
        if let Err(error) = self.mocks.step::<F, P, M, U>(mock) {
            self.refused.get_or_insert(error);
        }
        self
    }

    /// Executes a closure in place of the body of a workflow: for its children and for its runs. They are runs as before, with
    /// ids and events.
    ///
    /// ```
    /// # use workflow_runtime::testing::TestEngine;
    /// # use workflow_runtime::{Result, workflow};
    /// # #[workflow] async fn ship(order: u64) -> Result<String> { unimplemented!() }
    /// # #[workflow] async fn order(number: u64) -> Result<String> { ship(number).await }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let engine = TestEngine::builder().mock_workflow(ship, |order| Ok(format!("parcel {order}"))).open().await?;
    /// assert_eq!(engine.start(order, 7).await?.await?, "parcel 7");
    /// # Ok(())
    /// # }
    /// ```
    pub fn mock_workflow<F, P, M>(mut self, _workflow: F, mock: M) -> Self
    where
        F: WorkflowFn<P>,
        M: Fn(<F::Workflow as Workflow>::Args) -> <F::Workflow as Workflow>::Output + Send + Sync + 'static,
        <F::Workflow as Workflow>::Args: Send,
    {
        self.mocks.workflow::<F, P, M>(mock);
        self
    }

    /// Fails each attempt of a step that has no mock, with [`Code::Unsupported`] and without further attempts.
    pub fn deny_unmocked(mut self) -> Self {
        self.mocks.deny_unmocked = true;
        self
    }

    /// Panics when the engine is dropped if a run that has ended had begun steps or children, and dropped them before they
    /// had ended: work that was given up on purpose, as by a `select!`, counts too.
    pub fn deny_unawaited(mut self) -> Self {
        self.deny_unawaited = true;
        self
    }

    /// Passes a value to the steps without mocks that declare it with `#[resource]`.
    pub fn resource<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.engine = self.engine.resource(value);
        self
    }

    /// Sets further options of the engine, such as callbacks, retention or `.replay_every_turn()`.
    ///
    /// ```
    /// # use workflow_runtime::testing::TestEngine;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> workflow_runtime::Result<()> {
    /// let engine = TestEngine::builder().configure(|engine| engine.replay_every_turn()).open().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn configure(mut self, change: impl FnOnce(engine::Builder) -> engine::Builder) -> Self {
        self.engine = change(self.engine);
        self
    }

    /// Pauses the clock of the current runtime, and opens the engine.
    ///
    /// # Errors
    ///
    /// [`Code::Unsupported`] on a runtime of several threads; those of the mocks; and those of
    /// [`Builder::open`](crate::Builder::open).
    pub async fn open(self) -> Result<TestEngine> {
        self.open_on(Arc::new(MemoryStore::new())).await
    }

    pub(super) async fn open_on(self, store: Arc<dyn Store>) -> Result<TestEngine> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        pause()?;
        let mocks = Arc::new(self.mocks);
        let mut builder = self.engine.store(store).bodies(Bodies::replaced(mocks.clone()));
        for queue in registry().queues() {
            builder = builder.queue(queue, TEST_QUEUE_CONCURRENT);
        }
        Ok(TestEngine { engine: builder.open().await?, mocks, deny_unawaited: self.deny_unawaited })
    }
}

/// Pauses the clock of the current runtime, unless it is paused.
fn pause() -> Result<()> {
    let runtime = Handle::try_current().map_err(|error| {
        Error::coded(Code::Closed, "a test engine can be opened only inside a tokio runtime")
            .because(error)
            .help("call it from an async function under `#[tokio::test]`")
    })?;
    if runtime.runtime_flavor() != RuntimeFlavor::CurrentThread {
        return Err(Error::coded(Code::Unsupported, "the clock of a runtime with several threads cannot be paused")
            .help("use `#[tokio::test]` without `flavor = \"multi_thread\"`"));
    }
    if !System.is_paused() {
        tokio::time::pause();
    }
    Ok(())
}

impl TestEngine {
    /// Opens an engine without mocks.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::open`].
    pub async fn open() -> Result<TestEngine> {
        Self::builder().open().await
    }

    /// Returns a builder, for mocks and options.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The arguments of each attempt of a step so far, in the order in which the attempts began, with a mock or without.
    /// [`Run::steps`] and [`Run::events`] give what one run has done.
    ///
    /// # Panics
    ///
    /// If a closure is passed in place of the function of a step.
    pub fn calls<F, P>(&self, _step: F) -> Vec<F::Args>
    where
        F: StepFn<P>,
    {
        let definition = definition_of::<F, P>().unwrap_or_else(|error| panic!("{error}"));
        let calls = self.mocks.calls(definition.source.id);
        calls.iter().map(|args| F::decode(args).unwrap_or_else(|error| panic!("{error}"))).collect()
    }

    /// Moves the clock by this much, from timer to timer. Each timer that is due within this time is handled at its own time, and
    /// so are the timers that are armed meanwhile.
    pub async fn advance(&self, time: Duration) {
        tokio::time::sleep(time).await;
        // Timers that came due at the same moment are handled by other tasks.
        for _ in 0..TEST_YIELDS {
            tokio::task::yield_now().await;
        }
    }

    /// The steps and children that runs have begun and dropped: each with the run and its place in the journal.
    async fn unawaited(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let runs: Vec<_> = self.runs().stream().try_collect().await?;
        for info in runs.into_iter().filter(|info| info.status.is_terminal()) {
            let run: Run<()> = self.get_run(info.id.clone());
            let events: Vec<_> = run.events().so_far().try_collect().await?;
            let mut open = BTreeMap::new();
            for event in events {
                match event.kind {
                    RunEventKind::StepStarted { operation, step, .. } => {
                        open.insert((event.generation, operation), format!("step `{step}`"));
                    }
                    RunEventKind::ChildStarted { operation, workflow, detached: false, .. } => {
                        open.insert((event.generation, operation), format!("child `{workflow}`"));
                    }
                    RunEventKind::StepCompleted { operation, .. }
                    | RunEventKind::StepFailed { operation, .. }
                    | RunEventKind::RunEnded { operation, .. } => {
                        open.remove(&(event.generation, operation));
                    }
                    _ => {}
                }
            }
            found.extend(open.into_values().map(|what| format!("{what} of run `{}`", info.id)));
        }
        Ok(found)
    }
}

impl Deref for TestEngine {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl std::fmt::Debug for TestEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestEngine").field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl Drop for TestEngine {
    fn drop(&mut self) {
        if !self.deny_unawaited || std::thread::panicking() {
            return;
        }
        // The store is in memory: its reads do not wait.
        match self.unawaited().now_or_never() {
            Some(Ok(found)) if found.is_empty() => {}
            Some(Ok(found)) => panic!("begun, and dropped before the end: {}", found.join(", ")),
            Some(Err(error)) => panic!("what was begun and dropped cannot be read: {error}"),
            None => panic!("what was begun and dropped cannot be read in time"),
        }
    }
}

/// A mock that fails the first times, with an error that is made each time, and then calls a closure. It counts all attempts
/// of the engine together.
pub fn fail_first<A, T, E>(
    times: usize,
    error: impl Fn() -> E + Send + Sync + 'static,
    then: impl Fn(A) -> Result<T, E> + Send + Sync + 'static,
) -> impl Fn(A) -> Result<T, E> + Send + Sync + 'static {
    let failed = AtomicUsize::new(0);
    move |args| match failed.fetch_add(1, Ordering::Relaxed) < times {
        true => Err(error()),
        false => then(args),
    }
}
