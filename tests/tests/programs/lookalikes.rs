//! What looks like a foot-gun, or trips a rewriting, and is none.

use std::fs::File;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use workflow_runtime::{Result, hook, timeout, workflow};

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

pub const PROGRAMS: &[Program] = &[
    program!(inner_attributes, 4, 8),
    program!(function_of_a_trait, 9, true),
    program!(own_macro_of_literals, (), "ab"),
    program!(constant_in_a_turbofish, (), 2),
    program!(own_methods_of_what_was_returned, 3, 7),
    program!(own_functions_passed_on, 2, [0, 1, 2, 3]),
    program!(nothing_of_a_file_but_its_name, (), true),
    program!(a_hook_in_parentheses, (), true),
];
