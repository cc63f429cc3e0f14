//! The state and the attributes of a run.

use maud::{Markup, html};
use serde_json::Value;
use serde_json::value::RawValue;

use super::excerpt::stored;
use super::source::Source;
use crate::steering::AnyRun;
use crate::steering::text::safe;
use crate::web::error::WebError;
use crate::web::query::link;
use crate::web::text;
use crate::web::visit::Visit;

/// The state of a run, digit for digit.
pub(super) async fn value_of(run: &AnyRun) -> crate::error::Result<Option<Value>> {
    let state: Option<Box<RawValue>> = run.state().await?;
    state.map(|state| stored(&state)).transpose()
}

/// The tab.
pub(super) async fn tab(visit: &Visit, source: &Source) -> Result<Markup, WebError> {
    let id = &source.info.id;
    let run = visit.run(id);
    let state = value_of(&run).await?;
    let attributes = run.attributes().await?;
    Ok(html! {
        section data-live="state" {
            header { h2 { "State" } }
            @match &state {
                Some(state) => (text::value(visit.shown(state, id).as_deref(), Some(&(link("run", "id", id) + "&as=state")))),
                None => p.dim { "The workflow has set no state" },
            }
        }
        section data-live="attributes" {
            header { h2 { "Attributes" } }
            @if attributes.is_empty() { p.dim { "The run has no attributes" } }
            dl.kv { @for (key, value) in &attributes { dt { (safe(key)) } dd.mono { (safe(value)) } } }
        }
    })
}
