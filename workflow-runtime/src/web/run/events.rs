//! The events of a run: compact, in full, or as JSON; filtered, and paged.

use maud::{Markup, html};
use serde_json::Value;

use super::excerpt::{HIDDEN, line};
use super::source::{Source, TURNS_READ_MAX};
use crate::engine::history::part::Part;
use crate::history::RunEvent;
use crate::steering::text::{safe, shortened};
use crate::web::document;
use crate::web::error::WebError;
use crate::web::query::Query;
use crate::web::text::{json, number};
use crate::web::time;
use crate::web::visit::Visit;

/// Events of a page, and the bytes of one that are shown.
const EVENTS_MAX: usize = 100;
const FULL_BYTES: usize = 1_500;
const LINE_CHARACTERS: usize = 160;

const VIEWS: [(&str, &str); 3] = [("compact", "Compact"), ("full", "Full"), ("json", "JSON")];
/// The kinds of events, as they are in JSON.
const KINDS: [&str; 24] = [
    "started",
    "reopened",
    "step_started",
    "step_retrying",
    "step_suspended",
    "step_resumed",
    "step_completed",
    "step_failed",
    "sleeping",
    "awake",
    "hook_opened",
    "hook_received",
    "hook_refused",
    "child_started",
    "waiting_for_run",
    "run_ended",
    "dropped",
    "state",
    "attribute",
    "output",
    "output_closed",
    "rolling_back",
    "ended",
    "unknown",
];
/// The fields that have values of the run.
const VALUES: [&str; 5] = ["input", "output", "payload", "metadata", "value"];

/// An event as JSON, with its values as the visitor may see them: hidden ones are left out.
pub(super) fn document(visit: &Visit, run: &str, event: &RunEvent) -> Value {
    let mut document = serde_json::to_value(event).unwrap_or_default();
    let is_attribute = document.get("type").and_then(Value::as_str) == Some("attribute");
    if let Some(fields) = document.as_object_mut() {
        if !is_attribute {
            show(visit, run, fields);
        }
        if let Some(end) = fields.get_mut("end").and_then(Value::as_object_mut) {
            show(visit, run, end);
        }
    }
    document
}

fn show(visit: &Visit, run: &str, fields: &mut serde_json::Map<String, Value>) {
    for name in VALUES {
        let Some(value) = fields.get(name).filter(|value| !value.is_null()) else { continue };
        let shown = visit.shown(value, run).map(|value| value.into_owned());
        fields.insert(name.to_owned(), shown.unwrap_or_else(|| HIDDEN.into()));
    }
}

/// A position: the generation, the turn, the events of it that were shown, and the index of the next event where it is known.
#[derive(Clone, Copy, Debug)]
struct At {
    generation: u64,
    row: u64,
    skip: usize,
    index: Option<u64>,
}

impl At {
    fn parse(text: &str) -> Option<At> {
        let mut numbers = text.split('.');
        let mut next = || numbers.next()?.parse::<u64>().ok();
        let (generation, row, skip) = (next()?, next()?, next()?);
        Some(At { generation, row, skip: usize::try_from(skip).ok()?, index: next() })
    }

    fn text(self) -> String {
        let At { generation, row, skip, index } = self;
        let index = index.map(|index| format!(".{index}")).unwrap_or_default();
        format!("{generation}.{row}.{skip}{index}")
    }
}

struct Read {
    events: Vec<(RunEvent, Value)>,
    /// Where the next page begins.
    next: Option<At>,
    is_indexed: bool,
}

async fn read(visit: &Visit, source: &Source, at: At, kinds: &[&str]) -> Result<Read, WebError> {
    let id = &source.info.id;
    let mut at = at;
    let is_indexed = at.index.is_some();
    let mut events = Vec::new();
    let mut turns = 0;
    // The index of the first event of the turn: those that were skipped are before it.
    let base = |at: At| at.index.unwrap_or_default().saturating_sub(u64::try_from(at.skip).unwrap_or_default());
    let mut part = Part::new(source.key, at.generation, at.row, base(at));
    loop {
        let Some(turn) = visit.client.inner().next_turn(&mut part).await? else {
            if at.generation >= source.last_generation {
                return Ok(Read { events, next: None, is_indexed });
            }
            at = At { generation: at.generation + 1, row: 0, skip: 0, ..at };
            part = Part::new(source.key, at.generation, 0, at.index.unwrap_or_default());
            continue;
        };
        at.row = turn.row;
        let count = turn.events.len();
        for (place, event) in turn.events.into_iter().enumerate().skip(at.skip) {
            if events.len() == EVENTS_MAX {
                return Ok(Read { events, next: Some(At { skip: place, ..at }), is_indexed });
            }
            at.index = at.index.map(|index| index + 1);
            let document = document(visit, id, &event);
            let kind = document.get("type").and_then(Value::as_str).unwrap_or_default();
            if kinds.is_empty() || kinds.contains(&kind) {
                events.push((event, document));
            }
        }
        (at.row, at.skip, turns) = (turn.row + 1, 0, turns + 1 + count as u64 / 64);
        if turns >= TURNS_READ_MAX {
            return Ok(Read { events, next: Some(at), is_indexed });
        }
    }
}

/// The fields of an event but those that all have.
fn rest(document: &Value) -> Value {
    let mut rest = document.clone();
    if let Some(fields) = rest.as_object_mut() {
        for name in ["index", "generation", "at", "type", "schema"] {
            fields.remove(name);
        }
        fields.retain(|_, value| !value.is_null());
    }
    rest
}

fn summary(document: &Value) -> String {
    let rest = rest(document);
    let Some(fields) = rest.as_object() else { return String::new() };
    let field = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name} {}", safe(&shortened(text, LINE_CHARACTERS / 2))),
        value => format!("{name} {}", line(value, LINE_CHARACTERS / 2)),
    };
    shortened(&fields.iter().map(field).collect::<Vec<_>>().join(", "), LINE_CHARACTERS)
}

fn cut(text: String) -> String {
    let end = text.floor_char_boundary(FULL_BYTES);
    if end < text.len() { format!("{}…", &text[..end]) } else { text }
}

/// The tab.
pub(super) async fn tab(visit: &Visit, source: &Source, query: &Query) -> Result<Markup, WebError> {
    let view =
        query.get("view").and_then(|name| VIEWS.iter().find(|view| view.0 == name)).map_or("compact", |view| view.0);
    let kinds: Vec<&str> = query.all("type").collect();
    let first = At { generation: source.first_generation, row: 0, skip: 0, index: Some(source.first_event) };
    let last = At { generation: source.last_generation, row: source.turns.saturating_sub(40), skip: 0, index: None };
    let at = query.get("at").and_then(At::parse).unwrap_or(first);
    let Read { events, next, is_indexed } = read(visit, source, at, &kinds).await?;
    let page = query.clone().only(&["id", "tab", "view", "type"]);
    let to = |at: At| page.clone().with("at", &at.text()).to("run");
    Ok(html! {
        form.row.filters action="run" {
            @for (name, value) in page.clone().only(&["id", "tab", "view"]).pairs() { input type="hidden" name=(name) value=(value); }
            label { "Type " select name="type" {
                option value="" { "all" }
                @for kind in KINDS { option value=(kind) selected[kinds.contains(&kind)] { (kind.replace('_', " ")) } }
            } }
            button.btn.tiny { "Filter" }
            span.seg { @for (name, word) in VIEWS { a href=(query.clone().with("view", name).to("run")) aria-current=[(name == view).then_some("true")] { (word) } } }
            span.push.seg {
                a href=(to(first)) { "First" }
                @if source.is_long() { a href=(to(last)) { "Last" } }
                a href=(page.clone().only(&["id"]).with("as", "jsonl").to("run")) download="events.jsonl" { "Download as JSON lines" }
            }
        }
        div data-live="events" {
            @if events.is_empty() {
                div.empty { b { "No event of this type" } @if next.is_some() { "None in the part that was read." } }
            } @else if view == "json" {
                pre.events tabindex="0" { @for (_, document) in &events { (cut(safe(&document.to_string()).into_owned())) "\n" } }
            } @else {
                table.fix.events {
                    thead { tr { th.num scope="col" { "#" } th scope="col" { "At" } th scope="col" { "Type" } th scope="col" { "What" } } }
                    tbody {
                        @for (event, document) in &events {
                            tr {
                                td.num.dim { @if is_indexed { (event.index) } @else { "–" } }
                                td.nw.sm { (time::at(event.at, visit.now)) }
                                td { (document.get("type").and_then(Value::as_str).unwrap_or_default().replace('_', " ")) }
                                td.mono.sm {
                                    @if view == "full" { pre { (document::safe(&cut(json(&rest(document))))) } }
                                    @else { div.cut title=(summary(document)) { (summary(document)) } }
                                }
                            }
                        }
                    }
                }
            }
        }
        p.pager {
            (number(events.len() as u64)) " events"
            @if let Some(next) = next { " " a.lnk href=(to(next)) rel="next" { "Next" } }
            @if !is_indexed { span.dim { " The indexes are not known here: the events before were not read." } }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_an_address() {
        for text in ["0.12.3", "4.1000000.0.2000001"] {
            assert_eq!(At::parse(text).map(At::text).as_deref(), Some(text));
        }
        for text in ["", "1", "1.2", "a.b.c", "1.2.-3"] {
            assert!(At::parse(text).is_none(), "{text}");
        }
    }
}
