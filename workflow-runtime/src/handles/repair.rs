//! Forking a run.

use std::future::IntoFuture;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::codec::{self, Payload};
use crate::engine::{self, At, Client};
use crate::error::Result;
use crate::handles::run::Run;
use crate::model::Deployment;

/// A pending fork, executed when it is awaited: see [`Run::fork`](crate::Run::fork).
#[must_use = "nothing is forked unless it is awaited: add `.await`"]
pub struct Fork<T, E> {
    engine: Option<Client>,
    run: Run<T, E>,
    event: u64,
    id: Option<String>,
    input: Option<Result<Payload>>,
    undo_inherited: bool,
    deployment: Option<Deployment>,
    unchecked: bool,
}

impl<T, E> Fork<T, E> {
    pub(crate) fn new(engine: Option<Client>, run: Run<T, E>, event: u64) -> Self {
        Fork { engine, run, event, id: None, input: None, undo_inherited: false, deployment: None, unchecked: false }
    }

    /// Sets the id of the new run. If a run with this id was forked from this run, at the same event and with the same
    /// [input](Fork::input), the fork returns that run, so the call can be repeated if its answer was lost.
    ///
    /// At most 512 bytes, without control characters.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Executes the step that is called at the event with other arguments: a tuple, even for a single argument.
    /// A replay still compares the arguments that the workflow passes with its history. If several steps were called
    /// at the same time, e.g. by `join!`, each call is a separate event, and the other steps keep their arguments.
    ///
    /// The fork fails with [`Code::InvalidArguments`](crate::Code::InvalidArguments) if the value does not fit, and the
    /// error names the arguments of the step; with [`Code::NotRepairable`](crate::Code::NotRepairable) if the event is not
    /// the call of a step (but that of a child run, for example). The step must be registered in this build.
    pub fn input<A: Serialize>(mut self, args: &A) -> Self {
        self.input = Some(codec::encode("the arguments of the step", args));
        self
    }

    /// Sets which deployments may execute the new run. The default is any deployment, also if the original is bound to one.
    /// The workflow must be in this build. If no live worker of the deployment has it, the fork fails with
    /// [`Code::DeploymentNotFound`](crate::Code::DeploymentNotFound).
    ///
    /// The arguments of the workflow, and those that [`input`](Fork::input) gives to a step, are checked against the JSON
    /// Schemas that another build has published with the feature `schema`, as those of a [start](crate::Start::deployment): if
    /// they do not fit, the fork fails with [`Code::InvalidArguments`](crate::Code::InvalidArguments) and the path inside the
    /// arguments, unless it is [`unchecked`](Fork::unchecked).
    pub fn deployment(mut self, deployment: impl Into<Deployment>) -> Self {
        self.deployment = Some(deployment.into());
        self
    }

    /// Does not check the arguments against the schemas that another [deployment](Fork::deployment) has published: for types that
    /// accept more JSON than their schemas say. Arguments that the other deployment cannot decode then make the new run
    /// [stuck](crate::Status::Stuck), or fail its step.
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// If the new run fails or is cancelled, it also executes the [rollbacks](crate::StepCall::rollback) of the steps that
    /// it inherits. By default the new run undoes only the steps that it has executed, and the original undoes the others.
    ///
    /// The original must have failed or been cancelled without having been rolled back, for example in a generation
    /// before it continued as new. If the original has completed, has not ended, or has rolled back, the fork fails with
    /// [`Code::NotRepairable`](crate::Code::NotRepairable).
    pub fn undo_inherited(mut self) -> Self {
        self.undo_inherited = true;
        self
    }
}

impl<T, E> IntoFuture for Fork<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
{
    type Output = Result<Run<T, E>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Fork { engine, run, event, id, input, undo_inherited, deployment, unchecked } = self;
            let engine = engine::given_or_ambient(&engine).await?;
            let source: &Arc<str> = run.shared_id();
            let at = At { event, id, input: input.transpose()?, undo_inherited, deployment, unchecked };
            let id = engine.inner().fork(source, at).await?;
            Ok(run.on(engine, id))
        })
    }
}
