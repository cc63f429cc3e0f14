//! The steps that the programs share.

use workflow_runtime::{Error, Result, step};

#[step]
pub async fn add(a: i64, b: i64) -> Result<i64> {
    Ok(a + b)
}

#[step]
pub async fn double(n: i64) -> Result<i64> {
    Ok(n * 2)
}

#[step]
pub fn square(n: i64) -> Result<i64> {
    Ok(n * n)
}

#[step]
pub async fn greet(name: String) -> Result<String> {
    Ok(format!("hello {name}"))
}

#[step]
pub async fn after(ms: u64, n: i64) -> Result<i64> {
    tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
    Ok(n)
}

#[step(retries = 0)]
pub async fn fail(why: String) -> Result<i64> {
    Err(Error::new(why))
}

#[step(retries = 0)]
pub async fn even(n: i64) -> Result<i64> {
    if n % 2 == 0 { Ok(n) } else { Err(Error::new(format!("{n} is odd"))) }
}
