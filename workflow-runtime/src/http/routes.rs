//! The routes of webhooks.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{self, DefaultBodyLimit, FromRequest, Path, State};
use axum::http::{HeaderValue, Method, StatusCode, header, request};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use sha2::{Digest, Sha256};

use super::message::{Answer, Request, answers};
use super::webhook::{Answering, address};
use crate::Reader;
use crate::engine::Client;
use crate::error::{Code, Error, Result};
use crate::limits::{WEBHOOK_ANSWER_WAIT, WEBHOOK_BODY_BYTES, WEBHOOK_BODY_WAIT};
use crate::text::hex;
use crate::uuid;

/// The header of the IETF draft of the same name.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Routes requests to [webhooks](super::webhook): `POST` and `PUT` on `/{token}`, unless
/// [other methods](WebhookSettings::methods) are set.
///
/// A request is durable before it is answered. A request with the header `Idempotency-Key` is delivered once: a
/// repeated one, with the same method, path, query and body, gets the answer to the first one and delivers
/// nothing, even after the webhook was dropped, for as long as
/// [`ResumeHook::idempotency_key`](crate::ResumeHook::idempotency_key) keeps keys. These answers deliver nothing:
///
/// | answer | when |
/// |---|---|
/// | `400 Bad Request` | the idempotency key has more than 512 bytes, or others than visible ASCII characters |
/// | `404 Not Found` | the token is unknown, or its webhook was dropped, or its run has ended; which of them does not show, in the answer or in the time that it takes |
/// | `405 Method Not Allowed` | the method is not one of those that are named; `Allow` names them. So a link checker's `HEAD` or a browser's `OPTIONS` is no delivery |
/// | `408 Request Timeout` | the body did not arrive [in time](WebhookSettings::body_within); the connection is closed |
/// | `413 Payload Too Large` | the body is larger than the [limit](WebhookSettings::body_limit) |
/// | `422 Unprocessable Content` | another request was delivered under the idempotency key |
/// | `503 Service Unavailable` | the store failed; the request may be sent again |
///
/// It nests into a router with any state. The engine stays open for as long as the router exists.
pub fn webhooks<S: Clone + Send + Sync + 'static>(client: &Client) -> Router<S> {
    webhooks_with(client, WebhookSettings::default())
}

/// [`webhooks`], with settings.
pub fn webhooks_with<S: Clone + Send + Sync + 'static>(client: &Client, settings: WebhookSettings) -> Router<S> {
    Router::new()
        .route("/{token}", any(receive))
        .layer(DefaultBodyLimit::max(settings.body_bytes))
        .with_state((client.clone(), settings))
}

/// The settings for requests to webhooks.
///
/// ```
/// use std::time::Duration;
/// use workflow_runtime::http::WebhookSettings;
///
/// let settings = WebhookSettings::default().body_limit(64 << 20).answer_within(Duration::from_secs(5));
/// ```
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    methods: Vec<Method>,
    body_bytes: usize,
    body_within: Duration,
    answer_within: Duration,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        WebhookSettings {
            methods: vec![Method::POST, Method::PUT],
            body_bytes: WEBHOOK_BODY_BYTES,
            body_within: WEBHOOK_BODY_WAIT,
            answer_within: WEBHOOK_ANSWER_WAIT,
        }
    }
}

impl WebhookSettings {
    /// Sets the methods that deliver: `POST` and `PUT` by default. A request with any other method is answered with
    /// `405 Method Not Allowed` and delivers nothing. `GET` does not include `HEAD` here.
    ///
    /// ```
    /// use axum::http::Method;
    /// use workflow_runtime::http::WebhookSettings;
    ///
    /// let settings = WebhookSettings::default().methods([Method::GET, Method::POST]);
    /// ```
    #[must_use]
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = methods.into_iter().collect();
        self
    }

    /// Sets the maximum size of a body, in bytes: 1,048,576 by default.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_bytes = bytes;
        self
    }

    /// Sets the time limit for the body of a request to arrive: 30 seconds by default. A slower one is answered with
    /// `408 Request Timeout`, delivers nothing, and its connection is closed.
    #[must_use]
    pub fn body_within(mut self, time: Duration) -> Self {
        self.body_within = time;
        self
    }

    /// Sets how long a request waits for an answer from a step: 30 seconds by default.
    #[must_use]
    pub fn answer_within(mut self, time: Duration) -> Self {
        self.answer_within = time;
        self
    }
}

async fn receive(
    State((client, settings)): State<(Client, WebhookSettings)>,
    Path(token): Path<String>,
    request: extract::Request,
) -> Response {
    if !settings.methods.contains(request.method()) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allowed(&settings.methods))]).into_response();
    }
    let (parts, body) = request.into_parts();
    // The limit of the body is in the extensions of the request.
    let request = extract::Request::from_parts(parts.clone(), body);
    let body =
        match select(Box::pin(Bytes::from_request(request, &())), client.inner().pause(settings.body_within)).await {
            Either::Left((Ok(body), _)) => body,
            Either::Left((Err(rejection), _)) => return rejection.into_response(),
            // The rest of the body would be read as the next request.
            Either::Right(_) => return (StatusCode::REQUEST_TIMEOUT, [(header::CONNECTION, "close")]).into_response(),
        };
    match accept(&client, &settings, &token, &parts, &body).await {
        Ok(answer) => answer.into_response(),
        Err(error) => refusal(&error).into_response(),
    }
}

/// The value of the header `Allow`. Methods are tokens, so the value is always valid.
fn allowed(methods: &[Method]) -> HeaderValue {
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    HeaderValue::try_from(names.join(", ")).unwrap_or(HeaderValue::from_static(""))
}

/// For any token, the work up to the refusal is the same, and the store looks up a digest: see [`address`].
async fn accept(
    client: &Client,
    settings: &WebhookSettings,
    token: &str,
    parts: &request::Parts,
    body: &Bytes,
) -> Result<Answer> {
    let address = address(token);
    let key = parts.headers.get(IDEMPOTENCY_KEY).map(|key| key.to_str()).transpose().map_err(|error| {
        Error::coded(Code::InvalidName, "the header `Idempotency-Key` is no visible ASCII text").because(error)
    })?;
    // A repeated request gets the answer to the first one.
    let id = key.map_or_else(|| uuid().simple().to_string(), |key| digest(&[&address, key])[..32].to_owned());
    let request = Request::new(id.clone(), parts, body);
    let content = content(parts, body);
    let hook = match client.inner().hook_info(&address).await {
        Ok(hook) => Some(hook),
        Err(error) if error.code() == Code::HookNotFound => None,
        Err(error) => return Err(error),
    };
    if hook.as_ref().is_some_and(|hook| hook.is_open) {
        let resume = client.resume_hook(&*address, &request).ours();
        match key {
            Some(key) => resume.delivery(key, content).await?,
            None => resume.await?,
        }
    } else {
        // This is not a write, which would take longer than for an unknown token.
        let before = match key {
            Some(key) => client.inner().was_delivered(&address, key, content).await?,
            None => false,
        };
        if !before {
            return Err(Error::coded(Code::HookFinished, "the webhook is not open any more"));
        }
    }
    let (metadata, run) = hook.map(|hook| (hook.metadata, hook.run)).unwrap_or_default();
    let answering = metadata.map(serde_json::from_value).transpose()?;
    match (answering, run) {
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

/// A digest of the request for comparison under its key: without headers, which vary with the time and the sender.
fn content(parts: &request::Parts, body: &Bytes) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [parts.method.as_str().as_bytes(), parts.uri.to_string().as_bytes(), body] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn digest(texts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hex(&hash.finalize())
}

fn refusal(error: &Error) -> StatusCode {
    match error.code() {
        Code::InvalidName => StatusCode::BAD_REQUEST,
        Code::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        Code::HookNotFound | Code::HookDisposed | Code::HookFinished => StatusCode::NOT_FOUND,
        Code::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        _ => {
            tracing::error!(?error, "a request to a webhook was not taken");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}
