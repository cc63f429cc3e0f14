//! The routes of webhooks.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, request};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::StreamExt;
use futures_util::future::{Either, select};

use super::message::{Answer, Request, answers};
use super::webhook::{Answering, address};
use crate::engine::Client;
use crate::error::{Code, Error, Result};
use crate::limits::{WEBHOOK_ANSWER_WAIT, WEBHOOK_BODY_BYTES};
use crate::{Reader, uuid};

/// Routes requests to [webhooks](super::webhook): any method on `/{token}`.
///
/// A request is durable before it is answered. A token that is unknown, of a webhook that was dropped or of a run that
/// has ended is `404 Not Found`, and which of them does not show, in the answer or in the time that it takes. A body of
/// more than a megabyte is `413 Payload Too Large`; if the store fails it is `503 Service Unavailable`, and the request may be
/// sent again.
///
/// The engine stays open for as long as the router is there.
pub fn webhooks(client: &Client) -> Router {
    webhooks_with(client, WebhookSettings::default())
}

/// [`webhooks`], with settings.
pub fn webhooks_with(client: &Client, settings: WebhookSettings) -> Router {
    Router::new()
        .route("/{token}", any(receive))
        .layer(DefaultBodyLimit::max(settings.body_bytes))
        .with_state((client.clone(), settings))
}

/// How requests to webhooks are taken.
///
/// ```
/// use std::time::Duration;
/// use workflow_runtime::http::WebhookSettings;
///
/// let settings = WebhookSettings::default().body_limit(64 << 20).answer_within(Duration::from_secs(5));
/// ```
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    body_bytes: usize,
    answer_within: Duration,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        WebhookSettings { body_bytes: WEBHOOK_BODY_BYTES, answer_within: WEBHOOK_ANSWER_WAIT }
    }
}

impl WebhookSettings {
    /// How many bytes a body may have: 1,048,576 unless set.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_bytes = bytes;
        self
    }

    /// How long a request waits for an answer that a step gives: 30 seconds unless set.
    #[must_use]
    pub fn answer_within(mut self, time: Duration) -> Self {
        self.answer_within = time;
        self
    }
}

async fn receive(
    State((client, settings)): State<(Client, WebhookSettings)>,
    Path(token): Path<String>,
    parts: request::Parts,
    body: Bytes,
) -> Response {
    match accept(&client, &settings, &token, &parts, &body).await {
        Ok(answer) => answer.into_response(),
        Err(error) => refusal(&error).into_response(),
    }
}

/// Whatever the token is, up to its refusal the same is done for it, and the look-up is of a digest: see [`address`].
async fn accept(
    client: &Client,
    settings: &WebhookSettings,
    token: &str,
    parts: &request::Parts,
    body: &Bytes,
) -> Result<Answer> {
    let address = address(token);
    let id = uuid().simple().to_string();
    let request = Request::new(id.clone(), parts, body);
    let hook = client.get_hook(&address).await?;
    if !hook.is_open {
        // Not by way of a write, which would take longer than for a token that never was.
        return Err(Error::coded(Code::HookFinished, "the webhook is not open any more"));
    }
    client.resume_hook(&*address, &request).await?;
    let answering = hook.metadata.map(serde_json::from_value).transpose()?;
    match (answering, hook.run) {
        (Some(Answering::Fixed(answer)), _) => Ok(answer),
        (Some(Answering::Run), Some(run)) => {
            let mut answers = Reader::<Answer>::new(Some(client.clone()), run.into(), answers(&id));
            match select(answers.next(), client.inner().pause(settings.answer_within)).await {
                Either::Left((Some(Ok(answer)), _)) => Ok(answer.value),
                Either::Left((Some(Err(error)), _)) => {
                    tracing::warn!(?error, "the answer to a webhook could not be read");
                    Ok(Answer::new(202))
                }
                Either::Left((None, _)) | Either::Right(_) => Ok(Answer::new(202)),
            }
        }
        _ => Ok(Answer::new(202)),
    }
}

fn refusal(error: &Error) -> StatusCode {
    match error.code() {
        Code::HookNotFound | Code::HookDisposed | Code::HookFinished => StatusCode::NOT_FOUND,
        Code::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        _ => {
            tracing::error!(?error, "a request to a webhook was not taken");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}
