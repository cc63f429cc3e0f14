//! Counters and histograms, of the global meter provider.
//!
//! Every step passes through this code: recording allocates nothing, except for a failure.

use std::borrow::Cow;
use std::time::Instant;

use opentelemetry::metrics::{Counter, Histogram, UpDownCounter};
use opentelemetry::{KeyValue, global};
use serde::Deserialize;

use super::SCOPE;
use crate::codec::Payload;
use crate::model::Status;
use crate::registry::queue;

/// In seconds: from a call within the machine to a day of work.
pub const SECONDS: [f64; 18] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0, 21_600.0,
    86_400.0,
];

const WRITES: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];

/// See the module.
#[derive(Clone)]
pub struct Metrics {
    started: Counter<u64>,
    ended: Counter<u64>,
    stuck: Counter<u64>,
    durations: Histogram<f64>,
    delays: Histogram<f64>,
    active: UpDownCounter<i64>,
    waiting: UpDownCounter<i64>,
    commits: Histogram<u64>,
}

impl Metrics {
    pub fn new() -> Self {
        let meter = global::meter(SCOPE);
        let seconds = |name, description| {
            let histogram = meter.f64_histogram(name).with_unit("s").with_description(description);
            histogram.with_boundaries(SECONDS.to_vec()).build()
        };
        let runs = |name, description| meter.u64_counter(name).with_unit("{run}").with_description(description).build();
        let attempts = |name, description| {
            meter.i64_up_down_counter(name).with_unit("{attempt}").with_description(description).build()
        };
        Metrics {
            started: runs("workflow.runs.started", "Runs that were started or retried"),
            ended: runs("workflow.runs.ended", "Runs that have ended, by status"),
            stuck: runs("workflow.runs.stuck", "Runs that got stuck and need a person or a deploy"),
            durations: seconds("workflow.attempt.duration", "How long attempts of steps take"),
            delays: seconds("workflow.attempt.delay", "From the time when an attempt could begin to its beginning"),
            active: attempts("workflow.attempts.active", "Attempts of steps that run"),
            waiting: attempts("workflow.attempts.waiting", "Attempts of steps that wait since too many run"),
            commits: meter
                .u64_histogram("workflow.commit.writes")
                .with_unit("{write}")
                .with_description("Turns, starts and other writes that are committed as one group")
                .with_boundaries(WRITES.to_vec())
                .build(),
        }
    }

    pub fn started(&self, workflow: &'static str) {
        if is_users(workflow) {
            self.started.add(1, &[KeyValue::new("workflow.name", workflow)]);
        }
    }

    /// The run ended or got stuck; other statuses are not counted.
    pub fn ended(&self, workflow: impl Into<Cow<'static, str>>, status: Status) {
        let workflow = workflow.into();
        if !is_users(&workflow) {
            return;
        }
        let name = KeyValue::new("workflow.name", workflow);
        match status {
            Status::Stuck => self.stuck.add(1, &[name]),
            status if status.is_terminal() => {
                self.ended.add(1, &[name, KeyValue::new("workflow.status", status.as_str())]);
            }
            _ => {}
        }
    }

    /// Marks the time from which an attempt could begin.
    pub fn scheduled(&self, step: &'static str, queue: Option<&'static str>) -> Scheduled {
        Scheduled { of: Of { step, queue }, at: Instant::now() }
    }

    /// Counts the attempt as waiting until the result is dropped.
    pub fn waits(&self, attempt: &Scheduled) -> Counted<'_> {
        Counted::new(&self.waiting, attempt.of)
    }

    pub fn begins(&self, attempt: Scheduled) -> Active<'_> {
        let Scheduled { of, at } = attempt;
        let now = Instant::now();
        of.attributes(None, |attributes| self.delays.record((now - at).as_secs_f64(), attributes));
        Active { metrics: self, began: now, counted: Counted::new(&self.active, of) }
    }

    /// A group of writes was committed.
    pub fn committed(&self, writes: usize) {
        self.commits.record(writes as u64, &[]);
    }
}

/// A run that executes a step of a queue is internal, not a run of the user.
fn is_users(workflow: &str) -> bool {
    queue::parse_id(workflow).is_none()
}

/// The step that is measured.
#[derive(Clone, Copy)]
struct Of {
    step: &'static str,
    queue: Option<&'static str>,
}

impl Of {
    fn attributes(self, error: Option<String>, record: impl FnOnce(&[KeyValue])) {
        let step = KeyValue::new("workflow.step.id", self.step);
        let queue = self.queue.map(|queue| KeyValue::new("workflow.queue.name", queue));
        let error = error.map(|error| KeyValue::new("error.type", error));
        match (queue, error) {
            (None, None) => record(&[step]),
            (Some(one), None) | (None, Some(one)) => record(&[step, one]),
            (Some(queue), Some(error)) => record(&[step, queue, error]),
        }
    }
}

/// An attempt that has not begun.
pub struct Scheduled {
    of: Of,
    at: Instant,
}

/// Adds one to a counter while this exists.
pub struct Counted<'a> {
    counter: &'a UpDownCounter<i64>,
    of: Of,
}

impl<'a> Counted<'a> {
    fn new(counter: &'a UpDownCounter<i64>, of: Of) -> Self {
        of.attributes(None, |attributes| counter.add(1, attributes));
        Counted { counter, of }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.of.attributes(None, |attributes| self.counter.add(-1, attributes));
    }
}

/// An attempt that is running.
pub struct Active<'a> {
    metrics: &'a Metrics,
    began: Instant,
    counted: Counted<'a>,
}

impl Active<'_> {
    /// Records the end of an attempt that was not given up.
    pub fn ended(self, error: Option<&Payload>) {
        let took = self.began.elapsed().as_secs_f64();
        let error = error.map(|error| error_type(error.as_str()).into_owned());
        self.counted.of.attributes(error, |attributes| self.metrics.durations.record(took, attributes));
    }
}

/// The kind of an error, for `error.type`: its code, if it has one.
pub fn error_type(error: &str) -> Cow<'_, str> {
    #[derive(Deserialize)]
    struct Coded<'a> {
        #[serde(borrow)]
        code: Cow<'a, str>,
    }
    serde_json::from_str::<Coded<'_>>(error).map_or(Cow::Borrowed("_OTHER"), |coded| coded.code)
}
