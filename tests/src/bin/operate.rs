//! Makes the calls of `operated::operate`. The sweep over these calls kills this program: `operate URL LOG LIFE`.

use std::path::PathBuf;
use std::time::Duration;

use workflow_runtime::{Engine, Error, Result};
use workflow_tests::Log;
use workflow_tests::operated::{operate, retention};

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or_else(|| Error::new("operate URL LOG LIFE"));
    let (url, log, life) = (next()?, PathBuf::from(next()?), next()?);
    // Every other process evicts each run as soon as it waits.
    let evict_after = if life.bytes().all(|digit| digit % 2 == 0) { Duration::ZERO } else { Duration::MAX };
    let builder = Engine::builder().url(url).resource(Log::file(log, life.clone())).retain(retention());
    let engine = builder.evict_after(evict_after).open().await?;
    operate(&engine, &life, |line| println!("{line}")).await?;
    engine.shutdown().await
}
