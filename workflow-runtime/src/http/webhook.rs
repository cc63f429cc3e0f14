//! The workflow's side of a webhook: a hook that receives requests.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{FutureExt, Stream, StreamExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::message::{Answer, Request};
use crate::Hook;
use crate::durable::{Durable, DurableStream};
use crate::error::Result;
use crate::hook;
use crate::keys;
use crate::probe::Operation;
use crate::text::hex;

/// Waits for an HTTP request: a [`hook`](crate::hook()) with a token that cannot be guessed, to which
/// [`webhooks`](super::webhooks) routes requests. The token cannot be chosen, because anyone who has it can send.
///
/// A request is durable before it is answered, by default with an empty `202 Accepted`.
pub fn webhook() -> WebhookBuilder {
    WebhookBuilder { answering: Answering::Fixed(Answer::new(202)) }
}

/// A webhook that is not open yet: see [`webhook`].
#[must_use = "a webhook takes nothing before `.open()` or `.await`"]
pub struct WebhookBuilder {
    answering: Answering,
}

/// The source of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answering {
    Fixed(Answer),
    Run,
}

impl WebhookBuilder {
    /// Sets the answer to every request, sent as soon as the request is durable.
    pub fn answer(mut self, answer: Answer) -> Self {
        self.answering = Answering::Fixed(answer);
        self
    }

    /// Lets a step (or the workflow) answer with [`Request::answer`], in whichever process it is executed. The
    /// client waits for the answer, for up to 30 seconds unless
    /// [set otherwise](super::WebhookSettings::answer_within), and then receives `202 Accepted`, as when the run ends
    /// without an answer: the request is durable, and an error would make the client send it again.
    pub fn answered_by_step(mut self) -> Self {
        self.answering = Answering::Run;
        self
    }

    /// Opens the webhook: from the end of this turn on it accepts requests.
    #[track_caller]
    pub fn open(self) -> Webhook {
        let hook = hook::<Request>().metadata(&self.answering).open_at(|token| address(token));
        let path = format!("/{}", hook.token());
        Webhook { hook, path }
    }
}

impl IntoFuture for WebhookBuilder {
    type Output = Result<Request>;
    type IntoFuture = Webhook;

    #[track_caller]
    fn into_future(self) -> Webhook {
        self.open()
    }
}

/// The address of a webhook in the store, in place of its token.
///
/// The store compares keys byte by byte, and the time of that reveals how much of a key is right. For a digest this is
/// useless: an attacker cannot choose the digest of a token. It also keeps the tokens of plain hooks, which may be easy to
/// guess, out of the routes' reach, and tokens out of the store's index.
pub(super) fn address(token: &str) -> Arc<str> {
    keys::webhook(&hex(&Sha256::digest(token.as_bytes()))).into()
}

/// An open webhook: a future of the next request, and a stream of all requests. See [`webhook`].
///
/// Dropping it closes it: its address is then unknown.
#[must_use = "a webhook that is dropped is closed"]
pub struct Webhook {
    hook: Hook<Request>,
    path: String,
}

impl Webhook {
    /// Its path below the path where [`webhooks`](super::webhooks) is nested, with a leading slash: append it to
    /// `https://shop.example/webhooks` for the address. Anyone who has it can send.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl Future for Webhook {
    type Output = Result<Request>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Request>> {
        self.hook.poll_unpin(context)
    }
}

impl Stream for Webhook {
    type Item = Result<Request>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Request>>> {
        self.hook.poll_next_unpin(context)
    }
}

impl Durable for Webhook {}
impl DurableStream for Webhook {}

impl Operation for Webhook {}
impl Operation for WebhookBuilder {}
