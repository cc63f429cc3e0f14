//! The list of runs: views, filters in the address, groups, pages by cursor, and the selection.

mod filter;
mod groups;
mod table;

use std::time::{Duration, Instant, SystemTime};

use maud::{Markup, html};

pub(super) use self::filter::{Filter, View};
pub(super) use self::table::table;
use super::access::Action;
use super::actions::Bulk;
use super::document::Tab;
use super::error::WebError;
use super::icons::Icon;
use super::layout;
use super::query::Query;
use super::survey::{Row, Survey, explained, with_others};
use super::text::counted;
use super::time;
use super::visit::Visit;
use crate::engine::Client;
use crate::error::Result;
use crate::handles::runs::Cursor;
use crate::model::Status;
use crate::steering::text::safe;

const KEYS: [(&str, &str); 6] =
    [("j k", "move"), ("x", "select"), ("Enter", "open"), ("/", "find"), ("g e", "group by error"), (".", "actions")];
const PAGE: usize = 50;
/// How long the journals of a page are read; the rest of its rows shows what the columns say.
const READ_MAX: Duration = Duration::from_millis(500);

/// The runs of a page.
struct Listed {
    pub rows: Vec<Row>,
    /// Where the next page begins.
    pub next: Option<Cursor>,
    /// Whether the page is short. If there is a next one, the time for a search without an index was over.
    pub is_cut: bool,
}

pub(super) async fn page(visit: &Visit) -> Result<Markup, WebError> {
    let query = visit.query();
    let filter = Filter::parse(&query, visit.now)?;
    let survey = visit.survey().await?;
    let group = query.get("group").unwrap_or("none");
    let body = html! {
        div.head {
            h1 { "Runs" }
            @if visit.may(Action::Start, None) { a.btn.push href="workflows" { "Start a run" } }
        }
        (views(&survey, &filter, &query))
        (chips(&filter, &query, group))
        @if group == "none" {
            (list(visit, &filter, &query, &survey).await?)
        } @else {
            (groups::table(visit, &filter, &query, group).await?)
        }
    };
    Ok(layout::page(visit, Tab::Runs, "Runs", &KEYS, body))
}

fn views(survey: &Survey, filter: &Filter, query: &Query) -> Markup {
    html! {
        nav.tabs aria-label="Views" data-live="views" {
            @for view in View::ALL {
                @let count = counted(view.count(survey));
                @let to = query.clone().without("view").without("after").without("from");
                @let to = if view == View::All { to } else { to.with("view", view.name()) };
                a href=(to.to("runs")) aria-current=[(view == filter.view).then_some("page")] {
                    (view.word()) " " span.n { (count) }
                }
            }
        }
    }
}

fn chips(filter: &Filter, query: &Query, group: &str) -> Markup {
    html! {
        div.chips {
            @for chip in filter.chips() {
                @let to = query.clone().without_value(chip.name, &chip.value).without("after").without("from");
                span.chip {
                    (chip.word) " " b { (safe(&chip.shown)) } " "
                    a href=(to.to("runs")) aria-label=(format!("Remove the filter {}", chip.word)) { (Icon::Cross.svg()) }
                }
            }
            (filter::editor(filter, query))
            span.row.push.sm {
                span.dim { "Group by" }
                span.seg {
                    @for word in ["none", "error", "workflow", "status"] {
                        @let to = query.clone().without("group").without("after").without("from");
                        @let to = if word == "none" { to } else { to.with("group", word) };
                        a href=(to.to("runs")) aria-current=[(word == group).then_some("true")]
                            data-key=[(word == "error").then_some("g e")] { (word) }
                    }
                }
            }
        }
    }
}

async fn list(visit: &Visit, filter: &Filter, query: &Query, survey: &Survey) -> Result<Markup, WebError> {
    let listed = listed(&visit.client, filter, query).await?;
    let older = listed.next.map(|next| query.clone().with("after", &next.to_string()).to("runs"));
    let searched = listed.next.filter(|_| listed.is_cut);
    let is_first = query.get("after").is_none();
    let filters = filter.chips().len();
    Ok(html! {
        @if !listed.rows.is_empty() {
            form.list method="post" action="bulk" {
                (table(visit, &listed.rows, true))
                (selection(visit, filter, query, survey))
            }
        } @else if older.is_none() {
            (empty(filter, query, filters))
        }
        @if let Some(searched) = searched {
            p.searched role="status" {
                @match listed.rows.len() { 0 => "No run that matches was found so far", _ => "These are the runs that were found so far" }
                ": the search has no index, and its time was over at runs from " (time::at(searched.at(), visit.now)) ". Older ones may match, too."
            }
        }
        div.pager.row {
            span { "Latest first. Rows keep their place while they change." }
            a.chip.push href=(query.clone().without("after").to("runs")) data-newer="" hidden { "Newer runs" }
            @if !is_first { a.chip.push href=(query.clone().without("after").to("runs")) { "Latest" } }
            @if let Some(older) = older {
                a.chip.push[is_first] href=(older) rel="next" { @if searched.is_some() { "Search on" } @else { "Older" } }
            }
        }
    })
}

/// The bar that appears when a run is selected, and the actions on all that match.
fn selection(visit: &Visit, filter: &Filter, query: &Query, survey: &Survey) -> Markup {
    let offered: Vec<Bulk> = Bulk::ALL.into_iter().filter(|bulk| visit.may(bulk.action(), None)).collect();
    if offered.is_empty() {
        return html! {};
    }
    let all = filter.parameters(query).and("all", "1");
    // With other filters than the view they are counted on the next page.
    let is_view = filter.chips().is_empty();
    let count = if is_view { counted(filter.view.count(survey)) + " " } else { String::new() };
    html! {
        div.bulk role="group" aria-label="Act on the selection" {
            b { "selected" }
            a.btn.tiny href=(all.to("bulk")) { "All " (count) "that match…" }
            @for bulk in offered {
                button.btn.tiny.danger[bulk.ends()] name="do" value=(bulk.name()) { (bulk.word()) "…" }
            }
        }
        p.dim.sm.all { a href=(all.to("bulk")) { "Act on all " (count) "that match…" } }
    }
}

fn empty(filter: &Filter, query: &Query, filters: usize) -> Markup {
    html! {
        div.empty {
            @match (filter.view, filters) {
                (View::Failing, 0) => b { "No run fails at the moment" },
                (View::Stuck, 0) => b { "No run is stuck" },
                (View::All, 0) => {
                    b { "There are no runs yet" }
                    p.dim { "Start one on the page " a href="workflows" { "Workflows" } ", or with a command:" }
                    p { code { "workflow start WORKFLOW ARGUMENTS" } }
                },
                (_, 0) => b { "No run is in this view" },
                (_, filters) => {
                    b { "No run matches" @if filters == 1 { " this filter" } @else { " these " (filters) " filters" } }
                    p { a href=(query.clone().only(&["view", "group"]).to("runs")) { "Remove the filters" } }
                },
            }
        }
    }
}

/// A page of the runs that match.
async fn listed(client: &Client, filter: &Filter, query: &Query) -> Result<Listed> {
    let mut runs = filter.runs(client).limit(PAGE);
    if let Some(after) = query.get("after") {
        runs = runs.after(after.parse()?);
    }
    let page = match filter.scans() {
        true => runs.matching(|info| filter.matches(info)).await?,
        false => runs.await?,
    };
    let is_cut = page.runs.len() < PAGE;
    let deadline = Instant::now() + READ_MAX;
    let rows = explained(client, page.runs, deadline).await?;
    Ok(Listed { rows: with_others(client, rows, deadline).await, next: page.next, is_cut })
}

/// How many ids are read at once.
const IDS: usize = 200;

/// A part of the ids of the runs that match and were created before a time, with their statuses, and where the next part
/// begins.
pub(super) async fn ids(
    client: &Client,
    filter: &Filter,
    before: SystemTime,
    after: Option<String>,
) -> Result<(Vec<(String, Status)>, Option<String>)> {
    let runs = filter.runs(client).created_before(filter.before(before)).limit(IDS);
    let page = match after {
        Some(after) => runs.after(after.parse()?).await?,
        None => runs.await?,
    };
    let matching = page.runs.into_iter().filter(|info| filter.matches(info));
    Ok((matching.map(|info| (info.id, info.status)).collect(), page.next.map(|next| next.to_string())))
}
