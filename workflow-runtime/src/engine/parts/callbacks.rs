//! The callbacks of an engine: functions that are called when a run reaches a status.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};

use crate::environment::Environment;
use crate::error::{Code, Error, Result};
use crate::limits::CALLBACKS_TIMEOUT;
use crate::model::{RunInfo, Status};
use crate::panics::panic_text;

pub type Callback = Arc<dyn Fn(RunInfo) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// The functions to call when a run reaches a status.
#[derive(Clone, Default)]
pub struct Callbacks(Vec<(Status, Callback)>);

impl Callbacks {
    pub fn add<F, U>(&mut self, status: Status, callback: F)
    where
        F: Fn(RunInfo) -> U + Send + Sync + 'static,
        U: Future<Output = Result<()>> + Send + 'static,
    {
        self.0.push((status, Arc::new(move |run| Box::pin(callback(run)))));
    }

    /// The statuses for which there is a function to call.
    pub fn statuses(&self) -> Arc<[Status]> {
        self.0.iter().map(|(status, _)| *status).collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub fn of(&self, status: Status) -> impl Iterator<Item = &Callback> {
        self.0.iter().filter(move |(wanted, _)| *wanted == status).map(|(_, callback)| callback)
    }
}

/// Calls functions one after the other until one fails, for at most [`CALLBACKS_TIMEOUT`]. A panic is an error.
pub async fn call_each<F, U>(
    environment: &dyn Environment,
    (what, help): (&str, &str),
    functions: impl Iterator<Item = F>,
) -> Result<()>
where
    F: FnOnce() -> U,
    U: Future<Output = Result<()>>,
{
    let calls = async {
        for function in functions {
            AssertUnwindSafe(async { function().await }).catch_unwind().await.unwrap_or_else(|panic| {
                Err(Error::coded(Code::Panic, format!("it panicked: {}", panic_text(&*panic))))
            })?;
        }
        Ok(())
    };
    match select(std::pin::pin!(calls), environment.sleep(CALLBACKS_TIMEOUT)).await {
        Either::Left((called, _)) => called,
        Either::Right(_) => {
            Err(Error::coded(Code::Timeout, format!("{what} took longer than {CALLBACKS_TIMEOUT:?}")).help(help))
        }
    }
}
