//! A request that writes.

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::access::{Action, Audit};
use super::error::WebError;
use super::query::Query;
use super::safety;
use super::settings::Web;
use super::visit::Visit;
use crate::error::{Code, Error, Result};
use crate::limits::WEB_BODY_WAIT;

/// A form that a page of this origin has sent.
pub(super) struct Posted {
    pub visit: Visit,
    pub form: Query,
}

impl FromRequest<Arc<Web>> for Posted {
    type Rejection = WebError;

    async fn from_request(request: Request, web: &Arc<Web>) -> std::result::Result<Self, WebError> {
        let (parts, body) = request.into_parts();
        let visit = Visit::admit(web.clone(), parts)?;
        safety::check_origin(&web.origins, &visit.parts)?;
        if visit.is_read_only() {
            return Err(WebError::forbidden("change anything"));
        }
        let kind =
            visit.parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("application/x-www-form-urlencoded") {
            return Err(WebError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The request is no form", kind));
        }
        let read = tokio::time::timeout(WEB_BODY_WAIT, to_bytes(body, web.body_bytes)).await;
        let bytes = match read {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) => {
                let help = format!("a request may have {} bytes: see `WebRouter::body_limit`", web.body_bytes);
                return Err(WebError::new(StatusCode::PAYLOAD_TOO_LARGE, "The form could not be read", help));
            }
            Err(_) => {
                let help = format!("it did not arrive in {} s", WEB_BODY_WAIT.as_secs());
                return Err(WebError::new(StatusCode::REQUEST_TIMEOUT, "The form could not be read", help));
            }
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| WebError::invalid("The form is not UTF-8"))?;
        Ok(Posted { visit, form: Query::parse(text) })
    }
}

impl Posted {
    /// Refuses what the request may not do, and reports that.
    pub fn permit(&self, action: Action, target: &str) -> Result<()> {
        if self.visit.may(action, Some(target)) {
            return Ok(());
        }
        let error = Error::coded(Code::Unsupported, format!("the request may not {}", action.as_str()))
            .help("the program that serves the page grants access to actions: see `WebRouter::access`");
        self.report(action, target, Some(&error));
        Err(error)
    }

    /// The same for a page that does one thing: the answer says that it is forbidden.
    pub fn require(&self, action: Action, target: &str) -> std::result::Result<(), WebError> {
        self.permit(action, target).map_err(|_| WebError::forbidden(action.as_str()))
    }

    /// Reports what was done, or why it was not.
    pub fn report(&self, action: Action, target: &str, error: Option<&Error>) {
        self.visit.audit(&Audit { request: &self.visit.parts, action, target, error });
    }

    /// A field that the form must have.
    pub fn field(&self, name: &str) -> std::result::Result<&str, WebError> {
        self.form.get(name).ok_or_else(|| WebError::invalid(format!("The form has no `{name}`")))
    }
}

/// Leads to another page, after something was done.
pub(super) fn to(address: &str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, address.to_owned())]).into_response()
}
