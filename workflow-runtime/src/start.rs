//! Starting a run.

use std::future::IntoFuture;
use std::marker::PhantomData;

use futures_util::future::BoxFuture;

use crate::codec::{self, Payload};
use crate::engine::{self, Ahead, Client};
use crate::error::Result;
use crate::run::Run;
use crate::workflow::{Fallible, Workflow, WorkflowFn};

/// Starts a run of a workflow: `start(checkout, (1, 4200)).await?` gives a [`Run`], and the run is durable.
///
/// The arguments are those of the function: `()` for none, the argument itself where there is one, a tuple where there
/// are several. Awaiting it never waits for the workflow, only for the store. Without [`id`](Start::id) each call starts
/// another run.
///
/// Inside a step it uses that step's engine; elsewhere the one that was [installed](crate::Engine::install), else one that is
/// opened at the first use: on the store that `WORKFLOW_URL` names, else on `sqlite:.workflow/workflow.db`.
///
/// # Errors
///
/// Nothing is started if the arguments do not survive JSON, if another run has the id, or if the store refuses. With
/// [`Code::InDoubt`](crate::Code::InDoubt) it is not known whether the run was started.
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

/// A start that is not made yet: see [`start()`].
#[must_use = "nothing is started unless it is awaited: add `.await`"]
pub struct Start<W> {
    engine: Option<Client>,
    args: Result<Payload>,
    id: Option<String>,
    ahead: Ahead,
    workflow: PhantomData<fn() -> W>,
}

impl<W: Workflow> Start<W> {
    pub(crate) fn new(engine: Option<Client>, args: W::Args) -> Self {
        let args = codec::encode("the workflow's arguments", &args);
        Start { engine, args, id: None, ahead: Ahead::default(), workflow: PhantomData }
    }

    /// Gives the run an id of one's own, such as `order-1001`. If there is a run with this id, of the same workflow and
    /// the same arguments, the start gives that one: a program that is run again continues instead of starting twice.
    /// With other arguments or another workflow it is an error.
    ///
    /// At most 512 bytes, without control characters.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }
}

impl<W: Workflow> Start<W> {
    /// Opens a token with the run: what is sent to it from then on is kept until the workflow has come to its
    /// [`hook`](crate::hook) with this token. May be said several times.
    ///
    /// A token that is another run's stays with that one; the hook then tells so.
    pub fn opens(mut self, token: impl Into<String>) -> Self {
        self.ahead.opens.push(token.into());
        self
    }

    /// Gives the run an attribute, by which it is found: [`Runs::attribute`](crate::Runs::attribute). May be said several times; at
    /// most 64 attributes of at most 512 bytes, key and value together.
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.ahead.attributes.insert(key.into(), value.into());
        self
    }
}

impl<W: Workflow> IntoFuture for Start<W> {
    type Output = Result<Run<<W::Output as Fallible>::Ok, <W::Output as Fallible>::Err>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let args = self.args?;
            let engine = match self.engine {
                Some(engine) => engine,
                None => engine::ambient().await?,
            };
            let id = engine.inner().create(W::DEFINITION, args, self.id, self.ahead).await?;
            Ok(Run::new(Some(engine), id))
        })
    }
}
