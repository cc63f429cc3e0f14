//! Writing a sample.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use workflow_runtime::store::{Figure, PostgresStore, RecordCounts, SqliteStore, Store, Synchronous};
use workflow_runtime::{Builder, Client, Engine, Error, Result, Run, RunInfo, Status};

use super::workflows::*;
use super::world::{WRITTEN, World};
use super::{again, park_more};

/// The name of a sample's SQLite file.
pub const SQLITE: &str = "store.sqlite";
/// The name of a sample's file with the commands that create a PostgreSQL schema.
pub const POSTGRES: &str = "store.sql";
/// The name of the schema in that file: replace it before use.
pub const SCHEMA: &str = "workflow_sample_schema";

/// The hour of the counts in a sample.
pub const COUNTED_HOUR: u64 = WRITTEN / 3_600_000 - 1;
/// The counts of that hour.
pub const COUNTED: [(Figure, u64); 4] =
    [(Figure::Running, 3), (Figure::Failing, 2), (Figure::Waiting, 10_001), (Figure::Stuck, 0)];

/// Writes a sample of both stores into a new directory. `database` is the URL, without parameters, of a PostgreSQL
/// database that `pg_dump` can reach.
///
/// # Errors
///
/// If the directory exists, since samples are never overwritten, or if anything cannot be written.
pub async fn write(directory: &Path, database: &str) -> Result<()> {
    std::fs::create_dir(directory)?;
    let path = &directory.join(SQLITE);
    park(false, || async move { Ok(Arc::new(SqliteStore::open(path, Synchronous::Full)?) as Arc<dyn Store>) }).await?;
    // Closing the last connection removes the write-ahead log.
    let log = directory.join(format!("{SQLITE}-wal"));
    until("the file is closed", async || Ok(!log.exists())).await?;
    std::fs::remove_file(directory.join(format!("{SQLITE}.lock")))?;
    std::fs::remove_dir_all(directory.join(format!("{SQLITE}.workers")))?;
    let url = &format!("{database}?schema={SCHEMA}");
    park(true, || async move { Ok(Arc::new(PostgresStore::open(url).await?) as Arc<dyn Store>) }).await?;
    std::fs::write(directory.join(POSTGRES), dump(database)?)?;
    Ok(())
}

/// The schema as SQL commands without `psql` commands and without settings of the session.
fn dump(database: &str) -> Result<String> {
    let arguments = ["--inserts", "--no-owner", "--no-privileges", "--no-comments", "--schema", SCHEMA, database];
    let output = Command::new("pg_dump").args(arguments).output()?;
    if !output.status.success() {
        return Err(Error::new(String::from_utf8_lossy(&output.stderr)));
    }
    let dumped = String::from_utf8_lossy(&output.stdout).into_owned();
    let left_out = ["--", "\\", "SET ", "SELECT pg_catalog.set_config"];
    let lines = dumped.lines().filter(|line| !line.is_empty() && !left_out.iter().any(|begin| line.starts_with(begin)));
    Ok(lines.flat_map(|line| [line, "\n"]).collect())
}

/// Parks a run of each kind. Each call of `open` opens the store as another process would. `is_shared` says whether
/// several engines can execute the runs of the store at once.
async fn park<F: Future<Output = Result<Arc<dyn Store>>>>(is_shared: bool, open: impl Fn() -> F) -> Result<()> {
    let world = World::at(WRITTEN);
    let (world, open) = (&world, &open);
    let builder = || async move {
        let builder = world.builder(open().await?).evict_after(Duration::ZERO);
        Ok(builder.on_completed(refuse).on_failed(refuse).on_cancelled(refuse).on_stuck(refuse)) as Result<Builder>
    };
    let engine = async || builder().await?.open().await;

    park_more::bind(builder().await?).await?;
    let first = engine().await?;
    let stuck = first.start(changes, "changes".into()).id("stuck").await?;
    is(&stuck, Status::Suspended).await?;
    first.shutdown().await?;
    drop((first, stuck));

    change_code(true);
    let second = engine().await?;
    second.resume_hook("changes", &5u64).idempotency_key("go").await?;
    is(&second.get_run::<u64, Error>("stuck"), Status::Stuck).await?;
    second.shutdown().await?;
    drop(second);

    change_code(false);
    let third = engine().await?;
    waits(&third).await?;
    third.shutdown().await?;
    drop(third);

    let fourth = engine().await?;
    again::park(&fourth).await?;
    fourth.shutdown().await?;
    drop(fourth);

    park_more::park(builder).await?;
    let client = world.builder(open().await?).connect().await?;
    let store = if is_shared { Some(open().await?) } else { None };
    park_more::refuse(builder().await?, &client, store).await?;
    for_nobody(&client).await?;
    record_counts(&*open().await?).await
}

/// Records what an engine would have counted an hour before the sample was written.
async fn record_counts(store: &dyn Store) -> Result<()> {
    let record = RecordCounts { hour: COUNTED_HOUR, counts: COUNTED.to_vec(), kept_from: 0 };
    store.commit(&[record.into()]).await.map_err(|failed| failed.error)?;
    Ok(())
}

/// A completion callback that fails, so that it has to be called again.
async fn refuse(_: RunInfo) -> Result<()> {
    Err(Error::new("nobody is there"))
}

/// Starts the runs that an engine parks.
async fn waits(engine: &Engine) -> Result<()> {
    engine.start(sleeps, MINUTE).id("asleep for a minute").await?;
    engine.start(sleeps, DAY).id("asleep for a day").await?;
    let asked = engine.start(asks, "asks".into()).id("asks").await?;
    engine.resume_hook("asks", &10u64).idempotency_key("first").await?;
    let parent = engine.start(awaits, "child".into()).id("parent").await?;
    engine.start(signs, ()).id("signs").await?;
    engine.start(approves, ()).id("approves").await?;
    let queued = engine.start(queues, ()).id("queues").await?;
    engine.start(backs_off, ()).id("backs off").await?;
    engine.start(unwinds, ()).id("unwinds").await?;
    let continued =
        engine.start(continues, ("continues".into(), Vec::new())).id("continues").opens("continues").await?;
    engine.resume_hook("continues", &1u64).idempotency_key("one").await?;
    until("it has continued", async || Ok(continued.info().await?.generation == 1)).await?;
    engine.start(tells, "tells".into()).id("tells").attribute("kind", "story").initial_state("begun").await?;
    let patched = engine.start(patches, "patches".into()).id("patches").await?;
    let mixed = engine.start(mixes, "mixes".into()).id("mixes").await?;
    engine.create_run(asks).id("created").await?;
    engine.resume_hook("held", &10u64).idempotency_key("held").hold_for(DAY).await?;

    engine.start(ends, false).id("completed").await?.await?;
    let failed = engine.start(ends, true).id("failed").await?;
    is(&failed, Status::Failed).await?;
    let cancelled = engine.start(asks, "cancelled".into()).id("cancelled").await?;
    is(&cancelled, Status::Suspended).await?;
    cancelled.cancel("not needed").await?;
    let ended = engine.start(changes, "ended".into()).id("has got a payload").await?;
    is(&ended, Status::Suspended).await?;
    engine.resume_hook("ended", &7u64).idempotency_key("once").await?;
    ended.await?;

    until("the hook gives its payload", async || Ok(asked.steps().await?.len() == 2)).await?;
    until("the child and the mixture ask", async || {
        let is_open = async |token| engine.get_hook(token).await.is_ok_and(|hook| hook.is_open);
        Ok(is_open("child").await && is_open("mixes").await && !parent.children().await?.is_empty())
    })
    .await?;
    is(&patched, Status::Suspended).await?;
    until("the queue has a step", async || Ok(queued.steps().await?.len() == 2)).await?;
    let waiting =
        ["asleep for a minute", "asleep for a day", "asks", "parent", "signs", "approves", "continues", "tells"];
    for id in waiting.into_iter().chain([mixed.id()]) {
        is(&engine.get_run::<(), Error>(id), Status::Suspended).await?;
    }
    for (id, steps) in [("backs off", 2), ("unwinds", 4)] {
        until(id, async || {
            let found = engine.get_run::<(), Error>(id).steps().await?;
            Ok(found.len() == steps && found.iter().any(|step| step.attempts == 2 && step.output.is_none()))
        })
        .await?;
    }
    Ok(())
}

/// Starts runs and sends payloads while no engine executes.
async fn for_nobody(client: &Client) -> Result<()> {
    client.start(sleeps, Duration::ZERO).id("started by a client").await?;
    client.start(sleeps, Duration::ZERO).id("bound").deployment("elsewhere").wait_for_deployment().await?;
    client.start(asks, "early".into()).id("asked early").opens("early").await?;
    client.resume_hook("early", &10u64).idempotency_key("early").await
}

pub(super) async fn is<T, E>(run: &Run<T, E>, status: Status) -> Result<()> {
    until(&format!("{} is {status}", run.id()), async || Ok(run.status().await? == status)).await
}

pub(super) async fn until(what: &str, is_so: impl AsyncFn() -> Result<bool>) -> Result<()> {
    for _ in 0..3_000 {
        if is_so().await? {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(Error::new(format!("it takes too long until {what}")))
}
