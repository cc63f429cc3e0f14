//! The export of spans, and the span of a run that has ended.

use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::metrics::Histogram;
use opentelemetry::trace::{
    Event as SpanEvent, SpanContext, SpanId, SpanKind, Status as SpanStatus, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value as Attribute, global};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks, SpanProcessor};
use serde_json::Value;

use super::SCOPE;
use super::metrics::{SECONDS, error_type};
use super::spans::Spans;
use crate::engine::Inner;
use crate::engine::resend::Sender as _;
use crate::error::Result;
use crate::model::{Status, Trace, span_id, time};
use crate::replay::{End, Event, TurnRecord};

/// The exporter of spans, if one is set.
#[derive(Clone, Default)]
pub struct Telemetry(Option<Arc<Exporter>>);

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
pub struct Told {
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
    pub fn tell(&self, trace: &Trace, run: &str, id: &str, parent: Option<&str>, told: Told) {
        let Told { name, began, ended, mut attributes, status } = told;
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

/// The status of a run's end, with its error as JSON.
fn status(end: &End) -> Result<(), String> {
    match end {
        End::Failed(error) => Err(error.as_str().to_owned()),
        End::Cancelled(reason) => Err(Value::from(reason.as_str()).to_string()),
        End::Completed(_) | End::Continued(_) => Ok(()),
    }
}

impl Inner {
    /// Exports the span of a run whose end is recorded in this generation, unless the status is not an end. The span shows
    /// the run's first and last row, which are read in a task of its own; a shutdown waits for it.
    pub(in crate::engine) fn export_end(self: &Arc<Self>, run: &Arc<str>, generation: u64, status: Status) {
        let Some(exporter) = self.settings.telemetry.0.clone().filter(|_| status.is_terminal()) else { return };
        let (engine, run) = (self.clone(), run.clone());
        let export = async move {
            while let Err(error) = engine.export(&exporter, &run, generation, status).await {
                if !error.is_outage() || engine.draining.is_cancelled() || !engine.before_next_attempt().await {
                    return tracing::warn!(%run, ?error, "the span of a run that has ended could not be exported");
                }
            }
        };
        self.drivers.spawn_on(export, &self.runtime);
    }

    async fn export(&self, exporter: &Exporter, run: &str, generation: u64, ended: Status) -> Result<()> {
        let Some(row) = self.row(run).await? else { return Ok(()) };
        let first = self.store.journal(row.key, row.first_generation, 0, 1).await?.into_iter().next();
        let last = self.store.last(row.key, generation).await?;
        let (Some(first), Some(last)) = (first, last) else { return Ok(()) };
        let first = TurnRecord::decode(first.format, first.checksum, &first.body)?;
        let last = TurnRecord::decode(last.format, last.checksum, &last.body)?;
        let (Some(first), Some(last)) = (first.deliveries.first(), last.deliveries.last()) else { return Ok(()) };
        // A run that was cancelled before it was started has no trace.
        let Event::Started { args, carried: Some(carried), .. } = &first.event else { return Ok(()) };
        let Some(trace) = carried.inherited.as_ref().and_then(|inherited| inherited.trace.as_ref()) else {
            return Ok(());
        };
        let mut attributes = vec![
            KeyValue::new("workflow.status", ended.as_str()),
            KeyValue::new("workflow.name", row.workflow.to_string()),
        ];
        if !trace.hide_input {
            attributes.push(KeyValue::new("workflow.input", args.as_str().to_owned()));
        }
        if !trace.tags.is_empty() {
            let tags = trace.tags.iter().map(|tag| StringValue::from(tag.to_string())).collect();
            attributes.push(KeyValue::new("workflow.tags", Attribute::Array(Array::String(tags))));
        }
        if let Some(End::Completed(output)) = last.end.as_ref().filter(|_| !trace.hide_output) {
            attributes.push(KeyValue::new("workflow.output", output.as_str().to_owned()));
        }
        let short = row.workflow.rsplit("::").next().unwrap_or(&row.workflow);
        let name = trace.name.as_deref().map_or_else(|| format!("workflow {short}"), str::to_owned);
        let status = last.end.as_ref().map(status);
        let told = Told { name, began: first.at, ended: last.at, attributes, status };
        exporter.tell(trace, run, &span_id(&["run", run]), trace.parent_span_id.as_deref(), told);
        Ok(())
    }
}
