//! Spans for runs, turns and steps; nothing is logged twice by a replay.
//!
//! In a program of its own, since the subscriber is the whole process's: what other tests do side by side decides which
//! spans `tracing` holds to be of interest.

use std::fmt::Debug;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use workflow_runtime::store::MemoryStore;
use workflow_runtime::{Engine, Result, Run, durable, hook, sleep, spawn, step, suspend, timeout, workflow, writer};

/// Collects the messages of events and the names and fields of spans.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<String>>>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}

impl Subscriber for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields(format!("span {}", span.metadata().name()));
        span.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields("event".to_owned());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

static COLLECTOR: LazyLock<Collector> = LazyLock::new(|| {
    let collector = Collector::default();
    tracing::subscriber::set_global_default(collector.clone()).unwrap();
    collector
});

/// Says when a step was executed, and holds it until it may return.
#[derive(Clone)]
struct Gates {
    executed: Arc<watch::Sender<Vec<String>>>,
    open: Arc<watch::Sender<Vec<String>>>,
}

impl Gates {
    fn new() -> Self {
        Gates { executed: Arc::new(watch::channel(vec![]).0), open: Arc::new(watch::channel(vec![]).0) }
    }
}

#[step]
async fn gated(#[resource] gates: &Gates, name: String) -> Result<()> {
    gates.executed.send_modify(|names| names.push(name.clone()));
    gates.open.subscribe().wait_for(|open| open.contains(&name)).await?;
    Ok(())
}

#[workflow]
async fn talks() -> Result<()> {
    tracing::info!("at the beginning");
    gated("one".into()).await?;
    tracing::info!("in the middle");
    gated("two".into()).await?;
    tracing::info!("at the end");
    Ok(())
}

#[tokio::test]
async fn what_a_workflow_logs_is_logged_once() {
    let collector = &*COLLECTOR;
    let gates = Gates::new();
    let store = MemoryStore::new();
    let open = || Engine::builder().store(Arc::new(store.clone())).resource(gates.clone()).replay_every_turn().open();
    let executed = |times: usize| {
        let mut names = gates.executed.subscribe();
        async move { drop(names.wait_for(|names| names.len() >= times).await.unwrap()) }
    };
    let engine = open().await.unwrap();
    drop(engine.start(talks, ()).id("talk").await.unwrap());
    gates.open.send_modify(|open| open.push("one".into()));
    executed(2).await;
    drop(engine);
    let engine = open().await.unwrap();
    executed(3).await;
    gates.open.send_modify(|open| open.push("two".into()));
    let run: Run<()> = engine.get_run("talk");
    run.await.unwrap();
    let output = collector.0.lock().unwrap().clone();
    let count = |text: &str| output.iter().filter(|line| line.contains(text)).count();
    for text in ["at the beginning", "in the middle", "at the end"] {
        assert_eq!(count(text), 1, "{text}: {output:#?}");
    }
    let has = |start: &str, text: &str| output.iter().any(|line| line.starts_with(start) && line.contains(text));
    assert!(has("span run", "talk") && has("span turn", "index=1"), "{output:#?}");
    assert!(has("span step", "::gated") && has("span step", "attempt=1"), "{output:#?}");
}

#[step]
async fn charge(order: u64) -> Result<u64> {
    Ok(order)
}

#[workflow]
async fn child(order: u64) -> Result<u64> {
    charge(order).await
}

/// A step in a destructor, which cannot await it.
struct Refund;

impl Drop for Refund {
    fn drop(&mut self) {
        drop(charge(1).retries(1));
    }
}

/// Lines that throw operations away, in a helper and in a destructor too.
#[allow(clippy::suspicious_map, reason = "this is the mistake")]
#[workflow]
async fn throws_away(orders: u64) -> Result<usize> {
    drop(charge(1));
    let _receipt = charge(2);
    let counted = (0..orders).map(|order| charge(order)).count();
    let _refund = Refund;
    drop(sleep(Duration::from_secs(1)));
    drop(child(1));
    drop(hook::<u32>().token("never opened"));
    drop(suspend::<u32>("never suspended"));
    drop(writer("words").write(&"never written"));
    drop(timeout(Duration::from_secs(1), charge(3)));
    inner().await?;
    Ok(counted)
}

#[durable]
async fn inner() -> Result<()> {
    drop(child(2));
    Ok(())
}

/// What is dropped here was polled, is meant to be dropped, or loses to what is ready at once.
#[workflow]
async fn drops_by_right(orders: u64) -> Result<u64> {
    let first = tokio::select! {
        ready = std::future::ready(1) => ready,
        _ = sleep(Duration::from_secs(3600)) => 2,
        order = charge(3) => order?,
    };
    let second = timeout(Duration::from_secs(3600), std::future::ready(1)).await.unwrap_or_default();
    let third = tokio::select! {
        order = charge(1) => order?,
        _ = sleep(Duration::from_secs(3600)) => 2,
    };
    spawn(async { charge(5).await });
    child(6).detach()?;
    drop(hook::<u32>().open());
    drop(writer::<u32>("unused"));
    Ok(first + second + third + orders)
}

#[workflow]
async fn is_never_done() -> Result<()> {
    let _refund = Refund;
    let _call = charge(1);
    gated("never".into()).await
}

#[tokio::test]
async fn an_operation_that_nobody_awaits_is_logged_once_for_its_line() {
    let collector = &*COLLECTOR;
    let gates = Gates::new();
    let engine = Engine::builder().url("memory:").resource(gates.clone()).replay_every_turn().open().await.unwrap();
    let logged = |run: &str| {
        let output = collector.0.lock().unwrap();
        let of_run =
            |line: &&String| line.contains("dropped before it was awaited") && line.contains(&format!("run=\"{run}\""));
        output.iter().filter(of_run).cloned().collect::<Vec<_>>()
    };
    let run = engine.start(drops_by_right, 1).id("drops by right").await.unwrap();
    assert_eq!(run.await.unwrap(), 4);
    assert_eq!(logged("drops by right"), [""; 0]);

    // The engine drops it, not the workflow.
    let mut executed = gates.executed.subscribe();
    drop(engine.start(is_never_done, ()).id("never done").await.unwrap());
    executed.wait_for(|names| !names.is_empty()).await.unwrap();
    engine.get_run::<(), workflow_runtime::Error>("never done").cancel("enough").await.unwrap();
    assert_eq!(logged("never done"), [""; 0]);

    let run = engine.start(throws_away, 3).id("throws away").await.unwrap();
    assert_eq!(run.await.unwrap(), 3);
    let lines = logged("throws away");
    assert_eq!(lines.len(), 11, "{lines:#?}");
    assert!(lines.iter().all(|line| line.contains("at=tests/tests/tracing.rs:")), "{lines:#?}");
    let run = engine.start(throws_away, 4).id("again").await.unwrap();
    assert_eq!(run.await.unwrap(), 4);
    assert_eq!(logged("again"), [""; 0]);
}

#[workflow]
async fn awaits(run: Run<()>) -> Result<()> {
    run.await
}

#[tokio::test]
async fn a_cycle_of_runs_that_wait_for_each_other_is_logged_once() {
    let collector = &*COLLECTOR;
    let builder = Engine::builder().url("memory:").resource(Gates::new());
    let engine = builder.evict_after(Duration::ZERO).open().await.unwrap();
    let first = engine.create_run(awaits).id("first of a cycle").await.unwrap();
    let second = engine.start(awaits, engine.get_run("first of a cycle")).id("second").await.unwrap();
    let third = engine.start(awaits, engine.get_run("second")).id("third").await.unwrap();
    let outside = engine.start(awaits, engine.get_run("third")).id("outside").await.unwrap();
    first.start(engine.get_run("third")).await.unwrap();
    let text = "runs wait for each other: `first of a cycle` for `third` for `second` for `first of a cycle`; cancel";
    let logged = || {
        let output = collector.0.lock().unwrap();
        output.iter().filter(|line| line.contains("wait for each other") && line.contains("cycle`")).cloned().collect()
    };
    let mut lines: Vec<String> = logged();
    let is_logged = async {
        while lines.is_empty() {
            tokio::task::yield_now().await;
            lines = logged();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), is_logged).await.expect("the cycle is logged");
    assert!(lines.len() == 1 && lines[0].contains(text), "{lines:#?}");
    // Each of them was evicted, and looks again when it leaves memory again.
    second.cancel("to end the cycle").await.unwrap();
    for run in [first.run(), third, outside] {
        run.await.unwrap_err();
    }
    assert_eq!(logged().len(), 1, "{:#?}", logged());
}
