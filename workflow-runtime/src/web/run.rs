//! The page of a run.

use maud::{Markup, html};

use super::actions;
use super::error::WebError;
use super::icons::Icon;
use super::layout::{self, Tab};
use super::query::Query;
use super::sentence;
use super::time;
use super::visit::Visit;
use crate::steering::errors;
use crate::steering::text::safe;

const KEYS: [(&str, &str); 3] = [(".", "actions"), ("g r", "runs"), ("/", "find a run")];

/// The page of the run with this id; `query` are its parameters.
pub(super) async fn page(visit: &Visit, id: &str, query: &Query) -> Result<Markup, WebError> {
    let _ = query;
    let run = visit.run(id);
    let info = run.info().await?;
    let waiting = if info.status.is_terminal() { Vec::new() } else { run.waiting().await? };
    let error = errors::of(&visit.client, &info).await?;
    let icon = sentence::icon(&info, waiting.first());
    let body = html! {
        div.head {
            (icon.status())
            h1.mono { (safe(&info.id)) }
            div.push { (actions::bar(visit, &info, &waiting)) }
        }
        div.why.(icon.name()) data-live="why" aria-live="polite" {
            (icon.svg())
            div {
                @match waiting.first() {
                    Some(first) => p { (sentence::of(first, visit.now)) },
                    None => p { (Icon::word(icon)) @if let Some(at) = info.completed_at { " " (time::at(at, visit.now)) } },
                }
                @for other in waiting.iter().skip(1) { small { (sentence::of(other, visit.now)) } }
                @if let Some(error) = &error { pre.err { (layout::safe(&error.text)) } }
            }
            (actions::ends_wait(visit, &info, &waiting))
        }
    };
    Ok(layout::page(visit, Tab::Runs, &info.id, &KEYS, body))
}
