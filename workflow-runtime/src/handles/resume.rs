//! Sending payloads to a hook.

use std::future::IntoFuture;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::codec;
use crate::engine::{self, Client, HookPayload};
use crate::error::Result;
use crate::model::HookInfo;
use crate::names::{self, TOKEN};

/// Sends a payload to the [hook](crate::hook) with this token, from any process that uses the store.
///
/// The payload is durable once awaiting this has returned: the hook receives it, or it stays with the run, unread, if the
/// run drops the hook or ends first.
///
/// # Errors
///
/// [`Code::HookNotFound`](crate::Code::HookNotFound) if the token does not exist (yet),
/// [`Code::HookDisposed`](crate::Code::HookDisposed) if its hook was dropped,
/// [`Code::HookFinished`](crate::Code::HookFinished) if its run has ended, [`Code::KeyReused`](crate::Code::KeyReused) if
/// another payload was delivered under the key. If the hook was opened in this process and the payload does not fit its
/// type, [`Code::Payload`](crate::Code::Payload), which names the field. If the hook was opened in another process, such a
/// payload is accepted, and the engine that executes the run leaves it unread and logs the reason. The hook stays open.
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

/// A pending send of a payload, executed when it is awaited: see [`resume_hook`].
#[must_use = "nothing is sent unless it is awaited: add `.await`"]
pub struct ResumeHook {
    engine: Option<Client>,
    payload: HookPayload,
    /// Whether the engine generated the token.
    is_ours: bool,
}

impl ResumeHook {
    pub(crate) fn new<T: Serialize + ?Sized>(engine: Option<Client>, token: String, payload: &T) -> Self {
        let value = codec::encode("the payload", payload);
        let payload = HookPayload { token, value, idempotency_key: None, content: None, hold_for: None };
        ResumeHook { engine, payload, is_ours: false }
    }

    /// Sends to a token that the engine generated, which users cannot name.
    #[cfg(feature = "http")]
    pub(crate) fn ours(mut self) -> Self {
        self.is_ours = true;
        self
    }

    /// Sends a delivery under a key; `content` identifies the request that carried the payload.
    #[cfg(feature = "http")]
    pub(crate) fn delivery(mut self, key: &str, content: [u8; 32]) -> Self {
        self.payload.idempotency_key = Some(key.to_owned());
        self.payload.content = Some(content);
        self
    }

    /// Sets an idempotency key for this delivery to the token: a repeated delivery is accepted but not delivered
    /// again, even if another hook or run has the token by then. So the sender can repeat it until it gets an answer. The
    /// store keeps a key until 7 days ([`Builder::keep_deliveries`](crate::Builder::keep_deliveries)) after the end
    /// of the run that received the payload, even if that run is deleted. The key of a payload that is
    /// [held](ResumeHook::hold_for) is kept as long as the payload is held. A refused delivery does not use up its key.
    ///
    /// Another payload under the same key fails with [`Code::KeyReused`](crate::Code::KeyReused). The comparison ignores
    /// the order of keys in JSON objects, but not the order of elements in arrays, and therefore not that of a `HashSet`.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.payload.idempotency_key = Some(key.into());
        self
    }

    /// If no hook has the token, holds the payload for a hook that is opened within this time.
    pub fn hold_for(mut self, time: Duration) -> Self {
        self.payload.hold_for = Some(time);
        self
    }
}

impl IntoFuture for ResumeHook {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            if !self.is_ours {
                names::check_own(TOKEN, &self.payload.token)?;
            }
            let engine = engine::given_or_ambient(&self.engine).await?;
            engine.inner().resume_hook(self.payload).await
        })
    }
}

/// Looks up a hook by its token, from any process that uses the store.
///
/// # Errors
///
/// [`Code::HookNotFound`](crate::Code::HookNotFound), or if the store cannot be read.
pub async fn get_hook(token: &str) -> Result<HookInfo> {
    engine::ambient().await?.get_hook(token).await
}
