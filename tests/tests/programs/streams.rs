//! Streams of steps.

use futures::stream::{self, FuturesOrdered, FuturesUnordered, StreamExt, TryStreamExt};
use workflow_runtime::{Error, Result, workflow};

use super::steps::{add, after, double, even, square};
use super::{Program, program};

#[workflow]
pub async fn unordered() -> Result<i64> {
    let mut calls: FuturesUnordered<_> = (1..=3).map(|n| after(10 * (4 - n) as u64, n)).collect();
    let mut sum = 0;
    while let Some(n) = calls.next().await {
        sum += n?;
        if sum == 3 {
            calls.push(after(1, 100));
        }
    }
    Ok(sum)
}

#[workflow]
pub async fn ordered() -> Result<Vec<i64>> {
    let mut calls = FuturesOrdered::new();
    calls.push_back(after(6, 1));
    calls.push_back(after(1, 2));
    let mut all = Vec::new();
    while let Some(n) = calls.next().await {
        all.push(n?);
    }
    Ok(all)
}

#[workflow]
pub async fn bounded_fan_out() -> Result<i64> {
    stream::iter(0..20).map(double).buffer_unordered(3).try_fold(0, |sum, n| async move { Ok(sum + n) }).await
}

#[workflow]
pub async fn buffered_in_order() -> Result<Vec<i64>> {
    stream::iter(1..=4).map(|n| async move { after((5 - n) as u64, n).await }).buffered(2).try_collect().await
}

#[workflow]
pub async fn one_by_one() -> Result<Vec<i64>> {
    stream::iter([1, 2, 3]).then(|n| async move { add(square(n).await?, 1).await }).try_collect().await
}

#[workflow]
pub async fn for_each() -> Result<i64> {
    let mut count = 0;
    let calls = stream::iter(1..=4).then(double);
    let mut calls = std::pin::pin!(calls);
    while let Some(n) = calls.try_next().await? {
        count += n;
    }
    stream::iter(0..3).for_each(|n| async move { drop(double(n).await) }).await;
    stream::iter((0..3).map(Ok::<i64, Error>))
        .try_for_each_concurrent(2, |n| async move { double(n).await.map(drop) })
        .await?;
    Ok(count)
}

#[workflow]
pub async fn filtered() -> Result<Vec<i64>> {
    let evens = stream::iter(0..6).filter_map(|n| async move { even(n).await.ok() }).take(2);
    Ok(evens.collect::<Vec<_>>().await)
}

#[workflow]
pub async fn unfolded() -> Result<Vec<i64>> {
    let doubling = stream::try_unfold(1, |n| async move {
        if n > 10 {
            return Ok(None);
        }
        let next = double(n).await?;
        Ok::<_, Error>(Some((n, next)))
    });
    doubling.try_collect().await
}

#[workflow]
pub async fn zipped() -> Result<Vec<(i64, i64)>> {
    let left = stream::iter(1..4).then(double);
    let right = stream::iter(1..4).then(square);
    left.zip(right).map(|(a, b)| Ok((a?, b?))).try_collect().await
}

#[workflow]
pub async fn boxed_stream() -> Result<i64> {
    let mut calls: FuturesUnordered<_> = FuturesUnordered::new();
    for n in 0..3 {
        calls.push(Box::pin(async move { double(n).await }));
    }
    calls.by_ref().map(|n| n.unwrap_or(0)).fold(0, |sum, n| async move { sum + n }).await;
    Ok(calls.len() as i64)
}

#[workflow]
pub async fn selected_next() -> Result<i64> {
    let mut calls: FuturesUnordered<_> = [1, 2].into_iter().map(double).collect();
    let mut sum = 0;
    loop {
        futures::select! {
            n = calls.select_next_some() => sum += n?,
            complete => break,
        }
    }
    Ok(sum)
}

pub const PROGRAMS: &[Program] = &[
    program!(unordered, (), 106),
    program!(ordered, (), [1, 2]),
    program!(bounded_fan_out, (), 380),
    program!(buffered_in_order, (), [1, 2, 3, 4]),
    program!(one_by_one, (), [2, 5, 10]),
    program!(for_each, (), 20),
    program!(filtered, (), [0, 2]),
    program!(unfolded, (), [1, 2, 4, 8]),
    program!(zipped, (), [[2, 1], [4, 4], [6, 9]]),
    program!(boxed_stream, (), 0),
    program!(selected_next, (), 6),
];
