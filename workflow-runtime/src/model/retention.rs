//! How long runs that have ended are kept, and how many generations of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Code, Error, Result};
use crate::model::Status;

/// How long ended runs are kept, by status, and how many generations of each run: see
/// [`Builder::retain`](crate::Builder::retain). Everything without a rule is kept for ever.
///
/// Expired runs are removed as by [`Run::delete`](crate::Run::delete), by an engine that executes runs, in the
/// background and in small parts; one engine at a time, about once in a minute. This includes
/// runs whose results may still be requested, such as a child that its parent has yet to await: choose ages
/// that are longer than that. A run whose end notice has yet to be delivered to a callback such as
/// [`on_completed`](crate::Builder::on_completed) stays until the delivery.
#[derive(Clone, Debug, Default)]
#[must_use = "it is to be given to `Engine::builder().retain(..)`"]
pub struct Retention {
    rules: BTreeMap<Status, Rule>,
    generations: Option<u64>,
}

/// The rule for one status.
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

    /// Sets how long completed runs are kept after their end.
    pub fn completed(self, age: Duration) -> Self {
        self.with(Status::Completed, |rule| rule.age = Some(age))
    }

    /// Sets how long failed runs are kept after their end.
    pub fn failed(self, age: Duration) -> Self {
        self.with(Status::Failed, |rule| rule.age = Some(age))
    }

    /// Sets how long cancelled runs are kept after their end.
    pub fn cancelled(self, age: Duration) -> Self {
        self.with(Status::Cancelled, |rule| rule.age = Some(age))
    }

    /// Sets how many ended runs with this status are kept: the latest to have ended. Combined with an age, a run is removed
    /// if either limit applies. If the status is not terminal, opening the engine is an error.
    pub fn most(self, status: Status, runs: u64) -> Self {
        self.with(status, |rule| rule.most = Some(runs))
    }

    /// Sets how many generations of a run keep their journals, whether it has ended or not: the newest,
    /// including the current one. For runs that [continue as new](crate::Invocation::continue_as_new)
    /// for ever, whose journals would fill the store. With 0, opening the engine is an error.
    ///
    /// Only generations made by continuing as new count. A [retry](crate::Run::retry) does not count: the journal it
    /// continues is kept as long as its own. The run's current data is kept: its state, attributes, streams and deliveries.
    ///
    /// The [events](crate::Run::events) of a removed generation are deleted, and those of the others keep their
    /// indexes: a reader without an index begins with the first event that is kept; a reader that requests an earlier
    /// one gets [`Code::EventsRemoved`], as does a [fork](crate::Run::fork) there. [`Run::steps`](crate::Run::steps)
    /// and [`Run::outcome`](crate::Run::outcome) cover what is kept. A fork inherits from the removed generations the
    /// chunks that their workflow has written, and the attributes that they have set, with their current values.
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
            .help("remove it from the `Retention`")),
        }
    }
}
