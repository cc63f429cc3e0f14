//! Sequential steps: a step costs little more than the commit that makes it durable.

use super::{Case, many_steps};
use crate::Result;
use crate::disk::Disk;
use crate::pairs::{self, Spent, Watch};
use crate::postgres::{Ours, Raw, schema};
use crate::report::{self, Bar, Row};

pub const CASE: Case = Case {
    name: "postgres_sequential",
    about: "one run of 1,000 steps that do nothing on PostgreSQL, against 1,000 raw commits of one row on one connection",
    measure,
};

const STEPS: u32 = 1_000;

fn measure(disk: &Disk) -> Result<Row> {
    let ours = Ours::open(schema()?)?;
    let run = || -> Result<Spent> {
        let watch = Watch::start();
        ours.runtime.block_on(async { ours.engine.start(many_steps, STEPS).await?.await })?;
        Ok(watch.stop(STEPS))
    };
    let opened = ours.counts();
    run()?;
    let warm = ours.counts();
    let body = ours.body()?;
    let mut raw = Raw::open(schema()?, body)?;
    let commits = || -> Result<Spent> {
        let watch = Watch::start();
        raw.commits(STEPS as usize)?;
        Ok(watch.stop(STEPS))
    };
    let pairs = pairs::measure(disk, Spent::micros_per_unit, run, commits)?;
    Ok(Row::paired(CASE.name, "µs/step", &pairs, Bar::AtMost(1.3))
        .with_bar("commits", warm.since(opened).commits as f64, Bar::AtMost(f64::from(STEPS) + 1.0))
        .with("in_store_us", report::number(ours.counts().since(warm).busy_micros_per_row()))
        .with("row_bytes", body))
}
