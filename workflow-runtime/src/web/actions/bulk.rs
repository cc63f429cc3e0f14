//! Actions on many runs: a page that says what would be done to how many, and then the action.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::Bulk;
use crate::error::{Error, Result};
use crate::model::{Status, time};
use crate::steering::AnyRun;
use crate::steering::bulk::{Done, Due, Limits, Tally, due, request_cancel, settled};
use crate::steering::text::safe;
use crate::web::document::Tab;
use crate::web::error::WebError;
use crate::web::layout;
use crate::web::posted::{Posted, to};
use crate::web::query::{Query, decoded, encoded, link};
use crate::web::runs::{Filter, ids};
use crate::web::text::{number, runs, word};
use crate::web::visit::Visit;

/// More runs than this are not counted.
const COUNTED_MAX: u64 = 10_000;
const COUNT_TIME: Duration = Duration::from_secs(2);
/// How long one request acts; after it, a button continues with the rest.
const ACT_TIME: Duration = Duration::from_secs(20);
const SHOWN: usize = 10;
const REASON: &str = "cancelled on the web page";

/// The runs that are meant.
enum Targets {
    Ids(Vec<String>),
    /// Those that match and were created before a time: the filter is evaluated once.
    Filter {
        filter: Box<Filter>,
        before: SystemTime,
    },
}

impl Targets {
    fn parse(form: &Query, visit: &Visit) -> std::result::Result<Targets, WebError> {
        if form.get("all").is_none() {
            let ids: Vec<String> = form.all("r").map(decoded).collect();
            return if ids.is_empty() { Err(WebError::invalid("No run is selected")) } else { Ok(Targets::Ids(ids)) };
        }
        let before = form.get("before").and_then(|before| before.parse().ok()).map(Duration::from_millis);
        // By the clock that sets the times of creation, from which the clock of this process can differ.
        let now = || time(visit.client.inner().store_time()) + Duration::from_millis(1);
        let before = before.map_or_else(now, |before| UNIX_EPOCH + before);
        Ok(Targets::Filter { filter: Box::new(Filter::parse(form, visit.now)?), before })
    }

    /// The parameters that mean the same runs, also later.
    fn parameters(&self, form: &Query) -> Query {
        match self {
            Targets::Ids(ids) => ids.iter().fold(Query::default(), |query, id| query.and("r", &encoded(id))),
            Targets::Filter { filter, before } => {
                let before = before.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
                filter.parameters(form).and("all", "1").and("before", &before.to_string())
            }
        }
    }

    /// The same on the command line.
    fn command(&self, bulk: Bulk) -> String {
        match self {
            Targets::Ids(ids) => {
                let ids: Vec<String> = ids.iter().map(|id| word(id)).collect();
                format!("workflow {} {}", bulk.name(), ids.join(" "))
            }
            Targets::Filter { filter, .. } => format!("workflow {} --all{} --dry-run", bulk.name(), filter.options()),
        }
    }
}

/// What an action would do.
#[derive(Default)]
struct Plan {
    would: u64,
    /// Of another status, so that they would be skipped.
    skipped: u64,
    /// The first of them.
    shown: Vec<String>,
    is_whole: bool,
}

async fn plan(visit: &Visit, bulk: Bulk, targets: &Targets) -> Result<Plan> {
    let mut plan = Plan { is_whole: true, ..Plan::default() };
    let add = |plan: &mut Plan, id: String, status: Option<Status>| {
        if status.is_some_and(bulk.verb().applies) && visit.may(bulk.action(), Some(&id)) {
            plan.would += 1;
            if plan.shown.len() < SHOWN {
                plan.shown.push(id);
            }
        } else {
            plan.skipped += 1;
        }
    };
    match targets {
        Targets::Ids(ids) => {
            for id in ids {
                let status = visit.run(id).status().await.ok();
                add(&mut plan, id.clone(), status);
            }
        }
        Targets::Filter { filter, before } => {
            let deadline = Instant::now() + COUNT_TIME;
            let mut after = None;
            loop {
                let (page, next) = ids(&visit.client, filter, *before, after).await?;
                page.into_iter().for_each(|(id, status)| add(&mut plan, id, Some(status)));
                after = next;
                if after.is_none() {
                    break;
                }
                if plan.would + plan.skipped >= COUNTED_MAX || Instant::now() > deadline {
                    plan.is_whole = false;
                    break;
                }
            }
        }
    }
    Ok(plan)
}

/// The page before the action: what it would do, and the button.
pub(in crate::web) async fn confirm(visit: &Visit, form: &Query) -> std::result::Result<Markup, WebError> {
    let targets = Targets::parse(form, visit)?;
    let parameters = targets.parameters(form);
    let Some(name) = form.get("do") else { return Ok(choose(visit, &targets, &parameters)) };
    let bulk = Bulk::parse(name)?;
    if !visit.may(bulk.action(), None) {
        return Err(WebError::forbidden(bulk.name()));
    }
    let plan = plan(visit, bulk, &targets).await?;
    let would = if plan.is_whole { runs(plan.would) } else { format!("{}+ runs", number(plan.would)) };
    let types = bulk.verb().is_final && matches!(targets, Targets::Filter { .. });
    let body = html! {
        div.head { h1 { (bulk.word()) " " (would) "?" } }
        p { (bulk.explained()) }
        @if plan.skipped > 0 {
            p.dim { (runs(plan.skipped)) @if plan.skipped == 1 { " is" } @else { " are" } " skipped: the action is not for their status, or not permitted" }
        }
        @if plan.would == 0 {
            div.empty {
                @if plan.is_whole { b { "There is nothing to do" } } @else {
                    b { "No run that matches was found" }
                    p.dim { "The time to count was over before all runs were searched. A filter by workflow or time finds more." }
                }
                p { a href="runs" { "Back to the runs" } }
            }
        } @else {
            ul.ids {
                @for id in &plan.shown { li { a.mono href=(link("run", "id", id)) { (safe(id)) } } }
                @if plan.would > plan.shown.len() as u64 { li.dim { "and " (number(plan.would - plan.shown.len() as u64)) " more" } }
            }
            form method="post" action="act" {
                input type="hidden" name="do" value=(bulk.name());
                @for (name, value) in parameters.pairs() { input type="hidden" name=(name) value=(value); }
                @if bulk == Bulk::Cancel {
                    p.fld { label for="reason" { "Reason" } input #reason name="reason" value=(REASON) maxlength="500"; small { "Workflows and people see it" } }
                }
                @if types {
                    input type="hidden" name="expected" value=(plan.would);
                    p.fld {
                        label for="count" { "The number of runs" }
                        input #count name="count" inputmode="numeric" autocomplete="off" required;
                        small { "Type " (plan.would) ": deleted runs cannot be brought back" }
                    }
                }
                div.row { button.btn.red[bulk.ends()].pri[!bulk.ends()] { (bulk.word()) " " (would) } a.btn href="runs" { "Do nothing" } }
            }
        }
        (super::command(&targets.command(bulk)))
    };
    Ok(layout::page(visit, Tab::Runs, &format!("{} runs", bulk.word()), &[], body))
}

fn choose(visit: &Visit, targets: &Targets, parameters: &Query) -> Markup {
    let body = html! {
        div.head { h1 { "What is to be done to all that match?" } }
        @if let Targets::Filter { filter, .. } = targets {
            p.dim { "View " (filter.view.word()) @for chip in filter.chips() { ", " (chip.word) " " b { (safe(&chip.shown)) } } }
        }
        div.row.chips {
            @for bulk in Bulk::ALL.into_iter().filter(|bulk| visit.may(bulk.action(), None)) {
                a.btn.danger[bulk.ends()] href=(parameters.clone().and("do", bulk.name()).to("bulk")) { (bulk.word()) "…" }
            }
        }
        p.dim.sm { "The next page counts the runs. Nothing is done before that." }
    };
    layout::page(visit, Tab::Runs, "All that match", &[], body)
}

/// What has happened so far.
#[derive(Default)]
struct Report {
    tally: Tally,
    /// Why runs were skipped or failed, for the first of them.
    notes: Vec<(String, String)>,
    /// Where the rest begins, if the time was over.
    rest: Option<String>,
}

/// Acts on the runs. This continues if the client disconnects, so that every run is reported.
pub(in crate::web) async fn act(posted: Posted) -> std::result::Result<Response, WebError> {
    let bulk = Bulk::parse(posted.field("do")?)?;
    let targets = Targets::parse(&posted.form, &posted.visit)?;
    if let Some(expected) = posted.form.get("expected")
        && posted.form.get("count") != Some(expected)
    {
        return Err(WebError::invalid("The number of runs is not the one that was asked for: nothing was deleted"));
    }
    let work = tokio::spawn(async move {
        let report = all(&posted, bulk, &targets).await;
        (posted, targets, report)
    });
    let ended = work.await.map_err(|error| Error::new(error).context("the action ended early"))?;
    let (posted, targets, report) = ended;
    let report = report?;
    if let (Targets::Ids(ids), [], true) = (&targets, &report.notes[..], report.tally.done == 1) {
        // A deleted run has no page.
        return Ok(to(&if bulk == Bulk::Delete { "runs".to_owned() } else { link("run", "id", &ids[0]) }));
    }
    Ok(done(&posted, bulk, &targets, &report).into_response())
}

async fn all(posted: &Posted, bulk: Bulk, targets: &Targets) -> Result<Report> {
    let mut report = Report::default();
    match targets {
        Targets::Ids(ids) => {
            let limits = Limits { statuses: &[], is_filter: false, is_dry_run: false };
            for id in ids {
                one(posted, bulk, id, limits, &mut report).await;
            }
        }
        Targets::Filter { filter, before } => {
            let deadline = Instant::now() + ACT_TIME;
            let statuses = filter.all_statuses();
            let limits = Limits { statuses: &statuses, is_filter: true, is_dry_run: false };
            let mut after = posted.form.get("after").map(str::to_owned);
            loop {
                let (page, next) = ids(&posted.visit.client, filter, *before, after).await?;
                for (id, _) in page {
                    one(posted, bulk, &id, limits, &mut report).await;
                }
                after = next;
                if after.is_none() {
                    break;
                }
                if Instant::now() > deadline {
                    report.rest = after;
                    break;
                }
            }
        }
    }
    Ok(report)
}

async fn apply(bulk: Bulk, run: &AnyRun, reason: &str) -> Result<Done> {
    match bulk {
        Bulk::Cancel => return request_cancel(run, reason).await,
        Bulk::Retry => run.retry().await?,
        Bulk::Wake => run.wake_up().await?,
        Bulk::Delete => run.delete().await?,
    }
    Ok(Done::Done)
}

async fn one(posted: &Posted, bulk: Bulk, id: &str, limits: Limits<'_>, report: &mut Report) {
    let reason = posted.form.get("reason").unwrap_or(REASON);
    let result = match posted.permit(bulk.action(), id) {
        Err(error) => Err(error),
        Ok(()) => {
            let result = match due(&posted.visit.client, id, bulk.verb(), limits).await {
                Ok(Due::Act(run)) => settled(apply(bulk, &run, reason).await, limits),
                Ok(Due::Nothing(done)) => Ok(done),
                Err(error) => Err(error),
            };
            let skipped = match &result {
                Ok(Done::Skipped(why)) => Some(Error::new(why.clone())),
                _ => None,
            };
            posted.report(bulk.action(), id, skipped.as_ref().or(result.as_ref().err()));
            result
        }
    };
    report.tally.add(&result);
    let note = match result {
        Ok(Done::Done) => return,
        Ok(Done::Skipped(why)) => format!("skipped: {why}"),
        Err(error) => error.to_string(),
    };
    if report.notes.len() < 100 {
        report.notes.push((id.to_owned(), note));
    }
}

fn done(posted: &Posted, bulk: Bulk, targets: &Targets, report: &Report) -> Markup {
    let Tally { done, skipped, failed } = &report.tally;
    let body = html! {
        div.head { h1 { (number(*done)) " " (bulk.verb().done) ", " (number(*skipped)) " skipped, " (number(*failed)) " failed" } }
        @if let Some(rest) = &report.rest {
            form method="post" action="act" {
                p { "The rest has not been acted on yet." }
                input type="hidden" name="do" value=(bulk.name());
                input type="hidden" name="after" value=(rest);
                @if let Some(reason) = posted.form.get("reason") { input type="hidden" name="reason" value=(reason); }
                @for (name, value) in targets.parameters(&posted.form).pairs() { input type="hidden" name=(name) value=(value); }
                button.btn.pri { "Continue with the rest" }
            }
        }
        @if !report.notes.is_empty() {
            table.fix.cards {
                thead { tr { th { "Run" } th { "What happened" } } }
                tbody {
                    @for (id, note) in &report.notes {
                        tr { td.cut { a.mono href=(link("run", "id", id)) { (safe(id)) } } td.full { (safe(note)) } }
                    }
                }
            }
        }
        p.chips { a.btn href="runs" { "Back to the runs" } }
    };
    layout::page(&posted.visit, Tab::Runs, "Done", &[], body)
}
