//! The requests to a webhook, and the answers.

use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, StatusCode, header, request};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::body::Body;
use crate::WriteChunk;
use crate::Writer;
use crate::error::{Code, Error, Result};
use crate::keys;
use crate::text::excerpt;

/// A request to a [`webhook`](super::webhook).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Request {
    id: String,
    /// `GET`, `POST`, ..
    pub method: String,
    /// The path and the query, as the router received them: without the path that it is nested under.
    pub uri: String,
    /// The headers in their order, their names in lower case. Invalid UTF-8 in a value is replaced.
    pub headers: Vec<(String, String)>,
    body: Body,
}

impl Request {
    pub(super) fn new(id: String, parts: &request::Parts, body: &Bytes) -> Self {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Request {
            id,
            method: parts.method.to_string(),
            uri: parts.uri.to_string(),
            headers: parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: Body(body.to_vec()),
        }
    }

    /// The part of the URI after the `?`.
    pub fn query(&self) -> Option<&str> {
        self.uri.split_once('?').map(|(_, query)| query)
    }

    /// The first header with this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body.0
    }

    /// The body, if it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.body.0).ok()
    }

    /// The body, decoded from JSON.
    ///
    /// # Errors
    ///
    /// [`Code::Payload`] if the body is not JSON of this type; a step that returns it is not attempted again.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body.0).map_err(|error| {
            Error::coded(Code::Payload, "the body of the request is not JSON of the requested type")
                .because(error)
                .found(excerpt(&String::from_utf8_lossy(&self.body.0)))
                .into_fatal()
        })
    }

    /// Answers the request, if its webhook was opened with
    /// [`answered_by_step`](super::WebhookBuilder::answered_by_step): in a step, or in
    /// the workflow itself. The first answer is sent; the client may have disconnected
    /// by then. It is stored in the run's stream `webhook/` and the request's own id.
    ///
    /// # Errors
    ///
    /// As for [`Writer::write`](crate::Writer::write).
    #[track_caller]
    pub fn answer(&self, answer: &Answer) -> WriteChunk {
        Writer::<Answer>::ours(answers(&self.id)).write(answer)
    }
}

/// The stream of the answers to a request.
pub(super) fn answers(id: &str) -> String {
    keys::webhook_answers(id)
}

/// The answer of a webhook.
///
/// The server frames the message, so headers of the connection (`content-length`,
/// `transfer-encoding`, `connection`, `keep-alive`, `proxy-connection`, `te`, `trailer`, `upgrade`) are left out when the
/// answer is sent, and so is the body of a status that has none (204, 205, 304).
///
/// ```
/// use workflow_runtime::http::Answer;
///
/// let answer = Answer::new(200).header("content-type", "text/plain").body("thank you");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    status: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
    body: Body,
}

impl Answer {
    /// An empty answer with this status, from 200 to 999. A status that is not final, or an invalid header, becomes 500
    /// when the answer is sent.
    pub fn new(status: u16) -> Self {
        Answer { status, headers: Vec::new(), body: Body::default() }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Body(body.into());
        self
    }

    fn response(&self) -> Option<Response> {
        // An informational status does not end a response: the client would keep waiting.
        let status = StatusCode::from_u16(self.status).ok().filter(|status| !status.is_informational())?;
        let mut response = match status {
            StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED => ().into_response(),
            _ => self.body.0.clone().into_response(),
        };
        *response.status_mut() = status;
        // A body of bytes sets a default content type, which was not requested.
        response.headers_mut().clear();
        for (name, value) in &self.headers {
            let (name, value) = (HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
            if !is_of_connection(&name) {
                response.headers_mut().append(name, value);
            }
        }
        Some(response)
    }
}

/// Whether a header describes how this connection carries the message: the server writes those itself, and a second value
/// (a length that is not the body's, a coding that was not applied) breaks the connection.
fn is_of_connection(name: &HeaderName) -> bool {
    const OF_CONNECTION: [HeaderName; 6] = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    OF_CONNECTION.contains(name) || ["keep-alive", "proxy-connection"].contains(&name.as_str())
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        self.response().unwrap_or_else(|| {
            tracing::warn!(status = self.status, headers = ?self.headers, "an answer to a webhook is no valid response");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        })
    }
}
