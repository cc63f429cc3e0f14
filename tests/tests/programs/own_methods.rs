//! Methods of the user's own with the names of foot-guns, and loops over what is in order although it comes from a hash map.

// One of them is an `Option`, which is a loop of one round.
#![allow(for_loops_over_fallibles, clippy::boxed_local)]

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use workflow_runtime::{Result, workflow};

use super::steps::{add, double};
use super::{Program, program};

/// Not `Copy`.
struct Lap(Vec<u64>);

impl Lap {
    fn new(n: u64) -> Lap {
        Lap(vec![n])
    }

    fn elapsed(self) -> u64 {
        self.0[0]
    }

    fn exists(&mut self) -> bool {
        self.0.push(1);
        self.0.len() > 1
    }

    fn metadata(&self) -> &[u64] {
        &self.0
    }

    fn is_file(self: Box<Self>) -> bool {
        self.0.is_empty()
    }
}

struct Race {
    laps: Vec<Lap>,
    last: Lap,
}

impl Race {
    fn last(&mut self) -> &mut Lap {
        &mut self.last
    }
}

macro_rules! last {
    ($race:expr) => {
        $race.last
    };
}

#[workflow]
pub async fn methods_that_take_or_change_their_value(n: u64) -> Result<u64> {
    let mut race = Race { laps: vec![Lap::new(n), Lap::new(n + 1)], last: Lap::new(n + 2) };
    // Values.
    let mut count =
        u64::from(Lap::new(n).exists()) + Lap::new(n).elapsed() + u64::from(Box::new(Lap::new(n)).is_file());
    count += Lap::new(n).metadata().len() as u64;
    // Places, behind an index, a reference, a macro.
    let mut index = 0;
    let mut next = || {
        index += 1;
        index - 1
    };
    count += u64::from(race.laps[next()].exists()) + u64::from(race.last().exists());
    count += race.laps[next()].metadata()[0];
    count += u64::from((*race.last()).exists()) + u64::from(last!(race).exists());
    count += race.laps.remove(0).elapsed();
    let boxed = Box::new(Lap::new(n));
    count += (*boxed).elapsed();
    let lap = Lap::new(n);
    count += lap.elapsed();
    Ok(count + last!(race).elapsed() + index as u64)
}

trait Sorted {
    type Item;

    fn sorted(&self) -> Vec<Self::Item>;
}

impl<V: Copy + Ord, S> Sorted for HashMap<i64, V, S> {
    type Item = (i64, V);

    fn sorted(&self) -> Vec<(i64, V)> {
        let mut all: Vec<_> = self.iter().map(|(key, value)| (*key, *value)).collect();
        all.sort_unstable();
        all
    }
}

struct Stock(HashMap<i64, i64>);

impl Stock {
    fn iter(&self) -> std::vec::IntoIter<(i64, i64)> {
        self.0.sorted().into_iter()
    }
}

#[workflow]
pub async fn loops_in_an_order_of_their_own(orders: HashMap<i64, i64>, names: HashSet<i64>) -> Result<i64> {
    let mut orders = orders;
    let mut sum = 0;
    for (order, cents) in orders.sorted() {
        sum = add(sum, order * cents).await?;
    }
    for cents in orders.get(&1) {
        sum = add(sum, *cents).await?;
    }
    for cents in orders.get_mut(&1) {
        *cents = double(*cents).await?;
    }
    for cents in orders.remove(&1) {
        sum = add(sum, cents).await?;
    }
    for _ in 0..names.len() {
        sum = double(sum).await?;
    }
    for name in names.iter().copied().collect::<BTreeSet<_>>() {
        sum = add(sum, name).await?;
    }
    let stock = Stock(orders);
    for (order, cents) in stock.iter() {
        sum = add(sum, order + cents).await?;
    }
    Ok(sum)
}

#[workflow]
pub async fn paths_that_are_only_taken_apart(path: PathBuf) -> Result<String> {
    let name = Path::new(&path).file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(name.unwrap_or_default())
}

pub const PROGRAMS: &[Program] = &[
    program!(methods_that_take_or_change_their_value, 5, 5 + 1 + 1 + 1 + 1 + 6 + 1 + 1 + 5 + 5 + 5 + 7 + 2),
    program!(
        loops_in_an_order_of_their_own,
        (HashMap::from([(1, 10), (2, 20)]), HashSet::from([3, 4])),
        ((10 + 40 + 10 + 20) * 4) + 3 + 4 + 2 + 20
    ),
    program!(paths_that_are_only_taken_apart, PathBuf::from("a/b.txt"), "b.txt"),
];
