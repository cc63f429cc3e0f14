//! Records of deliveries, which outlive the runs that received them.

use std::sync::Arc;

use super::super::rows::{Delivered, State};
use super::super::run::Name;
use crate::store::tokens::Before;
use crate::store::{Deliver, DeliveryRow, Keep, NEVER, RunKey};

impl State {
    fn is_live(&self, run: Option<RunKey>) -> bool {
        run.and_then(|run| self.runs.get(&run)).is_some_and(|run| !run.row.status.is_terminal())
    }

    pub(super) fn before(&self, name: &Name) -> Option<Before> {
        let Delivered { digest, at, until, run, .. } = self.deliveries.get(name)?;
        Some(Before { digest: *digest, at: *at, until: *until, is_live: self.is_live(*run) })
    }

    pub(super) fn record(&mut self, name: Name, delivery: &Deliver, run: Option<RunKey>, held_until: Option<u64>) {
        let (digest, at) = (delivery.digest, delivery.now);
        let (keep, run, until) = match delivery.keep {
            Keep::FromDelivery(keep) => (keep, None, at.saturating_add(keep)),
            Keep::FromEnd(keep) => (keep, run, held_until.unwrap_or(at.saturating_add(keep))),
        };
        if let Some(run) = run.and_then(|run| self.runs.get_mut(&run)) {
            run.delivered.push(name.clone());
        }
        self.deliveries.insert(name, Delivered { digest, at, until: until.min(NEVER), keep, run });
    }

    /// A run has taken a payload that was held.
    pub(super) fn delivered_to(&mut self, run: RunKey, name: Name, now: u64) {
        let Some(delivered) = self.deliveries.get_mut(&name) else { return };
        delivered.run = Some(run);
        delivered.until = now.saturating_add(delivered.keep).min(NEVER);
        if let Some(run) = self.runs.get_mut(&run) {
            run.delivered.push(name);
        }
    }

    /// The run has ended: the records of its deliveries expire from now on.
    pub(super) fn end_deliveries(&mut self, run: RunKey, at: u64) {
        let names = self.runs.get(&run).map_or(&[][..], |run| &run.delivered);
        for name in names {
            if let Some(delivered) = self.deliveries.get_mut(name).filter(|delivered| delivered.run == Some(run)) {
                delivered.until = delivered.at.max(at).saturating_add(delivered.keep).min(NEVER);
            }
        }
    }

    /// Removes expired records, all at once: in memory there is no need for a budget.
    pub(super) fn clean_deliveries(&mut self, now: u64) {
        let mut deliveries = std::mem::take(&mut self.deliveries);
        deliveries.retain(|_, delivered| delivered.until >= now || self.is_live(delivered.run));
        self.deliveries = deliveries;
    }

    pub(in crate::store::memory) fn delivery(&self, token: &str, key: &str, now: u64) -> Option<DeliveryRow> {
        let before = self.before(&(Arc::from(token), Arc::from(key))).filter(|before| before.is_known(now))?;
        Some(DeliveryRow { digest: before.digest, at: before.at })
    }
}
