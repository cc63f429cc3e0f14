//! Forking a run.

use std::future::IntoFuture;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::codec::{self, Payload};
use crate::engine::{self, At, Client};
use crate::error::Result;
use crate::handles::run::Run;

/// A fork that is not made yet: see [`Run::fork`](crate::Run::fork).
#[must_use = "nothing is forked unless it is awaited: add `.await`"]
pub struct Fork<T, E> {
    engine: Option<Client>,
    run: Run<T, E>,
    event: u64,
    id: Option<String>,
    input: Option<Result<Payload>>,
    undo_inherited: bool,
}

impl<T, E> Fork<T, E> {
    pub(crate) fn new(engine: Option<Client>, run: Run<T, E>, event: u64) -> Self {
        Fork { engine, run, event, id: None, input: None, undo_inherited: false }
    }

    /// Gives the new run an id of one's own. If there is a run with this id that was forked from this run, at the same event
    /// and with the same [input](Fork::input), the fork gives that one, so it can be asked for again when the answer was lost.
    ///
    /// At most 512 bytes, without control characters.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Executes the step that is called at the event with other arguments: a tuple of them, also of one. The workflow's own
    /// are compared with its history as before. Of several steps that were called at the same time, by `join!` say, each call is
    /// an event: the others have the arguments that they had.
    ///
    /// What is no such tuple is [`Code::InvalidArguments`](crate::Code::InvalidArguments), which says what the step takes; an
    /// event that is no call of a step (a child run is none) is [`Code::NotRepairable`](crate::Code::NotRepairable). The step
    /// must be in this build.
    pub fn input<A: Serialize>(mut self, args: &A) -> Self {
        self.input = Some(codec::encode("the arguments of the step", args));
        self
    }

    /// Lets the new run undo, if it fails or is cancelled, also the [rollbacks](crate::StepCall::rollback) of the steps that it
    /// inherits. Without it they are the original's to undo, and the new run undoes what it has executed itself.
    ///
    /// Only a run that has failed or was cancelled without having been rolled back can leave that to a fork: its generation
    /// before it continued as new, say. Of one that has completed, has not ended, or has rolled back it is
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
            let Fork { engine, run, event, id, input, undo_inherited } = self;
            let engine = match engine {
                Some(engine) => engine,
                None => engine::ambient().await?,
            };
            let source: &Arc<str> = run.shared_id();
            let id = engine.inner().fork(source, At { event, id, input: input.transpose()?, undo_inherited }).await?;
            Ok(Run::new(Some(engine), id))
        })
    }
}
