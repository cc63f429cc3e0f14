//! Queries for runs.

use super::super::rows::State;
use super::super::run::Run;
use crate::model::Status;
use crate::store::{Counts, Ended, Filter, Position, RunRow};

fn fits(run: &Run, filter: &Filter) -> bool {
    let row = &run.row;
    let has = |(key, value): &(_, _)| run.attributes.get(key) == Some(value);
    (filter.statuses.is_empty() || filter.statuses.contains(&row.status))
        && (filter.workflows.is_empty() || filter.workflows.contains(&row.workflow))
        && (!filter.failing || row.failing_since().is_some())
        && row.created_at >= filter.created_from
        && filter.created_before.is_none_or(|before| row.created_at < before)
        && filter.attributes.iter().all(has)
        && filter.parent.as_ref().is_none_or(|parent| row.parent.as_ref() == Some(parent))
        && filter.id_contains.as_ref().is_none_or(|part| row.id.contains(&**part))
}

impl State {
    pub(in crate::store::memory) fn list(&self, filter: &Filter, after: Option<Position>, limit: usize) -> Vec<RunRow> {
        let behind = |run: &&Run| after.is_none_or(|after| filter.position(&run.row) < after);
        let mut found: Vec<&Run> = self.runs.values().filter(|run| fits(run, filter)).filter(behind).collect();
        found.sort_unstable_by_key(|run| std::cmp::Reverse(filter.position(&run.row)));
        found.into_iter().take(limit).map(Run::view).collect()
    }

    pub(in crate::store::memory) fn counts(&self, filter: &Filter) -> Counts {
        let mut counts = Counts::new();
        for run in self.runs.values().filter(|run| fits(run, filter)) {
            *counts.entry(run.row.status).or_default() += 1;
        }
        counts
    }

    /// The ends of runs with this status, earliest first.
    pub(super) fn ends(&self, status: Status) -> Vec<Ended> {
        let of_status = self.runs.values().filter(|run| run.row.status == status);
        let mut ends: Vec<Ended> =
            of_status.filter_map(|run| Some(Ended { at: run.row.completed_at?, run: run.row.key })).collect();
        ends.sort_unstable();
        ends
    }

    pub(in crate::store::memory) fn ended_before(&self, status: Status, most: u64) -> Option<Ended> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        self.ends(status).into_iter().rev().nth(most)
    }
}
