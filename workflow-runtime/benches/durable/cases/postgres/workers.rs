//! A second worker does not slow down the first.

use super::{Case, RUNS, STEPS, WORK};
use crate::Result;
use crate::disk::Disk;
use crate::pairs::{self, Spent, Watch};
use crate::postgres::schema;
use crate::process::Helper;
use crate::report::{Bar, Row};

pub const CASE: Case = Case {
    name: "postgres_workers",
    about: "1,000 runs at once of 10 steps each on PostgreSQL, by two workers in processes of their own, against one",
    measure,
};

fn measure(disk: &Disk) -> Result<Row> {
    let (alone, together) = (schema()?, schema()?);
    let mut one = [Helper::start(WORK, &alone)?];
    let mut two = [Helper::start(WORK, &together)?, Helper::start(WORK, &together)?];
    for _ in 0..2 {
        run(&mut one)?;
        run(&mut two)?;
    }
    let pairs = pairs::measure(disk, Spent::units_per_second, || run(&mut two), || run(&mut one))?;
    Ok(Row::compared(CASE.name, "steps/s", pairs.ours, pairs.raw, pairs.ratio, Bar::AtLeast(0.95)).with_noise(&pairs))
}

/// Lets the workers share the runs.
fn run(workers: &mut [Helper]) -> Result<Spent> {
    let watch = Watch::start();
    let each = RUNS / u32::try_from(workers.len())?;
    workers.iter_mut().try_for_each(|worker| worker.tell(&each.to_string()))?;
    workers.iter_mut().try_for_each(Helper::wait)?;
    Ok(watch.stop(RUNS * STEPS))
}
