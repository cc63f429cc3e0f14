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
use super::survey::Survey;
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

/// How many places there are, how many of them are in use, and how many steps wait for one.
struct Places {
    all: usize,
    used: u64,
    /// Whether more may be in use.
    is_part: bool,
}

impl Places {
    /// Those of a worker for async and for blocking steps, if it has published them.
    fn of(worker: &WorkerInfo, survey: &Survey) -> Option<Self> {
        let all = worker.concurrency?.saturating_add(worker.blocking_concurrency?);
        Some(Places { all, used: survey.executed_by(worker.owner), is_part: !survey.is_complete })
    }

    fn percent(&self) -> u64 {
        (self.used.min(self.all as u64) * 100).div_ceil((self.all as u64).max(1))
    }
}

/// A bar for the places in use, and their number in words.
fn meter(places: &Places) -> Markup {
    let (all, more) = (places.all as u64, if places.is_part { "+" } else { "" });
    html! {
        span.meter {
            svg aria-hidden="true" {
                rect.all width="100%" height="6" rx="3" {}
                @if places.used > 0 { rect.used width=(format!("{}%", places.percent())) height="6" rx="3" {} }
            }
            (number(places.used.min(all))) (more) " of " (number(all))
            @if places.used > all { ", " (number(places.used - all)) " wait" }
        }
    }
}

/// The places of a worker; nothing if it does not execute, or has not published them.
pub(super) fn places(worker: &WorkerInfo, survey: &Survey) -> Markup {
    let places = Places::of(worker, survey).filter(|_| worker.is_alive && worker.executes);
    html! { @if let Some(places) = places { (meter(&places)) } }
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
    for (row, waiting) in survey.rows.iter().flat_map(|row| row.waiting.iter().map(move |waiting| (row, waiting))) {
        match waiting {
            Waiting::NoWorker { workflow, .. } => *unserved.entry((false, workflow)).or_default() += 1,
            Waiting::OtherWorkerExecutes { workflow, .. } => *unserved.entry((true, workflow)).or_default() += 1,
            // The run that executes the step is counted, and not the one that has called it, which has the same reason.
            Waiting::Queued { .. } | Waiting::QueueNotServed { .. } if row.queue().is_none() => {}
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
    let live_workers: Vec<&WorkerInfo> = workers.iter().filter(|worker| worker.is_alive).collect();
    let body = html! {
        div.head { h1 { "Workers and deployments" } }
        div data-live="unserved" {
            @for ((is_other, workflow), count) in &unserved {
                div.why.stuck {
                    (Icon::Stuck.svg())
                    div {
                        p { (runs(*count)) " of " code { (safe(workflow)) } " cannot continue: no worker that executes has the workflow" }
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
            header { h2 { "Workers" } span.dim.sm { (live_workers.len()) " live" } }
            @if workers.is_empty() {
                p { "No worker is live: " (runs(survey.rows.len() as u64)) @if survey.rows.len() == 1 { " has" } @else { " have" } " not ended. Start your program." }
            } @else {
                table.fix.cards {
                    colgroup { col.w-status; col; col.w-run; col; col.w-meter; col.w-age; }
                    thead { tr {
                        th { "State" } th { "Worker" } th { "Deployment" } th { "Queues" }
                        th title="Attempts of steps that are executed, of the async and blocking ones that it executes at a time" { "Attempts" }
                        th.num { "Opened" }
                    } }
                    tbody {
                        @for worker in &workers {
                            tr {
                                td { (state(worker)) }
                                td.cut { (name(worker)) }
                                td.cut data-l="Deployment" { code { (safe(worker.deployment.as_deref().unwrap_or_default())) } }
                                td.cut.mid data-l="Queues" { (safe(&worker.queues.join(", "))) }
                                td.nw data-l="Attempts" { (places(worker, &survey)) }
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
                    colgroup { col.w-run; col.w-n; col.w-meter; col; }
                    thead { tr { th { "Queue" } th.num { "Waiting" } th { "Executing" } th { "Served by" } } }
                    tbody {
                        @for (queue, (waiting, unserved)) in &queues {
                            tr {
                                td.cut { code { (safe(queue)) } }
                                td.num data-l="Waiting" { (number(*waiting)) }
                                td.nw data-l="Executing" {
                                    @let all: usize = live_workers.iter().filter_map(|worker| worker.queue_concurrency.get(*queue)).sum();
                                    @if all > 0 {
                                        (meter(&Places { all, used: survey.executed_for(queue), is_part: !survey.is_complete }))
                                    }
                                }
                                td.full data-l="Served by" {
                                    @if *unserved > 0 { span.st.stuck { (Icon::Stuck.svg()) "no live worker serves it" } } @else {
                                        @for worker in live_workers.iter().filter(|worker| worker.queues.iter().any(|served| served == queue)) { (name(worker)) " " }
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
