//! A worker: executes runs until its standard input ends: `worker URL LOG LIFE`. Appends its warnings to the file
//! `LOG.LIFE`.

use std::path::PathBuf;

use workflow_runtime::{Engine, Error, Result};
use workflow_tests::{Log, chain, everything, warnings};

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    // Link the workflows, so that the engine can execute them.
    let _linked = (chain::chain, everything::everything);
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or_else(|| Error::new("worker URL LOG LIFE"));
    let (url, log, life) = (next()?, PathBuf::from(next()?), next()?);
    warnings::write_to(&log.with_extension(&life));
    let engine = Engine::builder().url(url).resource(Log::file(log, life)).recoveries(u32::MAX).open().await?;
    println!("open");
    tokio::task::spawn_blocking(|| std::io::stdin().lines().for_each(drop)).await?;
    engine.shutdown().await
}
