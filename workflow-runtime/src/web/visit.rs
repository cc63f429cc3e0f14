//! A request for a page: what it asks for, and what it may.

use std::ops::Deref;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::access::{Access, Action};
use super::error::WebError;
use super::query::Query;
use super::safety;
use super::settings::{Payloads, Web};
use super::survey::Survey;
use crate::steering::AnyRun;

/// A request that may see pages.
pub(super) struct Visit {
    pub web: Arc<Web>,
    pub parts: Parts,
    /// When it arrived: all times of a page are relative to it.
    pub now: SystemTime,
}

impl Deref for Visit {
    type Target = Web;

    fn deref(&self) -> &Web {
        &self.web
    }
}

impl Visit {
    /// Lets a request in whose host is permitted and that may see lists.
    pub fn admit(web: Arc<Web>, parts: Parts) -> Result<Visit, WebError> {
        safety::check_host(&web.hosts, &parts)?;
        let visit = Visit { web, parts, now: SystemTime::now() };
        if visit.may(Action::List, None) { Ok(visit) } else { Err(WebError::forbidden("see this page")) }
    }

    /// The same request, for what is sent after its answer has begun.
    pub fn share(&self) -> Visit {
        Visit { web: self.web.clone(), parts: self.parts.clone(), now: self.now }
    }

    /// Whether it may do something.
    pub fn may(&self, action: Action, target: Option<&str>) -> bool {
        self.web.may(&Access { request: &self.parts, action, target })
    }

    /// The latest look at the runs that have not ended.
    pub fn survey(&self) -> BoxFuture<'_, crate::error::Result<Arc<Survey>>> {
        Box::pin(self.web.surveys.latest(&self.web.client))
    }

    /// Whether nothing can be changed.
    pub fn is_read_only(&self) -> bool {
        !Action::WRITES.into_iter().any(|action| self.may(action, None))
    }

    /// A value as it may be shown; `None` if it is hidden.
    pub fn shown<'a>(&self, value: &'a Value, run: &str) -> Option<std::borrow::Cow<'a, Value>> {
        if !self.may(Action::ReadPayloads, Some(run)) {
            return None;
        }
        match &self.web.payloads {
            Payloads::AsTheyAre => Some(std::borrow::Cow::Borrowed(value)),
            Payloads::Hidden => None,
            Payloads::Decoded(decode) => Some(std::borrow::Cow::Owned(decode(value))),
        }
    }

    /// Whether the values of a run are shown as they are.
    pub fn shows_payloads(&self, run: &str) -> bool {
        matches!(self.web.payloads, Payloads::AsTheyAre) && self.may(Action::ReadPayloads, Some(run))
    }

    /// The parameters of the page.
    pub fn query(&self) -> Query {
        Query::parse(self.parts.uri.query().unwrap_or_default())
    }

    /// A handle on a run that need not exist.
    pub fn run(&self, id: &str) -> AnyRun {
        self.web.client.get_run(id)
    }
}

impl FromRequestParts<Arc<Web>> for Visit {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, web: &Arc<Web>) -> Result<Self, WebError> {
        Visit::admit(web.clone(), parts.clone())
    }
}
