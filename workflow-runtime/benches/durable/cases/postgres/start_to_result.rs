//! The time from a start to the result, of a run of one step.

use std::time::Instant;

use workflow_runtime::Error;

use super::{Case, many_steps};
use crate::Result;
use crate::disk::Disk;
use crate::pairs::{self, Spent, Watch, percentile};
use crate::postgres::{Ours, Raw, schema};
use crate::report::{self, Bar, Row};

pub const CASE: Case = Case {
    name: "postgres_start_to_result",
    about: "500 runs of one step on PostgreSQL, one after the other: the time from a start to the result, p50, against \
            the p50 of as many raw commits of one row",
    measure,
};

const RUNS: u32 = 500;

fn measure(disk: &Disk) -> Result<Row> {
    let ours = Ours::open(schema()?)?;
    let run = || -> Result<Spent> {
        let watch = Watch::start();
        let mut times = ours.runtime.block_on(async {
            let mut times = Vec::with_capacity(RUNS as usize);
            for _ in 0..RUNS {
                let begun = Instant::now();
                ours.engine.start(many_steps, 1).await?.await?;
                times.push(begun.elapsed());
            }
            Ok::<_, Error>(times)
        })?;
        Ok(watch.stop(RUNS).with_time_of_unit(percentile(&mut times, 50)))
    };
    run()?;
    let mut raw = Raw::open(schema()?, ours.body()?)?;
    let warm = ours.counts();
    let commits = || -> Result<Spent> {
        let watch = Watch::start();
        let mut times = raw.commits(RUNS as usize)?;
        Ok(watch.stop(RUNS).with_time_of_unit(percentile(&mut times, 50)))
    };
    let pairs = pairs::measure(disk, Spent::micros_per_unit, run, commits)?;
    Ok(Row::paired(CASE.name, "µs, p50", &pairs, Bar::AtMost(5.0))
        .with("in_store_us", report::number(ours.counts().since(warm).busy_micros_per_row())))
}
