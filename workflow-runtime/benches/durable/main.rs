//! The cost of durability: each figure with the raw work that bounds it, on the same disk and in the same minutes.
//!
//! ```text
//! cargo bench -p workflow-runtime --bench durable [--features postgres,testing] [-- [--case NAME]... [--json] [--check] [--save FILE | --against FILE]]
//! ```
//!
//! `--save FILE` copies this program, and `--against FILE` compares this commit with the saved one, case by case,
//! alternately: see `against`. `--json` prints a line for each row in place of the table; `--check` fails if a bar is
//! missed. The files are made under the target directory, or in `WORKFLOW_BENCH_DIR`. They must be on a disk, since a
//! sync in memory costs nothing.
//!
//! The runs of the case `parked` take 600 MB there. `WORKFLOW_BENCH_PARKED` sets another number than a million.
//!
//! Raw is SQLite without this library: prepared statements on one table without an index, rows as large as those of our
//! journal, the same pragmas (WAL, `synchronous=FULL`), and groups of our own mean size. Absolute times depend on the
//! disk and the day; compare the ratios. Ours and raw run alternately, and a pair is measured again if bare syncs of
//! the disk became faster or slower during it.
//!
//! The case `run_page` needs the feature `web`, and Chromium for one of its figures; `WORKFLOW_BENCH_STEPS` sets another number of
//! steps than 500,000.
//!
//! The cases `lists` and `postgres_lists` need the feature `web`. They print a table of all lists. `WORKFLOW_BENCH_LISTED` sets another
//! number of runs than 200,000; a million take 700 MB.
//!
//! The cases named `postgres_..` need the feature `postgres`. They use the database of `DATABASE_URL`, or start a
//! cluster of their own in the system's temporary directory; they are skipped if neither is possible. Raw is then the
//! same rows by prepared statements of PostgreSQL, a group as one insert of whole arrays.
//!
//! The case `compile` runs Cargo in the system's temporary directory, offline; it compiles the library's dependencies first.
//!
//! The case `year` needs the feature `testing`.
//!
//! The table also has the median of the bare syncs and the processor time of a unit on all threads, which a busy
//! machine disturbs least: in JSON `sync_p50_us`, `cpu_us` and `raw_cpu_us`. `in_store_us` is the part of a row's time
//! that was spent inside the store.

mod against;
mod cases;
mod counting;
mod disk;
mod heap;
mod options;
mod ours;
mod pairs;
#[cfg(all(unix, feature = "postgres"))]
mod postgres;
mod process;
mod raw;
mod report;

use std::process::ExitCode;

use self::disk::Disk;
use self::options::Options;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    match bench() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether the benchmark has passed: always, unless `--check` is given.
fn bench() -> Result<bool> {
    if let Some(outcome) = process::serve(std::env::args().skip(1)) {
        return outcome.map(|()| true);
    }
    let options = Options::parse(std::env::args().skip(1))?;
    if let Some(file) = &options.save {
        return against::save(file).map(|()| true);
    }
    if let Some(other) = &options.against {
        return against::compare(other, &options.cases).map(|()| true);
    }
    let outcome = measure(&options);
    #[cfg(all(unix, feature = "postgres"))]
    workflow_harness::postgres::stop();
    outcome
}

fn measure(options: &Options) -> Result<bool> {
    let disk = Disk::open()?;
    eprintln!("{disk}");
    let mut rows = Vec::new();
    for case in &options.cases {
        eprintln!("{}: {}", case.name, case.about);
        let row = match (case.measure)(&disk) {
            Ok(row) => row,
            Err(error) if error.is::<report::Skipped>() => {
                eprintln!("{}: skipped: {error}", case.name);
                continue;
            }
            Err(error) => return Err(format!("{}: {error}", case.name).into()),
        };
        if options.json {
            println!("{}", row.json());
        }
        rows.push(row);
    }
    if !options.json {
        print!("{}", report::table(&disk, &rows));
    }
    Ok(!options.check || rows.iter().all(report::Row::is_met))
}
