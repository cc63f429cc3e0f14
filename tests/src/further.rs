//! A workflow with steps of a queue, a child with a chosen id and a payload from outside, and what the sweep's program
//! does with it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use workflow_runtime::{
    Builder, Client, Code, Engine, Error, Result, Run, RunInfo, hook, spawn, step, workflow, writer,
};

use crate::Log;

/// The id of the run of [`further`].
pub const FURTHER: &str = "further";
/// The id of its child.
pub const NAMED: &str = "named";

/// The token of its hook, and the key of the payload.
const TOKEN: &str = "from outside";
const KEY: &str = "once";
const PAYLOAD: u64 = 7;

/// How long the program waits for callbacks. A killed process may have claimed them for longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What [`further`] returns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Further {
    queued: u64,
    concurrent: Vec<u64>,
    child: u64,
    outside: u64,
    undone: String,
}

impl Further {
    /// Asserts that the workflow can have returned this.
    ///
    /// # Panics
    ///
    /// If it cannot.
    pub fn assert_possible(&self) {
        let undone = "not today".to_owned();
        let expected = Further { queued: 3, concurrent: vec![1, 2], child: 5, outside: PAYLOAD, undone };
        assert_eq!(*self, expected);
    }
}

#[step]
async fn plain(#[resource] log: &Log, value: u64) -> Result<u64> {
    log.note();
    writer("further").write(&value).await?;
    Ok(value)
}

#[step(queue = "sweep", retries = 5, backoff = "1ms..2ms")]
async fn queued(#[resource] log: &Log, failures: u32, value: u64) -> Result<u64> {
    let attempt = log.note();
    if attempt <= failures { Err(Error::new("not at once")) } else { Ok(value) }
}

#[step(queue = "sweep", retries = 5, backoff = "1ms..2ms")]
async fn undo_in_queue(#[resource] log: &Log, value: u64) -> Result<u64> {
    if log.note() == 1 { Err(Error::new("not at once")) } else { Ok(value) }
}

#[step]
async fn undo_here(#[resource] log: &Log, value: u64) -> Result<u64> {
    log.note();
    Ok(value)
}

#[step]
async fn fails(#[resource] log: &Log) -> Result<()> {
    log.note();
    Err(Error::fatal("not today"))
}

#[workflow]
async fn named(value: u64) -> Result<u64> {
    queued(0, value).await
}

/// Undoes steps of a queue, of which one is in progress when another fails.
#[workflow]
async fn queue_saga() -> Result<()> {
    queued(0, 1).rollback(undo_in_queue).await?;
    queued(0, 2).rollback(undo_here).await?;
    plain(3).rollback(undo_in_queue).await?;
    let (failed, _) = tokio::join!(fails(), queued(1, 4).rollback(undo_in_queue));
    failed
}

/// Uses steps of a queue, a child with a chosen id and a payload from outside.
#[workflow]
pub async fn further() -> Result<Further> {
    let mut mail = hook::<u64>().token(TOKEN).open();
    let child = spawn(named(5).id(NAMED));
    let once_more = queued(1, 3).await?;
    let (one, two) = tokio::try_join!(queued(0, 1), queued(0, 2))?;
    let outside = (&mut mail).await?;
    let undone = queue_saga().await.err().map(|error| error.to_string()).unwrap_or_default();
    let child = child.await?;
    plain(8).await?;
    Ok(Further { queued: once_more, concurrent: vec![one, two], child, outside, undone })
}

/// The file with the calls of the callback, beside the log of executions: a line `LIFE RUN` for each.
pub fn calls(log: &Path) -> PathBuf {
    log.with_extension("called")
}

/// Serves the queue, and notes each run that has completed.
pub fn configure(builder: Builder, log: &Path, life: &str) -> Builder {
    let (called, life) = (calls(log), life.to_owned());
    builder.queue("sweep", 4).on_completed(move |run: RunInfo| {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(&called);
        let line = format!("{life} {}\n", run.id);
        // One write, so that a kill leaves only complete lines.
        let noted = file.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()));
        std::future::ready(noted.map_err(Error::from))
    })
}

/// Starts the run, or continues it, and sends the payload twice.
///
/// # Errors
///
/// If a delivery is refused, although the first was accepted.
pub async fn begin(engine: &Engine) -> Result<Run<Further>> {
    let run = engine.start(further, ()).id(FURTHER).opens(TOKEN).await?;
    for _ in 0..2 {
        engine.resume_hook(TOKEN, &PAYLOAD).idempotency_key(KEY).await?;
    }
    Ok(run)
}

/// Follows the run through another client until it ends, and then sends the payload again.
///
/// # Errors
///
/// If the follower sees anything else than the run's handle does, or if the delivery does not count as the first.
///
/// # Panics
///
/// The same.
pub async fn end(url: &str, run: &Run<Further>) -> Result<()> {
    let client = Client::connect(url).await?;
    let follower: Run<Further> = client.get_run(FURTHER);
    let events = async {
        let events: Vec<_> = follower.events().try_collect().await?;
        let indexes: Vec<u64> = events.iter().map(|event| event.index).collect();
        assert_eq!(indexes, (0..events.len() as u64).collect::<Vec<_>>());
        Ok::<_, Error>(events.len())
    };
    let chunks = follower.stream::<u64>("further").try_collect::<Vec<_>>();
    let (followed, result, events, chunks) = tokio::try_join!(&follower, run, events, chunks)?;
    assert_eq!(followed, result);
    let all: Vec<_> = run.events().try_collect::<Vec<_>>().await?;
    assert_eq!(events, all.len());
    let kept: Vec<u64> = chunks.iter().filter(|chunk| !chunk.discarded).map(|chunk| chunk.value).collect();
    assert_eq!(kept, [8]);
    client.resume_hook(TOKEN, &PAYLOAD).idempotency_key(KEY).await?;
    let other = client.resume_hook(TOKEN, &(PAYLOAD + 1)).idempotency_key(KEY).await;
    assert_eq!(other.map_err(|error| error.code()), Err(Code::KeyReused));
    Ok(())
}

/// Waits for a while until the callback was called for these runs, in this process or an earlier one.
pub async fn called(log: &Path, runs: &[&str]) {
    let began = Instant::now();
    let has_called = || {
        let called = std::fs::read_to_string(calls(log)).unwrap_or_default();
        runs.iter().all(|run| called.lines().any(|line| line.split_once(' ').is_some_and(|(_, id)| id == *run)))
    };
    while !has_called() && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
