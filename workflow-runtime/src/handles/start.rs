//! Starting a run.

#[cfg(any(feature = "cli", feature = "web"))]
mod published;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::codec::{self, Payload};
use crate::definition::{Returned, Workflow, WorkflowDefinition, WorkflowFn, encode_arguments};
use crate::durable::Durable;
use crate::engine::{self, Asked, Client};
use crate::error::Result;
use crate::handles::catalog::AnyWorkflow;
use crate::handles::run::{Run, RunOf};
use crate::model::{Deployment, IfExists, OutputChunk, RequestContext, TracingOptions, output_writer};
use crate::panics::caught;
use crate::registry;

/// Starts a run of a workflow: once `start(checkout, (1, 4200)).await?` has returned a [`Run`], the run is durable.
///
/// The arguments are those of the function: `()` for none, the argument itself for one, a tuple for
/// several. Awaiting this never waits for the workflow, only for the store. Without [`id`](Start::id) each call starts
/// another run.
///
/// Inside a step this uses that step's engine; elsewhere the engine that was [installed](crate::Engine::install), or else
/// one that is opened at the first use: on the store that `WORKFLOW_URL` names, or else on `sqlite:.workflow/workflow.db`.
///
/// # Errors
///
/// Nothing is started if the arguments do not survive JSON, if another run has the id, or if the store rejects the write.
/// With [`Code::InDoubt`](crate::Code::InDoubt) it is unknown whether the run was started. A workflow that issues more
/// operations or branches in its first turn than a run may have is started, and becomes [stuck](crate::Status::Stuck).
///
/// ```no_run
/// # use workflow_runtime::{Result, start, workflow};
/// # #[workflow] async fn checkout(order: u64, cents: u32) -> Result<String> { Ok(String::new()) }
/// # async fn example() -> Result<()> {
/// let run = start(checkout, (1, 4200)).id("order-1").await?;
/// println!("{}", run.await?);
/// # Ok(())
/// # }
/// ```
pub fn start<F, P>(_workflow: F, args: <F::Workflow as Workflow>::Args) -> Start<F::Workflow>
where
    F: WorkflowFn<P>,
{
    Start::new(None, args)
}

/// Creates a run that is started later. It has an id, is listed as `pending`, and can be awaited, cancelled and looked up
/// before its arguments exist.
///
/// Without [`id`](CreateRun::id) each call creates another run. With it, an existing run of this workflow with the id is
/// returned, whether it was started or not, so that any process can get the handle that starts the run.
///
/// # Errors
///
/// [`Code::RunExists`](crate::Code::RunExists) if a run of another workflow has the id, or if the store rejects the write.
///
/// ```
/// # use workflow_runtime::{Code, Engine, Result, Status, workflow};
/// # #[workflow] async fn checkout(order: u64, cents: u32) -> Result<String> { Ok("receipt".into()) }
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// # let engine = Engine::open("memory:").await?;
/// let created = engine.create_run(checkout).await?;
/// assert_eq!(created.run().status().await?, Status::Pending);
/// let run = created.start((1, 4200)).await?;
/// assert_eq!(run.await?, "receipt");
/// let again = created.start((1, 4200)).await;
/// assert_eq!(again.unwrap_err().code(), Code::AlreadyStarted);
/// # Ok(())
/// # }
/// ```
pub fn create_run<F, P>(_workflow: F) -> CreateRun<F::Workflow>
where
    F: WorkflowFn<P>,
{
    CreateRun::new(None)
}

/// A pending creation of a run, executed when it is awaited: see [`create_run`].
#[must_use = "nothing is created unless it is awaited: add `.await`"]
pub struct CreateRun<W> {
    engine: Option<Client>,
    id: Option<String>,
    workflow: PhantomData<fn() -> W>,
}

impl<W: Workflow> CreateRun<W> {
    pub(crate) fn new(engine: Option<Client>) -> Self {
        CreateRun { engine, id: None, workflow: PhantomData }
    }

    /// Sets the id of the run: at most 512 bytes, without control characters.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }
}

impl<W: Workflow> IntoFuture for CreateRun<W> {
    type Output = Result<CreatedRun<W>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let engine = engine::given_or_ambient(&self.engine).await?;
            let id = engine.inner().create_for_later(W::DEFINITION, self.id).await?;
            Ok(CreatedRun { engine, id, workflow: PhantomData })
        })
    }
}

/// A run that was created and that [`start`](CreatedRun::start)
/// starts: see [`create_run`]. Dropping this does not affect the run.
pub struct CreatedRun<W> {
    engine: Client,
    id: Arc<str>,
    workflow: PhantomData<fn() -> W>,
}

impl<W: Workflow> CreatedRun<W> {
    /// The id of the run.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The handle on the run: to query it, to wait for its end (which may be before it is started), to cancel it.
    pub fn run(&self) -> RunOf<W> {
        Run::of::<W::Output>(Some(self.engine.clone()), self.id.clone())
    }

    /// Starts the run with its arguments, once: any engine that has the workflow executes it. If the arguments are
    /// refused, nothing was started, and the run can be started with others.
    ///
    /// # Errors
    ///
    /// [`Code::AlreadyStarted`](crate::Code::AlreadyStarted) if any process started it before; that run does not change;
    /// [`Code::Cancelled`](crate::Code::Cancelled) if it was cancelled first;
    /// [`Code::RunNotFound`](crate::Code::RunNotFound) if it was deleted; and as for [`start()`].
    pub fn start(&self, args: W::Args) -> Start<W> {
        Start { created: Some(self.id.clone()), ..Start::new(Some(self.engine.clone()), args) }
    }
}

impl<W> Clone for CreatedRun<W> {
    fn clone(&self) -> Self {
        CreatedRun { engine: self.engine.clone(), id: self.id.clone(), workflow: PhantomData }
    }
}

impl<W> fmt::Debug for CreatedRun<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedRun").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A pending start of a run, executed when it is awaited: see [`start()`].
#[must_use = "nothing is started unless it is awaited: add `.await`"]
pub struct Start<W> {
    engine: Option<Client>,
    definition: Result<&'static WorkflowDefinition>,
    args: Result<Payload>,
    /// The id of the run that [`create_run`] created, if this starts one.
    created: Option<Arc<str>>,
    asked: Result<Asked>,
    with_state: bool,
    workflow: PhantomData<fn() -> W>,
}

impl<W: Workflow> Start<W> {
    pub(crate) fn new(engine: Option<Client>, args: W::Args) -> Self {
        let args = encode_arguments::<_, W::Form>(W::DEFINITION, W::validate, &args);
        Start::of(engine, Ok(W::DEFINITION), args)
    }

    fn of(engine: Option<Client>, definition: Result<&'static WorkflowDefinition>, args: Result<Payload>) -> Self {
        let asked = Ok(Asked::default());
        Start { engine, definition, args, created: None, asked, with_state: false, workflow: PhantomData }
    }

    fn ask(mut self, ask: impl FnOnce(&mut Asked)) -> Self {
        if let Ok(asked) = &mut self.asked {
            ask(asked);
        }
        self
    }

    /// Sets the id of the run, such as `order-1001`. If a run with this id, the same workflow and the same
    /// arguments exists, the start returns that run: a program that is executed again continues instead of
    /// starting twice. With other arguments or another workflow the start is an error.
    /// [`if_exists`](Start::if_exists) changes this. A run that was [created](create_run) already has its id.
    ///
    /// At most 512 bytes, without control characters.
    pub fn id(self, id: impl Into<String>) -> Self {
        self.ask(|asked| asked.id = Some(id.into()))
    }

    /// Sets the behaviour of the start if a run with its [`id`](Start::id) already exists.
    ///
    /// ```
    /// # use workflow_runtime::{Code, Engine, IfExists, Result, workflow};
    /// # #[workflow] async fn checkout(order: u64) -> Result<()> { Ok(()) }
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let engine = Engine::open("memory:").await?;
    /// engine.start(checkout, 1).id("order-1").await?;
    /// engine.start(checkout, 1).id("order-1").await?; // the same run
    /// let refused = engine.start(checkout, 1).id("order-1").if_exists(IfExists::Reject).await;
    /// assert_eq!(refused.unwrap_err().code(), Code::RunExists);
    /// # Ok(())
    /// # }
    /// ```
    pub fn if_exists(self, policy: IfExists) -> Self {
        self.ask(|asked| asked.if_exists = policy)
    }

    /// Sets which deployments may execute the run: [`Deployment::Any`] unless this is set, or [`Deployment::Current`] if
    /// the workflow has the option `pinned`. A run that is bound to a deployment is executed only by workers of it, also
    /// after it has continued as new or was retried, until it is [released](Client::release). It waits if that deployment
    /// has no live worker ([`Waiting::NoWorker`](crate::Waiting::NoWorker)). Steps of queues do not inherit it.
    ///
    /// An existing run with the [id](Start::id) is returned whatever its deployment.
    ///
    /// The arguments are checked against the JSON Schema that another build has published with the feature `schema`. Keywords
    /// that this library does not know are ignored, and so are workflows without a schema.
    ///
    /// # Errors
    ///
    /// The start is refused with [`Code::InvalidArguments`](crate::Code::InvalidArguments) and the path inside the arguments if
    /// these do not fit that schema, unless it is [`unchecked`](Start::unchecked). Nothing is written then, as in the other cases:
    ///
    /// The start is refused with [`Code::DeploymentNotFound`](crate::Code::DeploymentNotFound) if no live worker of the
    /// deployment has the workflow, unless [`wait_for_deployment`](Start::wait_for_deployment) is set, and with
    /// [`Code::InvalidName`](crate::Code::InvalidName) for an id that no deployment can have.
    ///
    /// ```
    /// # use workflow_runtime::{Deployment, Engine, Result, workflow};
    /// # #[workflow] async fn checkout(order: u64) -> Result<()> { Ok(()) }
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let engine = Engine::builder().url("memory:").deployment("v7").open().await?;
    /// engine.start(checkout, 1).deployment(Deployment::Latest).await?.await?;
    /// engine.start(checkout, 2).deployment("v7").await?.await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn deployment(self, deployment: impl Into<Deployment>) -> Self {
        self.ask(|asked| asked.deployment = Some(deployment.into()))
    }

    /// Creates the run also if no live worker of its [deployment](Start::deployment) has the workflow: the run waits for
    /// one. This has no effect on [`Deployment::Latest`], which always selects a deployment with a live worker.
    pub fn wait_for_deployment(self) -> Self {
        self.ask(|asked| asked.waits_for_deployment = true)
    }

    /// Does not check the arguments against the schema that another [deployment](Start::deployment) has published: for types that
    /// accept more JSON than their schemas say, such as by a custom `Deserialize`. Arguments that the other deployment cannot
    /// decode then make the run [stuck](crate::Status::Stuck).
    pub fn unchecked(self) -> Self {
        self.ask(|asked| asked.unchecked = true)
    }

    /// Opens a token together with the run: the store keeps payloads that are sent to it until the workflow opens its
    /// [`hook`](crate::hook) with this token. Can be called more than once.
    ///
    /// If another run has the token, that run keeps it, and awaiting the hook returns the conflict.
    pub fn opens(self, token: impl Into<String>) -> Self {
        self.ask(|asked| asked.opens.push(token.into()))
    }

    /// Adds an attribute, by which the run can be found: [`Runs::attribute`](crate::Runs::attribute).
    /// Can be called more than once; at most 64 attributes of at most 512 bytes, key and value together.
    pub fn attribute(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.ask(|asked| drop(asked.attributes.insert(key.into(), value.into())))
    }

    /// Sets the initial [state](crate::state) of the run.
    ///
    /// # Errors
    ///
    /// The start is refused with [`Code::Payload`](crate::Code::Payload) if the value does not survive JSON.
    pub fn initial_state<S: Serialize + ?Sized>(mut self, state: &S) -> Self {
        match codec::encode("the run's initial state", state) {
            Ok(state) => self.ask(|asked| asked.state = Some(state)),
            Err(error) => {
                self.asked = self.asked.and(Err(error));
                self
            }
        }
    }

    /// Includes the run's state in the [outcome](Run::outcome) of the handle that this start returns.
    pub fn include_state(mut self) -> Self {
        self.with_state = true;
        self
    }

    /// Sets the trace of the run: see [`TracingOptions`]. It is recorded with the run, so the trace stays
    /// the same over suspensions, crashes and children. The spans themselves are exported only with the feature `otel`.
    ///
    /// # Errors
    ///
    /// The start is refused with [`Code::InvalidName`](crate::Code::InvalidName) for an invalid id of a trace or a span.
    pub fn tracing(self, tracing: TracingOptions) -> Self {
        self.ask(|asked| asked.tracing = Some(tracing))
    }

    /// Sets a function that receives, in this process, the chunks that the run's steps write to its streams: each chunk
    /// once, in the order of its stream, never two of one stream at the same time. Chunks that other processes write (steps
    /// of a queue, or another worker) are read from the store. The function also receives chunks of failed attempts.
    ///
    /// The function receives chunks that are already stored. A [`write`](crate::Writer::write) in a step waits until the
    /// function has returned for the chunk, so a slow function slows down the steps that write to that stream, and no
    /// others. A failure of the function does not affect the step: if it returns an error or panics, the engine logs this
    /// as an error, the chunk stays stored and is not passed again, and the write is `Ok`. If an attempt that waits for
    /// the function is abandoned, the function still runs to its end; when the engine stops, the function is dropped.
    ///
    /// The function may write to streams of the run itself, with a [`writer`](crate::writer) that
    /// it makes while it handles a chunk of an attempt in this process: such a write belongs to
    /// the same attempt, resolves once it is stored, and is not passed to the function.
    ///
    /// The function belongs to this start: it is not added to a run that already existed, and after a
    /// restart of the process the streams remain, but no function receives their chunks. Chunks that
    /// the workflow itself or its child runs write are not passed: read them by [`Run::stream`].
    ///
    /// ```
    /// # use std::sync::{Arc, Mutex};
    /// # use workflow_runtime::{Engine, Result, step, workflow, writer};
    /// #[step]
    /// async fn speak() -> Result<()> {
    ///     writer("words").write(&"hello".to_owned()).await
    /// }
    /// # #[workflow] async fn speech() -> Result<()> { speak().await }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let engine = Engine::open("memory:").await?;
    /// let heard = Arc::new(Mutex::new(Vec::new()));
    /// let hears = heard.clone();
    /// let run = engine.start(speech, ()).output_writer(move |chunk| {
    ///     let hears = hears.clone();
    ///     async move {
    ///         hears.lock().unwrap().push(chunk.get::<String>()?);
    ///         Ok(())
    ///     }
    /// });
    /// run.await?.await?;
    /// assert_eq!(*heard.lock().unwrap(), ["hello"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn output_writer<F, R>(self, take: F) -> Self
    where
        F: Fn(OutputChunk) -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        self.ask(|asked| asked.output = Some(output_writer(take)))
    }

    /// Sets values that the workflow, its steps and its children can read: see [`RequestContext`].
    pub fn request_context(self, context: RequestContext) -> Self {
        self.ask(|asked| asked.context = context.values)
    }
}

impl Start<AnyWorkflow> {
    pub(crate) fn by_id(engine: Option<Client>, workflow: &str, args: serde_json::Value) -> Self {
        let definition = registry::registry().workflow(workflow);
        let args = definition.clone().and_then(|definition| {
            let accepted = caught("the type of the arguments", || (definition.accept)(definition, args));
            accepted.and_then(|accepted| accepted)
        });
        Start::of(engine, definition, args)
    }
}

impl<W: Workflow> IntoFuture for Start<W> {
    type Output = Result<RunOf<W>>;
    type IntoFuture = Starting<<W::Output as Returned>::Value, <W::Output as Returned>::Error>;

    fn into_future(self) -> Self::IntoFuture {
        let Start { engine, definition, args, created, asked, with_state, .. } = self;
        Starting { begun: begin(engine, definition, args, created, asked), with_state, run: Run::of::<W::Output> }
    }
}

/// Without the type of the workflow, so that all starts share it.
fn begin(
    engine: Option<Client>,
    definition: Result<&'static WorkflowDefinition>,
    args: Result<Payload>,
    created: Option<Arc<str>>,
    asked: Result<Asked>,
) -> BoxFuture<'static, Result<(Client, Arc<str>)>> {
    Box::pin(async move {
        let (definition, args, asked) = (definition?, args?, asked?);
        let engine = engine::given_or_ambient(&engine).await?;
        let id = match created {
            Some(id) => Box::pin(engine.inner().begin(definition, &id, args, asked)).await.map(|()| id)?,
            None => engine.inner().create(definition, args, asked).await?,
        };
        Ok((engine, id))
    })
}

/// A start in progress, of a run whose result is `Result<T, E>`: see [`start()`].
#[must_use = "futures do nothing unless polled"]
pub struct Starting<T, E> {
    begun: BoxFuture<'static, Result<(Client, Arc<str>)>>,
    with_state: bool,
    run: fn(Option<Client>, Arc<str>) -> Run<T, E>,
}

impl<T, E> Future for Starting<T, E> {
    type Output = Result<Run<T, E>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.begun.as_mut().poll(context).map_ok(|(engine, id)| {
            let run = (self.run)(Some(engine), id);
            if self.with_state { run.with_state() } else { run }
        })
    }
}

impl<T, E> fmt::Debug for Starting<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Starting")
    }
}

/// Never implemented: its message is the compile error for awaiting a start in a workflow.
#[diagnostic::on_unimplemented(
    message = "a workflow does not start another one with `start`: each replay would start it again",
    label = "call the workflow itself",
    note = "`child(arguments).await` runs it as a child and waits for its result; `child(arguments).detach()` starts one that is not waited for",
    note = "a run that is to be no child can be started in a `#[step]`"
)]
pub trait StartedInWorkflow {}

impl<T, E> Durable for Starting<T, E> where Run<T, E>: StartedInWorkflow {}
