//! The second version of a program: it has orders, gifts and parcels. `version_two URL LOG LIFE` executes what there is of them
//! until its standard input ends; see `version_one`.

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
    let first = work().await?;
    let second = work().await?;
    Ok(vec![first, second])
}

/// In this one alone.
#[workflow(id = "shop::gift")]
async fn gift() -> Result<Vec<String>> {
    Ok(vec![work().await?, work().await?])
}

#[step(id = "shop::scales::weigh", was = "shop::weight", was = "shop::weigh")]
async fn weigh() -> Result<String> {
    Ok("weighed by the second".into())
}

#[step(id = "shop::wrap", was = "shop::pack")]
async fn wrap(parcel: String) -> Result<String> {
    Ok(format!("{parcel} wrapped"))
}

#[step(id = "shop::frank", was = "shop::stamp", queue = "post")]
async fn frank(parcel: String) -> Result<String> {
    Ok(format!("{parcel} franked"))
}

#[workflow(id = "shop::address", was = "shop::label")]
async fn address(parcel: String) -> Result<String> {
    hook::<String>().token(format!("label of {parcel}")).await
}

/// In both versions, where its steps and its child have other names.
#[workflow(id = "shop::parcel")]
async fn parcel(name: String) -> Result<Vec<String>> {
    let weight = weigh().await?;
    let (packed, stamped, label) = tokio::try_join!(wrap(name.clone()), frank(name.clone()), address(name))?;
    Ok(vec![weight, packed, stamped, label])
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let _linked = (order, gift, parcel);
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or_else(|| Error::new("version_two URL LOG LIFE"));
    let (url, log, life) = (next()?, PathBuf::from(next()?), next()?);
    warnings::write_to(&log.with_extension(&life));
    let engine = Engine::builder().url(url).resource(Log::file(log, life)).queue("post", 4).open().await?;
    println!("open");
    tokio::task::spawn_blocking(|| std::io::stdin().lines().for_each(drop)).await?;
    engine.shutdown().await
}
