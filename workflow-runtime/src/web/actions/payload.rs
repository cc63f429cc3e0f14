//! Answers of people: payloads for hooks, and values for suspensions.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde_json::Value;

use crate::error::Code;
use crate::model::{HookInfo, Suspended};
use crate::steering::text::safe;
use crate::web::access::Action;
use crate::web::document::Tab;
use crate::web::error::WebError;
use crate::web::form::{self, Wrong};
use crate::web::layout;
use crate::web::posted::{Posted, to};
use crate::web::published::Published;
use crate::web::query::{Query, link};
use crate::web::text::{value, word};
use crate::web::visit::Visit;

/// The schema of a hook's payloads: this program has it, or a deployment has published it.
fn of_hook<'a>(published: &'a Published, hook: &'a HookInfo) -> Option<&'a Value> {
    hook.schema.as_ref().or_else(|| published.payload(&hook.type_name))
}

/// The schema of the value that a suspension waits for.
fn of_answer<'a>(published: &'a Published, suspended: &Suspended) -> Option<&'a Value> {
    published.payload(&suspended.type_name)
}

/// The form for the payload of a hook.
pub(in crate::web) fn hook(
    visit: &Visit,
    published: &Published,
    hook: &HookInfo,
    given: &Query,
    wrong: &Wrong,
) -> Markup {
    let hidden = Query::default().and("token", &hook.token);
    let id = hook.run.as_deref().unwrap_or_default();
    let command = format!("workflow send {} @payload.json", word(&hook.token));
    html! {
        div.form {
            div {
                @if visit.may(Action::SendPayload, Some(&hook.token)) {
                    p.dim.sm { "The run continues once the payload is recorded." }
                    (form::of(of_hook(published, hook), "send", "Send the payload", &hidden, given, wrong, &html! {}))
                }
            }
            div {
                @if let Some(metadata) = &hook.metadata { h3 { "What it said when it asked" } (value(visit.shown(metadata, id).as_deref(), None)) }
                dl.kv {
                    dt { "hook" } dd { code { (safe(&hook.token)) } }
                    @if let Some(run) = &hook.run { dt { "run" } dd { a.mono.lnk href=(link("run", "id", run)) { (safe(run)) } } }
                }
                (super::command(&command))
            }
        }
    }
}

/// The form for the answer to a suspension.
pub(in crate::web) fn suspension(
    visit: &Visit,
    published: &Published,
    run: &str,
    suspended: &Suspended,
    given: &Query,
    wrong: &Wrong,
) -> Markup {
    let hidden = Query::default().and("run", run).and("of", &suspended.id);
    let command = format!("workflow resume {} --of {} --value @answer.json", word(run), word(&suspended.id));
    html! {
        div.form {
            div {
                @if visit.may(Action::Resume, Some(run)) {
                    p.dim.sm { "The run continues once the answer is recorded." }
                    (form::of(of_answer(published, suspended), "resume", "Send the answer", &hidden, given, wrong, &html! {}))
                }
            }
            div {
                h3 { "What it said when it asked" }
                (value(visit.shown(&suspended.payload, run).as_deref(), None))
                dl.kv {
                    dt { "run" } dd { a.mono.lnk href=(link("run", "id", run)) { (safe(run)) } }
                    dt { "label" } dd { code { (safe(&suspended.label)) } }
                    @if let Some(step) = &suspended.step { dt { "step" } dd { code { (safe(step)) } } }
                }
                (super::command(&command))
            }
        }
    }
}

pub(in crate::web) async fn send_form(visit: &Visit, form: &Query) -> Result<Markup, WebError> {
    send_page(visit, form, &Wrong::new()).await
}

async fn send_page(visit: &Visit, form: &Query, wrong: &Wrong) -> Result<Markup, WebError> {
    let token = form.get("token").ok_or_else(|| WebError::invalid("The address has no token of a hook"))?;
    let (info, published) = (visit.client.get_hook(token).await?, visit.catalogues.published(&visit.client).await?);
    let body = html! {
        div.head { h1 { "Send to " code { (safe(token)) } } }
        @if info.is_open { (hook(visit, &published, &info, form, wrong)) } @else { div.empty { b { "The hook is not open any more" } } }
    };
    Ok(layout::page(visit, Tab::People, "Send to a hook", &[], body))
}

pub(in crate::web) async fn send(posted: Posted) -> Result<Response, WebError> {
    let token = posted.field("token")?;
    posted.require(Action::SendPayload, token)?;
    let (info, published) =
        (posted.visit.client.get_hook(token).await?, posted.visit.catalogues.published(&posted.visit.client).await?);
    let wrong = match form::read(of_hook(&published, &info), &posted.form) {
        Ok(payload) => {
            let sent = posted.visit.client.resume_hook(token, &payload).await;
            posted.report(Action::SendPayload, token, sent.as_ref().err());
            match sent {
                Ok(()) => return Ok(to(&info.run.map_or_else(|| "people".to_owned(), |run| link("run", "id", &run)))),
                Err(error) if error.code() == Code::Payload => Wrong::from([("json".to_owned(), format!("{error:?}"))]),
                Err(error) => return Err(error.into()),
            }
        }
        Err(wrong) => wrong,
    };
    Ok((StatusCode::UNPROCESSABLE_ENTITY, send_page(&posted.visit, &again(&posted.form, &wrong), &wrong).await?)
        .into_response())
}

/// What was sent, for the form that shows what is wrong with it.
fn again(form: &Query, wrong: &Wrong) -> Query {
    if wrong.contains_key("json") { form.clone().with("as", "json") } else { form.clone() }
}

pub(in crate::web) async fn resume_form(visit: &Visit, form: &Query) -> Result<Markup, WebError> {
    resume_page(visit, form, &Wrong::new()).await
}

async fn resume_page(visit: &Visit, form: &Query, wrong: &Wrong) -> Result<Markup, WebError> {
    let run = form.get("run").ok_or_else(|| WebError::invalid("The address has no id of a run"))?;
    let (all, published) = (visit.run(run).suspended().await?, visit.catalogues.published(&visit.client).await?);
    let asked: Vec<&Suspended> = match form.get("of") {
        Some(id) => all.iter().filter(|suspended| suspended.id == id).collect(),
        None => all.iter().collect(),
    };
    let body = html! {
        div.head { h1 { "Answer " code { (safe(run)) } } }
        @if asked.is_empty() { div.empty { b { "The run asks for nothing at the moment" } p { a href=(link("run", "id", run)) { "Back to the run" } } } }
        @for suspended in asked {
            section { header { h2 { (safe(&suspended.label)) } } (suspension(visit, &published, run, suspended, form, wrong)) }
        }
    };
    Ok(layout::page(visit, Tab::People, "Answer a run", &[], body))
}

pub(in crate::web) async fn resume(posted: Posted) -> Result<Response, WebError> {
    let (run, of) = (posted.field("run")?, posted.field("of")?);
    posted.require(Action::Resume, run)?;
    let (all, published) =
        (posted.visit.run(run).suspended().await?, posted.visit.catalogues.published(&posted.visit.client).await?);
    let asked = all.iter().find(|suspended| suspended.id == of);
    let wrong = match form::read(asked.and_then(|asked| of_answer(&published, asked)), &posted.form) {
        Ok(answer) => {
            let resumed = posted.visit.run(run).resume(&answer).of(of).await;
            posted.report(Action::Resume, run, resumed.as_ref().err());
            match resumed {
                Ok(()) => return Ok(to(&link("run", "id", run))),
                Err(error) if error.code() == Code::Payload => Wrong::from([("json".to_owned(), format!("{error:?}"))]),
                Err(error) => return Err(error.into()),
            }
        }
        Err(wrong) => wrong,
    };
    let page = resume_page(&posted.visit, &again(&posted.form, &wrong), &wrong).await?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
}
