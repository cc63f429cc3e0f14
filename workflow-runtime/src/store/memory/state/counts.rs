//! The counts of each hour.

use super::super::rows::State;
use crate::store::{HourCount, RecordCounts};

impl State {
    pub(super) fn record_counts(&mut self, record: &RecordCounts) {
        for (figure, runs) in &record.counts {
            self.counts.entry((record.hour, *figure)).or_insert(*runs);
        }
        self.counts.retain(|(hour, _), _| *hour >= record.kept_from);
    }

    pub(in crate::store::memory) fn hour_counts(&self, from: u64) -> Vec<HourCount> {
        let counts = self.counts.iter().filter(|((hour, _), _)| *hour >= from);
        counts.map(|((hour, figure), runs)| HourCount { hour: *hour, figure: *figure, runs: *runs }).collect()
    }
}
