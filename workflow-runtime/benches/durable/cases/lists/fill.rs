//! Very many runs: a few that an engine has written, and copies of their rows by SQL.
//!
//! Of a thousand runs about 930 have completed, 35 have failed and 10 were cancelled, in twenty workflows; the others sleep, wait
//! for a payload or a person, fail, wait in a queue, or are stuck. They were created in the course of ninety days. Each has
//! two attributes.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use workflow_runtime::{Engine, Error, Result as RunResult, Run, Status, hook, sleep, step, suspend, workflow};

use crate::Result;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);
const DAYS: u64 = 90;
const PATIENCE: Duration = Duration::from_secs(60);
/// So that the copies are not made while they are read.
const TEMPLATES: &str = "CREATE TEMPORARY TABLE templates AS SELECT * FROM runs";

#[step]
async fn works(number: u32) -> RunResult<u32> {
    Ok(number)
}

#[step(retries = 0)]
async fn breaks(number: u32) -> RunResult<u32> {
    Err(Error::fatal(format!("order {number} is out of stock")))
}

#[step(retries = 100, backoff = "1000h..2000h")]
async fn declines(number: u32) -> RunResult<u32> {
    Err(Error::new(format!("503 Service Unavailable from the bank for {number}")))
}

#[step(queue = "nobody")]
async fn queued(number: u32) -> RunResult<u32> {
    Ok(number)
}

#[workflow(id = "shop::done")]
async fn done() -> RunResult<u32> {
    works(1).await
}

#[workflow(id = "shop::fails")]
async fn fails() -> RunResult<u32> {
    breaks(2).await
}

#[workflow(id = "shop::retries")]
async fn retries() -> RunResult<u32> {
    declines(3).await
}

#[workflow(id = "shop::sleeps")]
async fn sleeps() -> RunResult<()> {
    sleep(YEAR).await;
    Ok(())
}

#[workflow(id = "shop::asks")]
async fn asks() -> RunResult<String> {
    suspend("Ship it?").label("approval").await
}

#[workflow(id = "shop::hooks")]
async fn hooks() -> RunResult<String> {
    hook::<String>().token("payment").await
}

#[workflow(id = "shop::renders")]
async fn renders() -> RunResult<u32> {
    queued(4).await
}

#[workflow(id = "shop::panics")]
async fn panics() -> RunResult<u32> {
    works(5).await?;
    panic!("on purpose")
}

/// Executes one run of each kind.
pub async fn templates(url: &str) -> Result<()> {
    let engine = Engine::builder().url(url).evict_after(Duration::ZERO).open().await?;
    let started: Vec<(&str, Status)> = vec![
        ("t-done", Status::Completed),
        ("t-fails", Status::Failed),
        ("t-cancelled", Status::Cancelled),
        ("t-sleeps", Status::Suspended),
        ("t-asks", Status::Suspended),
        ("t-hooks", Status::Suspended),
        ("t-retries", Status::Running),
        ("t-panics", Status::Stuck),
    ];
    engine.start(done, ()).id("t-done").await?;
    engine.start(fails, ()).id("t-fails").await?;
    engine.start(sleeps, ()).id("t-cancelled").await?.cancel("the customer has called").await?;
    engine.start(sleeps, ()).id("t-sleeps").await?;
    engine.start(asks, ()).id("t-asks").await?;
    engine.start(hooks, ()).id("t-hooks").await?;
    engine.start(retries, ()).id("t-retries").await?;
    engine.start(panics, ()).id("t-panics").await?;
    engine.start(renders, ()).id("t-renders").await?;
    let begun = Instant::now();
    for (id, expected) in started {
        let run: Run<u32> = engine.get_run(id);
        loop {
            let info = run.info().await?;
            if info.status == expected && (id != "t-retries" || info.failing_since.is_some()) {
                break;
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("{id} is {} and not {expected}", info.status).into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(engine.shutdown().await?)
}

/// The kinds of runs, each up to so many of a thousand.
const KINDS: [(u32, &str); 8] = [
    (929, "t-done"),
    (964, "t-fails"),
    (974, "t-cancelled"),
    (985, "t-sleeps"),
    (990, "t-asks"),
    (995, "t-hooks"),
    (998, "t-retries"),
    (999, "t-panics"),
];

/// The columns that differ between the copies, as SQL of SQLite and PostgreSQL; `n.i` is the number of a copy.
fn columns(token: &str, begin: u64, runs: u64) -> Vec<(&'static str, String)> {
    let created = format!("({begin} + n.i * {} / {runs})", DAYS * 24 * 3_600_000);
    let later = |column: &str, by: &str| format!("CASE WHEN t.{column} IS NULL THEN NULL ELSE {created} + {by} END");
    vec![
        ("id", "substr(t.id, 3) || '-' || substr(CAST(100000000 + n.i AS text), 2)".to_owned()),
        (
            "workflow",
            "CASE WHEN t.completed_at IS NULL THEN t.workflow ELSE 'shop::flow_' || CAST(n.i % 20 AS text) END"
                .to_owned(),
        ),
        ("parent", "CASE WHEN n.i % 100 = 7 THEN 't-sleeps' ELSE t.parent END".to_owned()),
        ("token", token.to_owned()),
        ("created_at", created.clone()),
        ("started_at", later("started_at", "5")),
        ("completed_at", later("completed_at", "5 + n.i * 31 % 100000")),
        ("failing_since", later("failing_since", "1000")),
    ]
}

/// The statements that copy the rows. `all` are the columns of the runs.
fn statements(all: &[String], numbers: &str, token: &str, runs: u64) -> Result<[String; 5]> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let own = columns(token, now - DAYS * 24 * 3_600_000, runs);
    let values: Vec<String> = all
        .iter()
        .map(|column| {
            let own = own.iter().find(|(name, _)| name == column);
            own.map_or_else(|| format!("t.{column}"), |(_, sql)| sql.clone())
        })
        .collect();
    let kinds: Vec<String> =
        KINDS.iter().map(|(most, id)| format!("WHEN n.i * 7919 % 1000 < {most} THEN '{id}'")).collect();
    let kind =
        format!("CASE {} ELSE (SELECT id FROM templates WHERE workflow LIKE 'queue:%' LIMIT 1) END", kinds.join(" "));
    let (columns, values) = (all.join(", "), values.join(", "));
    Ok([
        format!("INSERT INTO runs ({columns}) SELECT {values} FROM {numbers} JOIN templates AS t ON t.id = {kind}"),
        "INSERT INTO journal (run, generation, idx, turn, format, checksum, body)
         SELECT runs.key, j.generation, j.idx, j.turn, j.format, j.checksum, j.body FROM runs
         JOIN runs AS t ON t.id = 't-' || substr(runs.id, 1, length(runs.id) - 9) JOIN journal AS j ON j.run = t.key
         WHERE runs.completed_at IS NULL AND runs.id NOT LIKE 't-%'"
            .to_owned(),
        "INSERT INTO tokens (token, run, op, type_name, metadata, once, asked, step, state)
         SELECT CASE WHEN k.asked IS NULL THEN k.token || '-' || runs.id ELSE replace(k.token, t.id, runs.id) END, runs.key,
            k.op, k.type_name, k.metadata, k.once, replace(k.asked, t.id, runs.id), k.step, k.state FROM runs
         JOIN runs AS t ON t.id = 't-' || substr(runs.id, 1, length(runs.id) - 9) JOIN tokens AS k ON k.run = t.key
         WHERE runs.completed_at IS NULL AND runs.id NOT LIKE 't-%'"
            .to_owned(),
        "INSERT INTO attributes (run, key, value, created_at)
         SELECT key, 'tenant', 'tenant-' || CAST(key % 1000 AS text), created_at FROM runs"
            .to_owned(),
        "INSERT INTO attributes (run, key, value, created_at)
         SELECT key, 'plan', CASE WHEN key % 2 = 0 THEN 'pro' ELSE 'free' END, created_at FROM runs"
            .to_owned(),
    ])
}

pub fn sqlite(path: &Path, runs: u64) -> Result<()> {
    let connection = Connection::open(path)?;
    connection
        .execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000; PRAGMA wal_autocheckpoint = 100000;")?;
    connection.execute_batch(TEMPLATES)?;
    let mut read = connection.prepare("SELECT name FROM pragma_table_info('runs') WHERE name <> 'key'")?;
    let all = read.query_map((), |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    let numbers = format!(
        "(WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {runs}) SELECT i FROM n) AS n"
    );
    for sql in statements(&all, &numbers, "randomblob(16)", runs)? {
        connection.execute(&sql, ())?;
    }
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(())
}

#[cfg(all(unix, feature = "postgres"))]
pub async fn postgres(url: &str, runs: u64) -> Result<()> {
    let client = crate::postgres::connect(url).await;
    let columns = "SELECT column_name::text FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name = 'runs' AND column_name <> 'key'";
    let all: Vec<String> = client.query(columns, &[]).await?.iter().map(|row| row.get(0)).collect();
    let numbers = format!("(SELECT i FROM generate_series(1, {runs}::bigint) AS i) AS n");
    client.batch_execute(TEMPLATES).await?;
    for sql in statements(&all, &numbers, "decode(md5(CAST(n.i AS text)), 'hex')", runs)? {
        client.execute(&sql, &[]).await?;
    }
    // One by one: several statements in one message would be a transaction.
    for table in ["runs", "attributes", "journal", "tokens"] {
        client.batch_execute(&format!("VACUUM ANALYZE {table}")).await?;
    }
    Ok(())
}
