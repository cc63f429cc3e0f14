//! The progress of a run, as this process sees it.
//!
//! None of it is recorded. A workflow body runs again on each replay, so it may only *set* a gauge to a value that it
//! derives from recorded results: a replay then does not change it, and after a restart it has the value of the journal
//! at once. Steps do not run again, so they may count.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// The gauges of one run.
#[derive(Default)]
pub struct Progress {
    total: AtomicU64,
    finished: AtomicU64,
    /// Files that were finished when this process began with its first one.
    resumed_at: OnceLock<u64>,
    /// Files that this process has hashed.
    hashed: AtomicU64,
    /// Bytes that this process has read.
    read: AtomicU64,
    ended: AtomicBool,
    /// The bar, drawn if there is a terminal.
    bar: OnceLock<ProgressBar>,
}

/// The gauges of a run, by its id.
pub fn of(run: &str) -> &'static Progress {
    static ALL: Mutex<BTreeMap<String, &'static Progress>> = Mutex::new(BTreeMap::new());
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    // Leaked: there is one for each run in which this process takes part, which is one.
    all.entry(run.to_owned()).or_insert_with(|| Box::leak(Box::default()))
}

impl Progress {
    /// Called by the workflow when it knows the number of files.
    pub fn set_total(&self, files: usize) {
        self.total.store(files as u64, Relaxed);
    }

    /// Called by the workflow when it has the results of this many files.
    pub fn set_finished(&self, files: usize) {
        self.finished.store(files as u64, Relaxed);
    }

    /// Called by a step that begins to read a file. Before the first one it prints where the run continues.
    pub fn begin(&self) {
        self.resumed_at.get_or_init(|| {
            let (finished, total) = (self.finished.load(Relaxed), self.total.load(Relaxed));
            if finished > 0 {
                self.bar().suspend(|| eprintln!("resuming: {finished} of {total} files are finished"));
                self.bar().reset_eta();
            }
            finished
        });
    }

    /// Called by a step that has read some bytes.
    pub fn read(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Relaxed);
    }

    /// Called by a step that has a result.
    pub fn hashed(&self) {
        self.hashed.fetch_add(1, Relaxed);
    }

    pub fn end(&self) {
        self.ended.store(true, Relaxed);
    }

    /// The number of the run's files that were finished before this process.
    pub fn taken(&self, examined: usize) -> u64 {
        (examined as u64).saturating_sub(self.hashed.load(Relaxed))
    }

    fn bar(&self) -> &ProgressBar {
        self.bar.get_or_init(|| {
            let style = ProgressStyle::with_template("{bar:32} {pos}/{len} files  {msg}  {eta}");
            ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        })
    }

    /// Keeps the bar up to date until the run has ended.
    pub async fn show(&self) {
        let bar = self.bar();
        while !self.ended.load(Relaxed) {
            let total = self.total.load(Relaxed);
            if total > 0 {
                bar.set_message(format!("{} read", HumanBytes(self.read.load(Relaxed))));
                bar.set_length(total);
                bar.set_position(self.finished.load(Relaxed));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bar.finish_and_clear();
    }
}
