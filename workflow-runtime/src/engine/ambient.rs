//! The engine behind the free functions.

use std::sync::{Mutex, PoisonError};

use super::{Client, Engine};
use crate::error::{Code, Error, Result};

static INSTALLED: Mutex<Option<Client>> = Mutex::new(None);
/// Held while the engine is being opened, so that two first uses open one.
static OPENING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn installed() -> Option<Client> {
    INSTALLED.lock().unwrap_or_else(PoisonError::into_inner).clone().filter(Client::is_open)
}

/// The installed engine, else one that is opened now from `WORKFLOW_URL`, else on a file under `.workflow/`.
pub(crate) async fn ambient() -> Result<Client> {
    if let Some(engine) = super::current() {
        return engine;
    }
    if let Some(engine) = installed() {
        return Ok(engine);
    }
    let _opening = OPENING.lock().await;
    match installed() {
        Some(engine) => Ok(engine),
        None => {
            let engine = Engine::builder().open().await?;
            // Somebody may have installed another one meanwhile: theirs counts.
            install(engine.client).or_else(|error| installed().ok_or(error))
        }
    }
}

pub(super) fn install(client: Client) -> Result<Client> {
    let mut place = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if place.as_ref().is_some_and(Client::is_open) {
        return Err(Error::coded(Code::Closed, "another engine is installed already")
            .help("install one engine, before the first use of a free function such as `start`"));
    }
    *place = Some(client.clone());
    Ok(client)
}
