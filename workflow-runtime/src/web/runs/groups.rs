//! How many runs have the same error, workflow or status.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use maud::{Markup, html};

use super::super::access::Action;
use super::super::actions::Bulk;
use super::super::error::WebError;
use super::super::query::{Query, link};
use super::super::text::{cut_id, number};
use super::super::time;
use super::super::visit::Visit;
use super::{Filter, View};
use crate::model::RunInfo;
use crate::steering::text::{safe, shortened};

/// The groups are made of the newest runs, so that the answer comes in bounded time.
const RUNS_MAX: usize = 10_000;
const TIME_MAX: Duration = Duration::from_millis(50);
const PAGE: usize = 200;
const ERROR_CHARACTERS: usize = 300;

struct Group {
    runs: u64,
    newest: RunInfo,
}

pub(super) async fn table(visit: &Visit, filter: &Filter, query: &Query, by: &str) -> Result<Markup, WebError> {
    let (head, parameter) = match by {
        "error" => ("Error", "class"),
        "workflow" => ("Workflow", "workflow"),
        "status" => ("Status", "status"),
        _ => return Err(WebError::invalid("Runs are grouped by error, workflow or status")),
    };
    let mut groups: HashMap<String, Group> = HashMap::new();
    let (mut looked, mut matched, mut after, deadline) = (0, 0, None, Instant::now() + TIME_MAX);
    let is_whole = loop {
        let runs = filter.runs(&visit.client).limit(PAGE);
        let page = match after {
            Some(after) => runs.after(after).await?,
            None => runs.await?,
        };
        looked += page.runs.len();
        for info in page.runs.into_iter().filter(|info| filter.matches(info)) {
            matched += 1;
            let value = match (by, &info.error) {
                ("workflow", _) => info.workflow.clone(),
                ("status", _) => info.status.to_string(),
                (_, Some(error)) => error.class.clone(),
                (_, None) => continue,
            };
            groups.entry(value).or_insert_with(|| Group { runs: 0, newest: info }).runs += 1;
        }
        after = page.next;
        if after.is_none() {
            break true;
        }
        if looked >= RUNS_MAX || Instant::now() > deadline {
            break false;
        }
    };
    let mut groups: Vec<(String, Group)> = groups.into_iter().collect();
    groups.sort_unstable_by(|(value, group), (other, than)| than.runs.cmp(&group.runs).then(value.cmp(other)));
    let base = query.clone().without("group").without("after");
    let can_be_retried = matches!(filter.view, View::Failing | View::FailedToday | View::Stuck);
    let acts = by == "error" && can_be_retried && visit.may(Action::Retry, None) && visit.may(Action::Wake, None);
    Ok(html! {
        @if groups.is_empty() {
            div.empty { b { "No run has " @if by == "error" { "an error" } @else { "a " (by) } " here" } }
        } @else {
            table.fix.cards {
                colgroup { col.w-age; col; col.w-workflow; col.w-run; col.w-age; @if acts { col.w-act; } }
                thead { tr {
                    th.num { "Runs" } th { (head) } th { @if by != "workflow" { "Workflow" } } th { "Newest" } th.num { "Age" }
                    @if acts { th { span.sr { "Act on them" } } }
                } }
                tbody data-live="groups" {
                    @for (value, group) in &groups {
                        tr {
                            td.num data-l="Runs" { (number(group.runs)) }
                            td.cut.full {
                                @let shown = group.newest.error.as_ref().filter(|_| by == "error").map_or(value.as_str(), |error| &error.text);
                                a.err[by == "error"].w[filter.view == View::Failing] href=(base.clone().with(parameter, value).to("runs"))
                                    title=(safe(shown)) { (safe(&shortened(shown, ERROR_CHARACTERS))) }
                            }
                            td.cut.mid data-l="Workflow" { @if by != "workflow" { (safe(&group.newest.workflow)) } }
                            td.cut data-l="Newest" {
                                a.mono href=(link("run", "id", &group.newest.id)) title=(safe(&group.newest.id)) { (cut_id(&group.newest.id)) }
                            }
                            td.num.nw.mid data-l="Age" { (time::age(group.newest.created_at, visit.now)) }
                            @if acts {
                                @let (bulk, word) = if filter.view == View::Failing { (Bulk::Wake, "now") } else { (Bulk::Retry, "") };
                                @let these = filter.parameters(&base).without_value(parameter, value).and(parameter, value);
                                td.num { a.btn.tiny href=(these.and("all", "1").and("do", bulk.name()).to("bulk")) { "Retry " (number(group.runs)) " " (word) "…" } }
                            }
                        }
                    }
                }
            }
        }
        @if !is_whole {
            p.dim.sm { "These are the groups of the newest " (number(matched)) " runs that match." }
        }
    })
}
