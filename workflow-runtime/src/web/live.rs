//! Keeping pages up to date: one watcher for all pages, and one stream of events for each.
//!
//! An event says that something has changed; the page then reads itself again. So no event carries data that the one who
//! receives it may not see.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::error::WebError;
use super::visit::Visit;
use super::watcher::Stream;
use crate::limits::KEEP_ALIVE_INTERVAL;

/// The stream of a page.
pub(super) async fn events(visit: Visit) -> Result<Response, WebError> {
    let client = visit.parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let Some(open) = Stream::open(&visit.watcher, &visit.client, visit.streams_per_client, client) else {
        let help = "close some of them, or reload this one to see what has changed";
        return Err(WebError::new(StatusCode::TOO_MANY_REQUESTS, "Too many pages are kept up to date", help));
    };
    let events = stream::unfold(open, |mut open| async move {
        open.changes.changed().await.ok()?;
        let count = *open.changes.borrow_and_update();
        Some((Ok::<_, Infallible>(Event::default().event("change").data(count.to_string())), open))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL)).into_response())
}
