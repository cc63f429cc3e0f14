//! Starts one after the other, while the runs that were started before go on.

use futures_util::future::try_join_all;
use workflow_runtime::Error;

use super::{Case, RUNS, STEPS, many_steps};
use crate::Result;
use crate::disk::Disk;
use crate::pairs::{self, Spent, Watch};
use crate::postgres::{Ours, Raw, schema};
use crate::report::{self, Bar, Row};

pub const CASE: Case = Case {
    name: "postgres_starts_in_a_row",
    about: "1,000 starts of runs of 10 steps on PostgreSQL, one after the other, until the last run has ended, against \
            1,000 raw commits of one row",
    measure,
};

fn measure(disk: &Disk) -> Result<Row> {
    let ours = Ours::open(schema()?)?;
    let run = || -> Result<Spent> {
        let watch = Watch::start();
        ours.runtime.block_on(async {
            let mut runs = Vec::with_capacity(RUNS as usize);
            for _ in 0..RUNS {
                runs.push(ours.engine.start(many_steps, STEPS).await?);
            }
            try_join_all(runs.into_iter().map(IntoFuture::into_future)).await?;
            Ok::<_, Error>(())
        })?;
        Ok(watch.stop(RUNS))
    };
    run()?;
    let mut raw = Raw::open(schema()?, ours.body()?)?;
    let warm = ours.counts();
    let commits = || -> Result<Spent> {
        let watch = Watch::start();
        raw.commits(RUNS as usize)?;
        Ok(watch.stop(RUNS))
    };
    let pairs = pairs::measure(disk, Spent::micros_per_unit, run, commits)?;
    let counts = ours.counts().since(warm);
    Ok(Row::paired(CASE.name, "µs/start", &pairs, Bar::AtMost(6.0))
        .with("mean_group", report::number(counts.mean_group()))
        .with("in_store_us", report::number(counts.busy_micros_per_row())))
}
