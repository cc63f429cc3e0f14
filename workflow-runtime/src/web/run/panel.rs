//! The details of a row: its output, its input, its attempts with whole errors, its times.

use maud::{Markup, html};
use serde_json::Value;

use super::bars;
use super::source::{Source, TURNS_READ_MAX, begins};
use crate::history::{Ending, RunEvent, RunEventKind};
use crate::model::causes_text;
use crate::steering::text::safe;
use crate::timeline::milliseconds;
use crate::web::access::Action;
use crate::web::actions;
use crate::web::document;
use crate::web::error::WebError;
use crate::web::icons::Icon;
use crate::web::published::{Place, Published};
use crate::web::query::{Query, link};
use crate::web::text;
use crate::web::time;
use crate::web::visit::Visit;

/// Events of an operation that are kept: the first, and the last ones.
const EVENTS_MAX: usize = 64;
/// Bytes of an error that are shown.
const ERROR_BYTES: usize = 8 << 10;

/// What has happened to an operation.
pub(super) struct Detail {
    pub events: Vec<RunEvent>,
    /// Whether the indexes of the events are known.
    is_indexed: bool,
    /// The idempotency key of a step, if it is known.
    key: Option<String>,
}

fn concerns(event: &RunEvent, operation: u64) -> bool {
    let other = match &event.kind {
        RunEventKind::StepRetrying { operation, .. }
        | RunEventKind::StepSuspended { operation, .. }
        | RunEventKind::StepResumed { operation, .. }
        | RunEventKind::StepCompleted { operation, .. }
        | RunEventKind::StepFailed { operation, .. }
        | RunEventKind::Awake { operation, .. }
        | RunEventKind::HookReceived { operation, .. }
        | RunEventKind::HookRefused { operation, .. }
        | RunEventKind::RunEnded { operation, .. }
        | RunEventKind::Dropped { operation } => Some(*operation),
        _ => begins(event),
    };
    other == Some(operation)
}

fn ends(event: &RunEvent) -> bool {
    matches!(
        event.kind,
        RunEventKind::StepCompleted { .. }
            | RunEventKind::StepFailed { .. }
            | RunEventKind::Awake { .. }
            | RunEventKind::RunEnded { .. }
            | RunEventKind::Dropped { .. }
            | RunEventKind::Ended { .. }
    )
}

impl Detail {
    /// Reads the events of an operation; nothing if there is none.
    pub async fn read(visit: &Visit, source: &Source, operation: u64) -> Result<Option<Detail>, WebError> {
        let row = if source.is_long() { source.find(visit, operation).await? } else { 0 };
        let is_indexed = row == 0 && source.generation == source.first_generation;
        let (mut part, mut events, mut read) = (source.part(row), Vec::new(), 0);
        'turns: while read < TURNS_READ_MAX {
            let Some(turn) = visit.client.inner().next_turn(&mut part).await? else { break };
            read += 1;
            for event in turn.events {
                let is_end = matches!(event.kind, RunEventKind::Ended { .. });
                let is_wanted = concerns(&event, operation) || (is_end && !events.is_empty());
                if !is_wanted {
                    continue;
                }
                if events.len() == EVENTS_MAX {
                    events.remove(1);
                }
                let is_over = ends(&event);
                events.push(event);
                if is_over {
                    break 'turns;
                }
            }
        }
        let has_begun = events.first().is_some_and(|event| begins(event) == Some(operation));
        let is_step = events.first().is_some_and(|event| matches!(event.kind, RunEventKind::StepStarted { .. }));
        // The key depends on retries, whose events can be anywhere before: of a long generation it is not known.
        let key = match is_step && !source.is_long() {
            true => visit.client.inner().step_key(&source.info.id, source.key, source.generation, operation).await?,
            false => None,
        };
        Ok(has_begun.then_some(Detail { events, is_indexed, key }))
    }

    pub fn input(&self) -> Option<&Value> {
        match &self.events.first()?.kind {
            RunEventKind::StepStarted { input, .. } | RunEventKind::ChildStarted { input, .. } => Some(input),
            RunEventKind::HookOpened { metadata, .. } => metadata.as_ref(),
            _ => None,
        }
    }

    pub fn output(&self) -> Option<&Value> {
        self.events.iter().rev().find_map(|event| match &event.kind {
            RunEventKind::StepCompleted { output, .. }
            | RunEventKind::RunEnded { end: Ending::Completed { output }, .. } => Some(output),
            RunEventKind::HookReceived { value, .. } => Some(value),
            _ => None,
        })
    }

    fn error(&self) -> Option<&Value> {
        match &self.events.last()?.kind {
            RunEventKind::StepFailed { error, .. } | RunEventKind::RunEnded { end: Ending::Failed { error }, .. } => {
                Some(error)
            }
            _ => None,
        }
    }
}

fn error_text(error: &Value) -> String {
    let text = causes_text(error);
    let end = text.floor_char_boundary(ERROR_BYTES);
    if end < text.len() { format!("{}…", &text[..end]) } else { text }
}

/// The name of what was called, and the run that executes it.
fn called(event: &RunEvent) -> (String, Option<&str>) {
    match &event.kind {
        RunEventKind::StepStarted { step, run, .. } => (step.clone(), run.as_deref()),
        RunEventKind::ChildStarted { workflow, run, .. } => (workflow.clone(), Some(run)),
        RunEventKind::Sleeping { .. } => ("sleep".to_owned(), None),
        RunEventKind::HookOpened { token, .. } => (format!("hook {token}"), None),
        RunEventKind::WaitingForRun { run, .. } => ("run".to_owned(), Some(run)),
        _ => (String::new(), None),
    }
}

/// Where what was called is defined.
fn called_at<'a>(published: &'a Published, event: &RunEvent) -> Option<&'a Place> {
    match &event.kind {
        RunEventKind::StepStarted { step, .. } => published.step(step),
        RunEventKind::ChildStarted { workflow, .. } => published.workflow(workflow),
        _ => None,
    }
}

fn attempts(detail: &Detail) -> Markup {
    let mut from = detail.events.first().map(|event| milliseconds(event.at)).unwrap_or_default();
    let is_over = detail.error().is_some();
    let mut rows: Vec<(u32, Option<String>, u64)> = Vec::new();
    let mut number = 1;
    for event in &detail.events {
        let at = milliseconds(event.at);
        match &event.kind {
            RunEventKind::StepRetrying { attempt, error, next_at, .. } => {
                rows.push((*attempt, Some(error_text(error)), at.saturating_sub(from)));
                (number, from) = (attempt + 1, milliseconds(*next_at));
            }
            RunEventKind::StepFailed { error, .. } => {
                rows.push((number, Some(error_text(error)), at.saturating_sub(from)))
            }
            RunEventKind::StepCompleted { .. } => rows.push((number, None, at.saturating_sub(from))),
            RunEventKind::StepResumed { .. } => (number, from) = (number + 1, at),
            _ => {}
        }
    }
    let last = rows.last().map(|(number, ..)| *number);
    html! {
        @if rows.iter().any(|(_, error, _)| error.is_some()) {
            section {
                h3 { "Attempts" }
                table.sm { tbody {
                    @for (number, error, took) in &rows {
                        tr {
                            td { (number) }
                            td { @if let Some(error) = error { span.err.w[!(is_over && Some(*number) == last)] { (document::safe(error)) } } @else { "ok" } }
                            td.num.nw { (bars::span(*took)) }
                        }
                    }
                } }
            }
        }
    }
}

/// The panel of a row; nothing if there is no such call.
pub(super) async fn of(
    visit: &Visit,
    source: &Source,
    query: &Query,
    operation: u64,
) -> Result<Option<Markup>, WebError> {
    let Some(detail) = Detail::read(visit, source, operation).await? else { return Ok(None) };
    let Some(first) = detail.events.first() else { return Ok(None) };
    let id = &source.info.id;
    let (name, run) = called(first);
    let published = visit.catalogues.published(&visit.client).await?;
    let last = detail.events.last().filter(|last| ends(last));
    let took = last.map(|last| milliseconds(last.at).saturating_sub(milliseconds(first.at)));
    let (icon, word) = match last.map(|last| &last.kind) {
        None => (Icon::Running, "Not ended"),
        Some(RunEventKind::StepFailed { .. } | RunEventKind::RunEnded { end: Ending::Failed { .. }, .. }) => {
            (Icon::Failed, "Failed")
        }
        Some(
            RunEventKind::Dropped { .. }
            | RunEventKind::Ended { .. }
            | RunEventKind::RunEnded { end: Ending::Cancelled { .. }, .. },
        ) => (Icon::Cancelled, "Dropped before its end"),
        Some(RunEventKind::Awake { early: true, .. }) => (Icon::Completed, "Woken early"),
        Some(_) => (Icon::Completed, "Completed"),
    };
    let file = |what: &str| query.clone().only(&["id", "generation", "row"]).and("as", what).to("run");
    let value = |value: &Value, what: &str| text::value(visit.shown(value, id).as_deref(), Some(&file(what)));
    let moment = |event: &RunEvent| html! { (time::at(event.at, visit.now)) span.dim { " " (safe(&crate::model::rfc3339::format(event.at))) } };
    Ok(Some(html! {
        aside.side #detail aria-label=(format!("Details of {}", safe(&name))) {
            div.row {
                h2 { code { (safe(&name)) } " " span.n { "operation " (operation) } }
                a.btn.tiny.push href=(query.clone().without("row").to("run")) aria-label="Close the details" { (Icon::Cross.svg()) }
            }
            p.sm.mid { span class=(format!("st {}", icon.name())) { (icon.svg()) (word) @if let Some(took) = took { " after " (bars::span(took)) } } }
            @if let Some(error) = detail.error() { section { h3 { "Error" } pre.err { (document::safe(&error_text(error))) } } }
            @if let Some(output) = detail.output() { section { h3 { "Output" } (value(output, "output")) } }
            @if let Some(input) = detail.input() { section { h3 { "Input" } (value(input, "input")) } }
            (attempts(&detail))
            section {
                h3 { "Times" }
                dl.kv {
                    dt { "called" } dd { (moment(first)) }
                    @if let RunEventKind::Sleeping { until, .. } = &first.kind { dt { "until" } dd { (time::at(*until, visit.now)) } }
                    @if let Some(last) = last { dt { "ended" } dd { (moment(last)) } }
                }
            }
            section {
                h3 { "Where" }
                dl.kv {
                    dt { "generation" } dd { (source.generation) }
                    @if detail.is_indexed { dt { "event" } dd { (first.index) } }
                    @if let Some(place) = called_at(&published, first) { dt { "source" } dd { (super::location(place)) } }
                    @if let Some(key) = &detail.key { dt { "idempotency key" } dd { code { (safe(key)) } } }
                    @if let Some(run) = run { dt { "run" } dd { a.lnk.mono href=(link("run", "id", run)) { (safe(run)) } } }
                }
            }
            @if visit.may(Action::Fork, Some(id)) && detail.is_indexed {
                section.row { a.btn.tiny href=(actions::fork_address(id, first.index)) data-key="f" { "Fork from here…" } }
            }
        }
    }))
}
