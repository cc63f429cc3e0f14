//! The kinds of parked runs that the samples have since the third one.

use axum::Router;
use futures::TryStreamExt;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use workflow_runtime::{Client, Code, Engine, Error, Run, Status, Waiting, http};

use crate::parked::{result, send, soon};

const RUNS: [(&str, Status); 16] = [
    ("approves in a queue", Status::Suspended),
    ("attached child", Status::Suspended),
    ("backs off in a queue", Status::Suspended),
    ("bound and begun", Status::Suspended),
    ("cancelled before its first turn", Status::Cancelled),
    ("cancelled before its start", Status::Cancelled),
    ("carries payloads", Status::Suspended),
    ("fork of signed", Status::Suspended),
    ("has an attached child", Status::Suspended),
    ("has an own child", Status::Suspended),
    ("has payloads left", Status::Suspended),
    ("listens", Status::Suspended),
    ("own child", Status::Suspended),
    ("received and continued", Status::Suspended),
    ("received payloads", Status::Suspended),
    ("retried", Status::Suspended),
];

/// By run, the steps that this build must execute, with the number of the attempt.
pub const EXECUTED: [(&str, &[(&str, u32)]); 18] = [
    ("approves in a queue", &[("queued_approval", 2)]),
    ("attached child", &[("echo", 1)]),
    ("backs off in a queue", &[("fails_first_in_queue", 2)]),
    ("bound and begun", &[("echo", 1)]),
    ("cancelled before its first turn", &[("echo", 1)]),
    ("cancelled before its start", &[]),
    ("carries payloads", &[]),
    ("fork of signed", &[]),
    ("has an attached child", &[("copy", 1)]),
    ("has an own child", &[("copy", 1)]),
    ("has payloads left", &[]),
    ("left to another build", &[]),
    ("listens", &[("reply", 1)]),
    ("own child", &[("echo", 1)]),
    ("received and continued", &[]),
    ("received payloads", &[]),
    ("retried", &[]),
    ("signed", &[]),
];

/// Checks what a client reads of them. `is_shared` says whether several engines can execute the runs of the store.
pub async fn assert_unchanged(client: &Client, is_shared: bool) {
    for (id, status) in RUNS {
        assert_eq!(run(client, id).status().await.unwrap(), status, "{id}");
    }
    // On PostgreSQL another build was alive that might have continued it.
    let left = run(client, "left to another build").info().await.unwrap();
    assert_eq!(left.status, if is_shared { Status::Suspended } else { Status::Stuck });
    assert_eq!(matches!(left.reason, Some(Waiting::Stuck { .. })), !is_shared, "{:?}", left.reason);
    assert_eq!(run(client, "has an own child").children().await.unwrap(), ["own child"]);
    assert!(run(client, "has an attached child").children().await.unwrap().is_empty());
    let of_parents = client.runs().attribute("of", "a parent").await.unwrap().runs;
    assert_eq!(of_parents.iter().map(|run| &*run.id).collect::<Vec<_>>(), ["own child"]);
    for (id, generation) in
        [("retried", 1), ("carries payloads", 1), ("received and continued", 1), ("fork of signed", 0)]
    {
        assert_eq!(run(client, id).info().await.unwrap().generation, generation, "{id}");
    }
    for id in ["approves in a queue", "has payloads left", "carries payloads", "fork of signed"] {
        assert_eq!(run(client, id).suspended().await.unwrap().len(), 1, "{id}");
    }
    let begun = run(client, "cancelled before its first turn");
    let events: Vec<_> = begun.events().so_far().try_collect().await.unwrap();
    assert_eq!(events.len(), 1, "the run has not begun: {events:?}");
}

fn run(client: &Client, id: &str) -> Run<u64> {
    client.get_run(id)
}

pub async fn complete(engine: &Engine) {
    // Boxed: together they are too large for the stack of a thread.
    tokio::join!(
        Box::pin(children(engine)),
        Box::pin(payloads(engine)),
        Box::pin(suspensions(engine)),
        Box::pin(webhooks(engine)),
        Box::pin(repaired(engine)),
    );
}

/// Children with chosen ids, a bound run, and one that another build was to continue.
async fn children(engine: &Engine) {
    for (parent, child, token) in
        [("has an own child", "own child", "own"), ("has an attached child", "attached child", "attached")]
    {
        send(engine, token, 1, "one").await;
        send(engine, token, 2, "two").await;
        for id in [child, parent] {
            assert_eq!(result::<Vec<u64>>(engine, id).await, [1, 2], "{id}");
        }
    }
    let bound: Run<Vec<u64>> = engine.get_run("bound and begun");
    send(engine, "bound", 1, "one").await;
    assert_eq!(bound.status().await.unwrap(), Status::Suspended);
    engine.release("bound elsewhere").await.unwrap();
    send(engine, "bound", 2, "two").await;
    assert_eq!(soon(bound).await.unwrap(), [1, 2]);
    assert_eq!(result::<u64>(engine, "left to another build").await, 5);
    send(engine, "left", 5, "left").await;
}

/// Payloads that a hook left, in one generation and over several.
async fn payloads(engine: &Engine) {
    for (id, token) in [("has payloads left", "takes"), ("carries payloads", "carries")] {
        send(engine, token, 20, "two").await;
        let run: Run<Vec<u64>> = engine.get_run(id);
        for taken in 1..=3 {
            let suspended = soon(async {
                loop {
                    let suspended = run.suspended().await.unwrap();
                    match suspended.into_iter().find(|it| it.payload.as_array().map(Vec::len) == Some(taken)) {
                        Some(found) => break found,
                        None => workflow_harness::pause().await,
                    }
                }
            })
            .await;
            run.resume(&()).of(suspended.id).await.unwrap();
        }
        assert_eq!(soon(run).await.unwrap(), [10, 20, 30], "{id}");
    }
    for id in ["received payloads", "received and continued"] {
        send(engine, id, 30, "three").await;
        let run: Run<Vec<u64>> = engine.get_run(id);
        let suspended = run.suspended().await.unwrap().remove(0);
        run.resume(&()).of(suspended.id).await.unwrap();
        assert_eq!(soon(run).await.unwrap(), [10, 20, 30], "{id}");
    }
}

/// Steps of a queue, of which one has suspended and one backs off.
async fn suspensions(engine: &Engine) {
    let run: Run<String> = engine.get_run("approves in a queue");
    let suspended = run.suspended().await.unwrap().remove(0);
    assert_eq!((&*suspended.label, suspended.payload.as_str()), ("approve", Some("the budget")));
    run.resume("Ada").of(suspended.id).await.unwrap();
    assert_eq!(soon(run).await.unwrap(), "Ada");
    assert_eq!(result::<u64>(engine, "backs off in a queue").await, 2);
}

/// Posts to the two webhooks of a run.
async fn webhooks(engine: &Engine) {
    let run: Run<Vec<String>> = engine.get_run("listens");
    let paths: [String; 2] = run.state().await.unwrap().expect("the run has published its paths");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes: Router = http::webhooks(engine);
    let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    for (path, body, answer) in [(&paths[0], "first", (200, "taken")), (&paths[1], "second", (201, "SECOND"))] {
        let socket = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::post(path).header("host", "localhost").body(Full::<Bytes>::from(body)).unwrap();
        let answered = soon(sender.send_request(request)).await.unwrap();
        let status = answered.status().as_u16();
        let text = answered.into_body().collect().await.unwrap().to_bytes();
        assert_eq!((status, &*String::from_utf8_lossy(&text)), answer);
    }
    assert_eq!(soon(run).await.unwrap(), ["first", "second"]);
    server.abort();
}

/// Runs that were retried, forked, and cancelled before they began.
async fn repaired(engine: &Engine) {
    send(engine, "retried", 4, "four").await;
    assert_eq!(result::<u64>(engine, "retried").await, 7);
    for id in ["fork of signed", "cancelled before its first turn"] {
        let run: Run<String> = engine.get_run(id);
        if id == "cancelled before its first turn" {
            run.retry().await.unwrap();
            soon(async {
                while run.suspended().await.unwrap().is_empty() {
                    workflow_harness::pause().await
                }
            })
            .await;
        }
        run.resume("Ada").await.unwrap();
        assert_eq!(soon(run).await.unwrap(), "Ada", "{id}");
    }
    assert_eq!(result::<String>(engine, "signed").await, "Grace");
    let never = engine.get_run::<String, Error>("cancelled before its start");
    assert_eq!(never.retry().await.unwrap_err().code(), Code::NotRepairable);
}
