//! The callbacks of an engine: functions that are called when a run reaches a status.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::error::Result;
use crate::model::{RunInfo, Status};

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
