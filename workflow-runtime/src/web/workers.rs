//! The processes that execute runs, and the builds that they are of.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::access::Action;
use super::actions;
use super::document::Tab;
use super::error::WebError;
use super::icons::Icon;
use super::layout;
use super::query::link;
use super::text::{number, runs};
use super::time;
use super::visit::Visit;
use crate::model::{DeploymentInfo, Waiting, WorkerInfo};
use crate::steering::text::safe;

const KEYS: [(&str, &str); 2] = [("g r", "runs"), ("/", "find a run")];

/// A worker's host and process.
pub(super) fn name(worker: &WorkerInfo) -> Markup {
    html! {
        @if let Some(host) = &worker.host { (safe(host)) " " }
        @if let Some(pid) = worker.pid { span.dim { "pid " (pid) } }
    }
}

/// Whether a worker executes.
pub(super) fn state(worker: &WorkerInfo) -> Markup {
    let (icon, word) = match (worker.is_alive, worker.is_draining, worker.executes) {
        (false, ..) => (Icon::Failed, "Gone"),
        (true, true, _) => (Icon::Pending, "Drains"),
        (true, false, true) => (Icon::Running, "Executes"),
        (true, false, false) => (Icon::Suspended, "Ready"),
    };
    html! { span.st.(icon.name()) { (icon.svg()) (word) } }
}

/// Which runs a deployment takes.
fn standing(deployment: &DeploymentInfo) -> Markup {
    let (icon, word) = match deployment {
        it if it.workers == 0 && it.runs > 0 => (Icon::Stuck, "No worker"),
        it if it.is_draining => (Icon::Pending, "Drained"),
        it if it.is_promoted => (Icon::Completed, "Promoted"),
        it if it.workers == 0 => (Icon::Suspended, "Gone"),
        _ => (Icon::Running, "Takes runs"),
    };
    html! { span.st.(icon.name()) { (icon.svg()) (word) } }
}

pub(super) async fn page(visit: &Visit) -> Result<Markup, WebError> {
    let (workers, mut deployments) = (visit.client.workers().await?, visit.client.deployments().await?);
    deployments.sort_by_key(|deployment| std::cmp::Reverse(deployment.published_at));
    let survey = visit.survey().await?;
    let mut unserved: BTreeMap<(bool, &str), u64> = BTreeMap::new();
    // By queue: how many steps wait, and how many of them without a worker.
    let mut queues: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    workers.iter().filter(|worker| worker.is_alive).flat_map(|worker| &worker.queues).for_each(|queue| {
        queues.entry(queue).or_default();
    });
    for waiting in survey.rows.iter().flat_map(|row| &row.waiting) {
        match waiting {
            Waiting::NoWorker { workflow, .. } => *unserved.entry((false, workflow)).or_default() += 1,
            Waiting::OtherWorkerExecutes { workflow, .. } => *unserved.entry((true, workflow)).or_default() += 1,
            Waiting::Queued { queue, .. } => queues.entry(queue).or_default().0 += 1,
            Waiting::QueueNotServed { queue, .. } => {
                let of = queues.entry(queue).or_default();
                *of = (of.0 + 1, of.1 + 1);
            }
            _ => {}
        }
    }
    let changes = [Action::Drain, Action::Undrain, Action::Promote, Action::Release];
    let steers = deployments.iter().any(|it| changes.iter().any(|change| visit.may(*change, Some(&it.id))));
    let live = workers.iter().filter(|worker| worker.is_alive).count();
    let body = html! {
        div.head { h1 { "Workers and deployments" } }
        div data-live="unserved" {
            @for ((is_other, workflow), count) in &unserved {
                div.why.stuck {
                    (Icon::Stuck.svg())
                    div {
                        p { (runs(*count)) " of " code { (safe(workflow)) } " cannot go on: no worker that executes has the workflow" }
                        small {
                            @if *is_other { "Another process executes on this file. End it, so that one that has the workflow takes over." }
                            @else { "Start a worker of a build that has it." }
                        }
                    }
                    a.btn href=(link("runs", "workflow", workflow)) { "See the runs" }
                }
            }
        }
        section data-live="workers" {
            header { h2 { "Workers" } span.dim.sm { (live) " live" } }
            @if workers.is_empty() {
                p { "No worker is live: " (runs(survey.rows.len() as u64)) @if survey.rows.len() == 1 { " has" } @else { " have" } " not ended. Start your program." }
            } @else {
                table.fix.cards {
                    colgroup { col.w-status; col; col.w-run; col; col.w-age; }
                    thead { tr { th { "State" } th { "Worker" } th { "Deployment" } th { "Queues" } th.num { "Opened" } } }
                    tbody {
                        @for worker in &workers {
                            tr {
                                td { (state(worker)) }
                                td.cut { (name(worker)) }
                                td.cut data-l="Deployment" { code { (safe(worker.deployment.as_deref().unwrap_or_default())) } }
                                td.cut.mid data-l="Queues" { (safe(&worker.queues.join(", "))) }
                                td.num.nw.mid data-l="Opened" { (time::age(worker.started_at, visit.now)) }
                            }
                        }
                    }
                }
            }
        }
        section data-live="deployments" {
            header { h2 { "Deployments" } span.dim.sm { "builds that count as the same version of a program" } }
            @if deployments.is_empty() { p.dim { "No engine has published its build" } } @else {
                table.fix.cards {
                    colgroup { col; col.w-status; col.w-run; col.w-few; col.w-few; col.w-n; col.w-few; @if steers { col.w-do; } }
                    thead { tr {
                        th { "Deployment" } th { "State" } th { "Published" } th.num { "Workers" }
                        th.num title="Runs that have not ended and are bound to it" { "Runs" } th.num { "Workflows" } th.num { "Steps" }
                        @if steers { th { span.sr { "Change it" } } }
                    } }
                    tbody {
                        @for deployment in &deployments {
                            tr {
                                td.cut.full { code { (safe(&deployment.id)) } }
                                td { (standing(deployment)) }
                                td.mid.nw data-l="Published" { (time::at(deployment.published_at, visit.now)) }
                                td.num data-l="Workers" { (deployment.workers) }
                                td.num data-l="Runs" { (number(deployment.runs)) }
                                td.num data-l="Workflows" { (number(deployment.catalogue.workflows.len() as u64)) }
                                td.num data-l="Steps" { (number(deployment.catalogue.steps.len() as u64)) }
                                @if steers { td.num { (actions::changes(visit, deployment)) } }
                            }
                        }
                    }
                }
            }
        }
        section data-live="queues" {
            header { h2 { "Queues" } }
            @if queues.is_empty() { p.dim { "No worker serves a queue, and no step waits in one" } } @else {
                table.fix.cards {
                    colgroup { col.w-run; col.w-n; col; }
                    thead { tr { th { "Queue" } th.num { "Waiting" } th { "Served by" } } }
                    tbody {
                        @for (queue, (waiting, unserved)) in &queues {
                            tr {
                                td.cut { code { (safe(queue)) } }
                                td.num data-l="Waiting" { (number(*waiting)) }
                                td.full data-l="Served by" {
                                    @if *unserved > 0 { span.st.stuck { (Icon::Stuck.svg()) "no live worker serves it" } } @else {
                                        @for worker in workers.iter().filter(|worker| worker.is_alive && worker.queues.iter().any(|served| served == queue)) { (name(worker)) " " }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    Ok(layout::page(visit, Tab::Workers, "Workers and deployments", &KEYS, body))
}
