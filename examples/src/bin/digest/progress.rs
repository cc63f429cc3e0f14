//! How far a run is, as this process sees it.
//!
//! None of it is recorded. A workflow body runs again on each replay, so it may only *set* a gauge to a value that it
//! derives from recorded results: then a replay leaves it where it was, and after a restart it stands at once where the
//! journal ends. Steps do not run again, so they may count.

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
    /// Drawn if there is a terminal to draw it on.
    bar: OnceLock<ProgressBar>,
}

/// The gauges of a run, by its id.
pub fn of(run: &str) -> &'static Progress {
    static ALL: Mutex<BTreeMap<String, &'static Progress>> = Mutex::new(BTreeMap::new());
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    // Leaked: there is one for each run that this process takes part in, which is one.
    all.entry(run.to_owned()).or_insert_with(|| Box::leak(Box::default()))
}

impl Progress {
    /// The workflow knows how many files there are.
    pub fn set_total(&self, files: usize) {
        self.total.store(files as u64, Relaxed);
    }

    /// The workflow has the results of so many files.
    pub fn set_finished(&self, files: usize) {
        self.finished.store(files as u64, Relaxed);
    }

    /// A step begins to read a file. Before the first one it is said where the run goes on.
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

    /// A step has read some bytes.
    pub fn read(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Relaxed);
    }

    /// A step has a result.
    pub fn hashed(&self) {
        self.hashed.fetch_add(1, Relaxed);
    }

    pub fn end(&self) {
        self.ended.store(true, Relaxed);
    }

    /// How many of the run's files were finished before this process.
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
