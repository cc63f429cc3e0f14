//! The workflows that the deployments have published.

use std::collections::BTreeMap;
use std::time::Duration;

use maud::{Markup, html};

use super::access::Action;
use super::document::Tab;
use super::durations::Spread;
use super::error::WebError;
use super::layout;
use super::query::{Query, link};
use super::text::number;
use super::time;
use super::visit::Visit;
use crate::model::{CatalogueWorkflow, Status};
use crate::steering::text::safe;

const KEYS: [(&str, &str); 3] = [("j k", "move"), ("Enter", "its runs"), ("/", "find a run")];

/// How many runs a workflow has.
#[derive(Default)]
struct Counts {
    running: u64,
    waiting: u64,
    failing: u64,
    stuck: u64,
}

/// The cells of how long the runs of a workflow took.
fn took(spread: Option<&Spread>) -> Markup {
    let cell = |label: &str, took: Option<Duration>, runs: usize| {
        html! {
            td.num.nw.mid data-l=(label) title=[took.map(|_| format!("of the newest {runs} that have ended"))] {
                @match took { Some(took) => (time::span(took)), None => span.dim { "–" } }
            }
        }
    };
    let runs = spread.map_or(0, |spread| spread.runs);
    html! { (cell("p50", spread.map(|spread| spread.half), runs)) (cell("p95", spread.map(|spread| spread.most), runs)) }
}

pub(super) async fn page(visit: &Visit) -> Result<Markup, WebError> {
    let mut deployments = visit.client.deployments().await?;
    deployments.sort_by_key(|deployment| deployment.published_at);
    // The latest deployment that has a workflow says what it is.
    let mut workflows: BTreeMap<String, (CatalogueWorkflow, String)> = BTreeMap::new();
    for deployment in deployments {
        let id = deployment.id;
        workflows.extend(
            deployment.catalogue.workflows.into_iter().map(|workflow| (workflow.id.clone(), (workflow, id.clone()))),
        );
    }
    let survey = visit.survey().await?;
    let durations = visit.durations.of(&visit.client, workflows.keys().map(String::as_str)).await?;
    let mut counts: BTreeMap<&str, Counts> = BTreeMap::new();
    for row in &survey.rows {
        let of = counts.entry(&row.info.workflow).or_default();
        match row.info.status {
            Status::Running => of.running += 1,
            Status::Stuck => of.stuck += 1,
            _ => of.waiting += 1,
        }
        of.failing += u64::from(row.info.failing_since.is_some());
    }
    let nothing = Counts::default();
    let cell = |count: u64, workflow: &str, view: &str| {
        let to = Query::default().and("view", view).and("workflow", workflow).to("runs");
        html! { @if count == 0 { span.dim { "0" } } @else { a href=(to) { (number(count)) } } }
    };
    let body = html! {
        div.head {
            h1 { "Workflows" }
            @if !survey.is_complete { span.push.dim.sm { "counts of the newest " (number(survey.rows.len() as u64)) " runs that have not ended" } }
        }
        @if workflows.is_empty() {
            div.empty { b { "No deployment has published a workflow" } p.dim { "Start your program: each engine that opens publishes its workflows" } }
        } @else {
            table.fix.cards {
                colgroup { col; col; col.w-few; col.w-few; col.w-few; col.w-few; col.w-few; col.w-few; col.w-status; col.w-go; }
                thead {
                    tr {
                        th { "Workflow" } th { "Source" } th.num { "Running" } th.num { "Waiting" } th.num { "Failing" } th.num { "Stuck" }
                        th.num title="Half of the newest runs that have ended took at most this" { "p50" }
                        th.num title="95 of 100 of the newest runs that have ended took at most this" { "p95" }
                        th { "Deployment" } th { span.sr { "Start" } }
                    }
                }
                tbody data-rows="" {
                    @for (id, (workflow, deployment)) in &workflows {
                        @let of = counts.get(id.as_str()).unwrap_or(&nothing);
                        tr data-row=(super::query::encoded(id)) {
                            td.cut.full { a.mono href=(link("runs", "workflow", id)) title=(safe(id)) { (safe(id)) } }
                            td.cut.mid.mono title=(safe(&workflow.file)) data-l="Source" { (safe(&workflow.file)) ":" (workflow.line) }
                            td.num data-l="Running" { (cell(of.running, id, "running")) }
                            td.num data-l="Waiting" { (cell(of.waiting, id, "waiting")) }
                            td.num data-l="Failing" { (cell(of.failing, id, "failing")) }
                            td.num data-l="Stuck" { (cell(of.stuck, id, "stuck")) }
                            (took(durations.get(id.as_str())))
                            td.cut.mid data-l="Deployment" { code { (safe(deployment)) } }
                            td.num { @if visit.may(Action::Start, Some(id)) { a.btn.tiny href=(link("start", "workflow", id)) { "Start…" } } }
                        }
                    }
                }
            }
        }
    };
    Ok(layout::page(visit, Tab::Workflows, "Workflows", &KEYS, body))
}
