//! What runs wait for that people, or other services, have to send.

use std::time::SystemTime;

use futures_util::future::join_all;
use maud::{Markup, html};

use super::actions;
use super::document::Tab;
use super::error::WebError;
use super::form::Wrong;
use super::layout;
use super::published::Published;
use super::query::{Query, link};
use super::survey::Row;
use super::text::{cut_id, number};
use super::time;
use super::visit::Visit;
use crate::error::{Code, Result};
use crate::model::{HookInfo, Suspended, Waiting};
use crate::steering::text::{safe, shortened};

const KEYS: [(&str, &str); 3] = [("j k", "move"), ("Enter", "open the form"), ("/", "find a run")];
const SHOWN_MAX: usize = 100;
const CHARACTERS: usize = 120;

pub(super) async fn page(visit: &Visit) -> std::result::Result<Markup, WebError> {
    let survey = visit.survey().await?;
    let asks = |row: &&Row| row.waiting.iter().any(|waiting| matches!(waiting, Waiting::Suspended { .. }));
    let listens = |row: &&Row| row.waiting.iter().any(|waiting| matches!(waiting, Waiting::Hook { .. }));
    let asking: Vec<&Row> = survey.rows.iter().filter(asks).take(SHOWN_MAX).collect();
    let listening: Vec<&Row> = survey.rows.iter().filter(listens).take(SHOWN_MAX).collect();
    let suspended = join_all(asking.iter().map(|row| suspended_of(visit, &row.info.id))).await;
    let open = join_all(listening.iter().map(|row| hooks_of(visit, &row.info.id))).await;
    let questions = with_rows(asking, suspended)?;
    let hooks = with_rows(listening, open)?;
    let (query, published) = (visit.query(), visit.catalogues.published(&visit.client).await?);
    let chosen = query.get("label");
    let mut labels: std::collections::BTreeMap<&str, u64> = std::collections::BTreeMap::new();
    questions.iter().for_each(|(_, asked)| *labels.entry(&asked.label).or_default() += 1);
    let count = questions.len() as u64;
    let body = html! {
        div.head {
            h1 {
                @match count {
                    0 => "Nobody is asked for anything",
                    1 => "1 run waits for a person",
                    count => { (number(count)) " questions wait for a person" },
                }
            }
            @if labels.len() > 1 {
                span.seg.push {
                    span.dim { "Label" }
                    a href="people" aria-current=[chosen.is_none().then_some("true")] { "all" }
                    @for (label, count) in &labels {
                        a href=(link("people", "label", label)) aria-current=[(chosen == Some(label)).then_some("true")] { (safe(label)) " " (count) }
                    }
                }
            }
        }
        @if count == 0 { p.dim { "A workflow asks with " code { "suspend(..)" } ", and continues with the answer." } }
        @for (row, asked) in questions.iter().filter(|(_, asked)| chosen.is_none_or(|label| label == asked.label)) {
            (question(visit, &published, row, asked))
        }
        section {
            header { h2 { "Open hooks" } span.dim.sm { "answered by other services, or by hand" } }
            @if hooks.is_empty() { p.dim { "No hook is open" } }
            @for (row, hook) in &hooks { (open_hook(visit, &published, row, hook)) }
        }
        @if !survey.is_complete { p.dim.sm { "These are those of the newest " (number(survey.rows.len() as u64)) " runs that have not ended." } }
    };
    Ok(layout::page(visit, Tab::People, "Waiting for people", &KEYS, body))
}

async fn suspended_of(visit: &Visit, run: &str) -> Result<Vec<Suspended>> {
    visit.run(run).suspended().await
}

async fn hooks_of(visit: &Visit, run: &str) -> Result<Vec<HookInfo>> {
    let hooks = visit.client.inner().hooks(run).await?;
    Ok(hooks.into_iter().filter(|hook| hook.is_open).collect())
}

/// What the runs have, each beside its run.
fn with_rows<T>(rows: Vec<&Row>, read: Vec<Result<Vec<T>>>) -> Result<Vec<(&Row, T)>> {
    let mut all = Vec::new();
    for (row, read) in rows.into_iter().zip(read) {
        match read {
            Ok(items) => all.extend(items.into_iter().map(|item| (row, item))),
            // It was deleted since.
            Err(error) if error.code() == Code::RunNotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Since when it waits, and until when if the whole run waits for one more thing, a time.
fn since(visit: &Visit, row: &Row, of: impl Fn(&Waiting) -> Option<SystemTime>) -> Markup {
    let until = match &row.waiting[..] {
        [_, Waiting::Timer { until }] => Some(*until),
        _ => None,
    };
    html! {
        span.mid.nw {
            @match row.waiting.iter().find_map(of) {
                Some(since) => { "since " (time::age(since, visit.now)) },
                None => { "started " (time::age(row.info.created_at, visit.now)) " ago" },
            }
            @if let Some(until) = until { ", until " (time::at(until, visit.now)) }
        }
    }
}

fn question(visit: &Visit, published: &Published, row: &Row, asked: &Suspended) -> Markup {
    let id = &row.info.id;
    let text = visit.shown(&asked.payload, id).map(|payload| match payload.as_str() {
        Some(text) => text.to_owned(),
        None => payload.to_string(),
    });
    html! {
        details.ask {
            summary {
                span.cut.full { (safe(&text.map_or_else(|| "A question".to_owned(), |text| shortened(&text, CHARACTERS)))) }
                code.mono.cut { (safe(&asked.label)) }
                a.mono.cut href=(link("run", "id", id)) title=(safe(id)) { (cut_id(id)) }
                (since(visit, row, |waiting| match waiting {
                    Waiting::Suspended { label, since, .. } if *label == asked.label => *since,
                    _ => None,
                }))
            }
            (actions::suspension(visit, published, id, asked, &Query::default(), &Wrong::new()))
        }
    }
}

fn open_hook(visit: &Visit, published: &Published, row: &Row, hook: &HookInfo) -> Markup {
    html! {
        details.ask {
            summary {
                code.cut.full { (safe(&hook.token)) }
                span.mid.cut { (safe(&row.info.workflow)) }
                a.mono.cut href=(link("run", "id", &row.info.id)) title=(safe(&row.info.id)) { (cut_id(&row.info.id)) }
                (since(visit, row, |waiting| match waiting {
                    Waiting::Hook { token, since, .. } if *token == hook.token => *since,
                    _ => None,
                }))
            }
            (actions::hook(visit, published, hook, &Query::default(), &Wrong::new()))
        }
    }
}
