//! Timelines of histories that are written by hand, and of random ones.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::*;
use crate::history::{Ending, RunEvent, RunEventKind};
use crate::model::Schema;

struct Plain;

impl Excerpts for Plain {
    fn arguments(&self, input: &Value) -> String {
        input.to_string()
    }

    fn value(&self, value: &Value) -> String {
        value.to_string()
    }

    fn error(&self, error: &Value) -> String {
        error.as_str().unwrap_or_default().to_owned()
    }
}

fn time(milliseconds: u64) -> std::time::SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

fn history(kinds: Vec<(u64, RunEventKind)>) -> Vec<RunEvent> {
    let event = |(index, (at, kind)): (usize, (u64, RunEventKind))| RunEvent {
        index: index as u64,
        generation: 0,
        at: time(at),
        kind,
        schema: Schema,
    };
    kinds.into_iter().enumerate().map(event).collect()
}

fn started() -> RunEventKind {
    RunEventKind::Started { input: Value::Null }
}

fn step(operation: u64, step: &str) -> RunEventKind {
    RunEventKind::StepStarted { operation, step: step.into(), name: None, input: json!(operation), run: None }
}

fn completed(operation: u64) -> RunEventKind {
    RunEventKind::StepCompleted { operation, output: json!("ok") }
}

fn retrying(operation: u64, attempt: u32, next: u64) -> RunEventKind {
    let error = json!(format!("error {attempt}"));
    RunEventKind::StepRetrying { operation, attempt, attempts_max: Some(4), error, next_at: time(next) }
}

fn ended() -> RunEventKind {
    RunEventKind::Ended { end: Ending::Completed { output: Value::Null } }
}

const ALL: Window = Window { from: None, most: 1_000, failures: false };

fn collect(events: &[RunEvent], window: Window) -> Collected {
    let mut collector = Collector::new("run-1", Plain, window);
    events.iter().for_each(|event| collector.add(event));
    collector.finish()
}

const SCALE: Scale = Scale { width: 10_000, least: 70, ticks: 900 };

fn look(now: u64, unfolded: &BTreeSet<Place>) -> Look<'_> {
    Look { now, scale: SCALE, unfolded }
}

fn kinds(lane: &[Bar]) -> Vec<Kind> {
    lane.iter().map(|bar| bar.kind).collect()
}

#[test]
fn attempts_and_the_waits_between_them_are_bars_of_their_own() {
    let events = history(vec![
        (0, started()),
        (0, step(0, "charge")),
        (1_000, retrying(0, 1, 3_000)),
        (4_000, retrying(0, 2, 6_000)),
        (7_000, completed(0)),
        (7_000, ended()),
    ]);
    let collected = collect(&events, ALL);
    let none = BTreeSet::new();
    let timeline = lay_out(&collected, look(9_000, &none));
    let lane = &timeline.rows[0].lanes[0];
    assert_eq!(kinds(lane), [Kind::Failed, Kind::Retry, Kind::Failed, Kind::Retry, Kind::Work]);
    // Seven seconds, of which three are work: no stretch is left out, since two seconds beside the rest are not short.
    assert_eq!(timeline.axis.now, None);
    assert_eq!((lane[0].x, lane[4].x + lane[4].width), (0, 10_000));
    let call = &collected.calls[0];
    let attempts: Vec<_> = call.attempts.iter().map(|attempt| (attempt.number, attempt.error.as_deref())).collect();
    assert_eq!(attempts, [(1, Some("error 1")), (2, Some("error 2")), (3, None)]);
    assert_eq!((call.state, call.detail.as_str(), call.input.as_str()), (State::Done, "→ \"ok\"", "0"));
}

#[test]
fn the_last_failure_is_distinguished() {
    let fails = RunEventKind::StepFailed { operation: 0, error: json!("final") };
    let events = history(vec![(0, started()), (0, step(0, "a")), (10, retrying(0, 1, 20)), (30, fails), (30, ended())]);
    let collected = collect(&events, ALL);
    let none = BTreeSet::new();
    let timeline = lay_out(&collected, look(30, &none));
    assert_eq!(kinds(&timeline.rows[0].lanes[0]), [Kind::Failed, Kind::Retry, Kind::Final]);
    assert!(collected.calls[0].has_failed());
}

#[test]
fn an_open_wait_ends_at_the_present_or_at_its_deadline() {
    let hook = RunEventKind::HookOpened { operation: 0, token: "suspended/run-1/question".into(), metadata: None };
    let sleeping = RunEventKind::Sleeping { operation: 1, until: time(100_000) };
    let events = history(vec![(0, started()), (0, hook), (0, sleeping)]);
    let collected = collect(&events, ALL);
    assert_eq!(collected.calls[0].call, Call::Suspend { label: "question".into() });
    let none = BTreeSet::new();
    let timeline = lay_out(&collected, look(50_000, &none));
    let now = timeline.axis.now.expect("the run has not ended");
    let [hook, sleep] = [0, 1].map(|row| timeline.rows[row].lanes[0][0]);
    assert_eq!((hook.kind, hook.x + hook.width, hook.is_open), (Kind::Person, now, true));
    assert_eq!((sleep.kind, sleep.x + sleep.width, sleep.is_open), (Kind::Timer, 10_000, true));
    assert!(now < 10_000);
}

#[test]
fn the_next_attempt_is_not_drawn_before_it_begins() {
    let events = history(vec![(0, started()), (0, step(0, "a")), (10, retrying(0, 1, 500))]);
    let collected = collect(&events, ALL);
    assert_eq!(collected.calls[0].state, State::Retrying);
    let none = BTreeSet::new();
    let timeline = lay_out(&collected, look(100, &none));
    assert_eq!(kinds(&timeline.rows[0].lanes[0]), [Kind::Failed, Kind::Retry]);
    let timeline = lay_out(&collected, look(600, &none));
    assert_eq!(kinds(&timeline.rows[0].lanes[0]), [Kind::Failed, Kind::Retry, Kind::Work]);
}

#[test]
fn a_retry_that_is_not_waited_for_begins_when_it_ended() {
    let events = history(vec![
        (0, started()),
        (0, step(0, "a")),
        (10, retrying(0, 1, 90_000)),
        (40, completed(0)),
        (40, ended()),
    ]);
    let collected = collect(&events, ALL);
    assert!(collected.calls[0].spans.iter().all(|span| span.to.is_some_and(|to| to <= 40)), "{collected:?}");
}

#[test]
fn long_idle_time_becomes_a_band_with_its_real_length() {
    let hour = 3_600_000;
    let sleeping = RunEventKind::Sleeping { operation: 1, until: time(1_000 + hour) };
    let awake = RunEventKind::Awake { operation: 1, early: false };
    let events = history(vec![
        (0, started()),
        (0, step(0, "a")),
        (1_000, completed(0)),
        (1_000, sleeping),
        (1_000 + hour, awake),
        (1_000 + hour, step(2, "b")),
        (2_000 + hour, completed(2)),
        (2_000 + hour, ended()),
    ]);
    let collected = collect(&events, ALL);
    let none = BTreeSet::new();
    let timeline = lay_out(&collected, look(0, &none));
    let [band] = timeline.axis.bands[..] else { panic!("{:?}", timeline.axis) };
    assert_eq!((band.length, band.width), (hour, 850));
    let sleep = timeline.rows[1].lanes[0][0];
    assert_eq!((sleep.x, sleep.width), (band.x, band.width));
    // The two seconds of work share the rest.
    assert!((4_570..4_580).contains(&timeline.rows[0].lanes[0][0].width));
    // A tick keeps the time since the beginning.
    assert!(timeline.axis.ticks.iter().any(|tick| tick.x >= band.x + band.width && tick.at >= hour));
    assert!(timeline.axis.ticks.iter().all(|tick| tick.x <= band.x || tick.x >= band.x + band.width));
}

#[test]
fn a_short_pause_is_no_band() {
    let events = history(vec![
        (0, started()),
        (0, step(0, "a")),
        (1_000, completed(0)),
        (1_050, step(1, "b")),
        (2_000, completed(1)),
        (2_000, ended()),
    ]);
    let collected = collect(&events, ALL);
    let none = BTreeSet::new();
    assert_eq!(lay_out(&collected, look(0, &none)).axis.bands, []);
}

#[test]
fn six_equal_steps_side_by_side_are_one_row_and_five_are_not() {
    let many = |count: u64| {
        let begun = (0..count).map(|operation| (operation, step(operation, "check")));
        let done = (0..count).map(|operation| (100 + operation, completed(operation)));
        history([(0, started())].into_iter().chain(begun).chain(done).chain([(200, ended())]).collect())
    };
    let none = BTreeSet::new();
    let (five, six, many) = (collect(&many(5), ALL), collect(&many(6), ALL), collect(&many(500), ALL));
    assert_eq!(lay_out(&five, look(0, &none)).rows.len(), 5);
    let folded = lay_out(&six, look(0, &none));
    assert_eq!((folded.rows.len(), folded.rows[0].calls.len(), folded.rows[0].lanes.len()), (1, 6, 6));
    assert_eq!((folded.rows[0].began(), folded.rows[0].ended()), (0, Some(105)));
    let folded = lay_out(&many, look(0, &none));
    assert_eq!((folded.rows.len(), folded.rows[0].lanes.len()), (1, 6));
    let all = BTreeSet::from([six.calls[0].place]);
    assert_eq!(lay_out(&six, look(0, &all)).rows.len(), 6);
}

#[test]
fn equal_steps_after_each_other_are_rows_of_their_own() {
    // Steps that take no time have the time of the step before them.
    for time in [0, 10] {
        let events = (0..10).flat_map(|n| [(n * time, step(n, "think")), (n * time + time, completed(n))]);
        let collected = collect(&history(events.collect()), ALL);
        let none = BTreeSet::new();
        assert_eq!(lay_out(&collected, look(100, &none)).rows.len(), 10, "{time} ms each");
    }
}

#[test]
fn a_window_keeps_its_calls_and_counts_the_others() {
    let events = (0..1_000).flat_map(|n| [(n, step(n, "a")), (n + 1, completed(n))]);
    let events = history(events.collect());
    let last = collect(&events, Window { most: 200, ..ALL });
    assert_eq!((last.before, last.calls.len(), last.after), (800, 200, 0));
    assert_eq!(last.calls[0].place.operation, 800);
    let from = Some(Place { generation: 0, operation: 300 });
    let middle = collect(&events, Window { from, most: 200, failures: false });
    assert_eq!((middle.before, middle.calls.len(), middle.after), (300, 200, 500));
    assert!(middle.calls.iter().all(|call| call.state == State::Done));
    let failures = collect(&events, Window { failures: true, ..ALL });
    assert!(failures.calls.is_empty());
}

#[test]
fn a_retried_run_has_the_calls_of_its_last_generation() {
    let mut events = history(vec![
        (0, started()),
        (0, step(0, "a")),
        (10, completed(0)),
        (10, step(1, "b")),
        (20, RunEventKind::Ended { end: Ending::Failed { error: json!("no") } }),
    ]);
    let again = history(vec![(0, step(0, "a")), (10, completed(0)), (90, RunEventKind::Reopened { source: None })]);
    events.extend(again.into_iter().map(|event| RunEvent { generation: 1, ..event }));
    let collected = collect(&events, ALL);
    assert_eq!(collected.calls.len(), 1);
    assert_eq!(collected.calls[0].place, Place { generation: 1, operation: 0 });
    let last = collect(&events, Window { most: 1, ..ALL });
    assert_eq!((last.before, last.calls.len()), (0, 1));
}

#[test]
fn a_step_of_a_queue_waits_until_its_run_begins() {
    let run = Some("run-1/queued".to_owned());
    let called = RunEventKind::StepStarted { operation: 0, step: "render".into(), name: None, input: Value::Null, run };
    let mut collected = collect(&history(vec![(0, started()), (0, called), (900, completed(0))]), ALL);
    let child = history(vec![(400, started()), (400, step(0, "render")), (900, completed(0)), (900, ended())]);
    collected.calls[0].unfold(collect(&child, ALL), Some(400));
    let kinds: Vec<_> = collected.calls[0].spans.iter().map(|span| (span.kind, span.from, span.to)).collect();
    assert_eq!(kinds, [(Kind::Queue, 0, Some(400)), (Kind::Child, 400, Some(900))]);
    let none = BTreeSet::new();
    let depths: Vec<_> = lay_out(&collected, look(900, &none)).rows.iter().map(|row| row.depth).collect();
    assert_eq!(depths, [0, 1]);
}

/// Random histories: each of some operations begins, and may continue in any way.
fn random(seed: u64) -> (Vec<RunEvent>, u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = move |most: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % most
    };
    let unit = [1, 1, 50, 5_000, 3_600_000][below(5) as usize];
    let (mut at, mut kinds, mut attempts) = (below(1_000), vec![(0, started())], [1; 40]);
    kinds[0].0 = at;
    let mut open: Vec<u64> = Vec::new();
    let mut next = 0;
    for _ in 0..below(300) {
        at += below(4) * below(unit);
        let kind = match below(8) {
            0..3 if next < 40 => {
                open.push(next);
                next += 1;
                let operation = next - 1;
                match below(4) {
                    0 => RunEventKind::Sleeping { operation, until: time(at + below(9) * unit) },
                    1 => RunEventKind::HookOpened { operation, token: "t".into(), metadata: None },
                    _ => step(operation, "s"),
                }
            }
            choice if !open.is_empty() => {
                let place = below(open.len() as u64) as usize;
                let operation = open[place];
                match choice {
                    3 | 4 => {
                        attempts[operation as usize] += 1;
                        retrying(operation, attempts[operation as usize], at + below(3) * unit)
                    }
                    5 => RunEventKind::Dropped { operation: open.swap_remove(place) },
                    6 => RunEventKind::StepFailed { operation: open.swap_remove(place), error: json!("e") },
                    _ => completed(open.swap_remove(place)),
                }
            }
            _ => continue,
        };
        kinds.push((at, kind));
    }
    let now = at + below(5) * unit;
    if below(2) == 0 {
        kinds.push((at, ended()));
    }
    (history(kinds), now)
}

#[test]
fn bars_lie_within_the_width_in_order_and_apart() {
    let none = BTreeSet::new();
    let scales = [SCALE, Scale { width: 32, least: 1, ticks: 6 }, Scale { width: 316, least: 3, ticks: 40 }];
    for seed in 0..3_000 {
        let (events, now) = random(seed);
        let scale = scales[seed as usize % scales.len()];
        let collected = collect(&events, Window { most: 30, ..ALL });
        let timeline = lay_out(&collected, Look { now, scale, unfolded: &none });
        let began: Vec<u64> = timeline.rows.iter().map(|row| row.calls[0].place.operation).collect();
        assert!(began.is_sorted(), "seed {seed}: the rows are in the order of the calls");
        for lane in timeline.rows.iter().flat_map(|row| &row.lanes) {
            for bar in lane {
                assert!(bar.width >= scale.least && bar.x + bar.width <= scale.width, "seed {seed}: {bar:?}");
            }
            for pair in lane.windows(2) {
                assert!(pair[0].x + pair[0].width <= pair[1].x, "seed {seed}: {pair:?}");
            }
        }
        for pair in timeline.axis.bands.windows(2) {
            assert!(pair[0].x + pair[0].width <= pair[1].x, "seed {seed}: {pair:?}");
        }
        assert!(timeline.axis.ticks.iter().all(|tick| tick.x <= scale.width), "seed {seed}");
    }
}

#[test]
fn a_child_is_no_idle_time_unless_it_takes_much_longer_than_the_work() {
    let child = |took: u64| {
        let run = "child".to_owned();
        let begun =
            RunEventKind::ChildStarted { operation: 1, workflow: "w".into(), run, input: Value::Null, detached: false };
        let done = RunEventKind::RunEnded { operation: 1, end: Ending::Completed { output: Value::Null } };
        let events = history(vec![
            (0, started()),
            (0, step(0, "a")),
            (1_000, completed(0)),
            (1_000, begun),
            (1_000 + took, done),
            (1_000 + took, ended()),
        ]);
        let collected = collect(&events, ALL);
        lay_out(&collected, look(0, &BTreeSet::new())).axis.bands.len()
    };
    assert_eq!((child(900), child(60_000)), (0, 1));
}
