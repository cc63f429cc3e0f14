//! An engine that exports spans, and the exported spans.

use opentelemetry_sdk::trace::{InMemorySpanExporter, SimpleSpanProcessor, SpanData};
use workflow_runtime::Engine;

use super::{Lab, Place, soon};

pub async fn open(place: &Place, lab: &Lab) -> (Engine, InMemorySpanExporter) {
    let exporter = InMemorySpanExporter::default();
    let processor = SimpleSpanProcessor::new(exporter.clone());
    (place.builder(lab).span_processor(processor).open().await.unwrap(), exporter)
}

/// The exported spans of a run.
pub fn of(exporter: &InMemorySpanExporter, run: &str) -> Vec<SpanData> {
    let of = |span: &SpanData| attribute(span, "workflow.run.id").as_deref() == Some(run);
    exporter.get_finished_spans().unwrap().into_iter().filter(of).collect()
}

/// Waits for a span of the run for which `what` is true, and returns the spans of the run.
pub async fn once(exporter: &InMemorySpanExporter, run: &str, what: impl Fn(&SpanData) -> bool) -> Vec<SpanData> {
    soon(async {
        loop {
            let spans = of(exporter, run);
            if spans.iter().any(&what) {
                return spans;
            }
            workflow_harness::pause().await;
        }
    })
    .await
}

/// Waits for the run's own span, and returns the spans of the run.
pub async fn spans(exporter: &InMemorySpanExporter, run: &str) -> Vec<SpanData> {
    once(exporter, run, |span| attribute(span, "workflow.status").is_some()).await
}

pub fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key)?;
    Some(found.value.to_string())
}

pub fn named<'s>(spans: &'s [SpanData], name: &str) -> &'s SpanData {
    let names: Vec<_> = spans.iter().map(|span| span.name.clone()).collect();
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name:?} but {names:?}"))
}
