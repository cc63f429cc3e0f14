//! Sequential steps: a step costs little more than the commit that makes it durable.

use workflow_runtime::store::Synchronous;
use workflow_runtime::{Result as RunResult, workflow};

use super::{Case, no_op};
use crate::Result;
use crate::disk::Disk;
use crate::ours::Ours;
use crate::pairs::{self, Spent, Watch};
use crate::raw::Raw;
use crate::report::{self, Bar, Row};

pub const CASE: Case = Case {
    name: "sequential",
    about: "one run of 1,000 steps that do nothing, against 1,000 raw commits of one row",
    measure,
};

const STEPS: u32 = 1_000;

#[workflow]
async fn sequence(steps: u32) -> RunResult<u32> {
    for number in 0..steps {
        no_op(number).await?;
    }
    Ok(steps)
}

fn measure(disk: &Disk) -> Result<Row> {
    let directory = disk.directory()?;
    let ours = Ours::open(directory.path(), Synchronous::Full)?;
    let run = || -> Result<Spent> {
        let watch = Watch::start();
        ours.runtime.block_on(async { ours.engine.start(sequence, STEPS).await?.await })?;
        Ok(watch.stop(STEPS))
    };
    let opened = ours.counts();
    run()?;
    let warm = ours.counts();
    let commits = warm.since(opened).commits;
    let mut raw = Raw::open(directory.path(), ours.journal()?.body())?;
    let pairs = pairs::measure(disk, Spent::micros_per_unit, run, || raw.append(u64::from(STEPS), 1.0))?;
    Ok(Row::paired(CASE.name, "µs/step", &pairs, Bar::AtMost(1.2))
        .with_bar("commits", commits as f64, Bar::AtMost(f64::from(STEPS) + 1.0))
        .with("in_store_us", report::number(ours.counts().since(warm).busy_micros_per_row()))
        .with("row_bytes", ours.journal()?.body()))
}
