//! Functions that workflows share.

use std::future::Future;
use std::pin::Pin;

use workflow_runtime::{Durable, DurableExt, Error, Result, durable, workflow};

use super::steps::{add, double, greet, square};
use super::{Program, program};

#[durable]
async fn sum(numbers: &[i64]) -> Result<i64> {
    let mut sum = 0;
    for n in numbers {
        sum = add(sum, *n).await?;
    }
    Ok(sum)
}

#[workflow]
pub async fn borrowing_helper() -> Result<i64> {
    let numbers = [1, 2, 3];
    Ok(sum(&numbers).await? + sum(&numbers[1..]).await?)
}

#[durable]
async fn fibonacci(n: i64) -> Result<i64> {
    if n < 2 {
        return Ok(n);
    }
    let (a, b) = (Box::pin(fibonacci(n - 1)).await?, Box::pin(fibonacci(n - 2)).await?);
    add(a, b).await
}

#[workflow]
pub async fn recursion() -> Result<i64> {
    fibonacci(6).await
}

#[durable]
async fn is_even(n: u32) -> bool {
    if n == 0 { true } else { Box::pin(is_odd(n - 1)).await }
}

#[durable]
async fn is_odd(n: u32) -> bool {
    if n == 0 { false } else { Box::pin(is_even(n - 1)).await }
}

#[workflow]
pub async fn mutual_recursion() -> Result<bool> {
    Ok(is_even(10).await && is_odd(3).await)
}

#[durable]
async fn twice<T, F, D>(value: T, mut action: F) -> Result<(T, T)>
where
    T: Clone,
    F: FnMut(T) -> D,
    D: Durable<Output = Result<T>>,
{
    Ok((action(value.clone()).await?, action(value).await?))
}

#[workflow]
pub async fn generic_helper() -> Result<String> {
    let (a, b) = twice(3, square).await?;
    let (c, d) = twice("you".to_owned(), |name| async move { greet(name).await }).await?;
    Ok(format!("{a} {b} {c} {d}"))
}

#[durable]
async fn debug_all(
    values: impl IntoIterator<Item = impl std::fmt::Display> + Send,
    prefix: &str,
) -> Result<Vec<String>> {
    let names: Vec<String> = values.into_iter().map(|value| format!("{prefix}{value}")).collect();
    let mut all = Vec::new();
    for name in names {
        all.push(greet(name).await?);
    }
    Ok(all)
}

#[workflow]
pub async fn impl_trait_arguments() -> Result<Vec<String>> {
    debug_all([1, 2], "#").await
}

struct Account {
    balance: i64,
}

impl Account {
    const START: i64 = 5;

    #[durable]
    async fn open() -> Result<Self> {
        Ok(Self { balance: add(Self::START, 0).await? })
    }

    #[durable]
    async fn deposit(&mut self, amount: i64) -> Result<&mut Self> {
        self.balance = add(self.balance, amount).await?;
        Ok(self)
    }

    #[durable]
    async fn doubled(&self) -> Result<i64> {
        double(self.balance).await
    }

    #[durable]
    async fn close(mut self) -> Result<i64> {
        self.balance = add(self.balance, -1).await?;
        Ok(self.balance)
    }
}

#[workflow]
pub async fn methods() -> Result<i64> {
    let mut account = Account::open().await?;
    account.deposit(10).await?.deposit(1).await?;
    Ok(account.doubled().await? + account.close().await?)
}

trait Shop {
    #[durable]
    async fn price(&self, item: &str) -> Result<i64>;

    fn name(&self) -> String;
}

struct Corner;

impl Shop for Corner {
    #[durable]
    async fn price(&self, item: &str) -> Result<i64> {
        square(item.len() as i64).await
    }

    fn name(&self) -> String {
        "corner".to_owned()
    }
}

#[durable]
async fn total<S: Shop + Sync>(shop: &S, items: &[&str]) -> Result<i64> {
    let mut total = 0;
    for item in items {
        total += shop.price(item).await?;
    }
    Ok(total)
}

#[workflow]
pub async fn trait_methods() -> Result<String> {
    let shop = Corner;
    Ok(format!("{} {}", shop.name(), total(&shop, &["tea", "salt"]).await?))
}

fn choose(big: bool) -> Pin<Box<dyn Durable<Output = Result<i64>> + Send>> {
    if big { square(10).boxed() } else { double(1).boxed() }
}

#[workflow]
pub async fn boxed_objects() -> Result<i64> {
    let mut sum = 0;
    for call in [choose(true), choose(false), async { add(1, 1).await }.boxed()] {
        sum += call.await?;
    }
    Ok(sum)
}

#[durable]
async fn patterns((a, b): (i64, i64), [c, ..]: [i64; 3], _: i64, mut d: i64) -> Result<i64> {
    d += add(a, b).await?;
    Ok(d + c)
}

#[workflow]
pub async fn patterns_in_helpers() -> Result<i64> {
    patterns((1, 2), [3, 0, 0], 9, 4).await
}

/// A helper that awaits nothing itself needs no attribute.
fn all_squares(numbers: &[i64]) -> impl Durable<Output = Result<Vec<i64>>> + use<> {
    futures::future::try_join_all(numbers.iter().map(|n| square(*n)).collect::<Vec<_>>())
}

#[workflow]
pub async fn plain_helper() -> Result<Vec<i64>> {
    all_squares(&[1, 2]).await
}

#[durable]
async fn unit(log: &mut Vec<i64>) {
    if let Ok(n) = double(log.len() as i64 + 1).await {
        log.push(n);
    }
}

#[durable]
async fn never_fails<E>(n: i64) -> Result<i64, E> {
    Ok(n)
}

#[workflow]
pub async fn other_returns() -> Result<Vec<i64>> {
    let mut log = Vec::new();
    unit(&mut log).await;
    unit(&mut log).await;
    log.push(never_fails::<Error>(1).await?);
    Ok(log)
}

fn assert_future<F: Future + Send>(future: F) -> F {
    future
}

#[workflow]
pub async fn still_futures() -> Result<i64> {
    assert_future(fibonacci(3)).await
}

/// A trait object cannot have `#[durable]` methods, but methods that return what those have boxed.
trait Carrier: Send + Sync {
    fn ship(&self, n: i64) -> Pin<Box<dyn Durable<Output = Result<i64>> + Send + '_>>;
}

struct Post(i64);

impl Post {
    #[durable]
    async fn post(&self, n: i64) -> Result<i64> {
        add(self.0, double(n).await?).await
    }
}

impl Carrier for Post {
    fn ship(&self, n: i64) -> Pin<Box<dyn Durable<Output = Result<i64>> + Send + '_>> {
        self.post(n).boxed()
    }
}

#[workflow]
pub async fn trait_objects() -> Result<i64> {
    let carriers: [Box<dyn Carrier>; 2] = [Box::new(Post(1)), Box::new(Post(2))];
    let mut sum = 0;
    for carrier in &carriers {
        sum += carrier.ship(10).await?;
    }
    Ok(sum)
}

pub const PROGRAMS: &[Program] = &[
    program!(trait_objects, (), 43),
    program!(borrowing_helper, (), 11),
    program!(recursion, (), 8),
    program!(mutual_recursion, (), true),
    program!(generic_helper, (), "9 9 hello you hello you"),
    program!(impl_trait_arguments, (), ["hello #1", "hello #2"]),
    program!(methods, (), 47),
    program!(trait_methods, (), "corner 25"),
    program!(boxed_objects, (), 104),
    program!(patterns_in_helpers, (), 10),
    program!(plain_helper, (), [1, 4]),
    program!(other_returns, (), [2, 4, 1]),
    program!(still_futures, (), 2),
];
