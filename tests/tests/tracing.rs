//! Spans for runs, turns and steps; nothing is logged twice by a replay.
//!
//! In a program of its own, since the subscriber is the whole process's: what other tests do side by side decides which
//! spans `tracing` holds to be of interest.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use workflow_runtime::store::MemoryStore;
use workflow_runtime::{Engine, Result, Run, step, workflow};

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

/// Says when a step was executed, and holds it until it may return.
#[derive(Clone)]
struct Gates {
    executed: Arc<watch::Sender<Vec<String>>>,
    open: Arc<watch::Sender<Vec<String>>>,
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
    let collector = Collector::default();
    tracing::subscriber::set_global_default(collector.clone()).unwrap();
    let gates = Gates { executed: Arc::new(watch::channel(vec![]).0), open: Arc::new(watch::channel(vec![]).0) };
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
