//! How long runs that have ended are kept.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Code, Error, Result};
use crate::model::Status;

/// How long runs that have ended are kept, by how they ended: see [`Builder::retain`](crate::Builder::retain). What is not
/// set is kept for ever.
///
/// A run that is not kept any longer is removed as by [`Run::delete`](crate::Run::delete), by an engine that executes, in the
/// background and in small parts; of several engines one at a time. They look about once in a minute. Removed are also
/// runs for whose results somebody might have asked later, such as a child that its parent has yet to await: choose ages
/// that are longer than that. A run whose end is yet to be told to a function such as
/// [`on_completed`](crate::Builder::on_completed) stays until it was.
#[derive(Clone, Debug, Default)]
#[must_use = "it is to be given to `Engine::builder().retain(..)`"]
pub struct Retention {
    rules: BTreeMap<Status, Rule>,
}

/// Of one status.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub status: Status,
    /// How long after its end a run is kept.
    pub age: Option<Duration>,
    /// How many runs are kept.
    pub most: Option<u64>,
}

impl Retention {
    /// Keeps everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long after their end runs are kept that have completed.
    pub fn completed(self, age: Duration) -> Self {
        self.with(Status::Completed, |rule| rule.age = Some(age))
    }

    /// How long after their end runs are kept that have failed.
    pub fn failed(self, age: Duration) -> Self {
        self.with(Status::Failed, |rule| rule.age = Some(age))
    }

    /// How long after their end runs are kept that were cancelled.
    pub fn cancelled(self, age: Duration) -> Self {
        self.with(Status::Cancelled, |rule| rule.age = Some(age))
    }

    /// How many runs are kept that have ended with this status: the latest to have ended. With an age as well a run goes
    /// when either says so. For a status that is no end the engine does not open.
    pub fn most(self, status: Status, runs: u64) -> Self {
        self.with(status, |rule| rule.most = Some(runs))
    }

    fn with(mut self, status: Status, set: impl FnOnce(&mut Rule)) -> Self {
        set(self.rules.entry(status).or_insert(Rule { status, age: None, most: None }));
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(crate) fn rules(&self) -> impl Iterator<Item = Rule> + '_ {
        self.rules.values().copied()
    }

    pub(crate) fn check(&self) -> Result<()> {
        match self.rules.keys().find(|status| !status.is_terminal()) {
            None => Ok(()),
            Some(status) => Err(Error::coded(
                Code::InvalidName,
                format!("runs that are {status} have not ended, and are always kept"),
            )
            .expected("a retention of completed, failed or cancelled runs")
            .help("take it out of the `Retention`")),
        }
    }
}
