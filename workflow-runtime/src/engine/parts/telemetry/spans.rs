//! The spans of the operations of a run, exported as they end.
//!
//! They are derived from the journal alone, whether this process or another has recorded its rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use serde_json::Value;

use super::export::{EndedSpan, Exporter};
use super::metrics::error_type;
use crate::codec::Payload;
use crate::model::{Trace, span_id};
use crate::replay::{Class, Command, Delivery, End, Event, Identity, TurnRecord};

/// See the module. `None` without an exporter.
#[derive(Default)]
pub struct Spans(Option<Box<Followed>>);

impl Spans {
    pub fn new(exporter: Option<&Arc<Exporter>>, run: &Arc<str>, generation: u64, again: bool) -> Self {
        let followed = |exporter: &Arc<Exporter>| {
            let identity = Identity { run: run.clone(), workflow: "", generation };
            let telling = if again { Telling::Again } else { Telling::Nothing };
            Box::new(Followed { exporter: exporter.clone(), identity, trace: None, open: BTreeMap::new(), telling })
        };
        Spans(exporter.map(followed))
    }

    /// Whether the turns of the run have spans.
    pub fn are_followed(&self) -> bool {
        self.0.is_some()
    }

    /// Exports the spans that end in a recorded turn; `ended` if the run has ended, or its generation.
    pub fn recorded(&mut self, record: &TurnRecord, ended: bool) {
        let Some(followed) = &mut self.0 else { return };
        followed.telling = Telling::News;
        record.deliveries.iter().for_each(|delivery| followed.follow(delivery));
        if let Some(last) = record.deliveries.last().filter(|_| ended) {
            followed.cut_off(last.at);
        }
    }

    /// Follows a delivery that was recorded before.
    pub fn replayed(&mut self, delivery: &Delivery) {
        if let Some(followed) = &mut self.0 {
            followed.follow(delivery);
        }
    }
}

/// Whether spans that end are exported.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Telling {
    News,
    /// Spans that were exported before, but may have been lost.
    Again,
    Nothing,
}

struct Followed {
    exporter: Arc<Exporter>,
    identity: Identity,
    /// The trace of the run; `None` if it belongs to none.
    trace: Option<Trace>,
    open: BTreeMap<u64, Open>,
    telling: Telling,
}

/// An operation that has begun and has not ended.
struct Open {
    kind: &'static str,
    name: String,
    began: u64,
    attributes: Vec<KeyValue>,
    /// The current part of a step.
    part: Option<Part>,
    /// The id of the step.
    step: Option<String>,
    /// The number of payloads that a hook has received.
    payloads: u64,
}

/// A part of a step: an attempt or a suspension. Parts are numbered by attempts.
struct Part {
    number: u32,
    began: u64,
    /// The label, if the part is a suspension and no attempt.
    waits: Option<String>,
}

impl Part {
    fn attempt(number: u32, began: u64) -> Self {
        Part { number, began, waits: None }
    }
}

/// How an operation or a part of it ends.
#[derive(Clone, Copy)]
enum How<'a> {
    Done,
    Returned(&'a Payload),
    Failed(&'a Payload),
    Because(&'a str),
    /// The workflow has dropped it, or has ended.
    CutOff,
}

impl How<'_> {
    fn status(self) -> Option<Result<(), String>> {
        match self {
            How::Done | How::Returned(_) => Some(Ok(())),
            How::Failed(error) => Some(Err(error.as_str().to_owned())),
            How::Because(reason) => Some(Err(Value::from(reason).to_string())),
            How::CutOff => None,
        }
    }
}

impl Followed {
    fn follow(&mut self, delivery: &Delivery) {
        if let Event::Started { carried: Some(carried), .. } = &delivery.event {
            self.trace = carried.inherited.as_ref().and_then(|inherited| inherited.trace.clone());
        }
        if self.trace.is_none() {
            return;
        }
        self.event(delivery.at, &delivery.event);
        delivery.commands.iter().for_each(|command| self.command(delivery.at, command));
        if delivery.end.is_some() {
            self.cut_off(delivery.at);
        }
    }

    fn event(&mut self, at: u64, event: &Event) {
        match event {
            Event::Completed { op, value } | Event::Finished { op, value } => self.end(at, *op, How::Returned(value)),
            Event::Failed { op, error } => self.end(at, *op, How::Failed(error)),
            Event::Attempt { op, attempt, error, not_before, .. } => {
                self.part(at, *op, Some(Part::attempt(attempt + 1, *not_before)), How::Failed(error));
            }
            Event::Suspended { op, label, .. } => {
                let number = self.number(*op) + 1;
                let waits = Some(Part { number, began: at, waits: Some(label.to_string()) });
                self.part(at, *op, waits, How::Done);
            }
            Event::Payload { op, .. } => self.payload(at, *op),
            Event::Conflict { op, owner } => {
                self.end(at, *op, How::Because(&format!("run {owner} has the token")));
            }
            Event::Ended { op, end } => match end {
                End::Completed(value) => self.end(at, *op, How::Returned(value)),
                End::Failed(error) => self.end(at, *op, How::Failed(error)),
                End::Cancelled(reason) => self.end(at, *op, How::Because(reason)),
                End::Continued(_) => {}
            },
            other => {
                if let Class::Result(op) = other.class() {
                    self.end(at, op, How::Done);
                }
            }
        }
    }

    fn command(&mut self, at: u64, command: &Command) {
        match command {
            Command::Step { op, step, name, input, run, given, .. } => {
                let mut attributes = self.input(given.as_ref().unwrap_or(input));
                attributes.push(KeyValue::new("workflow.step.id", step.to_string()));
                let name = name.as_deref().unwrap_or_else(|| short(step));
                let open = self.begin(at, *op, "step", name, attributes);
                open.step = Some(step.to_string());
                // The attempts of a step of a queue are exported by the run that executes it.
                open.part = run.is_none().then(|| Part::attempt(1, at));
            }
            Command::Timer { op, until } => {
                let seconds = Duration::from_millis(until.saturating_sub(at)).as_secs_f64();
                self.begin(at, *op, "wait", "sleep", vec![KeyValue::new("workflow.wait.seconds", seconds)]);
            }
            Command::Watch { op, run } => {
                self.begin(at, *op, "wait", "run", vec![KeyValue::new("workflow.wait.run", run.to_string())]);
            }
            Command::Child { op, workflow, run, input, detached, own, .. } => {
                let mut attributes = self.input(input);
                attributes.push(KeyValue::new("workflow.child.run.id", run.to_string()));
                self.begin(at, *op, "child", short(workflow), attributes);
                if *detached && own.is_none() {
                    self.end(at, *op, How::Done);
                }
            }
            Command::Cancel { op } => self.end(at, *op, How::CutOff),
            other => {
                if let Some(op) = other.issues() {
                    self.begin(at, op, "wait", &other.slug(), Vec::new());
                }
            }
        }
    }

    fn begin(&mut self, at: u64, op: u64, kind: &'static str, name: &str, attributes: Vec<KeyValue>) -> &mut Open {
        let name = name.to_owned();
        let open = Open { kind, name, began: at, attributes, part: None, step: None, payloads: 0 };
        self.open.entry(op).insert_entry(open).into_mut()
    }

    fn number(&self, op: u64) -> u32 {
        self.open.get(&op).and_then(|open| open.part.as_ref()).map_or(0, |part| part.number)
    }

    /// Ends the current part of a step, and begins the next one.
    fn part(&mut self, at: u64, op: u64, next: Option<Part>, how: How<'_>) {
        let Some(open) = self.open.get_mut(&op) else { return };
        let Some(part) = std::mem::replace(&mut open.part, next) else { return };
        let is_to_begin = matches!(how, How::CutOff) && part.began > at;
        if self.telling == Telling::Nothing || is_to_begin {
            return;
        }
        let (key, number) = (self.identity.key(op), part.number.to_string());
        let (id, name) = match part.waits {
            None => (span_id(&["attempt", &key, &number]), format!("attempt {number} of {}", open.name)),
            Some(label) => (span_id(&["suspension", &key, &number]), format!("wait {label}")),
        };
        let attributes = vec![KeyValue::new("workflow.step.attempt", i64::from(part.number))];
        let span = EndedSpan { name, began: part.began, ended: at, attributes, status: how.status() };
        self.export(&id, &span_id(&["op", &key]), span);
    }

    /// A payload arrived for a suspended step, or for a hook, which then waits for the next one.
    fn payload(&mut self, at: u64, op: u64) {
        let Some(open) = self.open.get_mut(&op) else { return };
        match &open.part {
            Some(part) => {
                let next = Part::attempt(part.number, at);
                self.part(at, op, Some(next), How::Done);
            }
            None => {
                open.payloads += 1;
                let (payloads, name) = (open.payloads, format!("{} {}", open.kind, open.name));
                let began = std::mem::replace(&mut open.began, at);
                let attributes = open.attributes.clone();
                let span = EndedSpan { name, began, ended: at, attributes, status: How::Done.status() };
                self.export_operation(op, payloads, span);
            }
        }
    }

    fn end(&mut self, at: u64, op: u64, how: How<'_>) {
        self.part(at, op, None, how);
        let Some(open) = self.open.remove(&op) else { return };
        let Open { kind, name, began, mut attributes, step, payloads, .. } = open;
        // A hook that received its payloads before and waits for no more.
        if payloads > 0 && matches!(how, How::CutOff) {
            return;
        }
        if let (How::Returned(output), Some(false)) = (how, self.trace.as_ref().map(|trace| trace.hide_output)) {
            attributes.push(KeyValue::new("workflow.output", output.as_str().to_owned()));
        }
        let status = how.status();
        if let (Telling::News, Some(step), Some(status)) = (self.telling, step, &status) {
            let seconds = Duration::from_millis(at.saturating_sub(began)).as_secs_f64();
            let step = KeyValue::new("workflow.step.id", step);
            match status {
                Ok(()) => self.exporter.steps.record(seconds, &[step]),
                Err(error) => {
                    let error = KeyValue::new("error.type", error_type(error).into_owned());
                    self.exporter.steps.record(seconds, &[step, error]);
                }
            }
        }
        let span = EndedSpan { name: format!("{kind} {name}"), began, ended: at, attributes, status };
        self.export_operation(op, payloads + 1, span);
    }

    /// The end of the run, or of its generation, ends all open operations.
    fn cut_off(&mut self, at: u64) {
        let open: Vec<u64> = self.open.keys().copied().collect();
        open.into_iter().for_each(|op| self.end(at, op, How::CutOff));
    }

    /// `number` counts the ends of an operation; a hook can end several times.
    fn export_operation(&self, op: u64, number: u64, span: EndedSpan) {
        let key = self.identity.key(op);
        let id = match number {
            1 => span_id(&["op", &key]),
            number => span_id(&["op", &key, &number.to_string()]),
        };
        self.export(&id, &span_id(&["run", &self.identity.run]), span);
    }

    fn export(&self, id: &str, parent: &str, span: EndedSpan) {
        if let Some(trace) = self.trace.as_ref().filter(|_| self.telling != Telling::Nothing) {
            self.exporter.export(trace, &self.identity.run, id, Some(parent), span);
        }
    }

    fn input(&self, input: &Payload) -> Vec<KeyValue> {
        match self.trace.as_ref().is_none_or(|trace| trace.hide_input) {
            true => Vec::new(),
            false => vec![KeyValue::new("workflow.input", input.as_str().to_owned())],
        }
    }
}

fn short(id: &str) -> &str {
    id.rsplit("::").next().unwrap_or(id)
}
