//! The gate of a page that a person serves on a machine of their own: a token from the terminal, once, for a cookie.
//!
//! The token is in the fragment of the address, which browsers do not send; a form posts it, so that it is in no log and in
//! no history.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use maud::html;
use sha2::{Digest, Sha256};

use super::error::WebError;
use super::query::Query;
use super::{assets, document, safety};

const PAGE: &str = "enter";
const BODY_BYTES: usize = 4_096;

pub(crate) struct Gate {
    token: String,
    is_used: AtomicBool,
    session: String,
    cookie: String,
    hosts: Vec<String>,
}

impl Gate {
    /// A new token, for a page on a port of this machine.
    pub fn new(port: u16, hosts: &[&str]) -> Gate {
        let random = || format!("{}{}", crate::uuid().simple(), crate::uuid().simple());
        Gate {
            token: random(),
            is_used: AtomicBool::new(false),
            session: random(),
            cookie: format!("workflow_{port}"),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        }
    }

    /// The end of the address that is opened once.
    pub fn address(&self) -> String {
        format!("{PAGE}#{}", self.token)
    }

    fn is_known(&self, request: &Request) -> bool {
        let cookies = request.headers().get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.any(|(name, value)| name == self.cookie && same(value, &self.session))
    }
}

/// Compares digests, so that the time does not depend on how much is right.
fn same(one: &str, other: &str) -> bool {
    Sha256::digest(one) == Sha256::digest(other)
}

/// Puts the gate before a router at the root of its host.
pub(crate) fn guarded(router: Router, gate: Gate) -> Router {
    router.layer(middleware::from_fn_with_state(Arc::new(gate), enter)).layer(middleware::from_fn(safety::headers))
}

async fn enter(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let is_file = [assets::STYLE, assets::SCRIPT, assets::ICON].iter().any(|asset| asset.name == path);
    if is_file || gate.is_known(&request) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    if let Err(refused) = safety::check_host(&gate.hosts, &parts) {
        return refused.into_response();
    }
    if path != PAGE {
        let help = "open the address that the command has printed; each address can be opened once";
        return WebError::new(StatusCode::UNAUTHORIZED, "This page is for the one who started it", help)
            .into_response();
    }
    if parts.method != Method::POST {
        return form().into_response();
    }
    if let Err(refused) = safety::check_origin(&[], &parts) {
        return refused.into_response();
    }
    let bytes = to_bytes(body, BODY_BYTES).await.unwrap_or_default();
    let form = Query::parse(&String::from_utf8_lossy(&bytes));
    let is_right = form.get("token").is_some_and(|token| same(token, &gate.token));
    if !is_right || gate.is_used.swap(true, Ordering::SeqCst) {
        let help = "end the command and start it again: it prints a new address";
        return WebError::new(StatusCode::FORBIDDEN, "The token is wrong, or was used", help).into_response();
    }
    let cookie = format!("{}={}; Path=/; HttpOnly; SameSite=Strict", gate.cookie, gate.session);
    let headers = [(header::SET_COOKIE, cookie), (header::LOCATION, "overview".to_owned())];
    (StatusCode::SEE_OTHER, headers).into_response()
}

fn form() -> maud::Markup {
    let body = html! {
        div.head { h1 { "Enter" } }
        form method="post" action=(PAGE) data-enter="" {
            p.fld {
                label for="token" { "Token" }
                input #token type="password" name="token" autocomplete="off" required;
                small { "It is behind # in the address that the command has printed" }
            }
            button.btn.pri { "Enter" }
        }
    };
    document::bare("Enter", body)
}
