//! Many concurrent runs, whose turns share commits.

use super::{Case, RUNS, STEPS, run_all};
use crate::Result;
use crate::disk::Disk;
use crate::pairs::{self, Spent, Watch};
use crate::postgres::{Ours, Raw, schema};
use crate::report::{self, Bar, Row};

pub const CASE: Case = Case {
    name: "postgres_throughput",
    about: "1,000 runs at once of 10 steps each on PostgreSQL, against raw rows in groups of our size, and against 32 \
            clients that insert row by row",
    measure,
};

const CLIENTS: u32 = 32;

fn measure(disk: &Disk) -> Result<Row> {
    let ours = Ours::open(schema()?)?;
    let run = || -> Result<Spent> {
        let watch = Watch::start();
        ours.runtime.block_on(run_all(&ours.engine, RUNS))?;
        Ok(watch.stop(RUNS * STEPS))
    };
    run()?;
    let body = ours.body()?;
    let mut raw = Raw::open(schema()?, body)?;
    let warm = ours.counts();
    run()?;
    let rows = RUNS * (STEPS + 1);
    let append = || raw.append(rows.into(), ours.counts().since(warm).mean_group());
    let grouped = pairs::measure(disk, Spent::units_per_second, run, append)?;
    let counts = ours.counts().since(warm);
    let single = pairs::measure(disk, Spent::units_per_second, run, || raw.clients(CLIENTS, rows))?;
    Ok(Row::paired(CASE.name, "steps/s, rows/s", &grouped, Bar::AtLeast(0.4))
        .with_bar("to_32_clients", single.ratio, Bar::AtLeast(1.0))
        .with("mean_group", report::number(counts.mean_group()))
        .with("in_store_us", report::number(counts.busy_micros_per_row()))
        .with("row_bytes", body)
        .with_noise(&single))
}
