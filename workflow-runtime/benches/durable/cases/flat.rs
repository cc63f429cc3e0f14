//! The cost of a step does not grow with the length of the run.

use std::sync::{Mutex, PoisonError};

use cpu_time::ProcessTime;
use workflow_runtime::{Engine, Result as RunResult, step, workflow};

use super::Case;
use crate::Result;
use crate::disk::Disk;
use crate::pairs::median;
use crate::report::{Bar, Row};

pub const CASE: Case = Case {
    name: "flat",
    about: "one run of 100,000 steps in memory: processor time of its last 1,000 against those after the first 1,000",
    measure,
};

const STEPS: u32 = 100_000;
const WINDOW: u32 = 1_000;
const TIMES: usize = 7;

/// The processor time at every [`WINDOW`]th step.
static CLOCKS: Mutex<Vec<ProcessTime>> = Mutex::new(Vec::new());

#[step]
async fn tick(number: u32) -> RunResult<u32> {
    if number.is_multiple_of(WINDOW) {
        CLOCKS.lock().unwrap_or_else(PoisonError::into_inner).push(ProcessTime::now());
    }
    Ok(number)
}

#[workflow]
async fn long_run() -> RunResult<u32> {
    for number in 0..=STEPS {
        tick(number).await?;
    }
    Ok(STEPS)
}

fn measure(_: &Disk) -> Result<Row> {
    let mut measured = Vec::new();
    for _ in 0..TIMES {
        // One thread, so that idle worker threads do not add processor time.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let engine = Engine::open("memory:").await?;
            engine.start(long_run, ()).await?.await?;
            engine.shutdown().await
        })?;
        let clocks = std::mem::take(&mut *CLOCKS.lock().unwrap_or_else(PoisonError::into_inner));
        let windows: Vec<f64> = clocks
            .windows(2)
            .map(|ends| ends[1].duration_since(ends[0]).as_secs_f64() * 1e6 / f64::from(WINDOW))
            .collect();
        let (Some(early), Some(late)) = (windows.get(1), windows.last()) else {
            return Err("the run has not ticked".into());
        };
        eprintln!("  {late:.2} against {early:.2} µs/step");
        measured.push((*late, *early));
    }
    let late = median(measured.iter().map(|(late, _)| *late));
    let early = median(measured.iter().map(|(_, early)| *early));
    let ratio = median(measured.iter().map(|(late, early)| late / early));
    Ok(Row::compared(CASE.name, "µs/step of CPU", late, early, ratio, Bar::AtMost(1.1)).with("times", TIMES))
}
