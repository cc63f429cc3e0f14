//! Many callers start runs concurrently.

use std::time::Duration;

use futures_util::future::try_join_all;
use workflow_runtime::store::Synchronous;
use workflow_runtime::{Engine, Result as RunResult, sleep, workflow};

use super::Case;
use crate::Result;
use crate::disk::Disk;
use crate::ours::Ours;
use crate::pairs::{self, Spent, Watch};
use crate::raw::Raw;
use crate::report::{self, Bar, Row};

pub const CASE: Case = Case {
    name: "start",
    about: "64 callers that each start 100 runs which sleep at once, against raw rows in groups of our size",
    measure,
};

const CALLERS: u32 = 64;
const STARTS: u32 = 100;

#[workflow]
async fn parked() -> RunResult<()> {
    sleep(Duration::from_secs(24 * 3_600)).await;
    Ok(())
}

async fn call(engine: Engine) -> RunResult<()> {
    for _ in 0..STARTS {
        engine.start(parked, ()).await?;
    }
    Ok(())
}

fn measure(disk: &Disk) -> Result<Row> {
    let directory = disk.directory()?;
    let ours = Ours::open(directory.path(), Synchronous::Full)?;
    let run = || -> Result<Spent> {
        let watch = Watch::start();
        let callers = (0..CALLERS).map(|_| ours.runtime.spawn(call(ours.engine.clone())));
        let ended = ours.runtime.block_on(try_join_all(callers))?;
        let spent = watch.stop(CALLERS * STARTS);
        ended.into_iter().collect::<RunResult<()>>()?;
        Ok(spent)
    };
    run()?;
    let mut raw = Raw::open(directory.path(), ours.journal()?.body())?;
    let warm = ours.counts();
    let append = || raw.append(u64::from(CALLERS * STARTS), ours.counts().mean_group());
    let pairs = pairs::measure(disk, Spent::units_per_second, run, append)?;
    let counts = ours.counts().since(warm);
    Ok(Row::paired(CASE.name, "runs/s, rows/s", &pairs, Bar::AtLeast(0.3))
        .with("mean_group", report::number(counts.mean_group()))
        .with("in_store_us", report::number(counts.busy_micros_per_row()))
        .with("row_bytes", ours.journal()?.body()))
}
