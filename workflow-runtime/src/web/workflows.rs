//! The workflows that the deployments have published.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::access::Action;
use super::error::WebError;
use super::layout::{self, Tab};
use super::query::{Query, link};
use super::text::number;
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
                colgroup { col; col; col.w-n; col.w-n; col.w-n; col.w-n; col.w-status; col.w-go; }
                thead {
                    tr {
                        th { "Workflow" } th { "Source" } th.num { "Running" } th.num { "Waiting" } th.num { "Failing" } th.num { "Stuck" }
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
