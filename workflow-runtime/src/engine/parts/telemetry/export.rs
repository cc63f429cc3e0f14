//! The export of spans.

use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::metrics::Histogram;
use opentelemetry::trace::{
    Event as SpanEvent, SpanContext, SpanId, SpanKind, Status as SpanStatus, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, global};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks, SpanProcessor};
use serde_json::Value;

use super::SCOPE;
use super::metrics::{SECONDS, error_type};
use super::spans::Spans;
use crate::model::{Trace, time};

/// The exporter of spans, if one is set.
#[derive(Clone, Default)]
pub struct Telemetry(pub Option<Arc<Exporter>>);

pub struct Exporter {
    processor: Box<dyn SpanProcessor>,
    scope: InstrumentationScope,
    /// The durations of steps.
    pub steps: Histogram<f64>,
}

impl Telemetry {
    pub fn new(processor: Box<dyn SpanProcessor>) -> Self {
        let steps = global::meter(SCOPE)
            .f64_histogram("workflow.step.duration")
            .with_unit("s")
            .with_description("From the call of a step to its end, retries included")
            .with_boundaries(SECONDS.to_vec())
            .build();
        let scope = InstrumentationScope::builder(SCOPE).with_version(env!("CARGO_PKG_VERSION")).build();
        Telemetry(Some(Arc::new(Exporter { processor, scope, steps })))
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The spans of a generation of a run, from its beginning. With `again`, a replay exports its spans again, since they
    /// may have been lost with the process that had exported them.
    pub fn spans(&self, run: &Arc<str>, generation: u64, again: bool) -> Spans {
        Spans::new(self.0.as_ref(), run, generation, again)
    }

    /// Flushes the span processor.
    pub async fn flush(&self) {
        let Some(exporter) = self.0.clone() else { return };
        // The flush blocks.
        match tokio::task::spawn_blocking(move || exporter.processor.force_flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "spans could not be exported"),
            Err(error) => tracing::warn!(%error, "spans could not be exported"),
        }
    }
}

/// The data of a span.
pub struct EndedSpan {
    pub name: String,
    /// In milliseconds since 1970.
    pub began: u64,
    /// In milliseconds since 1970.
    pub ended: u64,
    pub attributes: Vec<KeyValue>,
    /// The result; `None` if the operation was cut off.
    pub status: Option<Result<(), String>>,
}

impl Exporter {
    pub fn export(&self, trace: &Trace, run: &str, id: &str, parent: Option<&str>, span: EndedSpan) {
        let EndedSpan { name, began, ended, mut attributes, status } = span;
        let trace_id = TraceId::from_hex(&trace.trace_id).unwrap_or(TraceId::INVALID);
        let span = |id: &str| SpanId::from_hex(id).unwrap_or(SpanId::INVALID);
        let flags = TraceFlags::default().with_sampled(!trace.unsampled);
        let metadata = trace.metadata.iter();
        attributes.extend(metadata.map(|(key, value)| KeyValue::new(format!("workflow.metadata.{key}"), text(value))));
        attributes.push(KeyValue::new("workflow.run.id", run.to_owned()));
        let (ended, mut events) = (time(ended.max(began)), SpanEvents::default());
        let status = match status {
            None => SpanStatus::Unset,
            Some(Ok(())) => SpanStatus::Ok,
            Some(Err(error)) => {
                attributes.push(KeyValue::new("error.type", error_type(&error).into_owned()));
                let (message, exception) = exception(ended, &error);
                events.events.push(exception);
                SpanStatus::error(message)
            }
        };
        self.processor.on_end(SpanData {
            span_context: SpanContext::new(trace_id, span(id), flags, false, TraceState::default()),
            parent_span_id: parent.map_or(SpanId::INVALID, span),
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: time(began),
            end_time: ended,
            attributes,
            dropped_attributes_count: 0,
            events,
            links: SpanLinks::default(),
            status,
            instrumentation_scope: self.scope.clone(),
        });
    }
}

/// The message of an error, which is JSON, and the event that the conventions define for it.
fn exception(at: SystemTime, error: &str) -> (String, SpanEvent) {
    let error = serde_json::from_str(error).unwrap_or_else(|_| Value::from(error));
    let message = error.get("message").map_or_else(|| text(&error), text);
    let attributes = vec![
        KeyValue::new("exception.message", message.clone()),
        KeyValue::new("exception.type", error.get("code").map_or_else(|| "error".to_owned(), text)),
    ];
    (message, SpanEvent::new("exception", at, attributes, 0))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
