//! What is shown instead of a page.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::html;

use super::document;
use crate::error::{Code, Error};
use crate::steering::errors;

/// Why a page cannot be shown, or an action was not done.
#[derive(Debug)]
pub(super) struct WebError {
    status: StatusCode,
    text: String,
    help: String,
}

impl WebError {
    pub fn new(status: StatusCode, text: impl Into<String>, help: impl Into<String>) -> Self {
        WebError { status, text: text.into(), help: help.into() }
    }

    pub fn forbidden(what: &str) -> Self {
        let help = "The program that serves this page decides who may: see `WebRouter::access`";
        WebError::new(StatusCode::FORBIDDEN, format!("You may not {what}"), help)
    }

    pub fn invalid(text: impl Into<String>) -> Self {
        WebError::new(StatusCode::BAD_REQUEST, text, "Go back and change it")
    }

    pub fn no_page() -> Self {
        WebError::new(StatusCode::NOT_FOUND, "There is no such page", "The pages are in the bar above")
    }
}

impl From<Error> for WebError {
    fn from(error: Error) -> Self {
        let status = match error.code() {
            code if errors::is_missing(code) => StatusCode::NOT_FOUND,
            code if errors::is_refusal(code) => StatusCode::CONFLICT,
            Code::Payload
            | Code::PayloadTooLarge
            | Code::InvalidArguments
            | Code::InvalidName
            | Code::InvalidCursor
            | Code::Limit => StatusCode::UNPROCESSABLE_ENTITY,
            Code::EventsRemoved | Code::NotRegistered => StatusCode::CONFLICT,
            _ => {
                tracing::error!(?error, "a page could not be shown");
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        WebError { status, text: error.message().to_owned(), help: format!("{error:?}") }
    }
}

impl IntoResponse for WebError {
    fn into_response(self) -> Response {
        let body = html! {
            div.empty {
                h1 { (document::safe(&self.text)) }
                pre { (document::safe(&self.help)) }
            }
        };
        (self.status, document::bare(&self.text, body)).into_response()
    }
}
