//! Steps that end together are recorded together.

use std::sync::LazyLock;

use futures_util::future::try_join_all;
use tokio::sync::Barrier;
use workflow_runtime::store::Synchronous;
use workflow_runtime::{Result as RunResult, step, workflow};

use super::Case;
use crate::Result;
use crate::disk::Disk;
use crate::ours::Ours;
use crate::report::{Bar, Row};

pub const CASE: Case = Case {
    name: "fan_out",
    about: "one run of 1,000 parallel steps that a barrier releases together: its commits",
    measure,
};

const STEPS: usize = 1_000;
const TIMES: usize = 5;

static TOGETHER: LazyLock<Barrier> = LazyLock::new(|| Barrier::new(STEPS));

#[step]
async fn meet(_number: usize) -> RunResult<()> {
    TOGETHER.wait().await;
    Ok(())
}

#[workflow]
async fn gathering() -> RunResult<()> {
    try_join_all((0..STEPS).map(meet)).await?;
    Ok(())
}

fn measure(disk: &Disk) -> Result<Row> {
    let directory = disk.directory()?;
    let ours = Ours::open(directory.path(), Synchronous::Full)?;
    let mut most = 0;
    for _ in 0..TIMES {
        let before = ours.counts();
        ours.runtime.block_on(async { ours.engine.start(gathering, ()).await?.await })?;
        let commits = ours.counts().since(before).commits;
        eprintln!("  {commits} commits");
        most = most.max(commits);
    }
    Ok(Row::counted(CASE.name, "commits, at most", most as f64, Bar::AtMost(10.0)).with("times", TIMES))
}
