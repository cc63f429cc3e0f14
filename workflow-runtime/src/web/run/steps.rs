//! The steps and children of a run as a table.

use maud::{Markup, html};

use super::bars;
use super::source::Source;
use super::timeline::rows_max;
use crate::model::time as moment;
use crate::steering::text::safe;
use crate::timeline::{Branch, Call, State};
use crate::web::error::WebError;
use crate::web::icons::Icon;
use crate::web::published::{Place, Published};
use crate::web::query::{Query, link};
use crate::web::text::{cut_id, number};
use crate::web::time;
use crate::web::visit::Visit;

fn status(call: &Branch) -> (Icon, &'static str) {
    match call.state {
        State::Active => (Icon::Running, "Running"),
        State::Retrying => (Icon::Failing, "Failing"),
        State::Waiting => (Icon::Suspended, "Waiting"),
        State::Done => (Icon::Completed, "Completed"),
        State::Failed => (Icon::Failed, "Failed"),
        State::Dropped => (Icon::Cancelled, "Dropped"),
    }
}

fn name(call: &Branch) -> Option<(&str, Option<&str>)> {
    match &call.call {
        Call::Step { step, name } => Some((step, name.as_deref())),
        Call::Child { workflow, .. } => Some((workflow, None)),
        _ => None,
    }
}

fn defined<'a>(published: &'a Published, call: &Branch) -> Option<&'a Place> {
    match &call.call {
        Call::Step { step, .. } => published.step(step),
        Call::Child { workflow, .. } => published.workflow(workflow),
        _ => None,
    }
}

/// The tab.
pub(super) async fn tab(visit: &Visit, source: &Source, query: &Query) -> Result<Markup, WebError> {
    let most = rows_max(&source.info.id);
    let from = query.get("from").and_then(|from| from.parse().ok()).unwrap_or_default();
    let collected = source.window(visit, Some(from), most, false).await?;
    let published = visit.catalogues.published(&visit.client).await?;
    let page = query.clone().only(&["id", "tab", "generation"]);
    let to = |from: u64| page.clone().with("from", &from.to_string()).to("run");
    let most = most as u64;
    let steps: Vec<_> = collected.calls.iter().filter_map(|call| name(call).map(|name| (call, name))).collect();
    Ok(html! {
        @if collected.before > 0 { p.pager { a.lnk href=(to(collected.before.saturating_sub(most))) { (number(collected.before)) " calls before" } } }
        @if steps.is_empty() { div.empty { b { "No step was called here" } } } @else {
            table.fix.steps data-live="steps" {
                thead { tr {
                    th.num scope="col" { "#" } th scope="col" { "Step" } th scope="col" { "Status" } th.num scope="col" { "Attempts" }
                    th scope="col" { "Called" } th.num scope="col" { "Took" } th scope="col" { "Result or error" }
                } }
                tbody {
                    @for (call, (step, name)) in steps {
                        @let (icon, word) = status(call);
                        tr {
                            td.num.dim { (call.place.operation) }
                            td {
                                a.cut.mono href=(page.clone().without("tab").with("row", &call.place.operation.to_string()).to("run") + "#detail")
                                    title=(safe(step)) { b { (safe(step)) } "(" (call.input) ")" @if let Some(name) = name { " " (safe(name)) } }
                                @if let Some(place) = defined(&published, call) { div.cut.n { (safe(&place.file)) ":" (place.line) } }
                                @if let Some(run) = &call.run { a.lnk.mono.sm href=(link("run", "id", run)) title=(safe(run)) { (cut_id(run)) } }
                            }
                            td { span class=(format!("st {}", icon.name())) { (icon.svg()) (word) } }
                            td.num { (call.attempts.last().map_or(1, |attempt| attempt.number)) }
                            td.nw.sm { (time::at(moment(call.began), visit.now)) }
                            td.num.nw { @if let Some(ended) = call.ended { (bars::span(ended.saturating_sub(call.began))) } @else { "–" } }
                            td { div.cut.sm.mono.err[matches!(call.state, State::Failed | State::Retrying)] title=(call.detail) { (call.detail.trim_start_matches("→ ")) } }
                        }
                    }
                }
            }
        }
        @if collected.after > 0 { p.pager { a.lnk href=(to(from + most)) rel="next" { (number(collected.after)) " calls after" } } }
    })
}
