//! The workflow's side of a webhook: a hook that takes requests.

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

/// Waits for a request by HTTP: a [`hook`](crate::hook()) with a token that nobody can guess, and that
/// [`webhooks`](super::webhooks) routes requests to. There is no token of one's own: whoever knows it can send.
///
/// A request is durable before it is answered, with an empty `202 Accepted` unless it is said otherwise.
pub fn webhook() -> WebhookBuilder {
    WebhookBuilder { answering: Answering::Fixed(Answer::new(202)) }
}

/// A webhook that is not open yet: see [`webhook`].
#[must_use = "a webhook takes nothing before `.open()` or `.await`"]
pub struct WebhookBuilder {
    answering: Answering,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answering {
    Fixed(Answer),
    Run,
}

impl WebhookBuilder {
    /// Answers every request so, as soon as it is durable.
    pub fn answer(mut self, answer: Answer) -> Self {
        self.answering = Answering::Fixed(answer);
        self
    }

    /// Leaves the answer to a step (or to the workflow): [`Request::answer`], in whichever process it is executed. Whoever
    /// has asked waits for it, for up to 30 seconds unless
    /// [set otherwise](super::WebhookSettings::answer_within), and is then told `202 Accepted`, as when the run ends without
    /// an answer: the request is durable, and an error would have it sent again.
    pub fn answered_by_step(mut self) -> Self {
        self.answering = Answering::Run;
        self
    }

    /// Opens it: from the end of this turn on it takes requests.
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

/// What stands for a webhook's token in the store.
///
/// The store compares keys byte by byte, and how long that takes tells how much of a key is right. Of a digest that is of no
/// use: who guesses tokens cannot choose it. It also keeps the tokens of plain hooks, which may be easy to guess, out of
/// the routes' reach, and tokens out of the store's index.
pub(super) fn address(token: &str) -> Arc<str> {
    keys::webhook(&hex(&Sha256::digest(token.as_bytes()))).into()
}

/// An open webhook: a future of the next request, and a stream of all. See [`webhook`].
///
/// Dropping it closes it: its address is not found any more.
#[must_use = "a webhook that is dropped is closed"]
pub struct Webhook {
    hook: Hook<Request>,
    path: String,
}

impl Webhook {
    /// Its path below the place where [`webhooks`](super::webhooks) is nested, with a slash in front: what makes
    /// `https://shop.example/webhooks` its address. Who knows it can send.
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
