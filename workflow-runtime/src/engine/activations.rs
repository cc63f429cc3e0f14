//! Runs that are on their way into memory: being created, or claimed and being replayed.
//!
//! The store knows them as this engine's before the engine has them, so whoever asks the store what it holds would take
//! them a second time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Activations(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// By the run's id.
    runs: Mutex<BTreeMap<Arc<str>, Taken>>,
    /// Whether the store may know runs as this engine's that nobody takes.
    missed: AtomicBool,
    missed_now: Notify,
}

#[derive(Default)]
struct Taken {
    /// Two starts may want the same run.
    by: usize,
    /// Whether a claim came upon it meanwhile. A start that does not create the run does not take it either.
    turned_away: bool,
}

/// One activation, until it is dropped, which is after the run is in memory.
pub(super) struct Guard {
    activations: Activations,
    run: Arc<str>,
    /// Whether it is known what became of the run.
    settled: bool,
}

impl Guard {
    /// What became of the run is known: it is in memory, or not to be taken. A guard that is dropped without this, as
    /// when somebody stops waiting for a start, leaves the run to the claims.
    pub fn settle(mut self) {
        self.settled = true;
    }
}

impl Activations {
    fn runs(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Taken>> {
        self.0.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin(&self, run: &Arc<str>) -> Guard {
        self.runs().entry(run.clone()).or_default().by += 1;
        Guard { activations: self.clone(), run: run.clone(), settled: false }
    }

    /// Nothing if somebody is at it; what the store holds is then asked for again once that is over.
    pub fn begin_if_free(&self, run: &Arc<str>) -> Option<Guard> {
        let mut runs = self.runs();
        if let Some(taken) = runs.get_mut(run) {
            taken.turned_away = true;
            return None;
        }
        runs.insert(run.clone(), Taken { by: 1, turned_away: false });
        Some(Guard { activations: self.clone(), run: run.clone(), settled: false })
    }

    /// Whether no run is on its way into memory.
    pub fn is_idle(&self) -> bool {
        self.runs().is_empty()
    }

    /// The store may know a run as this engine's that nobody takes: the claims are to ask for all that it holds.
    pub fn miss(&self) {
        self.miss_until_next_claim();
        self.0.missed_now.notify_one();
    }

    /// As [`miss`](Activations::miss), but without asking the claims to hurry.
    pub fn miss_until_next_claim(&self) {
        self.0.missed.store(true, Ordering::Release);
    }

    /// Whether something was missed since this was last asked.
    pub fn missed(&self) -> bool {
        self.0.missed.swap(false, Ordering::AcqRel)
    }

    /// Resolves when something is missed.
    pub async fn missing(&self) {
        self.0.missed_now.notified().await;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut runs = self.activations.runs();
        let Some(taken) = runs.get_mut(&self.run) else { return };
        taken.by -= 1;
        taken.turned_away |= !self.settled;
        if taken.by == 0 && runs.remove(&self.run).is_some_and(|taken| taken.turned_away) {
            drop(runs);
            self.activations.miss();
        }
    }
}
