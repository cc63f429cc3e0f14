//! Webhooks and event streams over a socket.

use axum::Router;
use axum::extract::State;
use axum::http::Method;
use axum::routing::get;
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use workflow_runtime::http::{self, Answer, Request, WebhookSettings, webhook};
use workflow_runtime::{Code, Engine, Error, Result, Run, hook, step, workflow, writer};

use crate::support::{Lab, soon};

/// The state of the user's application.
#[derive(Clone)]
struct AppState {
    pub(super) name: &'static str,
}

/// An HTTP server with the routes. Dropping it stops it.
pub(super) struct Server {
    pub(super) address: std::net::SocketAddr,
    pub(super) task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) async fn start(engine: &Engine) -> Server {
        Self::serve(engine, WebhookSettings::default()).await
    }

    pub(super) async fn serve(engine: &Engine, settings: WebhookSettings) -> Server {
        // An application with state, into which the routers are nested.
        let app = Router::new()
            .route("/name", get(async |State(state): State<AppState>| state.name))
            .nest("/webhooks", http::webhooks_with(engine, settings))
            .nest("/streams", http::streams(engine))
            .with_state(AppState { name: "shop" });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Server { address, task }
    }

    pub(super) async fn send(
        &self,
        request: hyper::http::request::Builder,
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        let request = request.header("host", "localhost").body(Full::new(body.into())).unwrap();
        sender.send_request(request).await.unwrap()
    }

    pub(super) async fn post(&self, path: &str, body: impl Into<Bytes>) -> Response<Incoming> {
        self.send(hyper::Request::post(path), body).await
    }

    pub(super) async fn get(&self, path: &str) -> Response<Incoming> {
        self.send(hyper::Request::get(path), "").await
    }

    /// Requests a stream as a client that has already seen the event `last`.
    pub(super) async fn again(&self, path: &str, last: &str) -> Response<Incoming> {
        self.send(hyper::Request::get(path).header("last-event-id", last), "").await
    }
}

pub(super) async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[step]
pub(super) async fn publishes(#[resource] lab: &Lab, path: String) -> Result<()> {
    lab.note(&path);
    Ok(())
}

#[step]
pub(super) async fn gated(#[resource] lab: &Lab, name: String) -> Result<()> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(())
}

/// The path that a run has published. Waits for it.
pub(super) async fn published(lab: &Lab) -> String {
    soon(async {
        loop {
            if let Some(path) = lab.notes().into_iter().find(|note| note.starts_with('/')) {
                return format!("/webhooks{path}");
            }
            workflow_harness::pause().await;
        }
    })
    .await
}

#[workflow]
pub(super) async fn takes_one() -> Result<Request> {
    let request = webhook().open();
    publishes(request.path().to_owned()).await?;
    request.await
}

#[workflow]
async fn takes_two() -> Result<Vec<String>> {
    let requests = webhook().answer(Answer::new(200).header("content-type", "text/xml").body("<ok/>")).open();
    publishes(requests.path().to_owned()).await?;
    let requests: Vec<Result<Request>> = requests.take(2).collect().await;
    gated("dropped".into()).await?;
    requests.into_iter().map(|request| Ok(request?.text().unwrap_or_default().to_owned())).collect()
}

#[workflow]
async fn plain() -> Result<String> {
    let hook = hook::<String>().open();
    publishes(format!("/{}", hook.token())).await?;
    hook.await
}

#[workflow]
async fn writes_chunks(count: u32) -> Result<()> {
    let lines = writer::<String>("a line");
    for number in 0..count {
        lines.write(&format!("line\r\n{number}")).await?;
    }
    gated("written".into()).await?;
    lines.write(&"the last".into()).await
}

#[step(retries = 1, backoff = "0ms..0ms")]
async fn stumbles(#[resource] lab: &Lab) -> Result<()> {
    let attempt = lab.note("attempt");
    writer("numbers").write(&attempt).await?;
    if attempt == 1 { Err(Error::new("again")) } else { Ok(()) }
}

#[workflow]
async fn retries() -> Result<()> {
    stumbles().await
}

on_each_store! {
    async fn a_request_reaches_the_workflow_as_it_was(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let server = Server::start(&engine).await;
        let run = engine.start(takes_one, ()).await.unwrap();
        let path = published(&lab).await;
        let token = path.rsplit('/').next().unwrap();
        assert_eq!(token.len(), 32);
        let request = hyper::Request::put(format!("{path}?a=b%20c")).header("X-Signature", "sha").header("x-odd", &b"\xff"[..]);
        let response = server.send(request, &b"\x00\xff"[..]).await;
        assert_eq!((response.status(), text(response).await), (StatusCode::ACCEPTED, String::new()));
        let request = run.await.unwrap();
        assert_eq!((&*request.method, request.query(), request.body()), ("PUT", Some("a=b%20c"), &b"\x00\xff"[..]));
        assert_eq!((request.header("x-signature"), request.header("X-Odd"), request.text()), (Some("sha"), Some("\u{fffd}"), None));
        assert_eq!(request.uri, format!("/{token}?a=b%20c"));
    }

    async fn an_accepted_request_is_durable(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let server = Server::start(&engine).await;
        let run = engine.start(takes_two, ()).id("run").await.unwrap();
        let path = published(&lab).await;
        let response = server.post(&path, "first").await;
        assert_eq!((response.status(), &response.headers()["content-type"]), (StatusCode::OK, &"text/xml".parse().unwrap()));
        assert_eq!(text(response).await, "<ok/>");
        drop((run, server));
        engine.shutdown().await.unwrap();
        lab.open_gate("dropped");
        let engine = place.open(&lab).await;
        let server = Server::start(&engine).await;
        assert_eq!(server.post(&path, "second").await.status(), StatusCode::OK);
        assert_eq!(engine.get_run::<Vec<String>, Error>("run").await.unwrap(), ["first", "second"]);
    }

    async fn only_open_webhooks_are_found(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let server = Server::start(&engine).await;
        let run = engine.start(takes_two, ()).await.unwrap();
        let path = published(&lab).await;
        for body in ["1", "2"] {
            assert_eq!(server.post(&path, body).await.status(), StatusCode::OK);
        }
        lab.executed("dropped", 1).await;
        let not_found = async |path: &str| {
            let response = server.post(path, "3").await;
            (response.status(), text(response).await)
        };
        let nothing = (StatusCode::NOT_FOUND, String::new());
        assert_eq!(not_found(&path).await, nothing, "the webhook was dropped");
        lab.open_gate("dropped");
        run.await.unwrap();
        assert_eq!(not_found(&path).await, nothing, "the run has ended");
        assert_eq!(not_found("/webhooks/00000000000000000000000000000000").await, nothing);
        assert_eq!(not_found("/webhooks/%2e%2e%2fwebhooks%00").await, nothing);
        let lab = Lab::new();
        drop(server);
        // A connection may still hold the old routes. The shutdown ensures that the old engine does not execute the
        // next run.
        engine.shutdown().await.unwrap();
        let engine = place.open(&lab).await;
        let server = Server::start(&engine).await;
        let run = engine.start(plain, ()).await.unwrap();
        let path = published(&lab).await;
        assert_eq!(server.post(&path, "\"x\"").await.status(), StatusCode::NOT_FOUND, "a hook is not a webhook");
        engine.resume_hook(path.rsplit('/').next().unwrap(), "x").await.unwrap();
        assert_eq!(run.await.unwrap(), "x");
    }

    async fn the_token_of_a_webhook_is_not_that_of_a_hook(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(takes_one, ()).await.unwrap();
        let path = published(&lab).await;
        let token = path.rsplit('/').next().unwrap();
        assert_eq!(engine.get_hook(token).await.unwrap_err().code(), Code::HookNotFound);
        assert!(run.cancel("enough").await.unwrap());
    }

    async fn a_request_with_a_key_is_delivered_once(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let server = Server::start(&engine).await;
        let run = engine.start(takes_two, ()).await.unwrap();
        let path = published(&lab).await;
        let sends = |key: &'static str, body: &'static str, at: &'static str| {
            let request = hyper::Request::post(&*path).header("Idempotency-Key", key).header("date", at);
            server.send(request, body)
        };
        for at in ["monday", "tuesday"] {
            assert_eq!(sends("k", "one", at).await.status(), StatusCode::OK);
        }
        assert_eq!(sends("k", "two", "monday").await.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(sends("l", "two", "monday").await.status(), StatusCode::OK);
        lab.open_gate("dropped");
        assert_eq!(soon(&run).await.unwrap(), ["one", "two"]);
        assert_eq!(sends("l", "two", "wednesday").await.status(), StatusCode::OK, "the payload was accepted before");
        assert_eq!(sends("l", "three", "monday").await.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(sends("m", "three", "monday").await.status(), StatusCode::NOT_FOUND);
        assert_eq!(server.post(&path, "three").await.status(), StatusCode::NOT_FOUND);
        assert_eq!(sends("", "three", "monday").await.status(), StatusCode::BAD_REQUEST);
        run.delete().await.unwrap();
        assert_eq!(sends("l", "two", "thursday").await.status(), StatusCode::ACCEPTED);
        assert_eq!(sends("m", "three", "monday").await.status(), StatusCode::NOT_FOUND);
    }

    async fn a_body_that_is_too_large_is_refused(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let server = Server::serve(&engine, WebhookSettings::default().body_limit(10)).await;
        let run = engine.start(takes_one, ()).await.unwrap();
        let path = published(&lab).await;
        for path in [&*path, "/webhooks/unknown"] {
            assert_eq!(server.post(path, "12345678901").await.status(), StatusCode::PAYLOAD_TOO_LARGE);
        }
        assert_eq!(server.post(&path, "1234567890").await.status(), StatusCode::ACCEPTED);
        assert_eq!(run.await.unwrap().text(), Some("1234567890"));
    }

    async fn a_router_nests_into_an_application_with_state(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let server = Server::start(&engine).await;
        assert_eq!(text(server.get("/name").await).await, "shop");
        // Without state, the router's type is inferred as for other axum routers.
        let _service = http::webhooks(&engine).merge(http::streams(&engine)).into_make_service();
    }

    async fn only_the_configured_methods_deliver(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let server = Server::start(&engine).await;
        let run = engine.start(takes_one, ()).id("by default").await.unwrap();
        let path = published(&lab).await;
        for path in [&*path, "/webhooks/unknown"] {
            for method in [Method::HEAD, Method::OPTIONS, Method::GET, Method::DELETE, Method::PATCH] {
                let response = server.send(hyper::Request::builder().method(&method).uri(path), "").await;
                assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
                assert_eq!(response.headers()["allow"], "POST, PUT");
            }
        }
        assert_eq!(place.inbox("by default").await, 0);
        assert_eq!(server.send(hyper::Request::put(&path), "x").await.status(), StatusCode::ACCEPTED);
        assert_eq!(&*run.await.unwrap().method, "PUT");

        let lab = Lab::new();
        drop(server);
        engine.shutdown().await.unwrap();
        let engine = place.open(&lab).await;
        let server = Server::serve(&engine, WebhookSettings::default().methods([Method::GET, Method::DELETE])).await;
        let run = engine.start(takes_one, ()).await.unwrap();
        let path = published(&lab).await;
        for method in [Method::HEAD, Method::OPTIONS, Method::POST, Method::PUT] {
            let response = server.send(hyper::Request::builder().method(method).uri(&path), "").await;
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(response.headers()["allow"], "GET, DELETE");
        }
        assert_eq!(server.get(&path).await.status(), StatusCode::ACCEPTED);
        assert_eq!(&*run.await.unwrap().method, "GET");
    }

    async fn a_stream_is_served_as_server_sent_events(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let server = Server::start(&engine).await;
        let run = engine.start(writes_chunks, 3).id("run 1").await.unwrap();
        lab.executed("written", 1).await;
        let mut response = server.get("/streams/run%201/a%20line?from=1").await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut seen = String::new();
        while seen.matches("\n\n").count() < 2 {
            let frame = response.body_mut().frame().await.unwrap().unwrap();
            seen += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
        }
        assert_eq!(seen, "id: 1\ndata: \"line\\r\\n1\"\n\nid: 2\ndata: \"line\\r\\n2\"\n\n");
        lab.open_gate("written");
        let last = "id: 3\ndata: \"the last\"\n\nid: end\nevent: end\ndata: null\n\n";
        assert_eq!(text(response).await, last);
        run.await.unwrap();
        let again = text(server.again("/streams/run%201/a%20line?from=0", "2").await).await;
        assert!(again.starts_with("id: 3\n") && again.contains("event: end"), "{again}");
        let again = server.again("/streams/run%201/a%20line", "3").await;
        assert_eq!(again.status(), StatusCode::NO_CONTENT, "the client need not reconnect");
        let from_the_end = text(server.get("/streams/run%201/a%20line?from=-1").await).await;
        assert!(from_the_end.starts_with("id: 3\n"), "{from_the_end}");
    }

    async fn an_unknown_stream_is_an_error(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let server = Server::start(&engine).await;
        assert_eq!(server.get("/streams/nobody/lines").await.status(), StatusCode::NOT_FOUND);
        let run: Run<()> = engine.start(retries, ()).id("run").await.unwrap();
        run.await.unwrap();
        assert_eq!(server.get("/streams/run/numbers?from=x").await.status(), StatusCode::BAD_REQUEST);
        assert_eq!(server.again("/streams/run/numbers", "x").await.status(), StatusCode::BAD_REQUEST);
        assert_eq!(server.again("/streams/run/numbers", "-1").await.status(), StatusCode::BAD_REQUEST);
        // A browser that has received the end of a stream must not reconnect, also if the stream has no chunk.
        assert_eq!(server.again("/streams/run/nothing", "end").await.status(), StatusCode::NO_CONTENT);
        let events = text(server.get("/streams/run/numbers").await).await;
        assert!(events.starts_with("id: 0\ndata: 1\nevent: discarded\n\nid: 1\ndata: 2\n\nid: end\nevent: end\n"), "{events}");
    }
}
