//! The settings of the page, and what all requests share.

use std::sync::Arc;

use serde_json::Value;

use super::access::{Access, Audit};
use super::durations::Durations;
use super::published::Catalogues;
use super::survey::Surveys;
use super::watcher::Watcher;
use crate::engine::Client;
use crate::limits::{WEB_BODY_BYTES, WEB_STREAMS_PER_CLIENT};
use crate::text::printable;

type MayFn = dyn Fn(&Access<'_>) -> bool + Send + Sync;
type AuditFn = dyn Fn(&Audit<'_>) + Send + Sync;
type DecodeFn = dyn Fn(&Value) -> Value + Send + Sync;

/// The web page of a store before it becomes a router: see [`router`](super::router).
///
/// [`Into`] makes it a [`Router`](axum::Router) with any state, which nests under any prefix: all links are relative, so that it also works behind a
/// proxy that removes the prefix, if that is requested with a slash at its end. [`Router::nest_service`](axum::Router::nest_service) answers the prefix
/// with and without a slash at its end, [`Router::nest`](axum::Router::nest) only without one.
///
/// Each answer has a content security policy that lets the browser load from the same origin only, run no inline script, and
/// show the page in no frame. A request that writes has to be a `POST` that the browser marks as of the same origin, by
/// `Sec-Fetch-Site` or by `Origin`; without either it is refused. So a client that is no browser sends
/// `Sec-Fetch-Site: same-origin`, or uses the command line.
///
/// ```
/// # use workflow_runtime::{Engine, Result, web};
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// # let engine = Engine::open("memory:").await?;
/// let page = web::router(&engine)
///     .name("shop")
///     .access(|access| !access.action.is_write() || access.header("x-role") == Some("operator"))
///     .audit(|audit| println!("{} {}: {:?}", audit.action.as_str(), audit.target, audit.error))
///     .hide_payloads();
/// let app: axum::Router = axum::Router::new().nest_service("/workflows", axum::Router::from(page));
/// # Ok(())
/// # }
/// ```
#[must_use = "it serves nothing before it is nested into a router"]
pub struct WebRouter {
    pub(super) web: Web,
}

/// What all requests share.
pub(super) struct Web {
    pub client: Client,
    pub name: String,
    pub hosts: Vec<String>,
    pub origins: Vec<String>,
    pub body_bytes: usize,
    pub streams_per_client: usize,
    pub payloads: Payloads,
    pub surveys: Arc<Surveys>,
    pub catalogues: Catalogues,
    pub durations: Durations,
    pub watcher: Arc<Watcher>,
    may: Box<MayFn>,
    audit: Option<Box<AuditFn>>,
}

/// How values of runs are shown.
pub(super) enum Payloads {
    AsTheyAre,
    Hidden,
    Decoded(Box<DecodeFn>),
}

impl WebRouter {
    pub(super) fn new(client: &Client) -> Self {
        let web = Web {
            client: client.clone(),
            name: "workflows".to_owned(),
            hosts: Vec::new(),
            origins: Vec::new(),
            body_bytes: WEB_BODY_BYTES,
            streams_per_client: WEB_STREAMS_PER_CLIENT,
            payloads: Payloads::AsTheyAre,
            surveys: Arc::default(),
            catalogues: Catalogues::default(),
            durations: Durations::default(),
            watcher: Arc::default(),
            may: Box::new(|access| !access.action.is_write()),
            audit: None,
        };
        WebRouter { web }
    }

    /// Sets what the page is called in its top bar: `workflows` by default.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.web.name = name.into();
        self
    }

    /// Sets who may do what: the function is called for each request with [`Action::List`](super::Action::List), before values are shown with
    /// [`Action::ReadPayloads`](super::Action::ReadPayloads), for each action that a page offers, and again by the handler that writes, for each run
    /// that it writes to. By default all actions that do not [write](super::Action::is_write) are permitted to everybody who can
    /// send a request.
    ///
    /// It is called on an async thread and must not block.
    pub fn access(mut self, may: impl Fn(&Access<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.web.may = Box::new(may);
        self
    }

    /// Sets a function that is called after each write that was tried, whether it was done, refused or failed.
    ///
    /// It is called on an async thread and must not block.
    pub fn audit(mut self, audit: impl Fn(&Audit<'_>) + Send + Sync + 'static) -> Self {
        self.web.audit = Some(Box::new(audit));
        self
    }

    /// Shows no arguments, results, payloads, states and chunks, whatever [`access`](WebRouter::access) permits.
    pub fn hide_payloads(mut self) -> Self {
        self.web.payloads = Payloads::Hidden;
        self
    }

    /// Shows what this function makes of arguments, results, payloads, states and chunks: it can decrypt or redact them. Forms
    /// still take what the runs expect.
    ///
    /// It is called on an async thread and must not block.
    pub fn decode_payloads(mut self, decode: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        self.web.payloads = Payloads::Decoded(Box::new(decode));
        self
    }

    /// Sets the hosts under which the page may be requested, without ports: a request with another `Host` is refused with
    /// `421 Misdirected Request`. By default any host is permitted. On a loopback address this is what keeps other web
    /// sites from reading the page by a name of their own that resolves to the address.
    pub fn hosts<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        self.web.hosts = hosts.into_iter().map(|host| host.into().to_ascii_lowercase()).collect();
        self
    }

    /// Permits writes by pages of these origins, such as `https://admin.example`, besides the origin of the request's `Host`. It is needed
    /// behind a proxy that changes `Host`, for browsers that do not send `Sec-Fetch-Site`.
    pub fn origins<O: Into<String>>(mut self, origins: impl IntoIterator<Item = O>) -> Self {
        self.web.origins = origins.into_iter().map(|origin| origin.into().to_ascii_lowercase()).collect();
        self
    }

    /// Sets the maximum size of the body of a request, in bytes: 1,048,576 by default. A larger one is refused.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.web.body_bytes = bytes;
        self
    }

    /// Sets how many pages of one client address are kept up to date at the same time: 128 by default. More are answered with
    /// `429 Too Many Requests` and can be read and reloaded. The address is that of
    /// [`ConnectInfo`](axum::extract::ConnectInfo), if the application serves with it; otherwise the number is for all
    /// clients together, times eight.
    pub fn live_pages(mut self, pages: usize) -> Self {
        self.web.streams_per_client = pages;
        self
    }
}

impl std::fmt::Debug for WebRouter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebRouter").field("name", &self.web.name).finish_non_exhaustive()
    }
}

impl Web {
    pub fn may(&self, access: &Access<'_>) -> bool {
        (self.may)(access)
    }

    pub fn audit(&self, audit: &Audit<'_>) {
        // A form may name a run that cannot exist.
        let (action, target) = (audit.action.as_str(), &*printable(audit.target));
        match audit.error {
            None => tracing::info!(action, target, "done by the web page"),
            Some(error) => tracing::info!(action, target, %error, "not done by the web page"),
        }
        if let Some(report) = &self.audit {
            report(audit);
        }
    }
}
