//! How long runs that have ended are kept, and how many generations of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Code, Error, Result};
use crate::model::Status;

/// How long runs that have ended are kept, by how they ended, and how many generations of each run: see
/// [`Builder::retain`](crate::Builder::retain). What is not set is kept for ever.
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
    generations: Option<u64>,
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

    /// How many generations of a run keep their journals, whether it has ended or not: the newest, of which the current one
    /// is the first. For runs that [continue as new](crate::Invocation::continue_as_new) for ever, whose journals would fill
    /// the store. With 0 the engine does not open.
    ///
    /// Counted is what has continued as new. A [retry](crate::Run::retry) does not count: what it goes on with is kept as long
    /// as it is itself. What a run has is kept: its state, its attributes and its streams, and what is delivered to it.
    ///
    /// The [events](crate::Run::events) of a generation that was removed are gone, and those of the others keep their indexes:
    /// a reader without an index begins with the first event that is kept, and one that asks for an earlier one gets
    /// [`Code::EventsRemoved`], as does a [fork](crate::Run::fork) there. [`Run::steps`](crate::Run::steps) and
    /// [`Run::outcome`](crate::Run::outcome) tell of what is kept. A fork has of the removed generations the chunks that their
    /// workflow has written, and the attributes that they have set, with the values that these have by now.
    ///
    /// ```
    /// # use workflow_runtime::{Engine, Result, Retention, step, workflow};
    /// # #[step] async fn read(month: u32) -> Result<u64> { Ok(u64::from(month)) }
    /// #[workflow]
    /// async fn meter(month: u32, total: u64) -> Result<u64> {
    ///     let total = total + read(month).await?;
    ///     meter(month + 1, total).continue_as_new().await
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let engine = Engine::builder().url("memory:").retain(Retention::new().generations(12)).open().await?;
    /// # engine.shutdown().await
    /// # }
    /// ```
    pub fn generations(self, generations: u64) -> Self {
        Retention { generations: Some(generations), ..self }
    }

    fn with(mut self, status: Status, set: impl FnOnce(&mut Rule)) -> Self {
        set(self.rules.entry(status).or_insert(Rule { status, age: None, most: None }));
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.generations.is_none()
    }

    pub(crate) fn rules(&self) -> impl Iterator<Item = Rule> + '_ {
        self.rules.values().copied()
    }

    pub(crate) fn kept_generations(&self) -> Option<u64> {
        self.generations
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.generations == Some(0) {
            return Err(Error::coded(Code::InvalidName, "the current generation of a run is always kept")
                .expected("a retention of at least one generation")
                .found(0)
                .help("give `Retention::generations` 1 to keep the current generation only"));
        }
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
