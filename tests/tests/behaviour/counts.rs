//! The counts of unfinished runs that an engine records once an hour.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use workflow_runtime::engine::Environment;
use workflow_runtime::store::{Figure, HourCount, Store, Write};
use workflow_runtime::{Builder, Engine, Error, Result, Status, hook, step, workflow};

use crate::support::{Faulty, Lab, ManualClock, Place, soon};

const HOUR: u64 = 3_600_000;
/// The beginning of an hour.
const START: u64 = 472_222 * HOUR;

#[workflow]
async fn waits() -> Result<u32> {
    hook::<u32>().await
}

#[step(retries = 1_000, backoff = "100d..200d")]
async fn breaks() -> Result<u32> {
    Err(Error::new("on purpose"))
}

#[workflow]
async fn retries() -> Result<u32> {
    breaks().await
}

async fn counts(store: &dyn Store) -> Vec<HourCount> {
    let mut counts = store.hour_counts(0).await.unwrap();
    counts.sort();
    counts
}

/// The counts of an hour after [`START`]: of runs that run, fail, wait and are stuck.
fn of_hour(hour: u64, runs: [u64; 4]) -> impl Iterator<Item = HourCount> {
    let figures = [Figure::Running, Figure::Failing, Figure::Waiting, Figure::Stuck];
    figures.into_iter().zip(runs).map(move |(figure, runs)| HourCount { hour: START / HOUR + hour, figure, runs })
}

/// Moves the clock on, slowly enough to stay in its hour, until an engine has recorded the counts of the hour.
async fn recorded(store: &dyn Store, clock: &ManualClock) {
    let hour = clock.now() / HOUR;
    soon(async {
        while counts(store).await.last().is_none_or(|count| count.hour < hour) {
            clock.pass(500);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert_eq!(clock.now() / HOUR, hour, "the clock has stayed in the hour");
}

/// The writes of an engine or a client.
#[derive(Clone, Default)]
struct Writes {
    records: Arc<AtomicUsize>,
    cleanings: Arc<AtomicUsize>,
}

impl Writes {
    /// A builder of an engine whose writes are counted, and whose only clock is this one.
    fn of(&self, place: &Place, clock: &ManualClock) -> Builder {
        let (store, writes) = (Faulty::new(place.store()), self.clone());
        store.plan(move |group| {
            for write in group {
                match write {
                    Write::RecordCounts(_) => drop(writes.records.fetch_add(1, Ordering::SeqCst)),
                    Write::Clean(_) => drop(writes.cleanings.fetch_add(1, Ordering::SeqCst)),
                    _ => {}
                }
            }
            None
        });
        place.builder(&Lab::new()).environment(Arc::new(clock.clone())).store(Arc::new(store))
    }

    /// The number of records that were written.
    fn records(&self) -> usize {
        self.records.load(Ordering::SeqCst)
    }

    /// Moves the clock on, within its hour, until the engine has cleaned three times more. It records before it cleans.
    async fn cleanings(&self, clock: &ManualClock) {
        let (hour, cleanings) = (clock.now() / HOUR, || self.cleanings.load(Ordering::SeqCst));
        let until = cleanings() + 3;
        soon(async {
            while cleanings() < until {
                clock.pass(1_000);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        assert_eq!(clock.now() / HOUR, hour, "the clock has stayed in the hour");
    }
}

/// Starts a run that waits for a payload.
async fn start_waiting(engine: &Engine, id: &str) {
    let run = engine.start(waits, ()).id(id).await.unwrap();
    soon(async {
        while run.status().await.unwrap() != Status::Suspended {
            workflow_harness::pause().await;
        }
    })
    .await;
}

on_each_store! {
    async fn the_unfinished_runs_are_counted_once_an_hour(place: Place) {
        let (clock, store, writes) = (ManualClock::at(START), place.store(), Writes::default());
        let engine = writes.of(&place, &clock).open().await.unwrap();
        start_waiting(&engine, "a").await;
        let failing = engine.start(retries, ()).id("failing").await.unwrap();
        soon(async {
            while failing.info().await.unwrap().failing_since.is_none() {
                workflow_harness::pause().await;
            }
        })
        .await;
        recorded(&*store, &clock).await;
        start_waiting(&engine, "b").await;
        // In the same hour nothing is recorded again, and in two hours without an engine nothing is recorded.
        writes.cleanings(&clock).await;
        engine.shutdown().await.unwrap();
        clock.set(START + 3 * HOUR);
        let engine = writes.of(&place, &clock).open().await.unwrap();
        recorded(&*store, &clock).await;
        let expected: Vec<HourCount> = of_hour(0, [0, 1, 1, 0]).chain(of_hour(3, [0, 1, 2, 0])).collect();
        assert_eq!(counts(&*store).await, expected);
        engine.shutdown().await.unwrap();
    }

    async fn counts_are_removed_after_eight_days(place: Place) {
        let (clock, store) = (ManualClock::at(START), place.store());
        let engine = place.builder_at(&Lab::new(), &clock).open().await.unwrap();
        let none = |hour| of_hour(hour, [0; 4]);
        recorded(&*store, &clock).await;
        clock.set(START + 192 * HOUR);
        recorded(&*store, &clock).await;
        assert_eq!(counts(&*store).await, none(0).chain(none(192)).collect::<Vec<_>>());
        clock.set(START + 193 * HOUR);
        recorded(&*store, &clock).await;
        assert_eq!(counts(&*store).await, none(192).chain(none(193)).collect::<Vec<_>>());
        engine.shutdown().await.unwrap();
    }

    async fn an_engine_records_an_hour_with_one_write_and_a_client_with_none(place: Place) {
        let clock = ManualClock::at(START);
        let (of_client, of_engine) = (Writes::default(), Writes::default());
        let client = of_client.of(&place, &clock).connect().await.unwrap();
        client.start(waits, ()).id("a").await.unwrap();
        let engine = of_engine.of(&place, &clock).open().await.unwrap();
        of_engine.cleanings(&clock).await;
        client.runs().count().await.unwrap();
        assert_eq!((of_engine.records(), of_client.records()), (1, 0));
        engine.shutdown().await.unwrap();
    }
}
