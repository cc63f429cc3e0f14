//! A replay of a long journal is about as fast as reading it.

mod mirror;

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use workflow_runtime::store::Synchronous;
use workflow_runtime::{Result as RunResult, step, workflow};

use super::{Case, no_op};
use crate::Result;
use crate::disk::Disk;
use crate::heap::Count;
use crate::ours::{Journal, Ours};
use crate::pairs::{self, Spent, Watch};
use crate::report::{Bar, Row};

pub const CASE: Case = Case {
    name: "replay",
    about: "a run of 1,000,000 events, until it is live again, against reading and decoding its rows",
    measure,
};

const STEPS: u32 = 1_000_000;
const PROGRESS: u32 = 100_000;
const PATIENCE: Duration = Duration::from_secs(600);

/// Signals that the run has reached its last step.
static ARRIVED: Mutex<Option<Sender<()>>> = Mutex::new(None);

#[step]
async fn arrive() -> RunResult<()> {
    if let Some(arrived) = &*ARRIVED.lock().unwrap_or_else(PoisonError::into_inner) {
        let _ = arrived.send(());
    }
    std::future::pending().await
}

#[workflow]
async fn long_way() -> RunResult<()> {
    for number in 1..=STEPS {
        no_op(number).await?;
    }
    arrive().await
}

fn measure(disk: &Disk) -> Result<Row> {
    let directory = disk.directory()?;
    let path = directory.path().join("ours.db");
    build(directory.path())?;
    let journal = Journal::measure(&path)?;
    let heap = Count::begin();
    replay(directory.path())?;
    let peak = heap.peak();
    drop(heap);
    let raw = || -> Result<Spent> {
        let watch = Watch::start();
        let read = mirror::read(&path)?;
        if read != journal.rows {
            return Err(format!("{read} events were read of {} rows", journal.rows).into());
        }
        Ok(watch.stop(STEPS))
    };
    let pairs = pairs::measure(disk, Spent::micros_per_unit, || replay(directory.path()), raw)?;
    Ok(Row::paired(CASE.name, "µs/event", &pairs, Bar::AtMost(2.0))
        .with_bar("peak_to_journal", peak as f64 / journal.bytes as f64, Bar::AtMost(2.0))
        .with("journal_bytes", journal.bytes)
        .with("rows", journal.rows))
}

/// Lets the engine write the journal, one event per row, without waiting for the disk at each row.
fn build(directory: &Path) -> Result<()> {
    let ours = Ours::open(directory, Synchronous::Normal)?;
    let (sender, arrived) = channel();
    *ARRIVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
    ours.runtime.block_on(async { ours.engine.start(long_way, ()).await.map(drop) })?;
    let mut told = 0;
    loop {
        if arrived.recv_timeout(Duration::from_millis(200)).is_ok() {
            break;
        }
        let rows = ours.counts().rows;
        if rows >= told + u64::from(PROGRESS) {
            told = rows;
            eprintln!("  {rows} rows written");
        }
    }
    close(ours, directory)
}

fn replay(directory: &Path) -> Result<Spent> {
    let (sender, arrived) = channel();
    *ARRIVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
    let watch = Watch::start();
    let ours = Ours::open(directory, Synchronous::Full)?;
    arrived.recv_timeout(PATIENCE)?;
    let spent = watch.stop(STEPS);
    close(ours, directory)?;
    Ok(spent)
}

/// Abandons the run as a killed process does, and waits until the next engine can acquire the store.
fn close(ours: Ours, directory: &Path) -> Result<()> {
    drop(ours);
    let lock = File::options().write(true).open(directory.join("ours.db.lock"))?;
    lock.lock()?;
    Ok(lock.unlock()?)
}
