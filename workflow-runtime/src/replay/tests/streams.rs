//! Chunks that a workflow writes to streams.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::Location;

use super::support::*;
use crate::limits::STREAM_CHUNKS_MAX;
use crate::replay::{Carried, Chunk, Command};

/// Writes a chunk, or closes the stream. Returns the code of the error, if it is refused.
async fn write(stream: &str, value: Option<&str>) -> Option<&'static str> {
    let chunk = Chunk { stream: stream.into(), value: value.map(json) };
    let written = poll_fn(|_| shared().write(&chunk, Location::caller())).await;
    written.err().map(|error| error.code().as_str())
}

fn write_command(stream: &'static str, value: &str) -> Command {
    Command::Write { stream: stream.into(), value: json(value) }
}

const BODY: Body = |_| {
    run(async {
        write("news", Some("a")).await;
        write("news", Some("b")).await;
        write("log", Some("c")).await;
        step("work", 1).await?;
        write("news", None).await;
        let after = write("news", Some("d")).await;
        let again = write("news", None).await;
        Ok(json([after, again, write("log", Some("e")).await]))
    })
};

#[test]
fn chunks_are_written_in_order_until_the_stream_is_closed() {
    let mut driven = Driven::start(BODY);
    let written = [write_command("news", "a"), write_command("news", "b"), write_command("log", "c")];
    assert_eq!(driven.commands()[..3], written);
    let chunks: Vec<_> = driven.shared().take_chunks().into_iter().map(|chunk| (chunk.stream, chunk.value)).collect();
    let expected =
        [("news".into(), Some(json("a"))), ("news".into(), Some(json("b"))), ("log".into(), Some(json("c")))];
    assert_eq!(chunks, expected);
    let close = Command::CloseStream { stream: "news".into() };
    assert_eq!(driven.deliver(completed(0, 1)), [close, write_command("log", "e")]);
    let closed = driven.shared().take_chunks();
    assert_eq!((&*closed[0].stream, &closed[0].value, closed.len()), ("news", &None, 2));
    assert_eq!(driven.end(), r#"Completed(["stream_closed","stream_closed",null])"#);
}

#[test]
fn a_replay_does_not_write_chunks_again() {
    let mut replayed = Driven::start(BODY).replayed_by(BODY).unwrap();
    assert!(replayed.shared().take_chunks().is_empty());
    replayed.deliver(completed(0, 1));
    assert_eq!(replayed.shared().take_chunks().len(), 2);
}

#[test]
fn chunks_of_a_stream_are_limited() {
    let streams = BTreeMap::from([("news".into(), (STREAM_CHUNKS_MAX - 1, false)), ("old".into(), (3, true))]);
    let setting = Setting { carried: Carried { streams, ..Carried::default() }, ..Setting::default() };
    let driven = Driven::start_as(
        |_| {
            run(async {
                let last = write("news", Some("last")).await;
                let further = write("news", Some("further")).await;
                let close = write("news", None).await;
                Ok(json([last, further, close, write("old", Some("x")).await]))
            })
        },
        setting,
    );
    assert_eq!(driven.end(), r#"Completed([null,"limit",null,"stream_closed"])"#);
}
