//! The second version of a program: it has orders and gifts. `version_two URL LOG LIFE` executes what there is of them
//! until its standard input ends; see `version_one`.

use std::path::PathBuf;

use workflow_runtime::{Engine, Error, Result, step, workflow};
use workflow_tests::{Log, warnings};

#[step(id = "shop::work")]
async fn work(#[resource] log: &Log) -> Result<String> {
    Ok(log.sign())
}

/// In both versions.
#[workflow(id = "shop::order")]
async fn order() -> Result<Vec<String>> {
    let first = work().await?;
    let second = work().await?;
    Ok(vec![first, second])
}

/// In this one alone.
#[workflow(id = "shop::gift")]
async fn gift() -> Result<Vec<String>> {
    Ok(vec![work().await?, work().await?])
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let _linked = (order, gift);
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or_else(|| Error::new("version_two URL LOG LIFE"));
    let (url, log, life) = (next()?, PathBuf::from(next()?), next()?);
    warnings::write_to(&log.with_extension(&life));
    let engine = Engine::builder().url(url).resource(Log::file(log, life)).open().await?;
    println!("open");
    tokio::task::spawn_blocking(|| std::io::stdin().lines().for_each(drop)).await?;
    engine.shutdown().await
}
