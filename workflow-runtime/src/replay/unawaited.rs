//! Operations that are dropped before their first poll: they were never executed.
//!
//! This is legal (an early `?`, the loser of a race), but usually a mistake: `drop(charge(1))`, `.map(charge).count()`,
//! a step that a destructor calls. So the core logs it, once for each source line.

use std::collections::BTreeSet;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};

use super::shared::{Shared, current};

/// The lines that this process has logged.
static LOGGED: Mutex<BTreeSet<(&str, u32)>> = Mutex::new(BTreeSet::new());

/// Logs that an operation was dropped unpolled, unless its line was logged before.
pub(super) fn log(run: &Shared, site: &'static Location<'static>) {
    let is_new = LOGGED.lock().unwrap_or_else(PoisonError::into_inner).insert((site.file(), site.line()));
    if is_new {
        tracing::warn!(
            run = &**run.run_id(),
            at = %site,
            "an operation of a workflow was dropped before it was awaited, so it was not executed: add `.await`, or do not \
             create it; this line is logged once"
        );
    }
}

/// Part of a builder that has not issued an operation yet: logs if it is dropped before that.
pub(crate) struct Unawaited(Option<(Arc<Shared>, &'static Location<'static>)>);

impl Unawaited {
    /// The guard of a builder that is created now: outside a run it does nothing.
    pub fn new(site: &'static Location<'static>) -> Self {
        Unawaited(current().map(|run| (run, site)))
    }

    /// The builder has issued an operation, or was refused.
    pub fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Unawaited {
    fn drop(&mut self) {
        if let Some((run, site)) = &self.0
            && run.counts_as_dropped()
        {
            log(run, site);
        }
    }
}
