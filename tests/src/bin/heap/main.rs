//! Measures that the heap does not grow with the number of ended runs: `heap URL` executes rounds of runs of each shape,
//! and prints how much the heap has grown with each run.
//!
//! The first rounds fill tables, caches and pools. So rounds are repeated until the heap has not grown during three of them;
//! with a leak, however small, it grows in each. `heap URL SHAPE ROUNDS` executes at least so many rounds of one shape, to see
//! whether it stays flat.

mod clock;
#[allow(dead_code, reason = "the benchmark also reads the peak")]
#[path = "../../../../workflow-runtime/benches/durable/heap.rs"]
mod heap;
mod shapes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use workflow_runtime::store::Synchronous;
use workflow_runtime::{Engine, Error, Result};

use self::clock::Clock;
use self::heap::Count;
use self::shapes::{Place, QUEUE, SHAPES, delete_all};

/// The runs of a round, of one shape.
const RUNS: u64 = 50;
/// The heap must not grow by more than this with each run, during some rounds.
const ALLOWED_BYTES: isize = 8;
const ROUNDS: usize = 3;
/// The number of rounds after which a shape has failed.
const ROUNDS_MAX: usize = 24;
/// The time after which everything that the memory store keeps for a while has expired.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3_600);
/// The longest time that an engine takes to remove what it no longer needs.
const PATIENCE: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(1);
/// The number of looks at the heap without a lower level after which it has settled.
const LOOKS: usize = 10;

/// The lowest level of the heap, once it has settled or is as low as `wanted`.
async fn settled(heap: &Count, wanted: isize) -> isize {
    let (began, mut lowest, mut looks) = (Instant::now(), isize::MAX, 0);
    while lowest > wanted && began.elapsed() < PATIENCE || looks < LOOKS {
        let now = heap.live();
        looks = if now < lowest { 0 } else { looks + 1 };
        lowest = lowest.min(now);
        tokio::time::sleep(LOOK).await;
    }
    lowest
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let heap = Count::begin();
    let mut args = std::env::args().skip(1);
    let url = args.next().ok_or_else(|| Error::new("heap URL [SHAPE [ROUNDS]]"))?;
    let (only, least) = (args.next(), args.next().map_or(Ok(0), |rounds| rounds.parse::<usize>())?);
    let memory = url == "memory:";
    let clock = Arc::new(Clock::default());
    let mut builder = Engine::builder().url(&url).synchronous(Synchronous::Normal).queue(QUEUE, 8);
    builder = builder.evict_after(Duration::from_millis(1));
    if memory {
        builder = builder.environment(clock.clone());
    }
    let ignore = |_| std::future::ready(Ok(()));
    let engine = builder.on_completed(ignore).on_failed(ignore).on_cancelled(ignore).open().await?;
    let client = match memory {
        true => (*engine).clone(),
        false => Engine::builder().url(&url).connect().await?,
    };
    let place = Place { engine, client };
    let mut number = 0;
    let mut grown = Vec::new();
    let began = Instant::now();
    for (name, shape) in SHAPES {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let mut levels: Vec<isize> = Vec::new();
        let per_run = loop {
            try_join_all((number..number + RUNS).map(|number| shape(&place, number))).await?;
            number += RUNS;
            if memory {
                delete_all(&place.engine).await?;
                clock.pass(KEPT);
            }
            let (rounds, runs) = (levels.len(), isize::try_from(RUNS).map_err(Error::boxed)?);
            let before = rounds.checked_sub(ROUNDS).map(|at| levels[at]);
            let runs = runs * isize::try_from(ROUNDS).map_err(Error::boxed)?;
            let level = settled(&heap, before.unwrap_or(isize::MAX).saturating_add(ALLOWED_BYTES * runs)).await;
            levels.push(level);
            let per_run = before.map(|before| (level - before) / runs);
            let enough = |bytes: &isize| *bytes <= ALLOWED_BYTES || levels.len() > ROUNDS_MAX;
            if let Some(bytes) = per_run.filter(|bytes| levels.len() >= least && enough(bytes)) {
                break bytes;
            }
        };
        println!("{name}: {per_run} bytes a run after {} rounds, {levels:?}", levels.len());
        if per_run > ALLOWED_BYTES {
            grown.push(*name);
        }
    }
    place.engine.shutdown().await?;
    println!("{number} runs in {} ms", began.elapsed().as_millis());
    println!("grown {grown:?}");
    match grown.is_empty() {
        true => Ok(()),
        false => Err(Error::new(format!("the heap grows with the runs of {grown:?}"))),
    }
}
