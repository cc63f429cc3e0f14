//! Records how many runs are running, failing, waiting and stuck: once an hour, since the rows of the runs do not say it of
//! an hour that has passed.

use super::inner::Inner;
use crate::error::Result;
use crate::limits::{COUNTED_RUNS_MAX, COUNTS_KEPT_HOURS};
use crate::model::{Figure, Status};
use crate::store::{Filter, RecordCounts};

const HOUR_MS: u64 = 3_600_000;

/// The hour of a time, counted from 1970.
pub(crate) fn hour(time: u64) -> u64 {
    time / HOUR_MS
}

impl Inner {
    /// Records the counts of this hour, unless this engine has tried to for the hour: `recorded` is the hour of its last record.
    /// If several workers do it, the store keeps those of the first one.
    pub(super) async fn record_counts(&self, recorded: &mut Option<u64>) -> Result<()> {
        let hour = hour(self.clock.now());
        if *recorded == Some(hour) {
            return Ok(());
        }
        // Runs that have ended are not counted: there may be millions.
        let statuses = vec![Status::Pending, Status::Running, Status::Suspended, Status::Stuck];
        let unfinished = Filter { statuses, ..Filter::default() };
        let failing = Filter { failing: true, ..Filter::default() };
        let most = COUNTED_RUNS_MAX + 1;
        let (unfinished, failing) =
            futures_util::try_join!(self.counts(&unfinished, most), self.counts(&failing, most))?;
        let count = |figure: Figure| (figure, figure.count(&unfinished, &failing).min(most as u64));
        let counts = Figure::ALL.into_iter().map(count).collect();
        let kept_from = hour.saturating_sub(COUNTS_KEPT_HOURS);
        self.commit_apart(RecordCounts { hour, counts, kept_from }).await?;
        *recorded = Some(hour);
        Ok(())
    }

    /// The recorded counts of an hour and later ones.
    #[cfg(feature = "web")]
    pub(crate) async fn hour_counts(&self, from: u64) -> Result<Vec<crate::store::HourCount>> {
        self.store.hour_counts(from).await
    }
}
