//! How many unfinished runs a second are checked against a build, before it is deployed.

use std::time::Instant;

use futures_util::future::try_join_all;
use tokio::runtime::Runtime;
use workflow_runtime::{Engine, Result as RunResult, Status, hook, workflow};

use super::{Case, no_op};
use crate::Result;
use crate::disk::Disk;
use crate::pairs::median;
use crate::report::{Bar, Row};

pub const CASE: Case = Case {
    name: "check",
    about: "10,000 waiting runs, each with five rows, are checked by another client: `runs().check()`",
    measure,
};

const RUNS: u64 = 10_000;
/// Each is a row of its own, beside that of the first turn.
const STEPS: u32 = 4;
/// Repetitions, of which the median counts. The first one, which fills the caches, does not.
const ROUNDS: usize = 5;

#[workflow]
async fn waits() -> RunResult<()> {
    for number in 0..STEPS {
        no_op(number).await?;
    }
    hook::<()>().await
}

fn measure(disk: &Disk) -> Result<Row> {
    let directory = disk.directory()?;
    let url = format!("sqlite:{}", directory.path().join("ours.db").display());
    Ok(Row::counted(CASE.name, "runs/s", checked_per_second(&url)?, Bar::AtLeast(10_000.0)))
}

/// Fills a store with waiting runs, and checks them.
pub fn checked_per_second(url: &str) -> Result<f64> {
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let engine = Engine::open(url).await?;
        for _ in 0..10 {
            try_join_all((0..RUNS / 10).map(|_| engine.start(waits, ()).into_future())).await?;
        }
        while engine.runs().count().await?.get(&Status::Suspended) != Some(&RUNS) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        engine.shutdown().await?;
        let client = Engine::builder().url(url).must_exist().connect().await?;
        let mut rates = Vec::with_capacity(ROUNDS);
        for round in 0..=ROUNDS {
            let begun = Instant::now();
            let report = client.runs().check().await?;
            if report.compatible != RUNS {
                return Err(report.to_string().into());
            }
            if round > 0 {
                rates.push(RUNS as f64 / begun.elapsed().as_secs_f64());
            }
        }
        Ok(median(rates.into_iter()))
    })
}
