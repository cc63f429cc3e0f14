//! The progress of a run in this process, as gauges and counters.
//!
//! They are not recorded. The body of a workflow runs again on each replay, so it only *sets* a gauge to a value that
//! it derives from recorded results: a replay sets the same value again, and after a restart the gauge has the value of
//! the end of the journal. Steps with a recorded result do not run again, so steps may increment counters.

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
    /// Files that were finished when this process began to read its first one.
    resumed_at: OnceLock<u64>,
    /// Files that this process has hashed.
    hashed: AtomicU64,
    /// Bytes that this process has read.
    read: AtomicU64,
    ended: AtomicBool,
    /// Drawn only on a terminal.
    bar: OnceLock<ProgressBar>,
}

/// The gauges of a run, by its id.
pub fn of(run: &str) -> &'static Progress {
    static ALL: Mutex<BTreeMap<String, &'static Progress>> = Mutex::new(BTreeMap::new());
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    // Leaked: a process executes one run, so there is one.
    all.entry(run.to_owned()).or_insert_with(|| Box::leak(Box::default()))
}

impl Progress {
    /// The workflow has listed the files.
    pub fn set_total(&self, files: usize) {
        self.total.store(files as u64, Relaxed);
    }

    /// The workflow has received the results of this many files.
    pub fn set_finished(&self, files: usize) {
        self.finished.store(files as u64, Relaxed);
    }

    /// A step begins to read a file. The first call prints from where the run resumes.
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

    /// How many of the run's files this process did not hash: their results were in the journal.
    pub fn taken(&self, examined: usize) -> u64 {
        (examined as u64).saturating_sub(self.hashed.load(Relaxed))
    }

    fn bar(&self) -> &ProgressBar {
        self.bar.get_or_init(|| {
            let style = ProgressStyle::with_template("{bar:32} {pos}/{len} files  {msg}  {eta}");
            ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        })
    }

    /// Updates the bar until the run has ended.
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
