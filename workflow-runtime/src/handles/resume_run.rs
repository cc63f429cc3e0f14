//! Resuming a run that is suspended.

use std::future::IntoFuture;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::codec::{self, Payload};
use crate::engine::{self, Client, Which};
use crate::error::Result;

/// A resumption that is not made yet. It is durable once awaiting it has returned.
///
/// # Errors
///
/// [`Code::NotSuspended`](crate::Code::NotSuspended) if nothing of the run is suspended under the label or id (any more: it may have been given up, as by a
/// timeout), or, without one, if not exactly one thing is; [`Code::AlreadyResumed`](crate::Code::AlreadyResumed) if it was resumed before; [`Code::Payload`](crate::Code::Payload) if the data does not fit, as far as this process knows the
/// type; [`Code::RunNotFound`](crate::Code::RunNotFound); or if the store refuses.
///
/// ```no_run
/// # use workflow_runtime::{Result, Run, get_run};
/// # async fn example() -> Result<()> {
/// let run: Run<String> = get_run("order-1");
/// for suspended in run.suspended().await? {
///     println!("{} waits: {}", suspended.label, suspended.payload);
/// }
/// for suspended in run.suspended().await? {
///     run.resume(&true).of(suspended.id).await?; // and nothing else, however late this comes
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is resumed unless it is awaited: add `.await`"]
pub struct Resume {
    engine: Option<Client>,
    run: Arc<str>,
    which: Which,
    data: Result<Payload>,
}

impl Resume {
    pub(crate) fn new<R: Serialize + ?Sized>(engine: Option<Client>, run: Arc<str>, data: &R) -> Self {
        Resume { engine, run, which: Which::Only, data: codec::encode("what is resumed with", data) }
    }

    /// Which suspension: the one that has this label now, whatever had it when it was looked at. Without it, and without
    /// [`of`](Resume::of): the only one that the run has.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.which = Which::Label(label.into());
        self
    }

    /// Which suspension, by its [id](crate::Suspended::id): this one and no later one, so that a second answer to one question is
    /// never taken for the answer to the next. It takes the place of a label.
    ///
    /// The same id with the same value again is accepted, and resumes nothing: it can be repeated until there is an answer, as long
    /// as [`Builder::keep_deliveries`](crate::Builder::keep_deliveries) says. With another value, and for a suspension that
    /// was resumed by somebody else, it is [`Code::AlreadyResumed`](crate::Code::AlreadyResumed).
    pub fn of(mut self, id: impl Into<String>) -> Self {
        self.which = Which::Id(id.into());
        self
    }
}

impl IntoFuture for Resume {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Resume { engine, run, which, data } = self;
            let engine = match engine {
                Some(engine) => engine,
                None => engine::ambient().await?,
            };
            engine.inner().resume(&run, which, data?).await
        })
    }
}
