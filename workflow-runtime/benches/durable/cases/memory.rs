//! The memory of a sleeping run.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use workflow_runtime::store::Synchronous;
use workflow_runtime::{Result as RunResult, sleep, workflow};

use super::{Case, no_op};
use crate::Result;
use crate::disk::Disk;
use crate::heap::Count;
use crate::ours::Ours;
use crate::report::{Bar, Row};

pub const CASE: Case = Case {
    name: "memory",
    about: "10,000 runs that sleep after 10 steps: bytes of the Rust heap for each (what SQLite allocates is not counted)",
    measure,
};

const RUNS: u32 = 10_000;
const WARM: u32 = 100;
const STEPS: u32 = 10;
const AT_ONCE: u32 = 500;
const PATIENCE: Duration = Duration::from_secs(300);

#[workflow]
async fn doze() -> RunResult<()> {
    for number in 0..STEPS {
        no_op(number).await?;
    }
    sleep(Duration::from_secs(24 * 3_600)).await;
    Ok(())
}

fn measure(disk: &Disk) -> Result<Row> {
    let directory = disk.directory()?;
    let ours = Ours::open(directory.path(), Synchronous::Normal)?;
    // This creates threads, statements and queues before the measurement.
    put_to_sleep(&ours, WARM, &Count::begin())?;
    let heap = Count::begin();
    for _ in 0..RUNS / AT_ONCE {
        put_to_sleep(&ours, AT_ONCE, &heap)?;
    }
    let bytes = heap.live();
    Ok(Row::counted(CASE.name, "bytes/run", bytes as f64 / f64::from(RUNS), Bar::AtMost(4_096.0)).with("runs", RUNS))
}

/// Starts runs, and waits until they sleep and the heap no longer changes.
fn put_to_sleep(ours: &Ours, runs: u32, heap: &Count) -> Result<()> {
    let asleep = ours.counts().suspended + u64::from(runs);
    ours.runtime.block_on(try_join_all((0..runs).map(|_| ours.engine.start(doze, ()).into_future())))?;
    let start = Instant::now();
    while ours.counts().suspended < asleep {
        if start.elapsed() > PATIENCE {
            return Err("the runs do not come to sleep".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // The turns are recorded, but their drivers may still be running.
    let mut bytes = isize::MAX;
    while bytes != heap.live() {
        bytes = heap.live();
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
