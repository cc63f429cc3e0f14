//! Many concurrent runs, whose turns share commits.

use futures_util::future::try_join_all;
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
    name: "throughput",
    about: "1,000 runs at once of 10 steps each, their starts and ends included, against raw rows in groups of our size",
    measure,
};

const RUNS: u32 = 1_000;
const STEPS: u32 = 10;

#[workflow]
async fn ten_steps() -> RunResult<u32> {
    for number in 0..STEPS {
        no_op(number).await?;
    }
    Ok(STEPS)
}

fn measure(disk: &Disk) -> Result<Row> {
    let directory = disk.directory()?;
    let ours = Ours::open(directory.path(), Synchronous::Full)?;
    let run = || -> Result<Spent> {
        let watch = Watch::start();
        ours.runtime.block_on(async {
            let runs = try_join_all((0..RUNS).map(|_| ours.engine.start(ten_steps, ()).into_future())).await?;
            try_join_all(runs.into_iter().map(IntoFuture::into_future)).await
        })?;
        Ok(watch.stop(RUNS * STEPS))
    };
    run()?;
    let mut raw = Raw::open(directory.path(), ours.journal()?.body())?;
    let warm = ours.counts();
    let rows = u64::from(RUNS * (STEPS + 1));
    let append = || raw.append(rows, ours.counts().mean_group());
    let pairs = pairs::measure(disk, Spent::units_per_second, run, append)?;
    let counts = ours.counts().since(warm);
    Ok(Row::paired(CASE.name, "steps/s, rows/s", &pairs, Bar::AtLeast(0.35))
        .with("mean_group", report::number(counts.mean_group()))
        .with("in_store_us", report::number(counts.busy_micros_per_row()))
        .with("row_bytes", ours.journal()?.body()))
}
