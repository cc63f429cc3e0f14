//! Queries of runs.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::inner::Inner;
use super::parts::missing::not_found;
use super::parts::row_error;
use super::parts::stuck::Stuck;
use crate::codec;
use crate::error::Result;
use crate::limits::{SEARCH_MS, SEARCH_RUNS};
use crate::model::{RunError, RunInfo, Schema, Status, Waiting, time};
use crate::store::{Counts, Filter, NEVER, Position, RunRow};

impl Inner {
    /// Reads the run's row.
    pub(crate) async fn row(&self, id: &str) -> Result<Option<RunRow>> {
        self.store.run(id).await.map_err(|error| error.run(id))
    }

    /// The public information of a run.
    pub(crate) async fn info(&self, id: &str) -> Result<RunInfo> {
        Ok(self.run_info(self.row(id).await?.ok_or_else(|| not_found(id))?))
    }

    /// A page of runs, and the position of the next page, if there is one.
    pub(crate) async fn list(
        &self,
        filter: &Filter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<(Vec<RunInfo>, Option<Position>)> {
        if filter.id_contains.is_some() {
            return self.search(filter, |_| true, after, limit).await;
        }
        let mut rows = self.store.list(filter, after, limit + 1).await?;
        let is_last = rows.len() <= limit;
        rows.truncate(limit);
        let next = rows.last().map(|row| filter.position(row)).filter(|_| !is_last);
        Ok((rows.into_iter().map(|row| self.run_info(row)).collect(), next))
    }

    /// The same for runs that also match a condition, or whose ids contain a text: no index has them, so that the runs are read
    /// in their order, for a limited time. The position of the next page is that of the last run that was read, so that a
    /// page with a next one and fewer runs than its limit has ended because its time was over.
    pub(crate) async fn search(
        &self,
        filter: &Filter,
        matches: impl Fn(&RunInfo) -> bool,
        mut after: Option<Position>,
        limit: usize,
    ) -> Result<(Vec<RunInfo>, Option<Position>)> {
        let filter = &mut filter.clone();
        let part = filter.id_contains.take();
        let (mut found, began) = (Vec::new(), self.clock.monotonic());
        loop {
            let rows = self.store.list(filter, after, SEARCH_RUNS).await?;
            let is_last = rows.len() < SEARCH_RUNS;
            for row in rows {
                after = Some(filter.position(&row));
                if part.as_ref().is_none_or(|part| row.id.contains(&**part)) {
                    found.extend(Some(self.run_info(row)).filter(&matches));
                }
                if found.len() >= limit {
                    return Ok((found, after));
                }
            }
            if is_last {
                return Ok((found, None));
            }
            if self.clock.monotonic().saturating_sub(began) >= SEARCH_MS {
                return Ok((found, after));
            }
        }
    }

    /// The number of runs that match a filter; of a status with more than `most` runs, `most` or more.
    pub(crate) async fn counts(&self, filter: &Filter, most: usize) -> Result<Counts> {
        self.store.counts(filter, most).await
    }

    /// The state of a run.
    pub(crate) async fn state_of<S: DeserializeOwned>(&self, id: &str) -> Result<Option<S>> {
        match self.store.state(id).await.map_err(|error| error.run(id))? {
            Some(state) => codec::decode_text("the run's state", &state).map(Some).map_err(|error| error.run(id)),
            None => self.row(id).await?.map(|_| None).ok_or_else(|| not_found(id)),
        }
    }

    /// The attributes of a run.
    pub(crate) async fn attributes_of(&self, id: &str) -> Result<BTreeMap<String, String>> {
        self.row(id).await?.ok_or_else(|| not_found(id))?;
        let attributes = self.store.attributes(id).await.map_err(|error| error.run(id))?;
        Ok(attributes.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect())
    }

    /// The children of a run.
    pub(crate) async fn children_of(&self, id: &str) -> Result<Vec<String>> {
        self.row(id).await?.ok_or_else(|| not_found(id))?;
        let children = self.store.children(id).await.map_err(|error| error.run(id))?;
        Ok(children.into_iter().map(|child| child.to_string()).collect())
    }

    /// The time of the store.
    #[cfg(any(feature = "cli", feature = "web"))]
    pub(crate) fn store_time(&self) -> u64 {
        self.clock.now()
    }

    /// For each workflow that has a run without an owner, when the first of them is due.
    #[cfg(feature = "cli")]
    pub(crate) async fn claimable(&self) -> Result<BTreeMap<std::sync::Arc<str>, u64>> {
        Ok(self.store.claimable(&self.settings.deployment).await?.due)
    }

    pub(super) fn run_info(&self, row: RunRow) -> RunInfo {
        let wakes_at = row.wake_at.filter(|at| row.status == Status::Suspended && ![0, NEVER].contains(at)).map(time);
        let reason = coarse_reason(&row);
        let failing_since = row.failing_since().map(time);
        let error = match (&reason, &row.error) {
            (Some(Waiting::Stuck { code, error, .. }), _) => Some(RunError::new(code, error)),
            (_, error) => error.as_ref().map(row_error::shown),
        };
        RunInfo {
            id: row.id.to_string(),
            parent: row.parent.map(|parent| parent.to_string()),
            generation: row.generation,
            workflow: row.workflow.to_string(),
            status: row.status,
            created_at: time(row.created_at),
            started_at: row.started_at.map(time),
            completed_at: row.completed_at.map(time),
            wakes_at,
            failing_since,
            error,
            reason,
            schema: Schema,
        }
    }
}

/// The reason that the columns of a run's row give.
fn coarse_reason(row: &RunRow) -> Option<Waiting> {
    Some(match row.status {
        status if status.is_terminal() => Waiting::Ended { status },
        Status::Stuck => Stuck::reason(row),
        _ if row.has_not_begun() => Waiting::NotBegun,
        Status::Suspended => Waiting::Timer { until: time(row.wake_at.filter(|at| ![0, NEVER].contains(at))?) },
        _ => return None,
    })
}
