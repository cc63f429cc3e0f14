//! Snapshots of the runs in a store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;
use workflow_runtime::store::{JournalRow, MemoryStore, Store};
use workflow_tests::operation;

/// Runs by id.
pub type Snapshot = BTreeMap<String, Stored>;

/// A run as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub status: String,
    pub journal: Vec<Row>,
    /// The events in its inbox.
    pub inbox: Vec<Value>,
    /// The completion callbacks that are not acknowledged.
    pub notices: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub generation: i64,
    pub index: i64,
    pub turn: Vec<u8>,
    pub checksum: u32,
    pub body: Vec<u8>,
}

/// The operations of a run, read from its journal and inbox.
#[derive(Debug, Default)]
pub struct Operations {
    /// The steps with a command in the journal.
    pub issued: BTreeSet<u64>,
    /// The operations that have a result or were dropped.
    pub settled: BTreeSet<u64>,
    /// By operation, the last attempt that failed or suspended the step, so that another attempt follows.
    pub ended_attempts: BTreeMap<u64, u32>,
    /// How the run ended.
    pub end: Option<Value>,
}

/// Reads a database through a connection while another process has it open. A copy of the files may show more: recovery
/// in the copy includes a commit that a killed process had written but not published, and that the next process
/// overwrites.
pub fn of_open_database(path: &Path) -> Snapshot {
    let connection = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY);
    read(&connection.expect("the database opens")).expect("the tables are readable")
}

/// Reads a copy of a database's files, so that reading does not recover the original.
pub fn of_database(path: &Path) -> Snapshot {
    if !path.exists() {
        return Snapshot::new();
    }
    let copies = tempfile::tempdir().expect("a temporary directory");
    let copy = copies.path().join("db");
    std::fs::copy(path, &copy).expect("the database can be copied");
    let wal = path.with_file_name(format!("{}-wal", path.file_name().unwrap_or_default().to_string_lossy()));
    if wal.exists() {
        std::fs::copy(wal, copies.path().join("db-wal")).expect("the log can be copied");
    }
    let connection = Connection::open(&copy).expect("the copy opens");
    let check: String =
        connection.query_row("PRAGMA integrity_check", (), |row| row.get(0)).expect("the copy can be checked");
    assert_eq!(check, "ok", "the database is damaged");
    let has_tables = connection.query_row("SELECT 1 FROM sqlite_schema WHERE name = 'runs'", (), |_| Ok(())).optional();
    if has_tables.expect("the schema is readable").is_none() {
        return Snapshot::new();
    }
    read(&connection).expect("the tables are readable")
}

fn read(connection: &Connection) -> rusqlite::Result<Snapshot> {
    let mut snapshot = Snapshot::new();
    let mut runs = connection.prepare("SELECT key, id, status FROM runs")?;
    let runs = runs.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    for run in runs.collect::<rusqlite::Result<Vec<(i64, String, String)>>>()? {
        let (key, id, status) = run;
        let journal = connection
            .prepare(
                "SELECT generation, idx, turn, checksum, body FROM journal WHERE run = ?1 ORDER BY generation, idx",
            )?
            .query_map((key,), |row| {
                Ok(Row {
                    generation: row.get(0)?,
                    index: row.get(1)?,
                    turn: row.get(2)?,
                    checksum: row.get(3)?,
                    body: row.get(4)?,
                })
            })?
            .collect::<rusqlite::Result<_>>()?;
        let inbox = connection
            .prepare("SELECT body FROM inbox WHERE run = ?1 ORDER BY sequence")?
            .query_map((key,), |row| Ok(json(&row.get::<_, Vec<u8>>(0)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let notices = "SELECT count(*) FROM notices WHERE run = ?1";
        let notices = connection.query_row(notices, (key,), |row| row.get(0))?;
        snapshot.insert(id, Stored { status, journal, inbox, notices });
    }
    Ok(snapshot)
}

/// Reads a schema of PostgreSQL as it is at one moment.
pub async fn of_postgres(url: &str) -> Snapshot {
    let client = workflow_harness::postgres::connect(url).await;
    // Before the tables exist there are no runs.
    if client
        .query_opt("SELECT 1 WHERE to_regclass('runs') IS NOT NULL", &[])
        .await
        .expect("the database answers")
        .is_none()
    {
        return Snapshot::new();
    }
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.expect("a transaction");
    let mut snapshot = Snapshot::new();
    let mut ids = BTreeMap::new();
    for run in client.query("SELECT key, id, status FROM runs", &[]).await.expect("the runs") {
        ids.insert(run.get::<_, i64>(0), run.get::<_, String>(1));
        let stored = Stored { status: run.get(2), journal: Vec::new(), inbox: Vec::new(), notices: 0 };
        snapshot.insert(run.get(1), stored);
    }
    let rows = "SELECT run, generation, idx, turn, checksum, body FROM journal ORDER BY run, generation, idx";
    for row in client.query(rows, &[]).await.expect("the journals") {
        // Skip rows of a deleted run.
        let Some(stored) = ids.get(&row.get(0)).and_then(|id| snapshot.get_mut(id)) else { continue };
        stored.journal.push(Row {
            generation: row.get(1),
            index: row.get(2),
            turn: row.get(3),
            checksum: row.get::<_, i32>(4).cast_unsigned(),
            body: row.get(5),
        });
    }
    for message in client.query("SELECT run, body FROM inbox ORDER BY sequence", &[]).await.expect("the inboxes") {
        let Some(stored) = ids.get(&message.get(0)).and_then(|id| snapshot.get_mut(id)) else { continue };
        stored.inbox.push(json(message.get(1)));
    }
    for notice in client.query("SELECT run FROM notices", &[]).await.expect("the notices") {
        let Some(stored) = ids.get(&notice.get(0)).and_then(|id| snapshot.get_mut(id)) else { continue };
        stored.notices += 1;
    }
    snapshot
}

/// Reads these runs and their children from a store in memory.
pub async fn of_memory(store: &MemoryStore, ids: &[String]) -> Snapshot {
    let mut snapshot = Snapshot::new();
    let mut ids = ids.to_vec();
    while let Some(id) = ids.pop() {
        ids.extend(store.children(&id).await.expect("memory is readable").iter().map(ToString::to_string));
        let id = &id;
        let Some(run) = store.run(id).await.expect("memory is readable") else { continue };
        let mut journal = Vec::new();
        for generation in 0..=run.generation {
            let rows = store.journal(run.key, generation, 0, usize::MAX).await.expect("memory is readable");
            journal.extend(rows.into_iter().map(|row| stored_row(generation, row)));
        }
        let (_, messages) = store.inbox(run.key).await.expect("memory is readable");
        let stored = Stored {
            status: run.status.to_string(),
            journal,
            inbox: messages.into_iter().map(|message| json(&Arc::clone(&message.body))).collect(),
            notices: 0,
        };
        snapshot.insert(id.clone(), stored);
    }
    snapshot
}

/// The runs, their journals and their inboxes, for an error message.
pub fn text(snapshot: &Snapshot) -> String {
    let run = |(id, run): (&String, &Stored)| {
        let rows: String = run
            .journal
            .iter()
            .map(|row| format!("\n  {}/{}: {}", row.generation, row.index, String::from_utf8_lossy(&row.body)))
            .collect();
        format!("run {id} is {}:{rows}\n  inbox: {:?}\n", run.status, run.inbox)
    };
    snapshot.iter().map(run).collect()
}

fn stored_row(generation: u64, row: JournalRow) -> Row {
    Row {
        generation: generation.cast_signed(),
        index: row.index.cast_signed(),
        turn: row.turn.to_be_bytes().to_vec(),
        checksum: row.checksum,
        body: row.body.to_vec(),
    }
}

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(body)))
}

impl Stored {
    /// Reads the operations from the journal and the inbox.
    pub fn operations(&self) -> Operations {
        let mut operations = Operations::default();
        let mut generation = 0;
        for row in &self.journal {
            if row.generation > generation && operations.end.as_ref().is_some_and(|end| end.get("completed").is_none())
            {
                // The run was retried.
                operations.end = None;
            }
            generation = row.generation;
            assert_eq!(row.checksum, crc32fast::hash(&row.body), "a row's checksum is wrong");
            let turn = json(&row.body);
            for delivery in turn["deliveries"].as_array().into_iter().flatten() {
                assert!(operations.end.is_none(), "the journal goes on after the run's end");
                let generation = row.generation.cast_unsigned();
                operations.event(generation, &delivery["event"]);
                for command in delivery["commands"].as_array().into_iter().flatten() {
                    operations.issued.extend(command["step"]["op"].as_u64().map(|op| operation(generation, op)));
                    if let Some(op) = command["cancel"]["op"].as_u64() {
                        let op = operation(generation, op);
                        let new = operations.settled.insert(op);
                        assert!(new, "operation {op} has a result and is dropped");
                    }
                }
                operations.end = delivery.get("end").filter(|end| end.get("continued").is_none()).cloned();
            }
        }
        let generation = self.journal.last().map_or(0, |row| row.generation.cast_unsigned());
        for event in &self.inbox {
            operations.event(generation, event);
        }
        operations
    }
}

impl Operations {
    fn event(&mut self, generation: u64, event: &Value) {
        let ended = ["completed", "failed", "timer"].into_iter().find_map(|kind| event[kind]["op"].as_u64());
        if let Some(op) = ended {
            let op = operation(generation, op);
            assert!(self.settled.insert(op), "operation {op} has two results, or a result after it was dropped");
        }
        let attempt = &event["attempt"];
        if let (Some(op), Some(number)) = (attempt["op"].as_u64(), attempt["attempt"].as_u64()) {
            let number = u32::try_from(number).expect("attempts are few");
            let op = operation(generation, op);
            self.attempt(op, number);
        }
        if let Some(op) = event["suspended"]["op"].as_u64() {
            let op = operation(generation, op);
            self.attempt(op, self.ended_attempts.get(&op).copied().unwrap_or(0) + 1);
        }
    }

    fn attempt(&mut self, op: u64, number: u32) {
        let before = self.ended_attempts.insert(op, number).unwrap_or(0);
        assert_eq!(number, before + 1, "the attempts of operation {op} are recorded out of order");
        assert!(!self.settled.contains(&op), "an attempt of operation {op} ended after its result");
    }
}
