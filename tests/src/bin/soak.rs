//! Executes a mix of runs for a while, and checks that the memory of this process, the rows of each table, and the file
//! do not grow.
//!
//! `soak URL --seconds N` (default: 60 seconds) prints its measurements every few seconds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use rusqlite::Connection;
use workflow_runtime::{Client, Code, Engine, Error, Result, Retention, Status, hook, sleep, step, workflow, writer};

/// The number of runs that are retained of each status, and the number of generations of each run.
const COMPLETED: u64 = 100;
const CANCELLED: u64 = 50;
const GENERATIONS: u64 = 2;

/// The largest value of the last quarter may be `GROWTH` percent of the largest value of the third quarter, plus the
/// slack.
const GROWTH: u64 = 120;
const SLACK_ROWS: u64 = 2_000;
const SLACK_BYTES: u64 = 16 << 20;

/// Deliveries with a key of the sender. Deliveries without a key are stored for an hour, so their number grows for that
/// long.
const KEYED: &str = "deliveries WHERE key LIKE 'key/%'";
const UNKEYED_KEPT: Duration = Duration::from_secs(3_600 + 300);

const PAGE_BYTES: u64 = 4096;

/// The time limit of the last removals.
const PATIENCE: Duration = Duration::from_secs(60);

#[step]
async fn echo(text: String) -> Result<String> {
    Ok(text)
}

#[workflow]
async fn ends(number: u64) -> Result<String> {
    writer("log").write(&number).await?;
    echo(format!("run {number}")).await
}

/// Continues as new until `left` is 0, or until it is cancelled if `left` is `None`.
#[workflow]
async fn goes_on(generation: u64, left: Option<u64>) -> Result<u64> {
    echo(format!("generation {generation}")).await?;
    let left = match left {
        Some(0) => return Ok(generation),
        Some(left) => Some(left - 1),
        None => {
            sleep(Duration::from_millis(5)).await;
            None
        }
    };
    goes_on(generation + 1, left).continue_as_new().await
}

#[workflow]
async fn listens(token: String, payloads: u32) -> Result<u32> {
    let mut hook = hook::<u32>().token(token).open();
    let mut sum = 0;
    for _ in 0..payloads {
        if let Some(payload) = hook.next().await {
            sum += payload?;
        }
    }
    Ok(sum)
}

#[workflow]
async fn writes_chunks(chunks: u32) -> Result<()> {
    for number in 0..chunks {
        writer("numbers").write(&number).await?;
        echo(number.to_string()).await?;
    }
    Ok(())
}

/// A connection to the database that counts rows.
enum Tables {
    Sqlite { connection: Connection, path: PathBuf },
    Postgres(tokio_postgres::Client),
}

impl Tables {
    async fn open(url: &str) -> Result<Self> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let connection = Connection::open(path).map_err(Error::boxed)?;
            return Ok(Tables::Sqlite { connection, path: path.into() });
        }
        let (base, parameters) = url.split_once('?').unwrap_or((url, ""));
        let (ours, theirs): (Vec<&str>, Vec<&str>) = parameters
            .split('&')
            .partition(|pair| ["schema=", "connections=", "lease="].iter().any(|own| pair.starts_with(own)));
        let schema = ours.iter().find_map(|pair| pair.strip_prefix("schema=")).unwrap_or("workflow");
        let base = format!("{base}?{}", theirs.join("&"));
        let (client, connection) = tokio_postgres::connect(&base, tokio_postgres::NoTls).await.map_err(Error::boxed)?;
        tokio::spawn(connection);
        client.batch_execute(&format!("SET search_path = {schema}")).await.map_err(Error::boxed)?;
        Ok(Tables::Postgres(client))
    }

    async fn number(&self, sql: &str) -> Result<u64> {
        let number: i64 = match self {
            Tables::Sqlite { connection, .. } => {
                connection.query_row(sql, (), |row| row.get(0)).map_err(Error::boxed)?
            }
            Tables::Postgres(client) => client.query_one(sql, &[]).await.map_err(Error::boxed)?.get(0),
        };
        Ok(number.cast_unsigned())
    }

    async fn names(&self) -> Result<Vec<String>> {
        match self {
            Tables::Sqlite { connection, .. } => {
                let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'";
                let mut names = connection.prepare(sql).map_err(Error::boxed)?;
                let rows = names.query_map((), |row| row.get(0)).map_err(Error::boxed)?;
                rows.map(|name| name.map_err(Error::boxed)).collect::<Result<Vec<_>>>()
            }
            Tables::Postgres(client) => {
                let sql =
                    "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()";
                let rows = client.query(sql, &[]).await.map_err(Error::boxed)?;
                Ok(rows.iter().map(|row| row.get(0)).collect())
            }
        }
    }

    /// The bytes of the file and of its write-ahead log; 0 on PostgreSQL, where autovacuum decides when tables shrink.
    fn bytes(&self) -> u64 {
        let Tables::Sqlite { path, .. } = self else { return 0 };
        let log = PathBuf::from(format!("{}-wal", path.display()));
        [path, &log].iter().filter_map(|path| std::fs::metadata(path).ok()).map(|file| file.len()).sum()
    }
}

/// Measurements at one moment, by name.
type Sample = BTreeMap<String, u64>;

async fn sample(tables: &Tables, names: &[String]) -> Result<Sample> {
    let mut sample = Sample::new();
    for name in names {
        let rows = if name == "deliveries" { KEYED } else { name };
        sample.insert(format!("rows of {name}"), tables.number(&format!("SELECT count(*) FROM {rows}")).await?);
    }
    sample.insert("bytes of the file".to_owned(), tables.bytes());
    let resident = std::fs::read_to_string("/proc/self/statm").ok();
    let resident = resident.and_then(|statm| statm.split(' ').nth(1)?.parse::<u64>().ok());
    sample.insert("bytes of memory".to_owned(), resident.unwrap_or_default() * PAGE_BYTES);
    Ok(sample)
}

/// The values that have grown from the third quarter to the last one.
fn grown(samples: &[Sample]) -> Vec<String> {
    let quarter = samples.len() / 4;
    let (before, last) = samples[2 * quarter..].split_at(quarter);
    let most = |samples: &[Sample], name: &str| samples.iter().filter_map(|sample| sample.get(name)).max().copied();
    let names = samples.last().into_iter().flat_map(|sample| sample.keys());
    names
        .filter_map(|name| {
            let (before, last) = (most(before, name)?, most(last, name)?);
            let slack = if name.starts_with("bytes") { SLACK_BYTES } else { SLACK_ROWS };
            (last > before * GROWTH / 100 + slack).then(|| format!("{name}: {before}, and then {last}"))
        })
        .collect()
}

/// Repeats `what` until the time is up.
async fn again<F: Future<Output = Result<()>>>(
    until: Instant,
    done: &AtomicU64,
    what: impl Fn(u64) -> F,
) -> Result<()> {
    for number in 0.. {
        if Instant::now() >= until {
            break;
        }
        what(number).await?;
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Runs a workflow and deletes the run, which makes the engine remove runs beyond the retention.
async fn delete_one(client: &Client, number: u64) -> Result<()> {
    let run = client.start(ends, number).await?;
    (&run).await?;
    match run.delete().await {
        Err(error) if error.code() != Code::RunNotFound => Err(error),
        _ => Ok(()),
    }
}

/// Ignores that the awaited run was removed, since few runs are retained.
fn unless_removed<T>(ended: Result<T>) -> Result<()> {
    match ended {
        Err(error) if error.code() != Code::RunNotFound => Err(error),
        _ => Ok(()),
    }
}

async fn deliver(client: &Client, number: u64) -> Result<()> {
    let token = format!("token {number}");
    let run = client.start(listens, (token.clone(), 5)).opens(&token).await?;
    for payload in 0..5u32 {
        // Some payloads have a key and are sent twice.
        let delivery = client.resume_hook(&token, &payload);
        if payload % 2 == 0 {
            delivery.await?;
            continue;
        }
        delivery.idempotency_key(payload.to_string()).await?;
        client.resume_hook(&token, &payload).idempotency_key(payload.to_string()).await?;
    }
    unless_removed(run.await)
}

/// Cancels a run that was never started, and one that may not have taken its first turn.
async fn cancel(client: &Client) -> Result<()> {
    let created = client.create_run(ends).await?;
    unless_removed(created.run().cancel("it was never started").await)?;
    let started = client.start(listens, (format!("token of {}", created.id()), 1)).await?;
    unless_removed(started.cancel("enough").await)
}

/// Reads some events and chunks of a run, drops both readers, and awaits the run.
async fn follow(client: &Client, number: u64) -> Result<()> {
    let run = client.start(writes_chunks, 10).await?;
    let mut events = run.events();
    let mut chunks = run.stream::<u32>("numbers");
    for _ in 0..number % 5 {
        unless_removed(events.next().await.transpose())?;
        unless_removed(chunks.next().await.transpose())?;
    }
    drop((events, chunks));
    unless_removed(run.await)
}

/// The rows that must not be there once all runs have ended.
async fn left_over(tables: &Tables) -> Result<Vec<String>> {
    let mut left = Vec::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(Error::boxed)?;
    let unkeyed = format!("deliveries WHERE at < {}", now.saturating_sub(UNKEYED_KEPT).as_millis());
    for (question, most) in [
        ("remains", 0),
        ("held", 0),
        ("watchers", 0),
        ("notices", 0),
        (KEYED, 0),
        (&unkeyed, 0),
        ("runs WHERE status = 'completed'", COMPLETED),
        ("runs WHERE status = 'cancelled'", CANCELLED),
        ("runs WHERE status NOT IN ('completed', 'cancelled')", 0),
        ("journal WHERE run NOT IN (SELECT key FROM runs)", 0),
        ("inbox WHERE run NOT IN (SELECT key FROM runs WHERE status = 'cancelled')", 0),
        ("dedupe WHERE run NOT IN (SELECT key FROM runs)", 0),
        ("tokens WHERE run NOT IN (SELECT key FROM runs)", 0),
        ("streams WHERE run NOT IN (SELECT key FROM runs)", 0),
        ("chunks WHERE stream NOT IN (SELECT key FROM streams)", 0),
        // The inbox message with the arguments of each cancelled run, which a retry would use.
        ("inbox", CANCELLED),
    ] {
        let found = tables.number(&format!("SELECT count(*) FROM {question}")).await?;
        if found > most {
            left.push(format!("{found} of {question}"));
        }
    }
    let sql = format!(
        "SELECT count(*) FROM (SELECT run FROM journal GROUP BY run HAVING count(DISTINCT generation) > {GENERATIONS}) AS more"
    );
    let more = tables.number(&sql).await?;
    if more > 0 {
        left.push(format!("{more} runs with more than {GENERATIONS} generations"));
    }
    if matches!(tables, Tables::Postgres(_)) {
        let followed = tables.number("SELECT count(*) FROM runs WHERE awaited OR followed OR traced").await?;
        if followed > 0 {
            left.push(format!("{followed} runs with subscriptions that have no subscriber"));
        }
    }
    Ok(left)
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let usage = || Error::new("soak URL [--seconds N]");
    let mut args = std::env::args().skip(1);
    let url = args.next().ok_or_else(usage)?;
    let seconds = match (args.next().as_deref(), args.next()) {
        (None, _) => 60,
        (Some("--seconds"), Some(seconds)) => seconds.parse().map_err(|_| usage())?,
        _ => return Err(usage()),
    };
    let retention = Retention::new().most(Status::Completed, COMPLETED).most(Status::Cancelled, CANCELLED);
    let builder = Engine::builder().url(&url).retain(retention.generations(GENERATIONS));
    let engine = builder.keep_deliveries(Duration::from_secs(1)).open().await?;
    // A second client: its subscriptions to runs go through the store.
    let client = Engine::builder().url(&url).keep_deliveries(Duration::from_secs(1)).connect().await?;
    let tables = Tables::open(&url).await?;
    let names = tables.names().await?;

    let began = Instant::now();
    let until = began + Duration::from_secs(seconds);
    let done = AtomicU64::new(0);
    let forever = engine.start(goes_on, (0, None)).await?;
    let measure = async {
        let mut samples = Vec::new();
        while Instant::now() < until {
            samples.push(sample(&tables, &names).await?);
            if samples.len() % 5 == 1 {
                let (runs, now) = (done.load(Ordering::Relaxed), samples.last().into_iter().flatten());
                let now: Vec<_> =
                    now.filter(|(_, number)| **number > 0).map(|(name, number)| format!("{name} {number}")).collect();
                println!("{:4} s: {runs} done; {}", began.elapsed().as_secs(), now.join(", "));
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(samples)
    };
    let deletes = async |number| {
        delete_one(&engine, number).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    };
    let (samples, ..) = tokio::try_join!(
        measure,
        again(until, &done, async |number| unless_removed(engine.start(ends, number).await?.await)),
        again(until, &done, async |number| unless_removed(engine.start(goes_on, (0, Some(number % 10))).await?.await)),
        again(until, &done, async |number| deliver(&client, number).await),
        again(until, &done, async |_| cancel(&client).await),
        again(until, &done, async |number| follow(&client, number).await),
        again(until, &done, deletes),
    )?;

    println!("the endless run is in generation {}", forever.info().await?.generation);
    unless_removed(forever.cancel("the time is up").await)?;
    let (stopped, mut number) = (Instant::now(), 0);
    let left = loop {
        delete_one(&engine, number).await?;
        number += 1;
        let left = left_over(&tables).await?;
        if left.is_empty() || stopped.elapsed() > PATIENCE {
            break left;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    engine.shutdown().await?;
    let grown = grown(&samples);
    println!("grown {grown:?}");
    println!("left {left:?}");
    match grown.is_empty() && left.is_empty() {
        true => Ok(()),
        false => Err(Error::new(format!("growth: {grown:?}, leftovers: {left:?}"))),
    }
}
