//! The spans and metrics that an OpenTelemetry collector gets by OTLP over HTTP, as protobuf.
//!
//! A test binary of its own, since the meter provider is global to the process.

mod collector;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use opentelemetry::global;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor};
use tokio::sync::{Mutex, Semaphore};
use workflow_runtime::store::MemoryStore;
use workflow_runtime::{
    Engine, Error, Result, Run, Status, TracingOptions, hook, sleep, step, suspend, traceparent, workflow,
};

use collector::{Collector, sums, text};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

const SOON: Duration = Duration::from_millis(1);
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// The spans of a [`trip`], each with its parent.
const TREE: [(&str, &str); 14] = [
    ("workflow trip", PARENT),
    ("step fetch", "workflow trip"),
    ("attempt 1 of fetch", "step fetch"),
    ("attempt 2 of fetch", "step fetch"),
    ("wait sleep", "workflow trip"),
    ("wait hook", "workflow trip"),
    ("step asks", "workflow trip"),
    ("attempt 1 of asks", "step asks"),
    ("wait asks", "step asks"),
    ("attempt 2 of asks", "step asks"),
    ("child payment", "workflow trip"),
    ("workflow payment", "child payment"),
    ("step pays", "workflow payment"),
    ("attempt 1 of pays", "step pays"),
];

/// The state that the steps of a test share.
#[derive(Clone, Default)]
struct World {
    calls: Arc<AtomicU32>,
    gate: Arc<Gate>,
}

struct Gate(Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Gate(Semaphore::new(0))
    }
}

#[step(retries = 1, backoff = "0ms..0ms")]
async fn fetch(#[resource] world: &World, url: String) -> Result<Option<String>> {
    match world.calls.fetch_add(1, Ordering::SeqCst) {
        0 => Err(Error::new(format!("{url} is away"))),
        _ => Ok(traceparent()),
    }
}

#[step]
async fn asks() -> Result<u32> {
    suspend(&1).await
}

#[step]
async fn pays(cents: u32) -> Result<u32> {
    Ok(cents)
}

#[workflow]
async fn payment(cents: u32) -> Result<u32> {
    pays(cents).await
}

#[workflow]
async fn trip(url: String) -> Result<Option<String>> {
    let header = fetch(url).await?;
    sleep(Duration::from_millis(1)).await;
    let cents: u32 = hook::<u32>().token("price").await?;
    asks().await?;
    payment(cents).await?;
    Ok(header)
}

#[step(queue = "printer")]
async fn prints(#[resource] world: &World) -> Result<()> {
    world.gate.0.acquire().await?.forget();
    Ok(())
}

#[workflow]
async fn prints_twice() -> Result<()> {
    let (one, other) = tokio::join!(prints(), prints());
    one.and(other)
}

#[workflow]
async fn falls_over() -> Result<()> {
    sleep(Duration::from_millis(1)).await;
    panic!("over")
}

#[workflow]
async fn gives_up() -> Result<()> {
    Err(Error::fatal("no"))
}

/// Waits for a future, for a limited time.
async fn soon<F: IntoFuture>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), what.into_future()).await.expect("the operation ends in time")
}

/// The tests run one after the other: an engine uses the global meter provider of the moment when it opens.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Opens an engine that exports its spans after this time.
async fn open(store: &MemoryStore, collector: &Collector, world: &World, after: Duration) -> Engine {
    let batches = BatchConfigBuilder::default().with_scheduled_delay(after).build();
    let processor = BatchSpanProcessor::builder(collector.spans_exporter()).with_batch_config(batches).build();
    let builder = Engine::builder().store(Arc::new(store.clone())).resource(world.clone());
    builder.queue("printer", 1).span_processor(processor).open().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_gets_one_trace_of_a_run_that_waits_and_survives_a_crash() {
    let _alone = ALONE.lock().await;
    let (collector, world, store) = (Collector::start().await, World::default(), MemoryStore::new());
    let header = format!("00-{TRACE}-{PARENT}-01");
    let first = open(&store, &collector, &world, NEVER).await;
    let tracing = TracingOptions::new().traceparent(&header).metadata("release", &7);
    let run = first.start(trip, "http://seats.example".to_owned()).id("trip").tracing(tracing).await.unwrap();
    soon(async {
        while first.get_hook("price").await.is_err() {
            workflow_harness::pause().await
        }
    })
    .await;
    // Simulates a crash: the spans that were not exported are lost.
    drop((run, first));
    let second = open(&store, &collector, &world, SOON).await;
    second.resume_hook("price", &4200).await.unwrap();
    let run: Run<Option<String>> = second.get_run("trip");
    soon(async {
        while run.suspended().await.unwrap().is_empty() {
            workflow_harness::pause().await
        }
    })
    .await;
    run.resume(&12).await.unwrap();
    let emitted = soon(&run).await.unwrap().unwrap();
    let spans = soon(async {
        loop {
            let spans = collector.spans();
            if spans.len() >= TREE.len() {
                return spans;
            }
            workflow_harness::pause().await;
        }
    })
    .await;

    let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE));
    let by_id: BTreeMap<_, _> = spans.iter().map(|span| (hex(&span.span_id), span)).collect();
    assert_eq!(by_id.len(), spans.len());
    let parent = |name: &str| {
        let mut all = by_id.values().filter(|span| span.name == name);
        let span = all.next().unwrap_or_else(|| panic!("no span {name}"));
        assert!(all.next().is_none(), "{name} has several spans");
        let parent = hex(&span.parent_span_id);
        by_id.get(&parent).map_or(parent, |span| span.name.clone())
    };
    for (name, of) in TREE {
        assert_eq!(parent(name), of, "{name}");
    }
    let names: BTreeSet<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, TREE.iter().map(|(name, _)| *name).collect());
    for span in by_id.values() {
        assert_eq!(text(&span.attributes, "workflow.metadata.release").as_deref(), Some("7"));
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        let failed = span.name == "attempt 1 of fetch";
        let status = span.status.clone().unwrap();
        assert_eq!(status.code(), if failed { StatusCode::Error } else { StatusCode::Ok }, "{}", span.name);
        assert_eq!(text(&span.attributes, "error.type"), failed.then(|| "user".to_owned()), "{}", span.name);
        assert_eq!(status.message.contains("http://seats.example is away"), failed);
        assert_eq!(span.events.iter().any(|event| event.name == "exception"), failed);
    }
    let find = |name: &str| *by_id.values().find(|span| span.name == name).unwrap();
    let whole = find("workflow trip");
    assert_eq!(text(&whole.attributes, "workflow.run.id").as_deref(), Some("trip"));
    assert_eq!(text(&whole.attributes, "workflow.status").as_deref(), Some("completed"));
    assert_eq!(text(&whole.attributes, "workflow.input").as_deref(), Some(r#""http://seats.example""#));
    assert!(text(&find("step fetch").attributes, "workflow.step.id").unwrap().ends_with("::fetch"));
    assert_eq!(emitted, format!("00-{TRACE}-{}-01", hex(&find("attempt 2 of fetch").span_id)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_gets_the_metrics_of_an_engine() {
    let _alone = ALONE.lock().await;
    let (collector, world, store) = (Collector::start().await, World::default(), MemoryStore::new());
    let provider = collector.meter_provider();
    global::set_meter_provider(provider.clone());
    let engine = open(&store, &collector, &world, SOON).await;
    // Collects until the condition holds: the depth of a queue is that of the previous collection.
    let collected = async |what: &dyn Fn(&Collector) -> bool| {
        soon(async {
            loop {
                let provider = provider.clone();
                tokio::task::spawn_blocking(move || provider.force_flush().unwrap()).await.unwrap();
                if what(&collector) {
                    return;
                }
                workflow_harness::pause().await;
            }
        })
        .await;
    };
    let of = |name: &str, attributes: &[(&str, &str)]| sums(&collector.latest(name), attributes);

    soon(engine.start(payment, 5).await.unwrap()).await.unwrap();
    soon(engine.start(gives_up, ()).await.unwrap()).await.unwrap_err();
    let waits = engine.start(trip, "http://seats.example".to_owned()).await.unwrap();
    soon(async {
        while engine.get_hook("price").await.is_err() {
            workflow_harness::pause().await
        }
    })
    .await;
    waits.cancel("enough").await.unwrap();
    soon(waits).await.unwrap_err();
    let stuck = engine.start(falls_over, ()).await.unwrap();
    soon(async {
        while stuck.status().await.unwrap() != Status::Stuck {
            workflow_harness::pause().await
        }
    })
    .await;
    let ids = |name: &str| format!("{}::{name}", module_path!());
    collected(&|collector| {
        let stuck = sums(&collector.latest("workflow.runs.stuck"), &[("workflow.name", &ids("falls_over"))]);
        let ended = sums(&collector.latest("workflow.runs.ended"), &[("workflow.status", "cancelled")]);
        (stuck, ended) == (1.0, 1.0)
    })
    .await;
    for workflow in ["payment", "gives_up", "trip", "falls_over"] {
        assert_eq!(of("workflow.runs.started", &[("workflow.name", &ids(workflow))]), 1.0, "{workflow}");
    }
    for (workflow, status) in [("payment", "completed"), ("gives_up", "failed"), ("trip", "cancelled")] {
        let attributes = [("workflow.name", &*ids(workflow)), ("workflow.status", status)];
        assert_eq!(of("workflow.runs.ended", &attributes), 1.0, "{workflow}");
        assert_eq!(of("workflow.runs.ended", &attributes[..1]), 1.0, "{workflow}");
    }
    assert_eq!(of("workflow.runs.ended", &[("workflow.name", &ids("falls_over"))]), 0.0);
    // For histograms these are counts.
    let fetch = ids("fetch");
    let fetch = ("workflow.step.id", &*fetch);
    assert_eq!(of("workflow.attempt.duration", &[fetch]), 2.0);
    assert_eq!(of("workflow.attempt.duration", &[fetch, ("error.type", "user")]), 1.0);
    assert_eq!(of("workflow.attempt.delay", &[fetch]), 2.0);
    assert_eq!(of("workflow.step.duration", &[fetch]), 1.0);
    assert_eq!(of("workflow.attempts.active", &[fetch]), 0.0);
    assert!(of("workflow.commit.writes", &[]) > 0.0);

    let printing = engine.start(prints_twice, ()).await.unwrap();
    let prints = ids("prints");
    let (printer, prints) = (("workflow.queue.name", "printer"), ("workflow.step.id", &*prints));
    collected(&|collector| {
        let depth = sums(&collector.latest("workflow.queue.depth"), &[printer]);
        let active = sums(&collector.latest("workflow.attempts.active"), &[printer, prints]);
        (depth, active) == (1.0, 1.0)
    })
    .await;
    world.gate.0.add_permits(2);
    soon(printing).await.unwrap();
    collected(&|collector| {
        let depth = sums(&collector.latest("workflow.queue.depth"), &[printer]);
        let active = sums(&collector.latest("workflow.attempts.active"), &[printer]);
        (depth, active) == (0.0, 0.0)
    })
    .await;
    // The internal run of a queue's step is not counted.
    assert_eq!(of("workflow.runs.started", &[]), 5.0);
    for (name, unit) in [
        ("workflow.runs.started", "{run}"),
        ("workflow.runs.ended", "{run}"),
        ("workflow.runs.stuck", "{run}"),
        ("workflow.step.duration", "s"),
        ("workflow.attempt.duration", "s"),
        ("workflow.attempt.delay", "s"),
        ("workflow.attempts.active", "{attempt}"),
        ("workflow.queue.depth", "{step}"),
        ("workflow.commit.writes", "{write}"),
    ] {
        assert_eq!(collector.latest(name).unit, unit, "{name}");
    }
}
