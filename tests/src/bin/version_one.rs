//! The first version of a program: it has orders, refunds and parcels. `version_one URL LOG LIFE` executes what there is of them
//! until its standard input ends; see `version_two`.

use std::path::PathBuf;

use workflow_runtime::{Engine, Error, Result, hook, step, workflow};
use workflow_tests::{Log, warnings};

#[step(id = "shop::work")]
async fn work(#[resource] log: &Log) -> Result<String> {
    Ok(log.sign())
}

/// In both versions.
#[workflow(id = "shop::order")]
async fn order() -> Result<Vec<String>> {
    Ok(vec![work().await?, work().await?])
}

/// In this one alone.
#[workflow(id = "shop::refund")]
async fn refund() -> Result<Vec<String>> {
    Ok(vec![work().await?, work().await?])
}

#[step(id = "shop::weigh")]
async fn weigh() -> Result<String> {
    Ok("weighed".into())
}

/// Is never done with it.
#[step(id = "shop::pack")]
async fn pack(parcel: String) -> Result<String> {
    println!("packing {parcel}");
    std::future::pending().await
}

#[step(id = "shop::stamp", queue = "post")]
async fn stamp(parcel: String) -> Result<String> {
    Ok(format!("{parcel} stamped by the first"))
}

#[workflow(id = "shop::label")]
async fn label(parcel: String) -> Result<String> {
    hook::<String>().token(format!("label of {parcel}")).await
}

/// In both versions, where its steps and its child have other names.
#[workflow(id = "shop::parcel")]
async fn parcel(name: String) -> Result<Vec<String>> {
    let weight = weigh().await?;
    let (packed, stamped, label) = tokio::try_join!(pack(name.clone()), stamp(name.clone()), label(name))?;
    Ok(vec![weight, packed, stamped, label])
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let _linked = (order, refund, parcel);
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or_else(|| Error::new("version_one URL LOG LIFE"));
    let (url, log, life) = (next()?, PathBuf::from(next()?), next()?);
    warnings::write_to(&log.with_extension(&life));
    let engine = Engine::builder().url(url).resource(Log::file(log, life)).open().await?;
    println!("open");
    tokio::task::spawn_blocking(|| std::io::stdin().lines().for_each(drop)).await?;
    engine.shutdown().await
}
