//! Awaiting one thing after the other.

use std::time::{Duration, UNIX_EPOCH};

use workflow_runtime::{Result, nondeterministic, now, random, sleep, sleep_until, spawn, timeout, uuid, workflow};

use super::steps::{add, after, double, fail, greet, square};
use super::{Program, program};

#[workflow]
pub async fn nothing() -> Result<()> {
    Ok(())
}

#[workflow]
pub async fn one_step() -> Result<i64> {
    add(1, 2).await
}

#[workflow]
pub async fn one_argument(name: String) -> Result<String> {
    greet(name).await
}

#[workflow]
pub async fn chained(mut n: i64) -> Result<i64> {
    n = add(n, 1).await?;
    n = double(n).await?;
    n = square(n).await?;
    Ok(n)
}

#[workflow]
pub async fn nested_calls() -> Result<i64> {
    add(double(add(1, 1).await?).await?, square(3).await?).await
}

#[workflow]
pub async fn arithmetic() -> Result<i64> {
    Ok(double(2).await? + double(3).await? * -double(1).await?)
}

#[workflow]
pub async fn sleeps() -> Result<i64> {
    sleep(Duration::from_millis(1)).await;
    sleep_until(now() + Duration::from_millis(1)).await;
    Ok(1)
}

#[workflow]
pub async fn recorded_values() -> Result<bool> {
    let (time, number, id) = (now(), random::<u64>(), uuid());
    add(1, 1).await?;
    Ok(time > UNIX_EPOCH && now() >= time && number != random::<u64>() && id != uuid())
}

#[workflow]
pub async fn caught_error() -> Result<String> {
    match fail("no".to_owned()).await {
        Ok(n) => Ok(n.to_string()),
        Err(error) => Ok(format!("failed: {error}")),
    }
}

#[workflow]
pub async fn error_of_a_step() -> Result<i64> {
    Ok(fail("the end".to_owned()).await? + 1)
}

#[workflow]
pub async fn foreign_error() -> Result<i64> {
    let text = greet("you".to_owned()).await?;
    Ok(text.parse::<i64>()?)
}

#[workflow]
pub async fn configured_call() -> Result<i64> {
    add(1, 1)
        .retries(2)
        .backoff(Duration::from_millis(1)..Duration::from_millis(5))
        .timeout(Duration::from_secs(9))
        .name("sum")
        .await
}

#[workflow]
pub async fn call_before_await() -> Result<i64> {
    let first = double(1);
    let second = double(2);
    Ok(second.await? * 10 + first.await?)
}

#[workflow]
pub async fn timed_out() -> Result<String> {
    let slow = timeout(Duration::from_millis(2), after(60_000, 1)).await;
    let fast = timeout(Duration::from_secs(60), add(1, 1)).await;
    Ok(format!("{} {}", slow.is_err(), fast.is_ok()))
}

#[workflow]
pub async fn branches() -> Result<i64> {
    let left = spawn(async { add(1, 2).await });
    let right = spawn(async move {
        sleep(Duration::from_millis(1)).await;
        double(5).await
    });
    Ok(left.await? + right.await?)
}

#[workflow]
pub async fn the_way_out() -> Result<u32> {
    let number = nondeterministic(async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        std::process::id()
    })
    .await?;
    Ok(number.min(1))
}

pub const PROGRAMS: &[Program] = &[
    program!(nothing, (), null),
    program!(one_step, (), 3),
    program!(one_argument, "you".to_owned(), "hello you"),
    program!(chained, 2, 36),
    program!(nested_calls, (), 13),
    program!(arithmetic, (), -8),
    program!(sleeps, (), 1),
    program!(recorded_values, (), true),
    program!(caught_error, (), "failed: no"),
    program!(error_of_a_step, (), {"error": "the end"}),
    program!(foreign_error, (), {"error": "invalid digit found in string"}),
    program!(configured_call, (), 2),
    program!(call_before_await, (), 42),
    program!(timed_out, (), "true true"),
    program!(branches, (), 13),
    program!(the_way_out, (), 1),
];
