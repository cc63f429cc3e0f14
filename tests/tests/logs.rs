//! Ids, tokens and other names with control characters, as a request may have them: they do not reach the log, neither by the
//! engine and its front ends nor by a program that logs the errors.
//!
//! In a program of its own, since the subscriber is the whole process's.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use axum::Router;
use futures::StreamExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use workflow_runtime::{
    Engine, Error, Result, Run, durable, get_hook, get_run, hook, http, set_attribute, step, suspend, web, workflow,
    writer,
};

/// A line that it forges begins with `FORGED`.
const EVIL: &str = "id\u{1b}[2J\u{9b}31m\r\nFORGED";

/// Collects spans and events with all fields, where a text is not quoted.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0 += &format!(" {}={value}", field.name());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("workflow_runtime") || metadata.target().starts_with("logs")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(span.metadata().name().to_owned());
        span.record(&mut line);
        self.0.lock().unwrap().push(line.0);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line("more".to_owned());
        values.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().target().to_owned());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    log
});

impl Log {
    /// The lines since the last call. Errors have several lines; none of them is that of a name.
    fn is_clean(&self, by: &str) -> Vec<String> {
        let lines = std::mem::take(&mut *self.0.lock().unwrap());
        for line in &lines {
            let control = line.chars().find(|letter| letter.is_control() && *letter != '\n');
            assert_eq!(control, None, "{by}: {line:?}");
            assert!(!line.lines().any(|line| line.trim_start().starts_with("FORGED")), "{by}: {line:?}");
        }
        lines
    }
}

/// Logs the error of a call as a program does, in each form, and checks the log.
fn logged<T>(by: &str, result: Result<T>) {
    let error = result.err().unwrap_or_else(|| panic!("{by} is refused"));
    let run = error.run_id().unwrap_or_default();
    tracing::error!(%error, run, "the call is refused");
    tracing::error!(?error, "the call is refused");
    let lines = LOG.is_clean(by);
    assert!(lines.iter().any(|line| line.contains("the call is refused")), "{by}: {lines:?}");
}

#[step(retries = 0)]
async fn suspends() -> Result<u32> {
    suspend(&1).label(EVIL).await
}

#[durable]
async fn opens(how: &str) -> Result<()> {
    match how {
        "a hook" => hook::<u32>().token(EVIL).await.map(drop),
        "an attribute" => set_attribute(EVIL, "value"),
        "a stream" => writer::<u32>(EVIL).write(&1).await,
        "a child" => quick(1).id(EVIL).await.map(drop),
        "a suspension" => suspend::<u32>(&1).label(EVIL).await.map(drop),
        _ => suspends().await.map(drop),
    }
}

#[workflow]
async fn names(how: String) -> Result<()> {
    opens(&how).await
}

#[workflow]
async fn quick(value: u32) -> Result<u32> {
    Ok(value)
}

#[workflow]
async fn waits() -> Result<u32> {
    hook::<u32>().token("waits").await
}

/// An engine whose runs and names are those of this test.
async fn engine() -> Engine {
    LazyLock::force(&LOG);
    Engine::open("memory:").await.unwrap()
}

async fn soon<F: IntoFuture>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), what.into_future()).await.expect("it is ready in time")
}

async fn calls_are_logged_without_control_characters() {
    let engine = engine().await;
    let run: Run<u32> = engine.get_run(EVIL);
    logged("status", run.status().await);
    logged("info", run.info().await);
    logged("await", soon(&run).await);
    logged("outcome", soon(run.outcome()).await);
    logged("wake_up", run.wake_up().await);
    logged("cancel", run.cancel("why").await);
    logged("request_cancel", run.request_cancel("why").await);
    logged("retry", run.retry().await);
    logged("fork", run.fork(1).await);
    logged("delete", run.delete().await);
    logged("steps", run.steps().await);
    logged("events", soon(run.events().so_far().next()).await.unwrap());
    logged("suspended", run.suspended().await);
    logged("resume", run.resume(&1).label(EVIL).await);
    logged("state", run.state::<u32>().await);
    logged("attributes", run.attributes().await);
    logged("children", run.children().await);
    logged("waiting", run.waiting().await);
    logged("streams", run.streams().await);
    logged("stream", soon(run.stream::<u32>(EVIL).next()).await.unwrap());
    logged("export", run.export().await);
    logged("get_run", get_run::<u32, Error>(EVIL).info().await);

    logged("start", engine.start(quick, 1).id(EVIL).await);
    logged("create_run", engine.create_run(quick).id(EVIL).await);
    logged("opens", engine.start(quick, 1).opens(EVIL).await);
    logged("attribute", engine.start(quick, 1).attribute(EVIL, "x").await);
    logged("start_by_id", engine.start_by_id(EVIL, json!(1)).await);
    logged("deployment", engine.start(quick, 1).deployment(EVIL).await);

    logged("get_hook", engine.get_hook(EVIL).await);
    logged("the free get_hook", get_hook(EVIL).await);
    logged("resume_hook", engine.resume_hook(EVIL, &1).await);
    let held = engine.resume_hook(EVIL, &1).hold_for(Duration::from_secs(1));
    logged("hold_for", held.await);
    let keyed = engine.resume_hook("unknown", &1).idempotency_key(EVIL);
    logged("idempotency_key", keyed.await);

    let existing = engine.start(waits, ()).id("waits").await.unwrap();
    logged("fork", existing.fork(0).id(EVIL).await);
    logged("of", existing.resume(&1).of(EVIL).await);
    // A reason is a text of a person: its lines are its own, and no name.
    existing.cancel(EVIL).await.unwrap();
    LOG.is_clean("cancel with a reason");
    for done in [
        engine.drain(EVIL).await,
        engine.undrain(EVIL).await,
        engine.promote(EVIL).await,
        engine.release(EVIL).await.map(drop),
        engine.release_run(EVIL).await.map(drop),
    ] {
        if done.is_err() {
            logged("a call for a deployment", done);
        }
        LOG.is_clean("a call for a deployment");
    }
    let opened = Engine::builder().url("memory:").deployment(EVIL).open().await;
    logged("a deployment", opened);
}

async fn names_of_a_workflow_are_logged_without_control_characters() {
    let engine = engine().await;
    for how in ["a hook", "an attribute", "a stream", "a child", "a suspension", "a suspension of a step"] {
        let run = engine.start(names, how.to_owned()).await.unwrap();
        logged(how, soon(&run).await);
    }
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await });
    address
}

/// The status of the answer to a request.
async fn request(to: SocketAddr, method: &str, path: &str, form: &str) -> u16 {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nSec-Fetch-Site: same-origin\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    soon(stream.read_to_end(&mut bytes)).await.unwrap();
    let answer = String::from_utf8_lossy(&bytes);
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
}

async fn requests_are_logged_without_control_characters() {
    let engine = engine().await;
    let encoded: String = EVIL.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let twice: String = encoded.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let app = Router::new().nest("/webhooks", http::webhooks(&engine)).nest("/streams", http::streams(&engine));
    let to = serve(app).await;
    for (method, path, status) in [
        ("POST", format!("/webhooks/{encoded}"), 404),
        ("GET", format!("/streams/{encoded}/log"), 404),
        ("GET", format!("/streams/waits/{encoded}"), 404),
    ] {
        assert_eq!(request(to, method, &path, "").await, status, "{path}");
        LOG.is_clean(&path);
    }

    // Once with all rights, and once with none on a run: the log has each action, and whether it was done.
    let mut logged = BTreeSet::new();
    for may in [true, false] {
        let page = web::router(&engine).access(move |access| may || access.target.is_none());
        let to = serve(page.into()).await;
        for path in ["run?id", "runs?workflow", "fork?run", "start?like", "start?workflow", "send?token", "resume?run"]
        {
            request(to, "GET", &format!("/{path}={encoded}"), "").await;
            LOG.is_clean(path);
        }
        let of_runs = ["cancel", "retry", "wake", "delete"].map(|action| ("/act", format!("do={action}&r={twice}")));
        let of_deployments =
            ["drain", "undrain", "promote", "release"].map(|action| ("/deployment", format!("do={action}&id={twice}")));
        let others = [
            ("/start", format!("workflow={encoded}&args=1&id={encoded}")),
            ("/fork", format!("run={encoded}&at=1&id={encoded}")),
            ("/send", format!("token={encoded}&value=1")),
            ("/resume", format!("run={encoded}&of={encoded}&value=1")),
        ];
        for (path, form) in of_runs.into_iter().chain(of_deployments).chain(others) {
            request(to, "POST", path, &form).await;
            for line in LOG.is_clean(&format!("{path} {form}")) {
                let action = line.split_once(" action=").and_then(|(_, action)| action.split_once(' '));
                logged.extend(action.map(|(action, _)| action.to_owned()));
            }
        }
    }
    let expected = [
        "cancel", "delete", "drain", "fork", "promote", "release", "resume", "retry", "send", "start", "undrain",
        "wake",
    ];
    assert!(logged.iter().eq(expected), "{logged:?}");
}

/// In one test: another one that runs beside it would take its lines.
#[tokio::test]
async fn names_with_control_characters_are_logged_as_escapes() {
    calls_are_logged_without_control_characters().await;
    names_of_a_workflow_are_logged_without_control_characters().await;
    requests_are_logged_without_control_characters().await;
}
