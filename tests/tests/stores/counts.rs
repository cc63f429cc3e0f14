//! `Write::RecordCounts` and `Store::hour_counts`.

use workflow_runtime::store::{Figure, HourCount, RecordCounts};

use crate::fixture::*;

const HOUR: u64 = 472_222;

fn record(hour: u64, counts: &[(Figure, u64)]) -> RecordCounts {
    RecordCounts { hour, counts: counts.to_vec(), kept_from: 0 }
}

fn count(hour: u64, figure: Figure, runs: u64) -> HourCount {
    HourCount { hour, figure, runs }
}

/// All counts from an hour on, those of one hour in the order of their figures.
async fn counts(fx: &Fixture, from: u64) -> Vec<HourCount> {
    let mut counts = fx.store.hour_counts(from).await.unwrap();
    assert!(counts.is_sorted_by_key(|count| count.hour), "{counts:?}");
    counts.sort();
    counts
}

pub async fn the_first_counts_of_an_hour_are_kept(fx: Fixture) {
    assert_eq!(counts(&fx, 0).await, []);
    fx.commit(record(HOUR, &[(Figure::Running, 3), (Figure::Waiting, 10_001)])).await;
    // Of another worker, which also counts a figure that the first one did not.
    let second = record(HOUR, &[(Figure::Running, 4), (Figure::Failing, 1), (Figure::Stuck, 0)]);
    commit(&*fx.another(), second).await;
    let expected = [(Figure::Running, 3), (Figure::Failing, 1), (Figure::Waiting, 10_001), (Figure::Stuck, 0)];
    assert_eq!(counts(&fx, 0).await, expected.map(|(figure, runs)| count(HOUR, figure, runs)));
}

pub async fn counts_are_read_from_an_hour_on(fx: Fixture) {
    let of_hour = |hour: u64| record(hour, &[(Figure::Running, hour % 100)]);
    fx.group(&[of_hour(HOUR + 1), of_hour(HOUR - 1), of_hour(HOUR)]).await;
    let expected = [HOUR, HOUR + 1].map(|hour| count(hour, Figure::Running, hour % 100));
    assert_eq!(counts(&fx, HOUR).await, expected);
    assert_eq!(counts(&fx, HOUR - 5).await.len(), 3);
    assert_eq!(counts(&fx, HOUR + 2).await, []);
}

pub async fn a_record_of_counts_removes_those_of_earlier_hours(fx: Fixture) {
    for hour in HOUR..HOUR + 3 {
        fx.commit(record(hour, &[(Figure::Stuck, 7), (Figure::Failing, 2)])).await;
    }
    fx.commit(RecordCounts { kept_from: HOUR + 2, ..record(HOUR + 3, &[(Figure::Stuck, 8)]) }).await;
    let expected =
        [count(HOUR + 2, Figure::Failing, 2), count(HOUR + 2, Figure::Stuck, 7), count(HOUR + 3, Figure::Stuck, 8)];
    assert_eq!(counts(&fx, 0).await, expected);
}

pub async fn a_record_of_counts_does_not_affect_its_group(fx: Fixture) {
    let _right = fx.execute(ADA).await;
    let key = fx.create(new_run("r", taken_by(ADA))).await;
    let (_, answer) = fx.commit_both(record(HOUR, &[(Figure::Running, 1)]), turn(key)).await;
    assert_eq!(answer, workflow_runtime::store::TurnAnswer::Committed);
    assert_eq!(counts(&fx, 0).await, [count(HOUR, Figure::Running, 1)]);
}
