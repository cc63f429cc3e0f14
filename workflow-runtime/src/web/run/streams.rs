//! The streams of a run.

use futures_util::{StreamExt, TryStreamExt};
use maud::{Markup, html};
use serde_json::value::RawValue;

use super::excerpt::{line, stored};
use super::source::Source;
use crate::steering::text::safe;
use crate::web::error::WebError;
use crate::web::query::Query;
use crate::web::text::number;
use crate::web::visit::Visit;

/// Chunks of a page.
const CHUNKS_MAX: usize = 200;
const CHUNK_CHARACTERS: usize = 800;
/// Streams whose names are shown.
const STREAMS_MAX: usize = 100;

/// The tab.
pub(super) async fn tab(visit: &Visit, source: &Source, query: &Query) -> Result<Markup, WebError> {
    let id = &source.info.id;
    let run = visit.run(id);
    let names = run.streams().await?;
    let Some(name) = query.get("stream").or(names.first().map(String::as_str)) else {
        return Ok(
            html! { div.empty { b { "There is no stream" } "What the run and its steps write with " code { "writer" } " appears here." } },
        );
    };
    let page = query.clone().only(&["id", "tab"]);
    let length = run.stream::<Box<RawValue>>(name).tail().await?.map_or(0, |last| last + 1);
    let most = CHUNKS_MAX as u64;
    let from = query.get("from").and_then(|from| from.parse().ok()).unwrap_or(length.saturating_sub(most)).min(length);
    let count = usize::try_from(length - from).unwrap_or(CHUNKS_MAX).min(CHUNKS_MAX);
    let reader = run.stream::<Box<RawValue>>(name).from(i64::try_from(from).unwrap_or(i64::MAX));
    let chunks: Vec<_> = if count > 0 { reader.take(count).try_collect().await? } else { Vec::new() };
    let to = |from: u64| page.clone().with("stream", name).with("from", &from.to_string()).to("run");
    Ok(html! {
        @if names.len() > 1 {
            p.seg.streams { @for other in names.iter().take(STREAMS_MAX) {
                a href=(page.clone().with("stream", other).to("run")) aria-current=[(other == name).then_some("true")] { (safe(other)) }
            } }
        }
        section data-live="stream" {
            header {
                h2 { "Stream " code { (safe(name)) } }
                span.dim.sm { (number(length)) @if length == 1 { " chunk" } @else { " chunks" } }
                a.lnk.sm.push href=(page.clone().only(&["id"]).with("as", "stream").with("stream", name).to("run")) download="stream.jsonl" { "Download as JSON lines" }
            }
            @if from > 0 { p.pager { a.lnk href=(to(from.saturating_sub(most))) { (number(from)) " chunks before" } } }
            ol.chunks {
                @for chunk in &chunks {
                    li.gone[chunk.discarded] {
                        span.n { (chunk.index) }
                        @match visit.shown(&stored(&chunk.value)?, id) {
                            Some(value) => code { (line(&value, CHUNK_CHARACTERS)) },
                            None => span.dim { "hidden" },
                        }
                        @if let Some(writer) = &chunk.writer { span.n { (safe(&writer.step)) " " (writer.operation) ", attempt " (writer.attempt) } }
                        @if chunk.discarded { span.n { "discarded: the attempt did not succeed" } }
                    }
                }
            }
            @if from + (count as u64) < length { p.pager { a.lnk href=(to(from + most)) rel="next" { "Later chunks" } } }
            @if source.info.status.is_terminal() { p.dim.sm { "The run has ended: no more chunks are written." } }
        }
    })
}
