//! The number of steps that wait in the queues that the engine serves.
//!
//! The steps are in the store, whichever engine has called or will execute them. So each collection of the metrics starts a
//! query of the store, and the next collection reports its result: a callback of a meter cannot wait for a database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::{KeyValue, global};
use tokio::sync::Notify;

use super::inner::Inner;
use super::parts::telemetry::SCOPE;
use crate::model::Status;
use crate::store::Filter;

const UNKNOWN: u64 = u64::MAX;

struct Depth {
    queue: String,
    /// Selects the steps that wait in the queue.
    waiting: Filter,
    steps: AtomicU64,
}

#[derive(Default)]
struct Depths {
    queues: Vec<Depth>,
    asked: Notify,
}

impl Inner {
    /// Reports the depth of the queues that this engine serves, while it is open.
    pub(super) fn watch_queues(self: &Arc<Self>) {
        let depth = |(queue, workflows): (&str, &[&'static str])| Depth {
            queue: queue.to_owned(),
            waiting: Filter {
                statuses: vec![Status::Pending],
                workflows: workflows.iter().map(|workflow| Arc::from(*workflow)).collect(),
                ..Filter::default()
            },
            steps: AtomicU64::new(UNKNOWN),
        };
        let queues: Vec<Depth> = self.queues.served().map(depth).collect();
        if queues.is_empty() {
            return;
        }
        let depths = Arc::new(Depths { queues, asked: Notify::new() });
        let collected = depths.clone();
        global::meter(SCOPE)
            .u64_observable_gauge("workflow.queue.depth")
            .with_unit("{step}")
            .with_description("Steps of a queue that no process has begun, as of the collection before")
            .with_callback(move |gauge| {
                for depth in &collected.queues {
                    let steps = depth.steps.load(Ordering::Relaxed);
                    if steps != UNKNOWN {
                        gauge.observe(steps, &[KeyValue::new("workflow.queue.name", depth.queue.clone())]);
                    }
                }
                collected.asked.notify_one();
            })
            .build();
        self.runtime.spawn(count(self.clone(), depths));
    }
}

async fn count(engine: Arc<Inner>, depths: Arc<Depths>) {
    loop {
        tokio::select! {
            biased;
            () = engine.draining.cancelled() => break,
            () = depths.asked.notified() => {}
        }
        for depth in &depths.queues {
            let steps = match engine.store.counts(&depth.waiting, usize::MAX).await {
                Ok(counts) => counts.values().sum(),
                Err(error) => {
                    tracing::debug!(queue = depth.queue, ?error, "what waits in a queue could not be counted");
                    UNKNOWN
                }
            };
            depth.steps.store(steps, Ordering::Relaxed);
        }
    }
    // The meter keeps the callback after the engine has ended.
    for depth in &depths.queues {
        depth.steps.store(UNKNOWN, Ordering::Relaxed);
    }
}
