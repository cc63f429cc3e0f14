//! `approvals`, over its socket, killed after every request.
#![cfg(feature = "http")]

mod common;

use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use common::{first_line, spawn};

/// Far above the time of a request, so that a hang is a failure and does not block the CI.
const PATIENCE: Duration = Duration::from_secs(60);

/// One process of the server.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(directory: &TempDir) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_approvals"));
        command.current_dir(directory).args(["--db", "orders.db", "--ledger", "ledger", "--port", "0"]);
        let mut child = spawn(&mut command);
        let line = first_line(&mut child);
        let address = line.trim_end().strip_prefix("listening on http://").and_then(|address| address.parse().ok());
        Server { child, address: address.unwrap_or_else(|| panic!("no address: {line}")) }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }
}

/// Kills the server with SIGKILL.
impl Drop for Server {
    fn drop(&mut self) {
        let ended = self.child.try_wait().unwrap();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        assert!(ended.is_none() || std::thread::panicking(), "it ended before it was killed: {ended:?}");
    }
}

/// An event of a stream, or its end.
#[derive(Debug, PartialEq)]
enum Event {
    Line(String, String),
    End,
    /// No event remains for a client that reconnects.
    NoContent,
}

/// The directory that outlives the servers. Each request gets its own server.
struct Shop(TempDir);

impl Shop {
    fn new() -> Shop {
        Shop(tempfile::tempdir().unwrap())
    }

    /// Sends a request to a new server, which is killed as soon as the whole answer has arrived.
    async fn ask(&self, method: &str, path: &str, form: &'static str) -> (StatusCode, String) {
        let asked = async {
            let server = Server::start(&self.0);
            let request = Request::builder().method(method).uri(path).header("host", "localhost");
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            let response = server.send(request.body(Full::new(form.into())).unwrap()).await;
            let status = response.status();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap()
    }

    /// The order, as the server returns it.
    async fn order(&self, id: &str) -> Value {
        let (status, body) = self.ask("GET", &format!("/orders/{id}"), "").await;
        assert_eq!(status, StatusCode::OK, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The next event of the order's progress. The server is killed with the connection open.
    async fn event(&self, id: &str, last: Option<&str>) -> Event {
        let read = async {
            let server = Server::start(&self.0);
            let mut request = Request::get(format!("/streams/{id}/progress")).header("host", "localhost");
            if let Some(last) = last {
                request = request.header("last-event-id", last);
            }
            let mut response = server.send(request.body(Full::default()).unwrap()).await;
            if response.status() == StatusCode::NO_CONTENT {
                return Event::NoContent;
            }
            assert_eq!(response.status(), StatusCode::OK);
            let mut text = String::new();
            loop {
                if let Some((event, _)) = text.split_once("\n\n") {
                    return parse(event);
                }
                let frame = response.frame().await.expect("the stream ends with an event").unwrap();
                text += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap()
    }

    /// The lines of the order's progress behind `last`, each read from another server, up to the line `until`, or to
    /// the end of the stream without it. Returns the id of the last one.
    async fn follow(
        &self,
        order: &str,
        mut last: Option<String>,
        until: Option<&str>,
    ) -> (Option<String>, Vec<String>) {
        let mut lines = Vec::new();
        loop {
            match self.event(order, last.as_deref()).await {
                Event::Line(id, line) => {
                    last = Some(id);
                    lines.push(line);
                }
                // `NoContent` if the run ended between the line and the reconnection.
                Event::End | Event::NoContent => {
                    assert_eq!(until, None, "{lines:?}");
                    return (last, lines);
                }
            }
            if lines.last().map(String::as_str) == until {
                return (last, lines);
            }
        }
    }

    /// The effects in the ledger, each with its order and its amount.
    fn ledger(&self) -> Vec<(String, String, u64)> {
        let text = std::fs::read_to_string(self.0.path().join("ledger")).unwrap();
        let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        entries.map(|entry| (text(&entry["what"]), text(&entry["order"]), entry["cents"].as_u64().unwrap())).collect()
    }

    /// Places an order and waits until it can be decided. Returns the path for the decision and the id of the last
    /// event.
    async fn place(&self, form: &'static str, id: &str) -> (String, Option<String>) {
        // A client that did not get the first answer sends the form again.
        for _ in 0..2 {
            let (status, body) = self.ask("POST", "/orders", form).await;
            assert_eq!(status, StatusCode::SEE_OTHER, "{body}");
            assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), json!({ "id": id }));
        }
        let (last, lines) = self.follow(id, None, Some("waiting for approval")).await;
        assert_eq!(lines, ["charging", "waiting for approval"]);
        let order = self.order(id).await;
        assert_eq!(order["order"]["stage"], "awaiting_approval", "{order}");
        (order["approval"].as_str().unwrap().to_owned(), last)
    }
}

fn parse(event: &str) -> Event {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    match field("event") {
        None => Event::Line(field("id").unwrap().into(), serde_json::from_str(field("data").unwrap()).unwrap()),
        Some("end") => Event::End,
        Some(_) => panic!("the workflow writes the lines, so none is discarded: {event}"),
    }
}

fn done(what: &str, order: &str, cents: u64) -> (String, String, u64) {
    (what.into(), order.into(), cents)
}

#[tokio::test]
async fn an_approved_order_is_shipped_despite_kills_after_each_request() {
    let shop = Shop::new();
    let (approval, last) = shop.place("id=a-1&item=A+%3Cbook%3E&cents=4200", "a-1").await;
    let (status, body) = shop.ask("POST", "/orders", "id=a-1&item=another&cents=1").await;
    assert_eq!(status, StatusCode::CONFLICT, "{body}");
    assert_eq!(shop.ask("GET", "/orders/a-2", "").await.0, StatusCode::NOT_FOUND);

    // More restarts than the recoveries that a run may have without progress: a waiting run does not count them.
    for _ in 0..8 {
        let (status, page) = shop.ask("GET", "/", "").await;
        assert_eq!(status, StatusCode::OK);
        assert!(page.contains("A &lt;book&gt; for 4200 cents") && page.contains(&approval), "{page}");
    }
    // The first is neither yes nor no, and so is ignored.
    for form in ["decision=perhaps", "decision=approve"] {
        assert_eq!(shop.ask("POST", &approval, form).await.0, StatusCode::SEE_OTHER);
    }
    let (last, lines) = shop.follow("a-1", last, None).await;
    assert_eq!(lines, ["approved", "shipped"]);
    assert_eq!(shop.event("a-1", last.as_deref()).await, Event::NoContent);
    assert_eq!(shop.ask("POST", &approval, "decision=reject").await.0, StatusCode::NOT_FOUND);

    let order = shop.order("a-1").await;
    assert_eq!((&order["status"], &order["order"]["stage"]), (&json!("completed"), &json!("shipped")));
    assert_eq!(shop.follow("a-1", None, None).await.1, ["charging", "waiting for approval", "approved", "shipped"]);
    assert_eq!(shop.ledger(), [done("charge", "a-1", 4200), done("ship", "a-1", 4200)]);
}

#[tokio::test]
async fn a_rejected_order_is_refunded_once_despite_kills_after_each_request() {
    let shop = Shop::new();
    let (approval, last) = shop.place("id=r-1&item=A+boat&cents=9900", "r-1").await;
    assert_eq!(shop.ledger(), [done("charge", "r-1", 9900)]);
    assert_eq!(shop.ask("POST", &approval, "decision=reject").await.0, StatusCode::SEE_OTHER);
    let (last, lines) = shop.follow("r-1", last, None).await;
    assert_eq!(lines, ["rejected", "refunded"]);
    assert_eq!(shop.event("r-1", last.as_deref()).await, Event::NoContent);

    let order = shop.order("r-1").await;
    assert_eq!((&order["status"], &order["order"]["stage"]), (&json!("failed"), &json!("refunded")));
    assert_eq!(order["approval"], Value::Null);
    assert_eq!(shop.follow("r-1", None, None).await.1, ["charging", "waiting for approval", "rejected", "refunded"]);
    assert_eq!(shop.ledger(), [done("charge", "r-1", 9900), done("refund", "r-1", 9900)]);
}
