//! Several things at the same time.

use std::time::Duration;

use futures::future::{
    Either, FutureExt, TryFutureExt, join, join_all, join3, ready, select, select_all, select_ok, try_join,
    try_join_all,
};
use workflow_runtime::{Error, Result, now, sleep, timeout, workflow};

use super::steps::{add, after, double, even, fail, greet, square};
use super::{Program, program};

#[workflow]
pub async fn joined_by_tokio() -> Result<i64> {
    let (a, b, c) = tokio::join!(double(1), async { square(3).await }, after(2, 7));
    Ok(a? + b? + c?)
}

#[workflow]
pub async fn try_joined_by_tokio() -> Result<i64> {
    let (a, b) = tokio::try_join!(double(1), square(3),)?;
    Ok(a + b)
}

#[workflow]
pub async fn joined_by_futures() -> Result<i64> {
    let (a, b) = futures::join!(double(1), square(3));
    let (c, d) = futures::try_join!(double(2), async { double(3).await })?;
    Ok(a? + b? + c + d)
}

#[workflow]
pub async fn joined_by_an_import() -> Result<i64> {
    use tokio::{join, try_join};
    let (a, b) = join!(double(1), square(2));
    let (c, d) = try_join!(double(a?), square(b?))?;
    Ok(c + d)
}

#[workflow]
pub async fn interleaved() -> Result<Vec<i64>> {
    let left = async {
        let a = after(3, 1).await?;
        Ok::<_, Error>(double(a).await?)
    };
    let right = async {
        let b = double(10).await?;
        after(1, b).await
    };
    let (left, right) = tokio::join!(left, right);
    Ok(vec![left?, right?])
}

#[workflow]
pub async fn nested_joins() -> Result<i64> {
    let (a, (b, c)) = tokio::join!(double(1), async { tokio::join!(double(2), async { tokio::join!(square(2)).0 }) });
    Ok(a? + b? + c?)
}

#[workflow]
pub async fn selected() -> Result<String> {
    let winner = tokio::select! {
        n = double(1) => format!("step {}", n?),
        _ = sleep(Duration::from_secs(60)) => "timer".to_owned(),
    };
    Ok(winner)
}

#[workflow]
pub async fn selected_in_a_loop() -> Result<i64> {
    let deadline = sleep(Duration::from_secs(60));
    tokio::pin!(deadline);
    let mut sum = 0;
    let mut next = 0;
    loop {
        tokio::select! {
            biased;
            n = double(next), if next < 4 => {
                sum += n?;
                next += 1;
            }
            _ = &mut deadline => return Err(Error::new("too late")),
            else => break,
        }
        if next == 4 {
            break;
        }
    }
    Ok(sum)
}

#[workflow]
pub async fn handlers_that_await() -> Result<i64> {
    let n = tokio::select! {
        Ok(n) = double(1) => square(n).await?,
        () = async { sleep(Duration::from_secs(9)).await } => {
            add(1, 1).await?
        }
        else => 0,
    };
    Ok(n)
}

#[workflow]
pub async fn selected_by_futures() -> Result<i64> {
    let mut fast = double(4).fuse();
    let mut slow = Box::pin(async { after(50, 1).await }.fuse());
    let n = futures::select! {
        n = fast => n?,
        n = slow => n?,
    };
    Ok(n)
}

#[workflow]
pub async fn select_function() -> Result<i64> {
    match select(after(1, 1), sleep(Duration::from_secs(60))).await {
        Either::Left((n, _rest)) => n,
        Either::Right(((), step)) => step.await,
    }
}

#[workflow]
pub async fn select_of_many() -> Result<(i64, usize)> {
    let (first, _, rest) = select_all((1..4).map(|n| after(n as u64 * 20, n))).await;
    Ok((first?, rest.len()))
}

#[workflow]
pub async fn first_success() -> Result<i64> {
    let (n, _) = select_ok([even(1), even(2), even(3)]).await?;
    Ok(n)
}

#[workflow]
pub async fn all_of_a_vector() -> Result<i64> {
    let results = join_all((0..10).map(double)).await;
    results.into_iter().sum()
}

#[workflow]
pub async fn different_steps_of_one_type() -> Result<Vec<i64>> {
    try_join_all(vec![add(1, 2), double(4), square(5)]).await
}

#[workflow]
pub async fn blocks_of_one_type() -> Result<Vec<i64>> {
    let calls = [1, 2, 3].map(|n| async move {
        let n = double(n).await?;
        square(n).await
    });
    try_join_all(calls).await
}

#[workflow]
pub async fn combinators() -> Result<i64> {
    let a = double(1).map(|n| n.unwrap_or(0)).await;
    let b = double(2).map_ok(|n| n + 1).map_err(|error| error.context("b")).await?;
    let c = double(3).and_then(square).await?;
    let d = double(4).then(|n| async move { add(n?, 1).await }).await?;
    let e = fail("no".to_owned()).or_else(|_| double(5)).await?;
    let f = ready(6).await;
    Ok([a, b, c, d, e, f].iter().sum())
}

#[workflow]
pub async fn join_functions() -> Result<String> {
    let (a, b) = join(double(1), greet("you".to_owned())).await;
    let (c, d, e) = join3(ready(1), double(2), async { 3 }).await;
    let (f, g) = try_join(double(1), double(2)).await?;
    Ok(format!("{} {} {c} {} {e} {f} {g}", a?, b?, d?))
}

#[workflow]
pub async fn either_branch(left: bool) -> Result<i64> {
    let call = if left { double(2).left_future() } else { async { square(3).await }.right_future() };
    call.await
}

#[workflow]
pub async fn shared_result() -> Result<i64> {
    let shared = double(21).map(|n| n.unwrap_or(0)).shared();
    let (a, b) = tokio::join!(shared.clone(), async { shared.clone().await + 1 });
    Ok(a + b)
}

#[workflow]
pub async fn polled_by_reference() -> Result<i64> {
    let mut slow = after(5, 1);
    let before = now();
    while timeout(Duration::from_millis(2), &mut slow).await.is_err() {
        if now() > before + Duration::from_secs(60) {
            return Err(Error::new("too slow"));
        }
    }
    Ok(1)
}

pub const PROGRAMS: &[Program] = &[
    program!(joined_by_tokio, (), 18),
    program!(try_joined_by_tokio, (), 11),
    program!(joined_by_futures, (), 21),
    program!(joined_by_an_import, (), 20),
    program!(interleaved, (), [2, 20]),
    program!(nested_joins, (), 10),
    program!(selected, (), "step 2"),
    program!(selected_in_a_loop, (), 12),
    program!(handlers_that_await, (), 4),
    program!(selected_by_futures, (), 8),
    program!(select_function, (), 1),
    program!(select_of_many, (), [1, 2]),
    program!(first_success, (), 2),
    program!(all_of_a_vector, (), 90),
    program!(different_steps_of_one_type, (), [3, 8, 25]),
    program!(blocks_of_one_type, (), [4, 16, 36]),
    program!(combinators, (), 68),
    program!(join_functions, (), "2 hello you 1 4 3 2 4"),
    program!(either_branch, false, 9),
    program!(shared_result, (), 85),
    program!(polled_by_reference, (), 1),
];
