//! The journal, written as code, with bars on the same rows.

use maud::{Markup, html};

use super::bars;
use super::source::Source;
use crate::steering::text::{safe, shortened};
use crate::timeline::{Axis, Branch, Call, Collected, Kind, Row, State, Timeline};
use crate::web::icons::Icon;
use crate::web::query::{Query, link};
use crate::web::text::cut_id;

/// Attempts that a row shows.
const ATTEMPTS_SHOWN: usize = 3;
/// Bars of a page, after which each row has one a lane.
const BARS_MAX: usize = 1_200;
const NAME_CHARACTERS: usize = 80;
/// Numbers of operations up to this one fit in the first column.
const NUMBERS_NARROW: u64 = 1_000;

fn name(call: &Branch) -> Markup {
    let short = |text: &str| safe(&shortened(text, NAME_CHARACTERS)).into_owned();
    html! {
        @match &call.call {
            Call::Step { step, name } => {
                b { (short(step)) } "(" (call.input) ")" @if let Some(name) = name { " " span.n { (short(name)) } }
            },
            Call::Child { workflow, detached } => {
                b { (short(workflow)) } "(" (call.input) ")" @if *detached { ".detach()" }
            },
            Call::Sleep { until } => { b { "sleep" } "(" (bars::span(until.saturating_sub(call.began))) ")" },
            Call::Hook { token } => { b { "hook" } "(" (short(token)) ")" },
            Call::Suspend { label } => { b { "suspend" } "(" (call.input) ").label(" (short(label)) ")" },
            Call::Run => { b { "run" } "(" (short(call.run.as_deref().unwrap_or_default())) ").await" },
        }
    }
}

fn result(call: &Branch) -> Option<String> {
    match call.state {
        State::Done => Some(call.detail.trim_start_matches("→ ").to_owned()).filter(|text| !text.is_empty()),
        State::Dropped if call.detail.is_empty() => Some("dropped".to_owned()),
        State::Dropped => Some(format!("cancelled: {}", call.detail)),
        _ => None,
    }
}

/// The row as plain text, for its tooltip.
fn title(call: &Branch) -> String {
    let name = match &call.call {
        Call::Step { step, .. } => step,
        Call::Child { workflow, .. } => workflow,
        Call::Sleep { .. } => "sleep",
        Call::Hook { token } => token,
        Call::Suspend { label } => label,
        Call::Run => "run",
    };
    let result = result(call).map(|result| format!(" -> {result}")).unwrap_or_default();
    format!("{}({}){result}", safe(&shortened(name, NAME_CHARACTERS)), call.input)
}

/// The attempts that have failed, shortened.
fn tries(call: &Branch, axis: &Axis) -> Markup {
    let failed = call.attempts.iter().filter(|attempt| attempt.error.is_some()).count();
    let skipped = call.attempts.len().saturating_sub(ATTEMPTS_SHOWN);
    let last = call.attempts.last();
    html! {
        @if failed > 0 {
            ul.tries {
                @if skipped > 0 { li.try.good { (skipped) " earlier attempts" } }
                @for attempt in call.attempts.iter().skip(skipped) {
                    @if let Some(error) = &attempt.error {
                        li.try.dead[call.state == State::Failed && Some(attempt) == last] { span { (attempt.number) } span.cut { (error) } }
                    } @else if call.state == State::Done {
                        li.try.good { (attempt.number) " ok" }
                    } @else if attempt.from > axis.end() {
                        li.try.good {
                            (attempt.number) @if let Some(most) = call.attempts_max { " of " (most) }
                            " in " (bars::span(attempt.from - axis.end()))
                        }
                    } @else if attempt.to.is_none() {
                        li.try.good { (attempt.number) " executes" }
                    }
                }
            }
        } @else if call.state == State::Failed {
            ul.tries { li.try.dead { span.cut { (call.detail) } } }
        }
    }
}

/// What the row waits for, if that is not in its name.
fn waits(call: &Branch) -> Markup {
    let last = call.spans.last().map(|span| span.kind);
    html! {
        @if !call.state.is_over() {
            @match (last, &call.call) {
                (Some(Kind::Person), Call::Hook { .. }) => {
                    p.sm.st { (Icon::Suspended.svg()) "waits for a payload" @if !call.detail.is_empty() { "; " (call.detail) } }
                },
                (Some(Kind::Person), _) => { p.sm.st.person { (Icon::Person.svg()) "waits for a person" } },
                (Some(Kind::Queue), _) => { p.sm.st { (Icon::Pending.svg()) "waits for a worker of its queue" } },
                _ => {},
            }
        }
    }
}

/// The run that executes a call, with a link that unfolds it.
fn child(call: &Branch, query: &Query, path: &str) -> Markup {
    let is_open = query.all("open").any(|open| open == path);
    let to = match is_open {
        true => query.clone().without_value("open", path),
        false => query.clone().and("open", path),
    };
    html! {
        @if let Some(run) = &call.run {
            p.sm.row {
                a.lnk.fold href=(to.to("run")) aria-expanded=(is_open) data-key="o" { @if is_open { "Fold" } @else { "Unfold" } }
                a.lnk.mono href=(link("run", "id", run)) title=(safe(run)) { (cut_id(run)) }
            }
        }
    }
}

fn took(row: &Row<'_>, axis: &Axis) -> String {
    if let Some(ended) = row.ended() {
        return bars::span(ended.saturating_sub(row.began()));
    }
    let ahead =
        row.calls.iter().flat_map(|call| &call.spans).filter_map(|span| span.to.filter(|to| *to > axis.end())).min();
    match (row.calls, ahead) {
        ([call], Some(ahead)) if matches!(call.call, Call::Sleep { .. }) => {
            format!("{} left", bars::span(ahead - axis.end()))
        }
        _ => bars::span(axis.end().saturating_sub(row.began())),
    }
}

/// How rows are called in the address: by the operations that lead to them.
struct Paths {
    above: Vec<u64>,
}

impl Paths {
    fn of(&mut self, row: &Row<'_>) -> String {
        self.above.truncate(row.depth);
        self.above.extend(row.calls.first().map(|call| call.place.operation));
        self.above.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
    }
}

fn line(row: &Row<'_>, query: &Query, path: &str, parent: Option<&str>) -> Markup {
    let Some(first) = row.calls.first() else { return html! {} };
    let operation = first.place.operation.to_string();
    // The details of a child's call are on the page of the child.
    let details = match parent {
        None => query.clone().with("row", &operation).to("run") + "#detail",
        Some(run) => Query::default().and("id", run).and("row", &operation).to("run") + "#detail",
    };
    let count = row.calls.len();
    html! {
        @if count == 1 {
            a.cut href=(details) title=(title(first)) {
                @if first.undoes { span.n { "undo " } }
                (name(first))
                @if let Some(result) = result(first) { " -> " i { (result) } }
            }
        } @else {
            a.cut href=(query.clone().and("open", path).to("run")) title=(title(first)) aria-expanded="false" {
                (count) " × " (name(first)) " -> " i { (folded(row)) }
            }
        }
    }
}

fn folded(row: &Row<'_>) -> String {
    let count = |state: State| row.calls.iter().filter(|call| call.state == state).count();
    let (done, failed) = (count(State::Done), count(State::Failed));
    let open = row.calls.iter().filter(|call| !call.state.is_over()).count();
    let mut text = format!("{done} done");
    for (count, word) in [(failed, "failed"), (open, "not ended")] {
        if count > 0 {
            text.push_str(&format!(", {count} {word}"));
        }
    }
    text
}

/// The table.
pub(super) fn table(
    source: &Source,
    query: &Query,
    collected: &Collected,
    timeline: &Timeline<'_>,
    open: Option<u64>,
) -> Markup {
    let axis = &timeline.axis;
    let mut paths = Paths { above: Vec::new() };
    let mut drawn = 0;
    // The runs whose calls the rows of each depth are.
    let mut runs: Vec<String> = Vec::new();
    let mut rows = Vec::with_capacity(timeline.rows.len());
    for row in &timeline.rows {
        drawn += row.lanes.iter().map(Vec::len).sum::<usize>();
        let path = paths.of(row);
        runs.truncate(row.depth);
        let parent = runs.last().cloned();
        let first = row.calls.first();
        runs.push(first.and_then(|call| call.run.clone()).unwrap_or_default());
        rows.push((row, path, parent, drawn > BARS_MAX));
    }
    let undoing = collected.calls.iter().find(|call| call.undoes).map(|call| call.place);
    html! {
        div.jr.wide[source.calls > NUMBERS_NARROW] {
            svg.grid aria-hidden="true" { (bars::grid(axis)) }
            table.jn {
                colgroup { col; col; col; col; }
                thead { tr { th scope="col" { "#" } th scope="col" { "Journal" } th.axis scope="col" { (bars::labels(axis)) } th.num scope="col" { "Time" } } }
                tbody data-rows="" {
                    @for (row, path, parent, is_coarse) in &rows {
                        @if let Some(first) = row.calls.first() {
                            @if row.depth == 0 && undoing == Some(first.place) { tr.mark { td {} td colspan="3" { "Rolls back" } } }
                            tr.kid[row.depth > 0] aria-current=[(row.depth == 0 && open == Some(first.place.operation)).then_some("true")]
                                data-row=(path) data-depth=[(row.depth > 0).then_some(row.depth)] {
                                td { @if row.depth == 0 { (first.place.operation) } }
                                td {
                                    (line(row, query, path, parent.as_deref()))
                                    @if let [call] = row.calls {
                                        (tries(call, axis))
                                        (waits(call))
                                        (child(call, query, path))
                                        @if call.more > 0 {
                                            @if let Some(run) = &call.run { p.sm { a.dim href=(link("run", "id", run)) { (call.more) " more calls of it" } } }
                                        }
                                    }
                                }
                                td { (bars::row(row, axis, *is_coarse)) }
                                td.num.sm.mid.nw { (took(row, axis)) }
                            }
                        }
                    }
                }
            }
        }
        @if source.turns == 0 { p.dim.sm { "The run has not begun" } }
    }
}
