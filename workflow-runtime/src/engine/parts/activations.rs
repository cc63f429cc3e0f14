//! Runs that are being activated: created, or claimed and replayed.
//!
//! The store lists them as this engine's before they are in its memory, so a claim of all runs that this engine owns
//! would activate them a second time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// See the module.
#[derive(Clone, Default)]
pub struct Activations(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// By the run's id.
    runs: Mutex<BTreeMap<Arc<str>, Taken>>,
    /// Whether the store may list runs as this engine's that are neither in memory nor being activated.
    missed: AtomicBool,
    missed_now: Notify,
}

#[derive(Default)]
struct Taken {
    /// The number of activations in progress: two starts may want the same run.
    by: usize,
    /// Whether a claim was refused meanwhile. A start that does not create the run does not activate it either.
    turned_away: bool,
}

/// One activation in progress, until it is dropped, which is after the run is in memory.
pub struct Guard {
    activations: Activations,
    run: Arc<str>,
    /// Whether the outcome of the activation is known.
    settled: bool,
}

impl Guard {
    /// The outcome is known: the run is in memory, or must not be. A guard that is dropped without this call, as when
    /// the caller of a start drops its future, leaves the run to the claims.
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

    /// `None` if the run is being activated; the claims then ask again for all runs of this engine once that is over.
    pub fn begin_if_free(&self, run: &Arc<str>) -> Option<Guard> {
        let mut runs = self.runs();
        if let Some(taken) = runs.get_mut(run) {
            taken.turned_away = true;
            return None;
        }
        runs.insert(run.clone(), Taken { by: 1, turned_away: false });
        Some(Guard { activations: self.clone(), run: run.clone(), settled: false })
    }

    /// Whether no run is being activated.
    pub fn is_idle(&self) -> bool {
        self.runs().is_empty()
    }

    /// The store may list a run as this engine's that is not in memory: makes the claims ask for all runs that it owns.
    pub fn miss(&self) {
        self.miss_until_next_claim();
        self.0.missed_now.notify_one();
    }

    /// Like [`miss`](Activations::miss), but without waking the claims.
    pub fn miss_until_next_claim(&self) {
        self.0.missed.store(true, Ordering::Release);
    }

    /// Whether a run was missed since the last call of this function.
    pub fn missed(&self) -> bool {
        self.0.missed.swap(false, Ordering::AcqRel)
    }

    /// Resolves when a run is missed.
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
