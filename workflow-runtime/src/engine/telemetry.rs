//! Spans and metrics for OpenTelemetry, made of the journal of a run once it has ended.
//!
//! So they are whole whatever has happened to the processes that have executed it. Their ids follow from what they are
//! about: a span that is told twice, since a process died in between, is the same span.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::trace::{
    Event, SpanContext, SpanId, SpanKind, Status as SpanStatus, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value as Attribute, global};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks, SpanProcessor};
use serde_json::Value;

use super::Inner;
use super::history::Next;
use crate::error::Result;
use crate::history::{Ending, RunEvent, RunEventKind};
use crate::replay::Identity;
use crate::run::RunInfo;
use crate::trace::{Trace, span_id};

const NAME: &str = "workflow_runtime";

/// Where spans go, and what is counted.
pub(super) struct Telemetry {
    processor: Box<dyn SpanProcessor>,
    scope: InstrumentationScope,
    ended: Counter<u64>,
    steps: Histogram<f64>,
}

impl Telemetry {
    pub fn new(processor: Box<dyn SpanProcessor>) -> Self {
        let meter = global::meter(NAME);
        Telemetry {
            processor,
            scope: InstrumentationScope::builder(NAME).with_version(env!("CARGO_PKG_VERSION")).build(),
            ended: meter.u64_counter("workflow.runs.ended").with_description("Runs that have ended, by status").build(),
            steps: meter
                .f64_histogram("workflow.step.duration")
                .with_unit("s")
                .with_description("From the call of a step to its end, retries included")
                .build(),
        }
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").field("processor", &self.processor).finish_non_exhaustive()
    }
}

/// Something that has begun and has not ended.
struct Open {
    name: String,
    kind: &'static str,
    began: SystemTime,
    attributes: Vec<KeyValue>,
    /// The attempt of a step that is under way, and when it began.
    attempt: Option<(u32, SystemTime)>,
}

/// What a span tells.
struct Told {
    name: String,
    began: SystemTime,
    ended: SystemTime,
    attributes: Vec<KeyValue>,
    /// Why it is told as one that failed.
    failure: Option<Value>,
}

/// The spans of one run.
struct Spans<'a> {
    telemetry: &'a Telemetry,
    trace: &'a Trace,
    identity: Identity,
    open: HashMap<u64, Open>,
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn failed(error: &Value) -> SpanStatus {
    let message = error.get("message").and_then(Value::as_str).map(str::to_owned).unwrap_or_else(|| text(error));
    SpanStatus::error(message)
}

fn exception(at: SystemTime, error: &Value) -> SpanEvents {
    let mut events = SpanEvents::default();
    let attributes = vec![
        KeyValue::new("exception.message", error.get("message").map_or_else(|| text(error), text)),
        KeyValue::new("exception.type", error.get("code").map_or_else(|| "error".to_owned(), text)),
    ];
    events.events.push(Event::new("exception", at, attributes, 0));
    events
}

impl Spans<'_> {
    fn span(&self, id: &str, parent: Option<&str>, told: Told) {
        let trace_id = TraceId::from_hex(&self.trace.trace_id).unwrap_or(TraceId::INVALID);
        let span = |id: &str| SpanId::from_hex(id).unwrap_or(SpanId::INVALID);
        let Told { name, began, ended, mut attributes, failure } = told;
        attributes.extend(
            self.trace
                .metadata
                .iter()
                .map(|(key, value)| KeyValue::new(format!("workflow.metadata.{key}"), text(value))),
        );
        attributes.push(KeyValue::new("workflow.run.id", self.identity.run.to_string()));
        self.telemetry.processor.on_end(SpanData {
            span_context: SpanContext::new(trace_id, span(id), TraceFlags::SAMPLED, false, TraceState::default()),
            parent_span_id: parent.map_or(SpanId::INVALID, span),
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: began,
            end_time: ended.max(began),
            attributes,
            dropped_attributes_count: 0,
            events: failure.as_ref().map(|error| exception(ended, error)).unwrap_or_default(),
            links: SpanLinks::default(),
            status: failure.as_ref().map_or(SpanStatus::Ok, failed),
            instrumentation_scope: self.telemetry.scope.clone(),
        });
    }

    fn key(&self, operation: u64) -> String {
        self.identity.key(operation)
    }

    fn begin(&mut self, at: SystemTime, operation: u64, kind: &'static str, name: String, attributes: Vec<KeyValue>) {
        let attempt = (kind == "step").then_some((1, at));
        self.open.insert(operation, Open { name, kind, began: at, attributes, attempt });
    }

    /// Ends the attempt that is under way.
    fn attempted(&mut self, at: SystemTime, operation: u64, next: Option<SystemTime>, error: Option<&Value>) {
        let key = self.key(operation);
        let Some(open) = self.open.get_mut(&operation) else { return };
        let Some((number, began)) = open.attempt else { return };
        open.attempt = next.map(|next| (number + 1, next));
        let name = format!("attempt {number} of {}", open.name);
        let attributes = vec![KeyValue::new("workflow.step.attempt", i64::from(number))];
        let id = span_id(&["attempt", &key, &number.to_string()]);
        let told = Told { name, began, ended: at, attributes, failure: error.cloned() };
        self.span(&id, Some(&span_id(&["op", &key])), told);
    }

    fn end(&mut self, at: SystemTime, operation: u64, error: Option<&Value>, output: Option<&Value>) {
        self.attempted(at, operation, None, error);
        let key = self.key(operation);
        let Some(open) = self.open.remove(&operation) else { return };
        let Open { name, kind, began, mut attributes, .. } = open;
        if let Some(output) = output.filter(|_| !self.trace.hide_output) {
            attributes.push(KeyValue::new("workflow.output", output.to_string()));
        }
        if kind == "step" {
            let outcome = KeyValue::new("workflow.step.failed", error.is_some());
            let name = KeyValue::new("workflow.step.name", name.clone());
            let duration = at.duration_since(began).unwrap_or(Duration::ZERO);
            self.telemetry.steps.record(duration.as_secs_f64(), &[name, outcome]);
        }
        let run = span_id(&["run", &self.identity.run]);
        let told = Told { name: format!("{kind} {name}"), began, ended: at, attributes, failure: error.cloned() };
        self.span(&span_id(&["op", &key]), Some(&run), told);
    }

    fn input(&self, input: &Value) -> Vec<KeyValue> {
        match self.trace.hide_input {
            true => Vec::new(),
            false => vec![KeyValue::new("workflow.input", input.to_string())],
        }
    }

    fn add(&mut self, event: &RunEvent) {
        let at = event.at;
        match &event.kind {
            RunEventKind::StepStarted { operation, step, name, input, .. } => {
                let mut attributes = self.input(input);
                attributes.push(KeyValue::new("workflow.step.id", step.clone()));
                let short = step.rsplit("::").next().unwrap_or(step);
                let name = name.clone().unwrap_or_else(|| short.to_owned());
                self.begin(at, *operation, "step", name, attributes);
            }
            RunEventKind::StepRetrying { operation, error, next_at, .. } => {
                self.attempted(at, *operation, Some(*next_at), Some(error));
            }
            RunEventKind::StepSuspended { operation, .. } => self.attempted(at, *operation, Some(at), None),
            RunEventKind::StepResumed { operation, .. } => {
                if let Some(Open { attempt: Some((_, began)), .. }) = self.open.get_mut(operation) {
                    *began = at;
                }
            }
            RunEventKind::StepCompleted { operation, output }
            | RunEventKind::RunEnded { operation, end: Ending::Completed { output } } => {
                self.end(at, *operation, None, Some(output));
            }
            RunEventKind::StepFailed { operation, error }
            | RunEventKind::RunEnded { operation, end: Ending::Failed { error } } => {
                self.end(at, *operation, Some(error), None);
            }
            RunEventKind::RunEnded { operation, end: Ending::Cancelled { reason } } => {
                self.end(at, *operation, Some(&Value::from(reason.clone())), None);
            }
            RunEventKind::Sleeping { operation, until } => {
                let seconds = until.duration_since(at).unwrap_or(Duration::ZERO).as_secs_f64();
                self.begin(
                    at,
                    *operation,
                    "wait",
                    "sleep".into(),
                    vec![KeyValue::new("workflow.wait.seconds", seconds)],
                );
            }
            RunEventKind::HookOpened { operation, .. } => {
                self.begin(at, *operation, "wait", "hook".into(), Vec::new());
            }
            RunEventKind::WaitingForRun { operation, run } => {
                self.begin(at, *operation, "wait", "run".into(), vec![KeyValue::new("workflow.wait.run", run.clone())]);
            }
            RunEventKind::ChildStarted { operation, workflow, run, input, .. } => {
                let mut attributes = self.input(input);
                attributes.push(KeyValue::new("workflow.child.run.id", run.clone()));
                let name = workflow.rsplit("::").next().unwrap_or(workflow).to_owned();
                self.begin(at, *operation, "child", name, attributes);
            }
            RunEventKind::Awake { operation, .. } | RunEventKind::Dropped { operation } => {
                self.end(at, *operation, None, None);
            }
            RunEventKind::Ended { .. } => {
                let mut open: Vec<u64> = self.open.keys().copied().collect();
                open.sort_unstable();
                open.into_iter().for_each(|operation| self.end(at, operation, None, None));
            }
            _ => {}
        }
    }
}

impl Inner {
    /// Tells the processor of spans what a run that has ended was.
    pub(super) async fn export(&self, telemetry: &Telemetry, run: &RunInfo) -> Result<()> {
        let id: Arc<str> = run.id.as_str().into();
        let status = KeyValue::new("workflow.status", run.status.as_str());
        let workflow = KeyValue::new("workflow.name", run.workflow.clone());
        let mut place = self.history(&id).await?;
        let mut events = Vec::new();
        while let Next::Event(event) = self.next_event(&mut place).await? {
            events.push(event);
        }
        telemetry.ended.add(1, &[status.clone(), workflow.clone()]);
        let Some(trace) = place.trace() else { return Ok(()) };
        let identity = |generation| Identity { run: id.clone(), workflow: "", generation };
        let mut spans = Spans { telemetry, trace, identity: identity(0), open: HashMap::new() };
        for event in &events {
            if event.generation != spans.identity.generation {
                spans.identity = identity(event.generation);
                spans.open.clear();
            }
            spans.add(event);
        }
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(()) };
        let mut attributes = vec![status, workflow];
        if let RunEventKind::Started { input, .. } = &first.kind {
            attributes.extend(spans.input(input));
        }
        if !trace.tags.is_empty() {
            let tags = trace.tags.iter().map(|tag| StringValue::from(tag.to_string())).collect();
            attributes.push(KeyValue::new("workflow.tags", Attribute::Array(Array::String(tags))));
        }
        let mut failure = None;
        match &last.kind {
            RunEventKind::Ended { end: Ending::Completed { output } } if !trace.hide_output => {
                attributes.push(KeyValue::new("workflow.output", output.to_string()));
            }
            RunEventKind::Ended { end: Ending::Failed { error } } => failure = Some(error.clone()),
            RunEventKind::Ended { end: Ending::Cancelled { reason } } => failure = Some(Value::from(reason.clone())),
            _ => {}
        }
        let short = run.workflow.rsplit("::").next().unwrap_or(&run.workflow);
        let name = trace.name.as_deref().map_or_else(|| format!("workflow {short}"), str::to_owned);
        let own = span_id(&["run", &id]);
        let told = Told { name, began: first.at, ended: last.at, attributes, failure };
        spans.span(&own, trace.parent_span_id.as_deref(), told);
        Ok(())
    }
}
