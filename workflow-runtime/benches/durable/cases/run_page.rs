//! The page of a long run: what the server takes for it, its size, and how long a browser takes to show it.

mod browser;

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use workflow_runtime::store::Synchronous;
use workflow_runtime::{Builder, Client, Engine, Result as RunResult, workflow};

use self::browser::Browser;
use super::lists::Served;
use super::{Case, no_op};
use crate::Result;
use crate::disk::Disk;
use crate::report::{Bar, Row};

pub const CASE: Case = Case {
    name: "run_page",
    about: "the page of a run of 1,000,000 events: time of the server and bytes; and of one of 20,000 events: time until a \
            browser has loaded it",
    measure,
};

/// Two events each.
const STEPS: u32 = 500_000;
const VARIABLE: &str = "WORKFLOW_BENCH_STEPS";
/// The steps of the run that is opened in a browser.
const SHOWN: u32 = 10_000;
const CALLS: usize = 9;

#[workflow]
async fn many_steps(steps: u32) -> RunResult<u32> {
    for number in 0..steps {
        no_op(number).await?;
    }
    Ok(steps)
}

fn measure(disk: &Disk) -> Result<Row> {
    let directory = disk.directory()?;
    let steps = match std::env::var(VARIABLE) {
        Ok(steps) => steps.parse().map_err(|error| format!("{VARIABLE}: {error}"))?,
        Err(_) => STEPS,
    };
    let url = format!("sqlite:{}", directory.path().join("runs.db").display());
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let engine = open(&url).await?;
        for (id, steps) in [("long", steps), ("shown", SHOWN)] {
            let begun = Instant::now();
            engine.start(many_steps, steps).id(id).await?.await?;
            eprintln!("  {steps} steps after {:.1} s", begun.elapsed().as_secs_f64());
        }
        engine.shutdown().await?;
        let client = Client::connect(&url).await?;
        let served = Served::open(&client).await?;
        let (mut slowest, mut largest) = (0.0f64, 0);
        let middle = steps / 2;
        for path in [
            "/run?id=long".to_owned(),
            "/run?id=long&from=0".to_owned(),
            format!("/run?id=long&from={middle}"),
            format!("/run?id=long&row={middle}"),
            "/run?id=long&tab=events".to_owned(),
            "/run?id=long&tab=steps".to_owned(),
        ] {
            let (time, first, bytes) = median(&served, &path).await?;
            eprintln!("  {path:<32} first {first:>8.1} ms, p50 {time:>7.1} ms, {bytes:>7} bytes");
            slowest = slowest.max(time);
            largest = largest.max(bytes);
        }
        let row = Row::counted(CASE.name, "ms of the server, p50", slowest, Bar::AtMost(50.0))
            .with("events", steps * 2)
            .with_bar("kilobytes", largest as f64 / 1024.0, Bar::AtMost(300.0));
        let Some(browser) = Browser::open().await? else { return Ok(row) };
        let mut times = Vec::new();
        for _ in 0..CALLS {
            times.push(browser.load(&format!("{}/run?id=shown", served.base())).await?);
        }
        browser.close().await?;
        times.sort_unstable_by(f64::total_cmp);
        eprintln!("  in the browser: {times:?} ms");
        Ok(row.with_bar("browser_ms", times[CALLS / 2], Bar::AtMost(200.0)))
    })
}

async fn open(url: &str) -> Result<Engine> {
    let builder: Builder = Engine::builder().url(url).synchronous(Synchronous::Normal);
    Ok(builder.evict_after(Duration::MAX).open().await?)
}

/// The median time, the first time, in milliseconds, and the bytes of a page.
async fn median(served: &Served, path: &str) -> Result<(f64, f64, usize)> {
    let (mut times, mut bytes) = (Vec::new(), 0);
    for _ in 0..=CALLS {
        let begun = Instant::now();
        bytes = served.get(path).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let first = times.remove(0);
    times.sort_unstable_by(f64::total_cmp);
    Ok((times[CALLS / 2], first, bytes))
}
