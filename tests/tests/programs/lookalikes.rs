//! What looks like a foot-gun, or trips a rewriting, and is none.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::time::{Duration, SystemTime};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use workflow_runtime::{Result, Run, get_run, hook, nondeterministic, set_state, spawn, step, timeout, workflow};

use super::steps::{add, double};
use super::{Program, program};

#[workflow]
pub async fn inner_attributes(n: i64) -> Result<i64> {
    #![allow(unused_variables, clippy::let_and_return)]
    let unused = 1;
    let doubled = double(n).await?;
    Ok(doubled)
}

#[workflow]
pub async fn function_of_a_trait(seed: u64) -> Result<bool> {
    let mut generator = StdRng::seed_from_u64(seed);
    let drawn = RngExt::random_range(&mut generator, 0..3);
    Ok(drawn < 3 && generator.random_range(5..6) == 5)
}

macro_rules! join {
    ($($part:literal),*) => { concat!($($part),*) };
}

#[workflow]
pub async fn own_macro_of_literals() -> Result<String> {
    Ok(join!("a", "b").to_owned())
}

struct Pad;

impl Pad {
    fn width<const N: usize>(&self) -> usize {
        N
    }
}

const fn id(n: usize) -> usize {
    n
}

#[workflow]
pub async fn constant_in_a_turbofish() -> Result<usize> {
    Ok(Pad.width::<{ id(2) }>())
}

#[derive(Clone, Copy)]
struct Lap(u64);

impl Lap {
    fn elapsed(self) -> u64 {
        self.0
    }

    fn exists(&self) -> bool {
        self.0 > 0
    }

    fn now(n: u64) -> Lap {
        Lap(n)
    }
}

fn lap(n: u64) -> Lap {
    Lap(n)
}

#[workflow]
pub async fn own_methods_of_what_was_returned(n: u64) -> Result<u64> {
    let laps = [lap(n), Lap::now(n + 1)];
    Ok(if lap(1).exists() && laps[0].exists() { lap(n).elapsed() + laps[1].elapsed() } else { 0 })
}

#[workflow]
pub async fn own_functions_passed_on(n: u64) -> Result<Vec<u64>> {
    let laps: Vec<Lap> = (0..n).map(Lap::now).collect();
    let sizes = [2u32, 3].into_iter().map(u64::from);
    Ok(laps.into_iter().map(Lap::elapsed).chain(sizes).collect())
}

#[workflow]
pub async fn nothing_of_a_file_but_its_name() -> Result<bool> {
    Ok(std::any::type_name::<File>().ends_with("File"))
}

#[workflow]
pub async fn a_hook_in_parentheses() -> Result<bool> {
    let mut mail = hook::<u32>().open();
    let none = timeout(Duration::ZERO, &mut mail).await.is_err();
    let sum = (add(1, 2)).await?;
    Ok(none && sum == 3)
}

fn in_order() -> BTreeMap<u64, u64> {
    BTreeMap::from([(1, 2), (3, 4)])
}

/// A map whose order is the same in every process, as with `rustc-hash`.
fn with_a_fixed_hasher() -> HashMap<u64, u64, BuildHasherDefault<DefaultHasher>> {
    [(1, 2)].into_iter().collect()
}

#[step]
async fn prices() -> Result<HashMap<u64, Vec<i64>>> {
    Ok(HashMap::from([(1, vec![1, 2]), (2, vec![3])]))
}

#[allow(clippy::for_kv_map, reason = "another way to loop over a map")]
#[workflow]
pub async fn loops_over_what_is_returned_in_order() -> Result<i64> {
    let mut sum = 0;
    for (key, value) in in_order() {
        sum = add(sum, (key + value) as i64).await?;
    }
    for (key, _) in &with_a_fixed_hasher() {
        sum = add(sum, *key as i64).await?;
    }
    for key in with_a_fixed_hasher().into_keys().map(|key| key as i64) {
        sum = add(sum, key).await?;
    }
    let mut prices = prices().await?;
    for price in prices.get(&1).into_iter().flatten() {
        sum = add(sum, *price).await?;
    }
    for price in prices.remove(&2).unwrap_or_default() {
        sum = add(sum, price).await?;
    }
    for price in prices.into_iter().collect::<BTreeMap<_, _>>().into_values().flatten() {
        sum = add(sum, price).await?;
    }
    Ok(sum)
}

#[workflow]
pub async fn hash_map_without_an_await(n: i64) -> Result<i64> {
    let mut sum = 0;
    for (key, prices) in prices().await? {
        sum += key as i64 * prices.into_iter().sum::<i64>();
    }
    add(sum, n).await
}

fn forgotten() -> Result<u32> {
    Ok(1)
}

#[derive(Default)]
struct Shop {
    open: bool,
}

impl Shop {
    fn open(&mut self) -> bool {
        self.open = true;
        self.open
    }
}

#[workflow]
#[allow(clippy::let_underscore_future)]
pub async fn thrown_away_by_right(n: i64) -> Result<i64> {
    let _ = forgotten();
    _ = forgotten();
    let _ = double(n).await;
    let _ = set_state("shown");
    let _ = spawn(async move { double(n).await });
    let _ = Shop::default().open();
    // Its type is known further down only.
    let mut stack = vec![Default::default(), Default::default()];
    let _ = stack.remove(0);
    let _ = std::mem::take(&mut stack[0]);
    stack.push(n);
    let call = double(n);
    let _ = &call;
    let handle: Run<i64> = get_run("another");
    let _ = handle.id();
    call.await
}

fn scope(n: u64, body: impl FnOnce(u64) -> u64) -> u64 {
    body(n)
}

struct Handle;

impl Handle {
    fn current() -> u64 {
        1
    }
}

#[workflow]
pub async fn own_functions_as_values(n: u64) -> Result<u64> {
    let make = Lap::now;
    let laps = [(Lap::now)(n), <Lap>::now(n), make(n)];
    let read: fn(Lap) -> u64 = Lap::elapsed;
    let current = Handle::current;
    let mut write = 0;
    bump(&mut write);
    let var = &mut write;
    bump(var);
    bump(var);
    Ok(scope(laps.into_iter().map(read).sum(), |sum| sum + Handle::current() + current()) + write)
}

fn bump(n: &mut u64) {
    *n += 1;
}

#[workflow]
pub async fn own_items(n: i64) -> Result<i64> {
    // Only what is recorded uses it.
    fn clock() -> bool {
        SystemTime::now() > SystemTime::UNIX_EPOCH
    }
    const fn twice(n: i64) -> i64 {
        n * 2
    }
    fn now(n: i64) -> i64 {
        twice(n) + FEES[0]
    }
    const FEES: &[i64] = &[1];
    static GREETING: &str = "hello";
    const MAKE: fn(u64) -> Lap = Lap::now;
    struct Items;
    impl Items {
        fn sum(&self, n: i64) -> i64 {
            now(n) + MAKE(1).elapsed() as i64
        }
    }
    impl Drop for Items {
        fn drop(&mut self) {
            assert_eq!(GREETING, "hello");
        }
    }
    let is_later = nondeterministic(async { clock() }).await?;
    Ok(if is_later { double(Items.sum(n)).await? } else { 0 })
}

#[workflow]
pub async fn async_closures_that_capture_nothing(n: i64) -> Result<i64> {
    let order = 1;
    let pay = async |order: i64| {
        let twice = double(order).await?;
        add(twice, 1).await
    };
    let named = async |pad: Named| -> Result<i64> { add(pad.order, Named { order: 2 }.order).await };
    let text = async |name: String| {
        let name = format!("{name}!");
        double(name.len() as i64).await
    };
    let sum = pay(n).await? + pay(order).await? + named(Named { order }).await?;
    Ok(sum + text("ab".to_owned()).await? + timeout(Duration::from_secs(60), pay(0)).await??)
}

struct Named {
    order: i64,
}

pub const PROGRAMS: &[Program] = &[
    program!(loops_over_what_is_returned_in_order, (), 21),
    program!(hash_map_without_an_await, 1, 10),
    program!(thrown_away_by_right, 2, 4),
    program!(own_functions_as_values, 3, 14),
    program!(own_items, 3, 16),
    program!(inner_attributes, 4, 8),
    program!(function_of_a_trait, 9, true),
    program!(own_macro_of_literals, (), "ab"),
    program!(constant_in_a_turbofish, (), 2),
    program!(own_methods_of_what_was_returned, 3, 7),
    program!(own_functions_passed_on, 2, [0, 1, 2, 3]),
    program!(nothing_of_a_file_but_its_name, (), true),
    program!(a_hook_in_parentheses, (), true),
    program!(async_closures_that_capture_nothing, 5, 11 + 3 + 3 + 6 + 1),
];
