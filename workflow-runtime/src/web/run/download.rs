//! Values and events of a run as files: whole, where a page shows a part.

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt, future};
use serde_json::Value;
use serde_json::value::RawValue;

use super::events::document;
use super::excerpt::stored;
use super::panel::Detail;
use super::source::Source;
use super::state::value_of;
use crate::steering::AnyRun;
use crate::web::access::Action;
use crate::web::error::WebError;
use crate::web::query::Query;
use crate::web::visit::Visit;

fn headers(name: &str, kind: &'static str) -> [(HeaderName, String); 2] {
    [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""))]
}

fn lines(
    name: &str,
    lines: impl futures_util::Stream<Item = crate::error::Result<Value>> + Send + 'static,
) -> Response {
    let lines = lines.map_ok(|value| Bytes::from(format!("{value}\n")));
    (headers(name, "application/x-ndjson; charset=utf-8"), Body::from_stream(lines)).into_response()
}

fn value(visit: &Visit, id: &str, name: &str, value: Option<&Value>) -> Result<Response, WebError> {
    let value = value.ok_or_else(|| WebError::invalid("The run has no such value"))?;
    let shown = visit.shown(value, id).ok_or_else(|| WebError::forbidden("see the values of runs"))?;
    let text = serde_json::to_string_pretty(&shown).unwrap_or_default();
    Ok((headers(name, "application/json; charset=utf-8"), text).into_response())
}

/// The file that the parameters ask for, if they do.
pub(super) async fn file(visit: &Visit, id: &str, query: &Query) -> Result<Option<Response>, WebError> {
    let Some(what) = query.get("as") else { return Ok(None) };
    let run: AnyRun = visit.run(id);
    // The error of a run that does not exist is a page.
    run.info().await?;
    Ok(Some(match what {
        "jsonl" => {
            let (id, whole) = (id.to_owned(), visit.share());
            let events = run.events().so_far().map_ok(move |event| document(&whole, &id, &event));
            lines("events.jsonl", events)
        }
        "stream" => {
            let name = query.get("stream").ok_or_else(|| WebError::invalid("The address has no name of a stream"))?;
            if !visit.may(Action::ReadPayloads, Some(id)) {
                return Err(WebError::forbidden("see the values of runs"));
            }
            let length = run.stream::<Box<RawValue>>(name).tail().await?.map_or(0, |last| last + 1);
            let (id, whole) = (id.to_owned(), visit.share());
            let chunks = run.stream::<Box<RawValue>>(name).take(usize::try_from(length).unwrap_or(usize::MAX));
            let chunks = chunks.try_filter_map(move |chunk| {
                future::ready(
                    stored(&chunk.value).map(|value| whole.shown(&value, &id).map(|value| value.into_owned())),
                )
            });
            lines("stream.jsonl", chunks)
        }
        "state" => {
            let state = value_of(&run).await?;
            value(visit, id, "state.json", state.as_ref())?
        }
        "input" | "output" => {
            let row = query.get("row").and_then(|row| row.parse().ok());
            let row = row.ok_or_else(|| WebError::invalid("The address has no number of an operation"))?;
            let source = Source::of(visit, id, query).await?;
            let detail = Detail::read(visit, &source, row).await?;
            let detail = detail.ok_or_else(|| WebError::invalid("The run has no such operation"))?;
            match what {
                "input" => value(visit, id, "input.json", detail.input())?,
                _ => value(visit, id, "output.json", detail.output())?,
            }
        }
        _ => return Err(WebError::invalid("There is no such file")),
    }))
}
