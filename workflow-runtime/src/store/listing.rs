//! The filter and the order of lists of runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{RunKey, RunRow, Status};

/// Number of runs, by status.
pub type Counts = BTreeMap<Status, u64>;

/// Selects runs: a run matches if it fits every field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Any of these statuses; every status, if empty.
    pub statuses: Vec<Status>,
    /// Any of these workflows, by their ids; every workflow, if empty.
    pub workflows: Vec<Arc<str>>,
    /// Created at this time or later, in milliseconds since 1970.
    pub created_from: u64,
    /// Created before this time, in milliseconds since 1970.
    pub created_before: Option<u64>,
    /// Attributes that the runs must all have.
    pub attributes: Vec<(Arc<str>, Arc<str>)>,
    /// The id of the run that started the runs as its children.
    pub parent: Option<Arc<str>>,
    /// Only runs that are [failing](RunRow::failing_since): these are in the order in which they began to fail.
    pub failing: bool,
    /// A text that their ids contain.
    pub id_contains: Option<Arc<str>>,
}

/// A position in a list of runs, which is in the order of their creation, or, of failing runs, of their first failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// When the run was created or has begun to fail, in milliseconds since 1970.
    pub at: u64,
    /// The run.
    pub run: RunKey,
}

impl Filter {
    /// The position of a run that matches.
    pub fn position(&self, row: &RunRow) -> Position {
        let failing_since = row.failing_since().filter(|_| self.failing);
        Position { at: failing_since.unwrap_or(row.created_at), run: row.key }
    }

    /// The selected statuses, each once.
    pub(crate) fn each_status(&self) -> Vec<Status> {
        let wanted = |status: &Status| self.statuses.is_empty() || self.statuses.contains(status);
        Status::ALL.into_iter().filter(wanted).collect()
    }

    /// The selected workflows, each once.
    pub(crate) fn each_workflow(&self) -> Vec<&str> {
        let mut workflows: Vec<&str> = self.workflows.iter().map(|workflow| &**workflow).collect();
        workflows.sort_unstable();
        workflows.dedup();
        workflows
    }

    /// The exclusive end of the positions of the runs, in the form that the databases use.
    pub(crate) fn end(&self, after: Option<Position>) -> (i64, RunKey) {
        let after = after.map(|after| (signed(after.at), after.run));
        // The positions of failing runs are not creation times.
        let before = self.created_before.filter(|_| !self.failing).map(|time| (signed(time), RunKey::MIN));
        after.into_iter().chain(before).min().unwrap_or((i64::MAX, RunKey::MAX))
    }

    /// The creation time that no run reaches, in the form that the databases use.
    pub(crate) fn before(&self) -> i64 {
        self.created_before.map_or(i64::MAX, signed)
    }

    /// The earliest creation time of the runs, in the form that the databases use.
    pub(crate) fn begin(&self) -> i64 {
        signed(self.created_from)
    }
}

fn signed(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}
