//! Sending to a hook.

use std::future::IntoFuture;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::codec;
use crate::engine::{self, Client, HookPayload};
use crate::error::Result;
use crate::model::HookInfo;
use crate::names::{self, TOKEN};

/// Sends a payload to the [hook](crate::hook) with this token, from any process that has the store.
///
/// Once awaiting it has returned the payload is durable: it is delivered, or stays with the run, unread, if the run drops
/// the hook or ends first.
///
/// # Errors
///
/// [`Code::HookNotFound`](crate::Code::HookNotFound) if there is no such token (yet),
/// [`Code::HookDisposed`](crate::Code::HookDisposed) if its hook was dropped,
/// [`Code::HookFinished`](crate::Code::HookFinished) if its run has ended,
/// [`Code::KeyReused`](crate::Code::KeyReused) if another payload was delivered to it under the key. A payload that does not fit the hook's type is
/// [`Code::Payload`](crate::Code::Payload), naming the field, if the hook was opened in this process; sent from another
/// one it is accepted, and the process that executes the run leaves it unread and logs why. The hook stays open.
///
/// ```no_run
/// # use workflow_runtime::{Result, resume_hook};
/// # async fn example() -> Result<()> {
/// resume_hook("order-1", &"approved").idempotency_key("mail-7").await?;
/// # Ok(())
/// # }
/// ```
pub fn resume_hook<T: Serialize + ?Sized>(token: impl Into<String>, payload: &T) -> ResumeHook {
    ResumeHook::new(None, token.into(), payload)
}

/// A payload that is not sent yet: see [`resume_hook`].
#[must_use = "nothing is sent unless it is awaited: add `.await`"]
pub struct ResumeHook {
    engine: Option<Client>,
    payload: HookPayload,
    /// Whether the token is one that the engine has made.
    is_ours: bool,
}

impl ResumeHook {
    pub(crate) fn new<T: Serialize + ?Sized>(engine: Option<Client>, token: String, payload: &T) -> Self {
        let value = codec::encode("the payload", payload);
        let payload = HookPayload { token, value, idempotency_key: None, content: None, hold_for: None };
        ResumeHook { engine, payload, is_ours: false }
    }

    /// Sends to a token that the engine has made, which no user can name.
    #[cfg(feature = "http")]
    pub(crate) fn ours(mut self) -> Self {
        self.is_ours = true;
        self
    }

    /// As a delivery under a key, whose content is what came with the request.
    #[cfg(feature = "http")]
    pub(crate) fn delivery(mut self, key: &str, content: [u8; 32]) -> Self {
        self.payload.idempotency_key = Some(key.to_owned());
        self.payload.content = Some(content);
        self
    }

    /// Names this delivery to the token: sent again it is accepted and delivers nothing, whichever hook or run has the token by
    /// then. So it can be repeated until there is an answer. A key is known until 7 days after the end of the run that got the
    /// payload ([`Builder::keep_deliveries`](crate::Builder::keep_deliveries)), also if that run is deleted; of a payload that
    /// is [held](ResumeHook::hold_for) and that no hook has taken, as long as it is held. A delivery that is refused leaves its
    /// key unused.
    ///
    /// Another payload under the same key is [`Code::KeyReused`](crate::Code::KeyReused). The order of the keys of JSON objects
    /// does not count, that of the elements of arrays does, and so does that of a `HashSet`.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.payload.idempotency_key = Some(key.into());
        self
    }

    /// If no hook has the token, keeps the payload for one that is opened within this time.
    pub fn hold_for(mut self, time: Duration) -> Self {
        self.payload.hold_for = Some(time);
        self
    }
}

impl IntoFuture for ResumeHook {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            if !self.is_ours {
                names::check_own(TOKEN, &self.payload.token)?;
            }
            let engine = match self.engine.take() {
                Some(engine) => engine,
                None => engine::ambient().await?,
            };
            engine.inner().resume_hook(self.payload).await
        })
    }
}

/// Looks a hook up by its token, from any process that has the store.
///
/// # Errors
///
/// [`Code::HookNotFound`](crate::Code::HookNotFound), or if the store cannot be read.
pub async fn get_hook(token: &str) -> Result<HookInfo> {
    engine::ambient().await?.get_hook(token).await
}
