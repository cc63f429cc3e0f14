//! Which runs are asked for, and in which order they come.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{RunKey, RunRow, Status};

/// How many runs there are, by their status.
pub type Counts = BTreeMap<Status, u64>;

/// Which runs are asked for: those that fit everything that it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Any of these; every status, if there is none.
    pub statuses: Vec<Status>,
    /// The ids of workflows, any of these; every workflow, if there is none.
    pub workflows: Vec<Arc<str>>,
    /// Created at this time or later, in milliseconds since 1970.
    pub created_from: u64,
    /// Created before this time, in milliseconds since 1970.
    pub created_before: Option<u64>,
    /// Attributes that they have, all of these.
    pub attributes: Vec<(Arc<str>, Arc<str>)>,
    /// The id of the run that started them as its children.
    pub parent: Option<Arc<str>>,
    /// A text that is in their ids.
    pub id_contains: Option<Arc<str>>,
}

/// A place in the order of runs, which is that of their creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// When the run was created, in milliseconds since 1970.
    pub created_at: u64,
    /// The run.
    pub run: RunKey,
}

impl Position {
    /// The place of a run.
    pub fn of(row: &RunRow) -> Self {
        Position { created_at: row.created_at, run: row.key }
    }
}

impl Filter {
    /// The statuses, each once.
    pub(crate) fn each_status(&self) -> Vec<Status> {
        let wanted = |status: &Status| self.statuses.is_empty() || self.statuses.contains(status);
        Status::ALL.into_iter().filter(wanted).collect()
    }

    /// The workflows, each once.
    pub(crate) fn each_workflow(&self) -> Vec<&str> {
        let mut workflows: Vec<&str> = self.workflows.iter().map(|workflow| &**workflow).collect();
        workflows.sort_unstable();
        workflows.dedup();
        workflows
    }

    /// Before which place the runs stand, as a database has it.
    pub(crate) fn end(&self, after: Option<Position>) -> (i64, RunKey) {
        let signed = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
        let after = after.map(|after| (signed(after.created_at), after.run));
        let before = self.created_before.map(|time| (signed(time), RunKey::MIN));
        after.into_iter().chain(before).min().unwrap_or((i64::MAX, RunKey::MAX))
    }

    /// From which time on they were created, as a database has it.
    pub(crate) fn begin(&self) -> i64 {
        i64::try_from(self.created_from).unwrap_or(i64::MAX)
    }
}
