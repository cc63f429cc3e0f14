//! How long the lists of very many runs take: each view of the web page, and each list with a filter that an index serves.

mod fill;
mod looks;

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use workflow_runtime::Client;

use self::looks::Look;
pub use self::looks::Served;
use super::Case;
use crate::Result;
use crate::disk::Disk;
use crate::report::{Bar, Row};

pub const CASE: Case = Case {
    name: "lists",
    about: "200,000 runs in SQLite: the slowest of the views of the web page and of the lists with a filter that an index \
            serves",
    measure,
};

#[cfg(all(unix, feature = "postgres"))]
pub const POSTGRES: Case =
    Case { name: "postgres_lists", about: "the same in PostgreSQL", measure: measure_in_postgres };

const RUNS: u64 = 200_000;
const VARIABLE: &str = "WORKFLOW_BENCH_LISTED";
/// The calls of each list that are measured, after a first one.
const CALLS: usize = 9;
/// Between the calls, so that a page looks again at the runs that have not ended.
const PAUSE: Duration = Duration::from_millis(600);
const MILLISECONDS_MAX: f64 = 100.0;

fn runs() -> Result<u64> {
    match std::env::var(VARIABLE) {
        Ok(runs) => Ok(runs.parse().map_err(|error| format!("{VARIABLE}: {error}"))?),
        Err(_) => Ok(RUNS),
    }
}

fn measure(disk: &Disk) -> Result<Row> {
    let (directory, runs) = (disk.directory()?, runs()?);
    let path = directory.path().join("runs.db");
    let url = format!("sqlite:{}", path.display());
    let runtime = Runtime::new()?;
    runtime.block_on(fill::templates(&url))?;
    let begun = Instant::now();
    fill::sqlite(&path, runs)?;
    eprintln!("  {runs} runs after {:.1} s, {} MB", begun.elapsed().as_secs_f64(), megabytes(&path)?);
    runtime.block_on(measure_lists(CASE.name, &url, runs))
}

#[cfg(all(unix, feature = "postgres"))]
fn measure_in_postgres(_: &Disk) -> Result<Row> {
    let (url, runs) = (crate::postgres::schema()?, runs()?);
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        fill::templates(&url).await?;
        let begun = Instant::now();
        fill::postgres(&url, runs).await?;
        eprintln!("  {runs} runs after {:.1} s", begun.elapsed().as_secs_f64());
        measure_lists(POSTGRES.name, &url, runs).await
    })
}

fn megabytes(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path)?.len() >> 20)
}

async fn measure_lists(case: &'static str, url: &str, runs: u64) -> Result<Row> {
    let client = Client::connect(url).await?;
    let served = Served::open(&client).await?;
    eprintln!("  {:<44} {:>9} {:>9} {:>9}   (ms)", "", "first", "p50", "max");
    let (mut slowest, mut slow) = (0.0f64, Vec::new());
    for look in looks::all() {
        let [first, half, most] = times(&client, &served, &look).await?;
        let is_slow = most > MILLISECONDS_MAX;
        eprintln!("  {:<44} {first:>9.1} {half:>9.1} {most:>9.1}{}", look.name, if is_slow { "   MISSED" } else { "" });
        slowest = slowest.max(most);
        slow.extend(is_slow.then(|| look.name.clone()));
    }
    Ok(Row::counted(case, "ms, the slowest", slowest, Bar::AtMost(MILLISECONDS_MAX))
        .with("runs", runs)
        .with("slow", slow.join("; ")))
}

/// The first time, the median and the longest of the others, in milliseconds.
async fn times(client: &Client, served: &Served, look: &Look) -> Result<[f64; 3]> {
    let mut times = Vec::with_capacity(CALLS + 1);
    for _ in 0..=CALLS {
        let begun = Instant::now();
        look.take(client, served).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        if look.is_page() {
            tokio::time::sleep(PAUSE).await;
        }
    }
    let first = times.remove(0);
    times.sort_unstable_by(f64::total_cmp);
    Ok([first, times[times.len() / 2], times[times.len() - 1]])
}
