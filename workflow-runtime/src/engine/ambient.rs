//! The engine behind the free functions.

use std::sync::{Mutex, PoisonError};

use super::{Client, Engine};
use crate::error::{Code, Error, Result};

/// The engine of the free functions.
struct Ambient {
    client: Client,
    /// Whether the program installed it. Otherwise the first free function opened it, and a later one may open another.
    installed: bool,
}

static AMBIENT: Mutex<Option<Ambient>> = Mutex::new(None);
/// Held while the engine is being opened, so that two first uses open one.
static OPENING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The present engine; `None` if one may be opened.
fn present() -> Option<Result<Client>> {
    let place = AMBIENT.lock().unwrap_or_else(PoisonError::into_inner);
    let Ambient { client, installed } = place.as_ref()?;
    if client.is_open() {
        return Some(Ok(client.clone()));
    }
    // Another engine from `WORKFLOW_URL` could use another store, and start runs there that no engine executes.
    installed.then(|| {
        Err(client
            .inner()
            .home
            .closed("the installed engine is shut down", "install() another one, or call the methods of an open engine")
            .context("the engine behind the free functions is closed"))
    })
}

/// The installed engine, else one that is opened now from `WORKFLOW_URL`, else one on a file under `.workflow/`.
pub(crate) async fn ambient() -> Result<Client> {
    if let Some(engine) = super::current() {
        return engine;
    }
    if let Some(engine) = present() {
        return engine;
    }
    let _opening = OPENING.lock().await;
    match present() {
        Some(engine) => engine,
        None => {
            let engine = Engine::builder().open().await?;
            // The program may have installed another engine meanwhile: that one is used.
            put(engine.client, false).or_else(|error| present().unwrap_or(Err(error)))
        }
    }
}

/// The engine that a handle was made by, else the ambient one.
pub(crate) async fn given_or_ambient(given: &Option<Client>) -> Result<Client> {
    match given {
        Some(engine) => Ok(engine.clone()),
        // Boxed, since opening an engine is a large future and most handles have an engine.
        None => Box::pin(ambient()).await,
    }
}

impl Client {
    /// Makes this the client behind the free functions, such as [`start`](crate::start).
    ///
    /// # Errors
    ///
    /// If another engine or client is installed and still open.
    pub fn install(self) -> Result<Client> {
        install(self.clone())?;
        Ok(self)
    }
}

pub(super) fn install(client: Client) -> Result<Client> {
    put(client, true)
}

fn put(client: Client, installed: bool) -> Result<Client> {
    let mut place = AMBIENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(Ambient { client: other, .. }) = place.as_ref().filter(|ambient| ambient.client.is_open()) {
        let thread = other.inner().home.thread();
        return Err(Error::coded(
            Code::Closed,
            format!("the free functions have an engine already, which thread {thread} opened"),
        )
        .help(
            "install one engine in a process, before the first use of a free function such as `start`; in a test call \
             the methods of an engine of the test's own, `Engine::open(\"memory:\").await?`",
        ));
    }
    // The previous engine is dropped outside the lock.
    let before = place.replace(Ambient { client: client.clone(), installed });
    drop(place);
    drop(before);
    Ok(client)
}
