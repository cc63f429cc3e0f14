//! A receiver of webhooks that passes each event on to several subscribers, and retries failed deliveries.
//!
//! `cargo run --bin webhooks`: the program sends an event to itself twice, like a sender that got no answer. One
//! subscriber accepts it, one is down for two attempts, one does not exist any more. Kill the program at any moment and
//! run it again: an event that was answered with 202 is delivered. `webhooks.db` has the runs; remove the file to start
//! over.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures_util::future::join_all;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use workflow_runtime::{Code, Engine, Error, Result, Run, step, step_info, workflow};

const SUBSCRIBERS: [&str; 3] = ["billing", "search", "old-shop"];

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Event {
    id: String,
    what: String,
}

/// The address of the subscribers. It is a resource, not a recorded argument, so it can change at a restart.
struct Directory(SocketAddr);

#[step(retries = 20, backoff = "100ms..1h", timeout = "30s")]
async fn deliver(#[resource] directory: &Directory, subscriber: String, event: Event) -> Result<u32> {
    let info = step_info().ok_or_else(|| Error::fatal("events are delivered by runs"))?;
    let path = format!("/subscribers/{subscriber}");
    match send(directory.0, &path, &info.idempotency_key, &event).await? {
        status if status.is_success() => Ok(info.attempt),
        status if status.is_client_error() => Err(Error::fatal(format!("{subscriber} refuses events: {status}"))),
        status => Err(Error::new(format!("{subscriber} answered {status}"))), // the step is retried
    }
}

/// Returns the result of each delivery.
#[workflow]
async fn pass_on(event: Event, subscribers: Vec<String>) -> Result<Vec<String>> {
    let deliveries = subscribers.iter().map(|subscriber| deliver(subscriber.clone(), event.clone()));
    let results = join_all(deliveries).await;
    let lines = subscribers.iter().zip(results).map(|(subscriber, result)| match result {
        Ok(attempt) => format!("{subscriber}: delivered by attempt {attempt}"),
        Err(error) => format!("{subscriber}: given up: {error}"),
    });
    Ok(lines.collect())
}

/// Answers 202 once the run is stored. The id of the event is the id of the run, so a repeated event is the same run.
async fn receive(State(engine): State<Engine>, Json(event): Json<Event>) -> Response {
    let id = event.id.clone();
    match engine.start(pass_on, (event, SUBSCRIBERS.map(String::from).to_vec())).id(id).await {
        Ok(_run) => StatusCode::ACCEPTED.into_response(),
        Err(error) if error.code() == Code::RunExists => (StatusCode::CONFLICT, error.to_string()).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(), // the sender repeats it
    }
}

/// Simulates the servers of the subscribers.
async fn subscriber(Path(name): Path<String>, headers: HeaderMap, Json(event): Json<Event>) -> StatusCode {
    static REQUESTS_WHILE_DOWN: AtomicU32 = AtomicU32::new(0);
    let status = match name.as_str() {
        "billing" => StatusCode::OK,
        "search" if REQUESTS_WHILE_DOWN.fetch_add(1, Ordering::SeqCst) < 2 => StatusCode::SERVICE_UNAVAILABLE,
        "search" => StatusCode::OK,
        _ => StatusCode::GONE,
    };
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
    println!("  {name} answers {status} to {} with the key {key}", event.id);
    status
}

/// Posts an event. A real program would have a client such as reqwest as a resource.
async fn send(address: SocketAddr, path: &str, key: &str, event: &Event) -> Result<StatusCode> {
    let socket = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    let request = Request::post(path).header("host", address.to_string()).header("idempotency-key", key);
    let request = request.header("content-type", "application/json");
    let request = request.body(Full::<Bytes>::from(serde_json::to_vec(event)?))?;
    Ok(sender.send_request(request).await?.status())
}

/// Simulates the sender of webhooks: it sends its event twice, and waits for the result of the run.
async fn sender(engine: &Engine, address: SocketAddr) -> Result<()> {
    let event = Event { id: "event-1".into(), what: "order paid".into() };
    for _ in 0..2 {
        println!("{} is answered {}", event.id, send(address, "/events", "", &event).await?);
    }
    let run: Run<Vec<String>> = engine.get_run(&event.id);
    for line in run.await? {
        println!("{line}");
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let engine = Engine::builder().url("sqlite:webhooks.db").resource(Directory(address)).open().await?;
    let app = Router::new()
        .route("/events", post(receive))
        .route("/subscribers/{name}", post(subscriber))
        .with_state(engine.clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    // A real server stops at `tokio::signal::ctrl_c()`.
    let server = axum::serve(listener, app).with_graceful_shutdown(async { drop(stopped.await) });
    let sent = async {
        let sent = sender(&engine, address).await;
        drop(stop);
        sent
    };
    let (served, sent) = tokio::join!(server.into_future(), sent);
    served?;
    engine.shutdown().await?; // after the last request
    sent
}

#[cfg(test)]
#[path = "tests/webhooks.rs"]
mod tests;
