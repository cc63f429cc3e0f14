//! `approvals`: its server is killed after every request.

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

use crate::common::{first_line, spawn};

/// The time limit of a request: a request that hangs fails its test instead of blocking CI.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process of the server.
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
    /// The answer to a reader that reconnects after the end.
    NoContent,
}

/// The directory of the shop's files. Each request gets a server process of its own.
struct Shop(TempDir);

impl Shop {
    fn new() -> Shop {
        Shop(tempfile::tempdir().unwrap())
    }

    /// Sends a request, and kills the server as soon as it has sent the whole answer.
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

    /// The JSON of an order.
    async fn order(&self, id: &str) -> Value {
        let (status, body) = self.ask("GET", &format!("/orders/{id}"), "").await;
        assert_eq!(status, StatusCode::OK, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Reads the next event of the order's progress, and kills the server while the connection is open.
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

    /// Reads the lines of the order's progress after the event `last`, each from another server process, up to the line
    /// `until` or else to the end of the stream. Returns the id of the last event and the lines.
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
                // `NoContent` if the run ended before the reader reconnected.
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

    /// The entries of the ledger: kind, order and amount.
    fn ledger(&self) -> Vec<(String, String, u64)> {
        let text = std::fs::read_to_string(self.0.path().join("ledger")).unwrap();
        let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        entries.map(|entry| (text(&entry["what"]), text(&entry["order"]), entry["cents"].as_u64().unwrap())).collect()
    }

    /// Places an order and waits until it awaits approval. Returns the address for the decision and the id of the last
    /// event.
    async fn place(&self, form: &'static str, id: &str) -> (String, Option<String>) {
        // The second request repeats the first, like a client that got no answer.
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
async fn an_approved_order_is_shipped_once_although_the_server_is_killed_after_each_request() {
    let shop = Shop::new();
    let (approval, last) = shop.place("id=a-1&item=A+%3Cbook%3E&cents=4200", "a-1").await;
    let (status, body) = shop.ask("POST", "/orders", "id=a-1&item=another&cents=1").await;
    assert_eq!(status, StatusCode::CONFLICT, "{body}");
    assert_eq!(shop.ask("GET", "/orders/a-2", "").await.0, StatusCode::NOT_FOUND);

    // More kills than the default of `recoveries`: a run that only waits does not become stuck by them.
    for _ in 0..8 {
        let (status, page) = shop.ask("GET", "/", "").await;
        assert_eq!(status, StatusCode::OK);
        assert!(page.contains("A &lt;book&gt; for 4200 cents") && page.contains(&approval), "{page}");
    }
    // The workflow ignores the first request, which is neither an approval nor a rejection.
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
async fn a_rejected_order_is_refunded_once_although_the_server_is_killed_after_each_request() {
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

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_asked_to_end_is_ready_before_and_leaves_one_file() {
    let shop = Shop::new();
    let ended = async {
        let mut server = Server::start(&shop.0);
        let ask = |request: hyper::http::request::Builder, body: &'static str| {
            server.send(request.header("host", "127.0.0.1").body(Full::new(body.into())).unwrap())
        };
        let form = Request::post("/orders").header("content-type", "application/x-www-form-urlencoded");
        assert_eq!(ask(form, "id=o-1&item=book&cents=1").await.status(), StatusCode::SEE_OTHER);
        assert_eq!(ask(Request::get("/ready"), "").await.status(), StatusCode::OK);
        let page = ask(Request::get("/workflows/runs"), "").await;
        let page = page.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&page).contains("o-1"));
        // Open when the server is asked to end.
        let stream = ask(Request::get("/streams/o-1/progress"), "").await;
        let pid = server.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let _ = stream.into_body().collect().await;
        let status = tokio::task::block_in_place(|| server.child.wait()).unwrap();
        assert!(status.success(), "{status}");
        std::mem::forget(server);
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert!(shop.0.path().join("orders.db").exists());
    assert!(!shop.0.path().join("orders.db-wal").exists(), "a shutdown leaves one file");
    assert_eq!(shop.order("o-1").await["status"], "suspended");
}
