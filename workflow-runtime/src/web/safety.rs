//! Which requests are refused before anything is looked at.

use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::error::WebError;

/// The same for all answers. `'self'` is the origin, so that a proxy's prefix does not matter.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Adds the headers to an answer. Pages are not cached: they show values that the next person at the browser may not see.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

/// The host of the request with its port, in lower case.
fn host(parts: &Parts) -> Option<String> {
    // With HTTP/2 the host is part of the address.
    let host = text(&parts.headers, "host").or_else(|| parts.uri.authority().map(|authority| authority.as_str()));
    host.map(str::to_ascii_lowercase)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Refuses a request for a host that is not permitted.
pub(super) fn check_host(hosts: &[String], parts: &Parts) -> Result<(), WebError> {
    if hosts.is_empty() {
        return Ok(());
    }
    let asked = host(parts).unwrap_or_default();
    if hosts.iter().any(|host| host == without_port(&asked)) {
        return Ok(());
    }
    let help = format!("the page is served as {}", hosts.join(", "));
    Err(WebError::new(StatusCode::MISDIRECTED_REQUEST, "The host of the request is not permitted", help))
}

/// Refuses a request that writes and does not come from a page of this origin.
pub(super) fn check_origin(origins: &[String], parts: &Parts) -> Result<(), WebError> {
    let refused = |text: &str| {
        let help = "send the form of the page itself; programs use the command line, or the library";
        Err(WebError::new(StatusCode::FORBIDDEN, text, help))
    };
    match text(&parts.headers, "sec-fetch-site") {
        Some("same-origin") => return Ok(()),
        None => {}
        Some(_) => return refused("The request comes from another site"),
    }
    let Some(origin) = text(&parts.headers, "origin") else {
        return refused("The request does not say which site it comes from");
    };
    let origin = origin.to_ascii_lowercase();
    let of_host = origin.split_once("://").is_some_and(|(_, authority)| host(parts).as_deref() == Some(authority));
    if of_host || origins.contains(&origin) { Ok(()) } else { refused("The request comes from another site") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_without_its_port() {
        assert_eq!(without_port("localhost:80"), "localhost");
        assert_eq!(without_port("[::1]:80"), "[::1]");
        assert_eq!(without_port("[::1]"), "[::1]");
        assert_eq!(without_port("localhost"), "localhost");
    }
}
