//! Forking a run.

use std::future::IntoFuture;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::codec::{self, Payload};
use crate::engine::{self, At, Client};
use crate::error::Result;
use crate::run::Run;

/// A fork that is not made yet: see [`Run::fork`](crate::Run::fork).
#[must_use = "nothing is forked unless it is awaited: add `.await`"]
pub struct Fork<T, E> {
    engine: Option<Client>,
    run: Run<T, E>,
    event: u64,
    id: Option<String>,
    input: Option<Result<Payload>>,
}

impl<T, E> Fork<T, E> {
    pub(crate) fn new(engine: Option<Client>, run: Run<T, E>, event: u64) -> Self {
        Fork { engine, run, event, id: None, input: None }
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
    /// are compared with its history as before.
    pub fn input<A: Serialize>(mut self, args: &A) -> Self {
        self.input = Some(codec::encode("the arguments of the step", args));
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
            let Fork { engine, run, event, id, input } = self;
            let engine = match engine {
                Some(engine) => engine,
                None => engine::ambient().await?,
            };
            let source: &Arc<str> = run.shared_id();
            let id = engine.inner().fork(source, At { event, id, input: input.transpose()? }).await?;
            Ok(Run::new(Some(engine), id))
        })
    }
}
