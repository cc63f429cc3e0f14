//! One watcher of the store for all pages, while any is open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::engine::Client;

/// At most four events a second.
const PAUSE: Duration = Duration::from_millis(250);
/// A store in a database reports the changes of single runs only: then pages are read again after this time.
const REREAD: Duration = Duration::from_secs(2);
/// The clients whose address is not known share so many times as many streams.
const UNKNOWN_TIMES: usize = 8;

#[derive(Default)]
pub(super) struct Watcher {
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The open streams, by the address of the client.
    open: HashMap<Option<IpAddr>, usize>,
    watcher: Option<(watch::Receiver<u64>, AbortHandle)>,
}

/// An open stream; dropping it closes it.
pub(super) struct Stream {
    watcher: Arc<Watcher>,
    client: Option<IpAddr>,
    pub changes: watch::Receiver<u64>,
}

impl Stream {
    /// `None` if the client has too many.
    pub fn open(watcher: &Arc<Watcher>, of: &Client, most: usize, client: Option<IpAddr>) -> Option<Stream> {
        let most = match client {
            Some(_) => most,
            None => most.saturating_mul(UNKNOWN_TIMES),
        };
        let mut shared = watcher.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let open = shared.open.entry(client).or_default();
        if *open >= most {
            return None;
        }
        *open += 1;
        let changes = match &shared.watcher {
            Some((changes, _)) => changes.clone(),
            None => {
                let (send, changes) = watch::channel(0);
                let task = tokio::spawn(watch_all(of.clone(), send));
                shared.watcher = Some((changes.clone(), task.abort_handle()));
                changes
            }
        };
        Some(Stream { watcher: watcher.clone(), client, changes })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut shared = self.watcher.shared.lock().unwrap_or_else(PoisonError::into_inner);
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
