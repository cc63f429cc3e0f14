//! `ls -w` lists again when a run has changed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use workflow_runtime::Engine;

use crate::support::Place;
use crate::world::nap;

/// Less than the time after which a list is read again without a notification.
const SOON: Duration = Duration::from_secs(20);

case!(
    #[postgres]
    async fn a_list_that_is_watched_is_notified_of_new_runs() {
        let place = Place::postgres();
        let engine = Engine::open(&place.url).await.unwrap();
        engine.start(nap, ()).id("first").await.unwrap();
        let mut watching = Command::new(env!("CARGO_BIN_EXE_command_line"))
            .args(["--store", &place.url, "ls", "-w", "-o", "ids"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (line, lines) = mpsc::channel();
        let output = BufReader::new(watching.stdout.take().unwrap());
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|read| line.send(read)));
        let wait_for = |id: &str| while lines.recv_timeout(SOON).expect("the list is printed in time") != id {};
        tokio::task::block_in_place(|| wait_for("first"));
        for id in ["second", "third"] {
            engine.start(nap, ()).id(id).await.unwrap();
            tokio::task::block_in_place(|| wait_for(id));
        }
        watching.kill().unwrap();
        watching.wait().unwrap();
        engine.shutdown().await.unwrap();
    }
);
