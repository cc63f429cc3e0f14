//! Keeping pages up to date: one watcher for all pages, and one stream of events for each.
//!
//! An event says that something has changed; the page then reads itself again. So no event carries data that the one who
//! receives it may not see.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::error::WebError;
use super::settings::Web;
use super::visit::Visit;
use crate::engine::Client;
use crate::limits::KEEP_ALIVE_INTERVAL;

/// At most four events a second.
const PAUSE: Duration = Duration::from_millis(250);
/// A store in a database reports the changes of single runs only: then pages are read again after this time.
const REREAD: Duration = Duration::from_secs(2);
/// The clients whose address is not known share so many times as many streams.
const UNKNOWN_TIMES: usize = 8;

#[derive(Default)]
pub(super) struct Live {
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The open streams, by the address of the client.
    open: HashMap<Option<IpAddr>, usize>,
    watcher: Option<(watch::Receiver<u64>, AbortHandle)>,
}

/// An open stream; dropping it closes it.
struct Tab {
    web: Arc<Web>,
    client: Option<IpAddr>,
    changes: watch::Receiver<u64>,
}

impl Tab {
    /// `None` if the client has too many.
    fn open(web: &Arc<Web>, client: Option<IpAddr>) -> Option<Tab> {
        let most = match client {
            Some(_) => web.streams_per_client,
            None => web.streams_per_client.saturating_mul(UNKNOWN_TIMES),
        };
        let mut shared = web.live.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let open = shared.open.entry(client).or_default();
        if *open >= most {
            return None;
        }
        *open += 1;
        let changes = match &shared.watcher {
            Some((changes, _)) => changes.clone(),
            None => {
                let (send, changes) = watch::channel(0);
                let watcher = tokio::spawn(watch_all(web.client.clone(), send));
                shared.watcher = Some((changes.clone(), watcher.abort_handle()));
                changes
            }
        };
        Some(Tab { web: web.clone(), client, changes })
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        let mut shared = self.web.live.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = shared.open.get_mut(&self.client) {
            *open -= 1;
            if *open == 0 {
                shared.open.remove(&self.client);
            }
        }
        // Nobody looks: nothing is watched.
        if shared.open.is_empty()
            && let Some((_, watcher)) = shared.watcher.take()
        {
            watcher.abort();
        }
    }
}

/// Counts the changes, until the engine shuts down: then the streams end, so that a server that stops need not wait for them.
async fn watch_all(client: Client, changes: watch::Sender<u64>) {
    let mut of_store = client.inner().changes();
    let count = async {
        loop {
            // The receiver ends with the engine only, which the client keeps open.
            let _ = tokio::time::timeout(REREAD, of_store.changed()).await;
            changes.send_modify(|count| *count += 1);
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = client.inner().is_shutting_down() => {}
        () = count => {}
    }
}

/// The stream of a page.
pub(super) async fn events(visit: Visit) -> Result<Response, WebError> {
    let client = visit.parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let Some(tab) = Tab::open(&visit.web, client) else {
        let help = "close some of them, or reload this one to see what has changed";
        return Err(WebError::new(StatusCode::TOO_MANY_REQUESTS, "Too many pages are kept up to date", help));
    };
    let events = stream::unfold(tab, |mut tab| async move {
        tab.changes.changed().await.ok()?;
        let count = *tab.changes.borrow_and_update();
        Some((Ok::<_, Infallible>(Event::default().event("change").data(count.to_string())), tab))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL)).into_response())
}
