//! An engine that tells spans, and what it has told.

use opentelemetry_sdk::trace::{InMemorySpanExporter, SimpleSpanProcessor, SpanData};
use workflow_runtime::Engine;

use super::{Lab, Place, soon};

pub async fn open(place: &Place, lab: &Lab) -> (Engine, InMemorySpanExporter) {
    let exporter = InMemorySpanExporter::default();
    let processor = SimpleSpanProcessor::new(exporter.clone());
    (place.builder(lab).span_processor(processor).open().await.unwrap(), exporter)
}

/// The spans of one run, once its own is there.
pub async fn spans(exporter: &InMemorySpanExporter, run: &str) -> Vec<SpanData> {
    soon(async {
        loop {
            let all = exporter.get_finished_spans().unwrap();
            let of = |span: &SpanData| attribute(span, "workflow.run.id").as_deref() == Some(run);
            let spans: Vec<_> = all.into_iter().filter(of).collect();
            if spans.iter().any(|span| attribute(span, "workflow.status").is_some()) {
                return spans;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

pub fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key)?;
    Some(found.value.to_string())
}

pub fn named<'s>(spans: &'s [SpanData], name: &str) -> &'s SpanData {
    let names: Vec<_> = spans.iter().map(|span| span.name.clone()).collect();
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name:?} but {names:?}"))
}
