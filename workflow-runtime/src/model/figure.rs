//! The figures of unfinished runs that the overview shows and that the engine records each hour.

use std::collections::BTreeMap;

use super::Status;
use crate::limits::COUNTED_RUNS_MAX;

/// A figure of the runs that have not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Figure {
    /// Runs that are running and not failing.
    Running,
    /// Runs that are failing.
    Failing,
    /// Runs that are pending or suspended.
    Waiting,
    /// Runs that are stuck.
    Stuck,
}

impl Figure {
    pub(crate) const ALL: [Figure; 4] = [Figure::Running, Figure::Failing, Figure::Waiting, Figure::Stuck];

    /// The figure as text, as it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Figure::Running => "running",
            Figure::Failing => "failing",
            Figure::Waiting => "waiting",
            Figure::Stuck => "stuck",
        }
    }

    /// Parses the text that [`as_str`](Figure::as_str) returns.
    pub fn parse(word: &str) -> Option<Self> {
        Figure::ALL.into_iter().find(|figure| figure.as_str() == word)
    }

    /// The figure, from the numbers of runs by status: of all, and of those that are failing. Both are counted up to
    /// [`COUNTED_RUNS_MAX`] and one more: if more are running, the failing ones are among them.
    pub(crate) fn count(self, all: &BTreeMap<Status, u64>, failing: &BTreeMap<Status, u64>) -> u64 {
        let of = |status: Status| all.get(&status).copied().unwrap_or_default();
        match self {
            Figure::Running => match of(Status::Running) {
                running if running > COUNTED_RUNS_MAX as u64 => running,
                running => running.saturating_sub(failing.get(&Status::Running).copied().unwrap_or_default()),
            },
            Figure::Failing => failing.values().sum(),
            Figure::Waiting => of(Status::Pending) + of(Status::Suspended),
            Figure::Stuck => of(Status::Stuck),
        }
    }
}
