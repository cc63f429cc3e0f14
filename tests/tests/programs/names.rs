//! Names that look like something that a workflow must not do.

use std::time::SystemTime;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use workflow_runtime::{Result, StepCall, now, workflow};

use super::steps::{add, double};
use super::{Program, program};

mod fs {
    pub fn read(path: &str) -> String {
        path.to_uppercase()
    }
}

mod env {
    pub fn var(name: &'static str) -> i64 {
        name.len() as i64
    }
}

struct Instant(i64);

impl Instant {
    fn now() -> Self {
        Instant(7)
    }

    fn elapsed(&self) -> i64 {
        self.0
    }
}

struct Utc;

impl Utc {
    fn now() -> Self {
        Utc
    }
}

fn spawn<T>(value: T) -> T {
    value
}

fn thread_rng() -> i64 {
    4
}

#[workflow]
pub async fn own_functions() -> Result<String> {
    let instant = Instant::now();
    let Utc = Utc::now();
    let text = fs::read("path");
    let n = spawn(double(env::var("HOME")).await?) + thread_rng() + instant.elapsed();
    Ok(format!("{text} {n}"))
}

struct Clock;

impl Clock {
    fn now() -> SystemTime {
        now()
    }
}

#[workflow]
pub async fn own_clock() -> Result<bool> {
    let before = Clock::now();
    add(1, 1).await?;
    Ok(Clock::now().duration_since(before).is_ok())
}

#[workflow]
pub async fn seeded_generator(seed: u64) -> Result<bool> {
    let mut first = SmallRng::seed_from_u64(seed);
    let mut second = SmallRng::seed_from_u64(seed);
    add(first.next_u32().into(), 0).await?;
    second.next_u32();
    Ok(first.next_u64() == second.next_u64())
}

#[workflow]
pub async fn paths_and_constants() -> Result<String> {
    let path = std::path::Path::new("a").join("b.txt");
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let bits = std::env::consts::ARCH.len().min(1) + std::mem::size_of::<u8>();
    Ok(format!("{name} {}", add(bits as i64, 0).await?))
}

#[workflow]
pub async fn fixed_hashes() -> Result<i64> {
    use std::collections::HashMap;
    use std::hash::{BuildHasherDefault, DefaultHasher};
    let map: HashMap<i64, i64, BuildHasherDefault<DefaultHasher>> = [(1, 2), (3, 4)].into_iter().collect();
    let mut sum = 0;
    for (key, value) in &map {
        sum += add(*key, *value).await?;
    }
    Ok(sum)
}

#[workflow]
pub async fn calls_through_variables() -> Result<i64> {
    let mut total = 0;
    let mut random = |n: i64| {
        total += n;
        n
    };
    let exit = random(1) + random(2);
    let now = double as fn(i64) -> StepCall<Result<i64>>;
    let n = now(exit).await?;
    Ok(n + total)
}

pub const PROGRAMS: &[Program] = &[
    program!(own_functions, (), "PATH 19"),
    program!(own_clock, (), true),
    program!(seeded_generator, 9, true),
    program!(paths_and_constants, (), "b.txt 2"),
    program!(fixed_hashes, (), 10),
    program!(calls_through_variables, (), 9),
];
