//! Awaits in every place where an expression may stand.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::ControlFlow;

use workflow_runtime::{Error, Result, workflow};

use super::steps::{add, double, even, fail, square};
use super::{Program, program};

#[workflow]
pub async fn conditions(n: i64) -> Result<String> {
    let size = if double(n).await? > 10 {
        "big"
    } else if square(n).await? == 4 {
        "two"
    } else {
        "small"
    };
    Ok(size.to_owned())
}

#[workflow]
pub async fn for_loop() -> Result<i64> {
    let mut sum = 0;
    for n in 0..5 {
        sum = add(sum, n).await?;
    }
    Ok(sum)
}

#[workflow]
pub async fn while_loop() -> Result<i64> {
    let mut n = 1;
    while double(n).await? < 100 {
        n = double(n).await?;
    }
    Ok(n)
}

#[workflow]
pub async fn while_let() -> Result<Vec<i64>> {
    let mut queue = VecDeque::from([1, 2, 3]);
    let mut seen = Vec::new();
    while let Some(n) = queue.pop_front() {
        let n = square(n).await?;
        if n == 4 {
            queue.push_back(10);
        }
        seen.push(n);
    }
    Ok(seen)
}

#[workflow]
pub async fn labelled_breaks() -> Result<i64> {
    let found = 'outer: loop {
        for n in 0.. {
            if n == 3 {
                continue;
            }
            if square(n).await? == 16 {
                break 'outer n;
            }
        }
    };
    let block = 'block: {
        if even(found).await.is_ok() {
            break 'block 1;
        }
        2
    };
    Ok(found * 10 + block)
}

#[workflow]
pub async fn matches_and_guards(n: i64) -> Result<String> {
    Ok(match double(n).await? {
        0 => "zero".to_owned(),
        n if n * n > 50 => format!("more than {n}"),
        n @ 1..=9 => format!("digit {n}"),
        n => double(n).await?.to_string(),
    })
}

#[workflow]
pub async fn let_else(text: String) -> Result<i64> {
    let Ok(n) = text.parse::<i64>() else {
        return Ok(double(-1).await?);
    };
    let Ok(n) = even(n).await else { return Err(Error::new("not even")) };
    Ok(n)
}

#[workflow]
pub async fn let_chains(n: i64) -> Result<i64> {
    if let Ok(even) = even(n).await
        && let twice = double(even).await?
        && twice > 3
    {
        return Ok(twice);
    }
    Ok(0)
}

#[workflow]
pub async fn early_return(n: i64) -> Result<i64> {
    if n < 0 {
        return double(n).await;
    }
    if n == 0 {
        return Ok(0);
    }
    add(n, 100).await
}

#[workflow]
pub async fn try_block() -> Result<String> {
    let outcome: Result<i64> = async {
        let n = double(2).await?;
        fail(format!("at {n}")).await?;
        Ok(n)
    }
    .await;
    Ok(outcome.unwrap_err().to_string())
}

#[workflow]
pub async fn shadowing() -> Result<i64> {
    let n = double(1).await?;
    let n = {
        let n = add(n, 1).await?;
        square(n).await?
    };
    let durable = n;
    Ok(durable)
}

#[workflow]
pub async fn assignments() -> Result<Vec<i64>> {
    let mut values = vec![0; 3];
    values[double(1).await? as usize] = 7;
    values[0] += double(2).await?;
    let (a, b);
    (a, b) = (double(3).await?, double(4).await?);
    values.extend([a, b]);
    Ok(values)
}

#[workflow]
pub async fn closures() -> Result<i64> {
    let offset = 10;
    let plus = |n: i64| add(n, offset);
    let twice = move |n: i64| async move {
        let n = double(n).await?;
        Ok::<_, Error>(n + offset)
    };
    Ok(plus(1).await? + twice(2).await?)
}

#[workflow]
pub async fn mutable_closures() -> Result<i64> {
    let mut count = 0;
    let mut spawn = |n: i64| {
        count += 1;
        double(n)
    };
    let first = spawn(1).await?;
    let second = spawn(2).await?;
    Ok(first + second + count)
}

#[workflow]
pub async fn async_closures() -> Result<i64> {
    let twice = async move |n: i64| double(n).await;
    Ok(twice(4).await? + twice(5).await?)
}

#[workflow]
pub async fn sorted_maps() -> Result<Vec<i64>> {
    let mut prices = BTreeMap::new();
    for (name, price) in [("pear", 3), ("apple", 2)] {
        prices.insert(name, double(price).await?);
    }
    let mut all = Vec::new();
    for price in prices.values() {
        all.push(square(*price).await?);
    }
    Ok(all)
}

#[workflow]
pub async fn hash_map_without_order(prices: HashMap<String, i64>) -> Result<i64> {
    let mut sum = 0;
    for price in prices.values() {
        sum += price;
    }
    let mut names: Vec<_> = prices.keys().cloned().collect();
    names.sort();
    for name in &names {
        sum += double(prices[name]).await?;
    }
    Ok(sum)
}

#[workflow]
pub async fn collected_later() -> Result<i64> {
    let mut values = Vec::new();
    for n in &values {
        add(0, *n).await?;
    }
    values.push(double(4).await?);
    let mut sum = 0;
    for n in values {
        sum = add(sum, n).await?;
    }
    Ok(sum)
}

#[workflow]
pub async fn control_flow_value() -> Result<i64> {
    let mut flow = ControlFlow::Continue(0);
    for n in 1..10 {
        flow = match flow {
            ControlFlow::Continue(sum) if sum > 10 => ControlFlow::Break(sum),
            ControlFlow::Continue(sum) => ControlFlow::Continue(add(sum, n).await?),
            done => done,
        };
    }
    Ok(match flow {
        ControlFlow::Break(n) | ControlFlow::Continue(n) => n,
    })
}

#[workflow]
pub async fn items_in_the_body() -> Result<i64> {
    use super::steps::add as sum;
    const TEN: i64 = 10;
    #[derive(Clone, Copy)]
    struct Point(i64);
    impl Point {
        fn x(self) -> i64 {
            let Self(x) = self;
            x
        }
    }
    fn twice(n: i64) -> i64 {
        n * 2
    }
    let lengths = [0u8; { TEN as usize }].len() as i64;
    sum(Point(twice(TEN)).x(), lengths).await
}

pub const PROGRAMS: &[Program] = &[
    program!(conditions, 2, "two"),
    program!(for_loop, (), 10),
    program!(while_loop, (), 64),
    program!(while_let, (), [1, 4, 9, 100]),
    program!(labelled_breaks, (), 41),
    program!(matches_and_guards, 5, "more than 10"),
    program!(let_else, "x".to_owned(), -2),
    program!(let_chains, 4, 8),
    program!(early_return, 1, 101),
    program!(try_block, (), "at 4"),
    program!(shadowing, (), 9),
    program!(assignments, (), [4, 0, 7, 6, 8]),
    program!(closures, (), 25),
    program!(mutable_closures, (), 8),
    program!(async_closures, (), 18),
    program!(sorted_maps, (), [16, 36]),
    program!(hash_map_without_order, HashMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]), 9),
    program!(collected_later, (), 8),
    program!(control_flow_value, (), 15),
    program!(items_in_the_body, (), 30),
];
