//! Awaits inside macros.

use workflow_runtime::{Result, workflow};

use super::steps::{add, double, greet, square};
use super::{Program, program};

#[workflow]
pub async fn formatted() -> Result<String> {
    let width = 4;
    Ok(format!("{:>width$}|{n}|{}", double(3).await?, greet("you".to_owned()).await?, n = square(2).await?))
}

#[workflow]
pub async fn vectors() -> Result<Vec<i64>> {
    let mut all = vec![double(1).await?, square(3).await?];
    all.extend(vec![double(2).await?; 2]);
    Ok(all)
}

#[workflow]
pub async fn assertions() -> Result<bool> {
    assert!(double(1).await? == 2, "{} is wrong", double(1).await?);
    assert_eq!(square(2).await?, 4);
    debug_assert_ne!(square(2).await?, 5, "message");
    Ok(matches!(double(2).await, Ok(n) if n == 4))
}

#[workflow]
pub async fn logged() -> Result<i64> {
    let n = double(2).await?;
    tracing::info!(n, twice = n * 2, "doubled {n}");
    tracing::debug!(target: "programs", ?n);
    println!("{n} {}", square(1).await?);
    Ok(n)
}

#[workflow]
pub async fn json() -> Result<serde_json::Value> {
    Ok(serde_json::json!({ "double": double(2).await?, "list": [square(1).await?, { "deep": add(1, 1).await? }] }))
}

macro_rules! join {
    ($a:expr, $b:expr) => {
        $a + $b
    };
}

#[workflow]
pub async fn own_macro_named_join() -> Result<i64> {
    let strings = join!("a".len(), "bc".len()) as i64;
    Ok(join!(double(1).await?, square(2).await?) + strings)
}

macro_rules! select {
    ($name:ident from $list:expr) => {
        $list.iter().map(|item| item.$name).sum::<i64>()
    };
}

struct Item {
    price: i64,
}

#[workflow]
pub async fn own_macro_named_select() -> Result<i64> {
    let items = [Item { price: double(1).await? }, Item { price: 3 }];
    Ok(select!(price from items))
}

macro_rules! workflow_of {
    ($name:ident, $step:expr, $ty:ty) => {
        #[workflow]
        pub async fn $name(n: $ty) -> Result<$ty> {
            let step = $step;
            Ok(step(n).await?)
        }
    };
}

workflow_of!(generated_by_a_macro, square, i64);

macro_rules! step_of {
    ($name:ident) => {
        #[workflow_runtime::step]
        pub async fn $name(n: i64) -> Result<i64> {
            Ok(n + 1)
        }
    };
}

step_of!(next);

macro_rules! twice {
    ($call:expr) => {{
        let first = $call.await?;
        first + $call.await?
    }};
}

#[workflow]
pub async fn awaits_in_an_own_macro() -> Result<i64> {
    Ok(twice!(next(1)) + twice!(double(2)))
}

#[workflow]
pub async fn pinned() -> Result<i64> {
    let call = std::pin::pin!(async { double(4).await });
    let n = call.await?;
    let other = async { square(n).await };
    tokio::pin!(other);
    other.await
}

#[workflow]
pub async fn constants() -> Result<String> {
    let line = line!();
    let name = concat!("a", "b");
    let text = stringify!(SystemTime::now());
    add(i64::from(line), 0).await?;
    Ok(format!("{name} {}", text.len()))
}

pub const PROGRAMS: &[Program] = &[
    program!(formatted, (), "   6|4|hello you"),
    program!(vectors, (), [2, 9, 4, 4]),
    program!(assertions, (), true),
    program!(logged, (), 4),
    program!(json, (), {"double": 4, "list": [1, {"deep": 2}]}),
    program!(own_macro_named_join, (), 9),
    program!(own_macro_named_select, (), 5),
    program!(generated_by_a_macro, 3, 9),
    program!(awaits_in_an_own_macro, (), 12),
    program!(pinned, (), 64),
    program!(constants, (), "ab 17"),
];
