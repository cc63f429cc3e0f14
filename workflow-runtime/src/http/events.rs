//! Streams as server-sent events.

use std::convert::Infallible;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{StreamExt, future, stream};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Chunk;
use crate::Reader;
use crate::engine::Client;
use crate::error::Code;
use crate::limits::KEEP_ALIVE_INTERVAL;

/// Routes `GET /{run}/{stream}?from=` to streams, as `text/event-stream`: for a browser's `EventSource`.
///
/// Each chunk is an event whose id is its index and whose data is its JSON; one that is known to be
/// [discarded](Chunk::discarded) has the type `discarded`, others have none. `from` is as for
/// [`Reader::from`](crate::Reader::from). A client that reconnects with `Last-Event-ID`, as browsers do
/// automatically, receives what it has missed. The last event has the type `end` and the data `null`: the client
/// should then close. If it reconnects, it receives `204 No Content`, which stops it. If the engine is shut down
/// or the store fails, the connection ends without `end`. A comment every 15 seconds keeps idle connections open.
///
/// An unknown run is `404 Not Found`; an unknown stream may be created later. The application decides who may read,
/// with a layer around this router. It nests into a router with any state. The engine stays open for
/// as long as the router exists.
pub fn streams<S: Clone + Send + Sync + 'static>(client: &Client) -> Router<S> {
    Router::new().route("/{run}/{stream}", get(events)).with_state(client.clone())
}

/// The id of the last event.
const END: &str = "end";

#[derive(Deserialize)]
struct Begin {
    from: Option<i64>,
}

async fn events(
    State(engine): State<Client>,
    Path((run, name)): Path<(String, String)>,
    Query(begin): Query<Begin>,
    headers: HeaderMap,
) -> Response {
    let last = headers.get("last-event-id").filter(|id| !id.is_empty());
    // The client has received the last event, and reconnects nevertheless.
    if last.is_some_and(|id| id.as_bytes() == END.as_bytes()) {
        return StatusCode::NO_CONTENT.into_response();
    }
    let next = match last.map(|id| id.to_str().ok().and_then(|id| id.parse::<i64>().ok())) {
        None => None,
        Some(Some(last)) if last >= 0 => Some(last.saturating_add(1)),
        Some(_) => return (StatusCode::BAD_REQUEST, "Last-Event-ID is not the id of an event").into_response(),
    };
    match engine.inner().stream_length(&run, &name).await {
        Ok(page) => {
            let missed = next.and_then(|next| page.length.checked_sub(next.unsigned_abs()));
            if page.ended && next.is_some() && missed.unwrap_or_default() == 0 {
                return StatusCode::NO_CONTENT.into_response();
            }
        }
        Err(error) if error.code() == Code::RunNotFound => return StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            tracing::error!(?error, "a stream could not be read");
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    }
    let from = next.or(begin.from).unwrap_or_default();
    let chunks = Reader::<Box<RawValue>>::new(Some(engine), run.into(), name).from(from);
    // With data, since browsers drop an event without data.
    let end = stream::once(future::ready(Ok(Event::default().id(END).event("end").data("null"))));
    let events = chunks.map(|chunk| chunk.map(|chunk| event(&chunk))).chain(end);
    // If the connection ends without the last event, the client reconnects.
    let events = events.take_while(|event| {
        if let Err(error) = event {
            tracing::warn!(?error, "a stream could not be read to its end");
        }
        future::ready(event.is_ok())
    });
    let events = events.filter_map(|event| future::ready(event.ok().map(Ok::<_, Infallible>)));
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL)).into_response()
}

fn event(chunk: &Chunk<Box<RawValue>>) -> Event {
    // A carriage return between the tokens of a JSON text has no meaning, and an event cannot contain one.
    let data = chunk.value.get().replace('\r', " ");
    let event = Event::default().id(chunk.index.to_string()).data(data);
    if chunk.discarded { event.event("discarded") } else { event }
}
