//! Resuming a suspended run.

use std::future::IntoFuture;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::codec::{self, Payload};
use crate::engine::{self, Client, Which};
use crate::error::Result;

/// A pending resumption, executed when it is awaited. It is durable once awaiting it has returned.
///
/// # Errors
///
/// [`Code::NotSuspended`](crate::Code::NotSuspended) if no suspension has the label or id, or, with neither, if there is
/// not exactly one; [`Code::AlreadyResumed`](crate::Code::AlreadyResumed) if it was resumed before;
/// [`Code::Payload`](crate::Code::Payload) if the value does not fit its type, if this process has the type;
/// [`Code::RunNotFound`](crate::Code::RunNotFound); or if the store fails.
///
/// ```no_run
/// # use workflow_runtime::{Result, Run, get_run};
/// # async fn example() -> Result<()> {
/// let run: Run<String> = get_run("order-1");
/// for suspended in run.suspended().await? {
///     println!("{} waits: {}", suspended.label, suspended.payload);
/// }
/// for suspended in run.suspended().await? {
///     run.resume(&true).of(suspended.id).await?; // only this suspension, however late the call is
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

    /// Selects the suspension that has this label now, which may be a later one than the caller
    /// has seen. Without a label and without [`of`](Resume::of): the only suspension of the run.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.which = Which::Label(label.into());
        self
    }

    /// Selects a suspension by its [id](crate::Suspended::id). Later suspensions have other ids, so that a second
    /// answer to one question is never used as the answer to the next one. The id overrides a label.
    ///
    /// A second call with the same id and the same value succeeds and has no effect, for the time that
    /// [`Builder::keep_deliveries`](crate::Builder::keep_deliveries) sets: repeat the call until it returns. With another
    /// value, or after another caller's resumption, it fails with [`Code::AlreadyResumed`](crate::Code::AlreadyResumed).
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
            let engine = engine::given_or_ambient(&engine).await?;
            engine.inner().resume(&run, which, data?).await
        })
    }
}
