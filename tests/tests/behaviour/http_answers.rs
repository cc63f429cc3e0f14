//! Answers to webhooks, from workflows and steps.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use http_body_util::Full;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use workflow_runtime::engine::Environment;
use workflow_runtime::http::{Answer, Request, WebhookSettings, webhook};
use workflow_runtime::{Result, step, workflow};

use super::http::{Server, gated, published, publishes, takes_one, text};
use crate::support::{Lab, ManualClock, soon};

#[step]
async fn answers(request: Request) -> Result<()> {
    let text = format!("you said {}", request.text().unwrap_or_default());
    request.answer(&Answer::new(201).header("x-by", "a step").body(text)).await
}

#[workflow]
async fn takes_one_and_answers() -> Result<()> {
    let request = webhook().answered_by_step().open();
    publishes(request.path().to_owned()).await?;
    answers(request.await?).await
}

#[workflow]
async fn takes_one_and_says_nothing() -> Result<()> {
    let request = webhook().answered_by_step().open();
    publishes(request.path().to_owned()).await?;
    request.await?;
    gated("taken".into()).await
}

#[workflow]
async fn answers_badly() -> Result<()> {
    let request = webhook().answer(Answer::new(99)).open();
    publishes(request.path().to_owned()).await?;
    request.await.map(drop)
}

#[workflow]
async fn answers_with_headers_of_the_connection() -> Result<u32> {
    let answer = Answer::new(200)
        .header("Content-Length", "999")
        .header("content-length", "3")
        .header("Transfer-Encoding", "chunked")
        .header("connection", "close")
        .header("keep-alive", "timeout=1")
        .header("upgrade", "websocket")
        .header("x-own", "kept")
        .body("fine");
    let requests = webhook().answer(answer).open();
    publishes(requests.path().to_owned()).await?;
    let requests: Vec<Result<Request>> = requests.take(3).collect().await;
    Ok(requests.iter().filter(|request| request.is_ok()).count() as u32)
}

#[workflow]
async fn answers_with_status(status: u16) -> Result<()> {
    let requests = webhook().answer(Answer::new(status).body("no body may follow")).open();
    publishes(requests.path().to_owned()).await?;
    requests.take(2).collect::<Vec<_>>().await;
    Ok(())
}

on_each_store! {
    async fn a_repeated_request_gets_the_answer_to_the_first(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let server = Server::start(&engine).await;
        let run = engine.start(takes_one_and_answers, ()).await.unwrap();
        let path = published(&lab).await;
        let sends = || server.send(hyper::Request::post(&*path).header("idempotency-key", "k"), "x");
        let (first, second) = futures::join!(sends(), sends());
        soon(&run).await.unwrap();
        let third = sends().await;
        let statuses = [first.status(), second.status(), third.status()];
        assert!(statuses.iter().all(|status| *status == statuses[0]), "{statuses:?}");
        let texts = [text(first).await, text(second).await, text(third).await];
        assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    }

    async fn the_headers_of_an_answer_do_not_break_its_connection(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let server = Server::start(&engine).await;
        let run = engine.start(answers_with_headers_of_the_connection, ()).await.unwrap();
        let path = published(&lab).await;
        let socket = TcpStream::connect(server.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        // All requests use one connection: a wrong length would make the next answer begin in the middle of this one.
        for body in ["1", "2", "3"] {
            let request = hyper::Request::post(&path).header("host", "localhost").body(Full::new(Bytes::from(body))).unwrap();
            sender.ready().await.unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let headers = response.headers();
            assert_eq!((&headers["content-length"], &headers["x-own"]), (&"4".parse().unwrap(), &"kept".parse().unwrap()));
            for name in ["transfer-encoding", "connection", "keep-alive", "upgrade"] {
                assert!(!headers.contains_key(name), "{name}");
            }
            assert_eq!(text(response).await, "fine");
        }
        assert_eq!(run.await.unwrap(), 3);
    }

    async fn the_status_of_an_answer_does_not_break_its_connection(place: Place) {
        for (status, sent) in [(100, 500), (101, 500), (199, 500), (204, 204), (205, 205), (304, 304), (1000, 500)] {
            let lab = Lab::new();
            let engine = place.open(&lab).await;
            let server = Server::start(&engine).await;
            let run = engine.start(answers_with_status, status).await.unwrap();
            let path = published(&lab).await;
            let socket = TcpStream::connect(server.address).await.unwrap();
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
            tokio::spawn(connection);
            for body in ["1", "2"] {
                let request = hyper::Request::post(&path).header("host", "localhost").body(Full::new(Bytes::from(body))).unwrap();
                sender.ready().await.unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert_eq!(response.status().as_u16(), sent, "{status}");
                assert_eq!(text(response).await, "", "{status}");
            }
            run.await.unwrap();
            drop(server);
            engine.shutdown().await.unwrap();
        }
    }

    async fn a_body_that_does_not_arrive_in_time_is_answered_with_408(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(1_000));
        let engine = place.open_at(&lab, &clock).await;
        let server = Server::serve(&engine, WebhookSettings::default().body_within(Duration::from_secs(5))).await;
        let run = engine.start(takes_one, ()).id("run").await.unwrap();
        let path = published(&lab).await;
        for path in [&*path, "/webhooks/unknown"] {
            let mut socket = TcpStream::connect(server.address).await.unwrap();
            let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n12345");
            socket.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            let mut now = clock.now();
            {
                let mut reading = std::pin::pin!(socket.read_to_string(&mut answer));
                // The timeout starts when the server has read the head, which the test cannot observe. So it advances
                // the clock until the answer.
                while (&mut reading).now_or_never().is_none() {
                    now += 5_000;
                    clock.set(now);
                    tokio::task::yield_now().await;
                }
            }
            assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close"), "{answer}");
        }
        assert_eq!(place.inbox("run").await, 0);
        assert_eq!(server.post(&path, "whole").await.status(), StatusCode::ACCEPTED);
        assert_eq!(run.await.unwrap().text(), Some("whole"));
    }

    async fn a_step_of_another_engine_answers_the_request(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let client = place.open(&lab).await;
        let server = Server::start(&client).await;
        let run = engine.start(takes_one_and_answers, ()).await.unwrap();
        let response = server.post(&published(&lab).await, "hello").await;
        assert_eq!((response.status(), &response.headers()["x-by"]), (StatusCode::CREATED, &"a step".parse().unwrap()));
        assert!(!response.headers().contains_key("content-type"));
        assert_eq!(text(response).await, "you said hello");
        run.await.unwrap();
    }

    async fn the_server_stops_waiting_for_an_answer_after_a_timeout(place: Place) {
        let (lab, clock) = (Lab::new(), ManualClock::at(1_000));
        let engine = place.open_at(&lab, &clock).await;
        let server = Server::serve(&engine, WebhookSettings::default().answer_within(Duration::from_secs(5))).await;
        let run = engine.start(takes_one_and_says_nothing, ()).await.unwrap();
        let path = published(&lab).await;
        let mut waiting = std::pin::pin!(server.post(&path, "hello"));
        let mut now = 1_000;
        // The timeout starts when the request waits, which the test cannot observe. So it advances the clock until the
        // answer.
        let response = loop {
            match (&mut waiting).now_or_never() {
                Some(response) => break response,
                None => tokio::task::yield_now().await,
            }
            if lab.count("taken") > 0 {
                now += 5_000;
                clock.set(now);
            }
        };
        lab.open_gate("taken");
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        run.await.unwrap();
    }

    async fn an_answer_that_cannot_be_sent_is_an_error_of_the_server(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let server = Server::start(&engine).await;
        let run = engine.start(answers_badly, ()).await.unwrap();
        assert_eq!(server.post(&published(&lab).await, "").await.status(), StatusCode::INTERNAL_SERVER_ERROR);
        run.await.unwrap();
    }
}
