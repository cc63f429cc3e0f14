//! The page of a run: its head, and the parts of it as tabs.

mod bars;
mod download;
mod events;
mod excerpt;
mod family;
mod journal;
mod minimap;
mod panel;
mod source;
mod state;
mod steps;
mod streams;
mod timeline;

use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use self::source::Source;
use super::actions;
use super::assets;
use super::document::{self, Tab};
use super::error::WebError;
use super::icons::Icon;
use super::layout;
use super::published::{Place, Published};
use super::query::{Query, link};
use super::sentence;
use super::survey;
use super::text::{counted, word};
use super::time;
use super::visit::Visit;
use super::workers;
use crate::limits::COUNTED_RUNS_MAX;
use crate::model::Waiting;
use crate::steering::errors;
use crate::steering::fits;
use crate::steering::text::{safe, shortened};

const KEYS: [(&str, &str); 6] =
    [("j k", "move"), ("Enter", "details"), ("o", "unfold"), ("e", "errors only"), ("f", "fork"), (".", "actions")];

/// The characters of a question in the head.
const QUESTION_CHARACTERS: usize = 200;

/// A tab: its name in the address, and its word.
const TABS: [(&str, &str); 6] = [
    ("timeline", "Timeline"),
    ("events", "Events"),
    ("steps", "Steps"),
    ("streams", "Streams"),
    ("state", "State"),
    ("family", "Family"),
];

/// The page of the run with this id, or a value of it as a file; `query` are the parameters.
pub(super) async fn page(visit: &Visit, id: &str, query: &Query) -> Result<Response, WebError> {
    if let Some(file) = download::file(visit, id, query).await? {
        return Ok(file);
    }
    let source = Source::of(visit, id, query).await?;
    let tab = query.get("tab").and_then(|name| TABS.iter().find(|tab| tab.0 == name)).map_or("timeline", |tab| tab.0);
    let (part, waiting) = match tab {
        "events" => (events::tab(visit, &source, query).await?, source.waiting(visit).await?),
        "steps" => (steps::tab(visit, &source, query).await?, source.waiting(visit).await?),
        "streams" => (streams::tab(visit, &source, query).await?, source.waiting(visit).await?),
        "state" => (state::tab(visit, &source).await?, source.waiting(visit).await?),
        "family" => (family::tab(visit, &source).await?, source.waiting(visit).await?),
        _ => timeline::tab(visit, &source, query).await?,
    };
    let run = visit.run(id);
    let streams = run.streams().await?.len() as u64;
    let children: u64 = visit.client.runs().parent(id).count_up_to(COUNTED_RUNS_MAX).await?.values().sum();
    let family = children + u64::from(source.info.parent.is_some());
    let counts = [("timeline", source.calls), ("streams", streams), ("family", family)];
    let body = html! {
        link rel="stylesheet" href=(assets::RUN_STYLE.address());
        (head(visit, &source, &waiting).await?)
        nav.tabs aria-label="Parts of the run" data-live="parts" {
            @for (name, word) in TABS {
                a href=(link("run", "id", id) + if name == "timeline" { "" } else { "&tab=" } + if name == "timeline" { "" } else { name })
                    aria-current=[(name == tab).then_some("page")] {
                    (word)
                    @if let Some(count) = counts.iter().find(|count| count.0 == name).map(|count| count.1).filter(|count| *count > 0) {
                        " " span.n { (counted(count)) }
                    }
                }
            }
            @if tab == "timeline" { (timeline::switches(query)) }
        }
        (part)
    };
    Ok(layout::page(visit, Tab::Runs, id, &KEYS, body).into_response())
}

/// What the first suspension of a run asks, if that may be shown.
async fn question(visit: &Visit, id: &str) -> Result<Option<String>, WebError> {
    let asked = visit.run(id).suspended().await?.into_iter().next();
    let payload = asked.as_ref().and_then(|asked| visit.shown(&asked.payload, id));
    Ok(payload.map(|payload| match payload.as_str() {
        Some(text) => shortened(text, QUESTION_CHARACTERS),
        None => excerpt::line(&payload, QUESTION_CHARACTERS),
    }))
}

/// What helps a stuck run. What was expected and what was found have arguments of operations.
fn helps(visit: &Visit, source: &Source, stuck: &Waiting, published: &Published) -> Markup {
    let shows = visit.shows_payloads(&source.info.id);
    let parts = fits::remedy(stuck).into_iter().filter(|(name, _)| shows || !["expected", "found"].contains(name));
    html! {
        dl.kv { @for (name, text) in parts { dt { (name) } dd { (safe(text)) } } }
        small { "Fits: " (source.fits(published)) }
    }
}

/// A place in the code.
fn location(place: &Place) -> Markup {
    html! { code { (safe(&place.file)) ":" (place.line) } }
}

/// What the run waits for, and what is known of it.
async fn head(visit: &Visit, source: &Source, waiting: &[Waiting]) -> Result<Markup, WebError> {
    let info = &source.info;
    let error = errors::of(&visit.client, info).await?;
    let icon = sentence::icon(info, waiting.first());
    let attributes = visit.run(&info.id).attributes().await?;
    let question = match waiting.first() {
        Some(Waiting::Suspended { .. }) => question(visit, &info.id).await?,
        _ => None,
    };
    let other = survey::other(&visit.client, waiting).await;
    let (published, holder) = (visit.catalogues.published(&visit.client).await?, source.holder(visit).await?);
    Ok(html! {
        div.head {
            h1 { a.dim href="runs" { "Runs" } " " span.dim { "/" } " " span.mono { (safe(&info.id)) } }
            div.push { (actions::bar(visit, info, waiting)) }
        }
        div class=(format!("why {}", icon.name())) data-live="why" aria-live="polite" {
            (icon.svg())
            div {
                @match waiting.first() {
                    Some(first) if !info.status.is_terminal() => p {
                        (sentence::of_both(first, other.as_ref(), visit.now))
                        @if let (Waiting::Retrying { .. }, Some(attempt)) = (first, sentence::attempt(first)) { ", attempt " (attempt) }
                    },
                    _ => p {
                        (Icon::word(icon))
                        @if let Some(at) = info.completed_at {
                            " " (time::at(at, visit.now)) " after " (time::span(at.duration_since(info.created_at).unwrap_or_default()))
                        }
                    },
                }
                @if let Some(question) = &question { small { "It asked: " (safe(question)) } }
                @if let (false, Some(since)) = (info.status.is_terminal(), info.failing_since) {
                    small { "Failing since " (time::age(since, visit.now)) }
                }
                @for other in waiting.iter().skip(1).take(4) { small { (sentence::of(other, visit.now)) } }
                @if waiting.len() > 5 { small { "and " (waiting.len() - 5) " more" } }
                @if let Some(stuck @ Waiting::Stuck { .. }) = waiting.first() {
                    (helps(visit, source, stuck, &published))
                } @else if let Some(Waiting::Retrying { error, .. }) = waiting.first() {
                    pre.err { (document::safe(&excerpt::cut(error))) }
                } @else if let Some(error) = &error {
                    pre.err { (document::safe(&excerpt::cut(&error.text))) }
                }
            }
            (actions::ends_wait(visit, info, waiting))
        }
        dl.meta data-live="meta" {
            div { dt { "status" } dd { (icon.word().to_lowercase()) } }
            div { dt { "workflow" } dd { a.lnk href=(link("runs", "workflow", &info.workflow)) { (safe(&info.workflow)) } } }
            @if let Some(place) = published.workflow(&info.workflow) { div { dt { "source" } dd { (location(place)) } } }
            @if let Some(holder) = &holder {
                div { dt { "held by" } dd { a.lnk href="workers" { (workers::name(holder)) } @if !holder.is_alive { " which is gone" } } }
            }
            @if let Some(deployment) = holder.as_ref().and_then(|holder| holder.deployment.as_ref()) {
                div { dt { "deployment" } dd { code { (safe(deployment)) } } }
            }
            @if !info.status.is_terminal() && holder.is_none() { div { dt { "held by" } dd { "no worker" } } }
            div { dt { "created" } dd { (time::at(info.created_at, visit.now)) ", " (time::age(info.created_at, visit.now)) " ago" } }
            @if source.last_generation > 0 { div { dt { "generation" } dd { (source.last_generation) } } }
            @if let Some(parent) = &info.parent {
                div { dt { "parent" } dd { a.lnk.mono href=(link("run", "id", parent)) { (safe(parent)) } } }
            }
            @for (key, value) in attributes.iter().take(8) { div { dt { (safe(key)) } dd { (safe(value)) } } }
            div {
                details.cmds {
                    summary { "Copy as a command" }
                    @for command in ["show", "trace", "events", "steps"] { (actions::line(&format!("workflow {command} {}", word(&info.id)))) }
                }
            }
        }
    })
}
