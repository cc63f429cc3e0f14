//! A new run from the history of another one.

use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde_json::Value;

use crate::codec::exact::exact;
use crate::error::Code;
use crate::history::StepOutcome;
use crate::steering::text::{safe, shortened};
use crate::web::access::Action;
use crate::web::document::Tab;
use crate::web::error::WebError;
use crate::web::layout;
use crate::web::posted::{Posted, to};
use crate::web::query::{Query, link};
use crate::web::text::{json, word};
use crate::web::visit::Visit;

/// The latest steps that are offered.
const STEPS: usize = 200;
const CHARACTERS: usize = 120;

pub(in crate::web) async fn fork_form(visit: &Visit, form: &Query) -> Result<Markup, WebError> {
    page(visit, form, None).await
}

async fn page(visit: &Visit, form: &Query, wrong: Option<&str>) -> Result<Markup, WebError> {
    let id = form.get("run").ok_or_else(|| WebError::invalid("The address has no id of a run"))?;
    if !visit.may(Action::Fork, Some(id)) {
        return Err(WebError::forbidden("fork this run"));
    }
    let steps = visit.run(id).steps().await?;
    let at = form.get("at").and_then(|at| at.parse::<u64>().ok());
    let chosen = at.and_then(|at| steps.iter().find(|step| step.event == at));
    let body = html! {
        div.head { h1 { "Fork " code { (safe(id)) } } }
        p.mid { "A new run that begins with what this run did before an event. It executes what follows anew." }
        @match at {
            None => {
                section {
                    header { h2 { "From which step?" } }
                    @if steps.is_empty() { p.dim { "The run has called no step" } }
                    table.fix.cards {
                        colgroup { col.w-n; col; col.w-go; }
                        thead { tr { th.num { "Event" } th { "Step" } th { span.sr { "Choose" } } } }
                        tbody { @for step in steps.iter().rev().take(STEPS) { (row(visit, id, step)) } }
                    }
                }
            },
            Some(at) => (form_at(visit, form, id, at, chosen, wrong)),
        }
    };
    Ok(layout::page(visit, Tab::Runs, "Fork a run", &[], body))
}

fn row(visit: &Visit, id: &str, step: &StepOutcome) -> Markup {
    let input = visit.shown(&step.input, id).map(|input| shortened(&input.to_string(), CHARACTERS));
    html! {
        tr {
            td.num data-l="Event" { (step.event) }
            td.cut.full { code { b { (safe(&step.step)) } @if let Some(input) = input { " " (safe(&input)) } } }
            td.num { a.btn.tiny href=(super::fork_address(id, step.event)) { "From here…" } }
        }
    }
}

fn form_at(
    visit: &Visit,
    form: &Query,
    id: &str,
    at: u64,
    chosen: Option<&StepOutcome>,
    wrong: Option<&str>,
) -> Markup {
    let before = chosen.and_then(|step| visit.shown(&step.input, id)).map(|input| json(&input)).unwrap_or_default();
    let input = form.raw("input").unwrap_or(&before);
    let command = format!("workflow fork {} --at {at}", word(id));
    html! {
        form method="post" action="fork" {
            input type="hidden" name="run" value=(id);
            input type="hidden" name="at" value=(at);
            input type="hidden" name="before" value=(before);
            dl.kv { dt { "event" } dd { (at) } @if let Some(step) = chosen { dt { "step" } dd { code { (safe(&step.step)) } } } }
            @if chosen.is_some() {
                p.fld {
                    label for="input" { "Input of the step, JSON" }
                    textarea.code #input name="input" spellcheck="false" aria-invalid=[wrong.map(|_| "true")]
                        aria-describedby=[wrong.map(|_| "input-wrong")] { (input) }
                    small { "Unchanged, the step gets what it got. The code of the step checks other input, so a program that has it has to serve this page" }
                    @if let Some(wrong) = wrong { span.wrong #input-wrong { (safe(wrong)) } }
                }
            }
            p.fld { label for="id" { "Id of the new run " span.n { "optional" } } input #id name="id" value=(form.get("id").unwrap_or_default()) placeholder="drawn at random"; }
            p.fld { label.opt { input type="checkbox" name="undo" value="1"; "If it fails or is cancelled, also undo what it inherits" } }
            button.btn.pri { "Fork" }
        }
        (super::command(&command))
    }
}

pub(in crate::web) async fn fork(posted: Posted) -> Result<Response, WebError> {
    let (id, form) = (posted.field("run")?, &posted.form);
    let at: u64 = posted.field("at")?.parse().map_err(|_| WebError::invalid("The event is no number"))?;
    posted.require(Action::Fork, id)?;
    let mut fork = posted.visit.run(id).fork(at);
    if let Some(text) = form.get("input").filter(|text| form.raw("before") != Some(text.replace("\r\n", "\n").as_str()))
    {
        match exact(text) {
            Ok(input) => fork = fork.input(&arguments(input)),
            Err(wrong) => {
                return Ok(page(&posted.visit, form, Some(&wrong)).await?.into_response());
            }
        }
    }
    if let Some(id) = form.get("id") {
        fork = fork.id(id);
    }
    if form.get("undo").is_some() {
        fork = fork.undo_inherited();
    }
    let forked = fork.await;
    posted.report(Action::Fork, id, forked.as_ref().err());
    match forked {
        Ok(forked) => Ok(to(&link("run", "id", forked.id()))),
        Err(error) if [Code::Payload, Code::InvalidArguments, Code::NotRegistered].contains(&error.code()) => {
            Ok(page(&posted.visit, form, Some(&format!("{error:?}"))).await?.into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// The arguments of a step in the form that the library takes: always an array.
fn arguments(input: Value) -> Value {
    match input {
        Value::Array(_) => input,
        Value::Null => Value::Array(Vec::new()),
        only => Value::Array(vec![only]),
    }
}
