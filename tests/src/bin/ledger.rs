//! Inserts entries into a table with transactional steps: `ledger URL TABLE RUNS ENTRIES`.

use std::future::IntoFuture;

use futures::future::try_join_all;
use workflow_runtime::{Engine, Error, Result, Run, Transaction, run_id, step, workflow};

#[step(transaction, retries = 100, backoff = "1ms..20ms")]
async fn book(tx: &mut Transaction, table: String, run: String, entry: i64) -> Result<i64> {
    tx.execute(&format!("INSERT INTO {table} (run, entry) VALUES ($1, $2)"), &[&run, &entry]).await?;
    let count = tx.query_one(&format!("SELECT count(*) FROM {table} WHERE run = $1"), &[&run]).await?;
    Ok(count.get(0))
}

/// The number of entries of this run after each insertion.
#[workflow]
async fn ledger(table: String, entries: i64) -> Result<Vec<i64>> {
    let run = run_id().unwrap_or_default();
    let mut counts = Vec::new();
    for entry in 0..entries {
        counts.push(book(table.clone(), run.clone(), entry).await?);
    }
    Ok(counts)
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or_else(|| Error::new("ledger URL TABLE RUNS ENTRIES"));
    let (url, table, runs, entries) = (next()?, next()?, next()?.parse::<u32>()?, next()?.parse::<i64>()?);
    let engine = Engine::builder().url(url).recoveries(u32::MAX).open().await?;
    let starts =
        (0..runs).map(|run| engine.start(ledger, (table.clone(), entries)).id(format!("ledger-{run}")).into_future());
    let runs: Vec<Run<Vec<i64>>> = try_join_all(starts).await?;
    for counts in try_join_all(runs.into_iter().map(IntoFuture::into_future)).await? {
        println!("counts {counts:?}");
    }
    engine.shutdown().await
}
