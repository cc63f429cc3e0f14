//! The duration of a test, with the test kit, of a workflow that waits for a year.

use std::time::{Duration, Instant};

use workflow_runtime::testing::{TestEngine, fail_first};
use workflow_runtime::{Error, Result as RunResult, hook, sleep, step, workflow};

use super::Case;
use crate::Result;
use crate::disk::Disk;
use crate::pairs::median;
use crate::report::{Bar, Row};

pub const CASE: Case = Case {
    name: "year",
    about: "a test engine is opened, and a workflow sleeps a year, retries a step five times and takes a payload of a hook",
    measure,
};

/// Repetitions, of which the median counts.
const ROUNDS: usize = 51;
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[step(retries = 5)]
async fn charge(order: u64) -> RunResult<String> {
    Ok(format!("receipt-{order}"))
}

#[workflow]
async fn patient(order: u64) -> RunResult<String> {
    sleep(YEAR).await;
    let receipt = charge(order).await?;
    let answer = hook::<String>().token(format!("confirm-{order}")).await?;
    Ok(format!("{receipt}: {answer}"))
}

fn measure(_: &Disk) -> Result<Row> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let result = runtime.block_on(test())?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        if result != "receipt-7: yes" {
            return Err(format!("the workflow returned {result:?}").into());
        }
    }
    let slowest = times.iter().copied().fold(0.0, f64::max);
    let row = Row::counted("year", "ms", median(times.into_iter()), Bar::AtMost(10.0));
    Ok(row.with("slowest_ms", crate::report::number(slowest)))
}

async fn test() -> RunResult<String> {
    let mock = fail_first(5, || Error::new("the bank is closed"), |order| Ok(format!("receipt-{order}")));
    let engine = TestEngine::builder().mock(charge, mock).open().await?;
    let run = engine.start(patient, 7).await?;
    engine.resume_hook("confirm-7", &"yes").hold_for(2 * YEAR).await?;
    run.await
}
