//! Checks that removed runs leave no rows in a database, except rows that `remains` lists for deletion.

use std::path::Path;

use rusqlite::Connection;
use workflow_tests::brief::CHUNKS;

use super::place::{Kind, Place};

/// Queries that count rows which a database never has: rows of a removed run that `remains` does not list, and finished
/// runs that lack some of their rows.
fn flaws() -> Vec<String> {
    let nobody = |column: &str| format!("{column} NOT IN (SELECT key FROM runs)");
    let lost = |column: &str| format!("{} AND {column} NOT IN (SELECT run FROM remains)", nobody(column));
    let ended = "status IN ('completed', 'failed') AND workflow LIKE '%::brief'";
    let mut flaws: Vec<String> = ["journal", "inbox", "dedupe", "tokens", "streams"]
        .iter()
        .map(|table| format!("{table} WHERE {}", lost("run")))
        .chain(
            ["watchers", "notices", "states", "attributes"]
                .iter()
                .map(|table| format!("{table} WHERE {}", nobody("run"))),
        )
        .collect();
    flaws.push(format!("executions WHERE {}", lost("target")));
    flaws.push(format!("tokens WHERE state = 'open' AND {}", nobody("run")));
    flaws.push("chunks WHERE stream NOT IN (SELECT key FROM streams)".to_owned());
    flaws.push("remains WHERE before IS NULL AND run IN (SELECT key FROM runs)".to_owned());
    let without = |what: &str| format!("runs WHERE {ended} AND NOT EXISTS (SELECT 1 FROM {what})");
    for table in ["states", "attributes", "tokens", "streams", "executions", "journal", "deliveries"] {
        flaws.push(without(&format!("{table} WHERE {table}.run = runs.key")));
    }
    flaws.push(format!(
        "runs WHERE {ended} AND (SELECT count(*) FROM streams JOIN chunks ON stream = streams.key WHERE run = runs.key) < {CHUNKS}"
    ));
    flaws.into_iter().map(|flaw| format!("SELECT count(*) FROM {flaw}")).collect()
}

/// Counts the rows of removed runs that are still to be deleted.
pub const REMAINS: &str = "SELECT (SELECT count(*) FROM remains)
    + (SELECT count(*) FROM journal WHERE run NOT IN (SELECT key FROM runs))";

/// The answers of a copy of a SQLite file; empty before the tables exist.
fn ask_sqlite(path: &Path, questions: &[String]) -> Vec<i64> {
    let copies = tempfile::tempdir().expect("a temporary directory");
    let copy = copies.path().join("db");
    if std::fs::copy(path, &copy).is_err() {
        return Vec::new();
    }
    let wal = path.with_file_name("workflow.db-wal");
    if wal.exists() {
        std::fs::copy(wal, copies.path().join("db-wal")).expect("the log can be copied");
    }
    let connection = Connection::open(&copy).expect("the copy opens");
    let ask = |question: &String| connection.query_row(question, (), |row| row.get(0));
    questions.iter().map(ask).collect::<Result<_, _>>().unwrap_or_default()
}

async fn ask_postgres(url: &str, questions: &[String]) -> Vec<i64> {
    let client = workflow_harness::postgres::connect(url).await;
    if client
        .query_opt("SELECT 1 WHERE to_regclass('remains') IS NOT NULL", &[])
        .await
        .expect("the database answers")
        .is_none()
    {
        return Vec::new();
    }
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.expect("a transaction");
    let mut answers = Vec::new();
    for question in questions {
        answers.push(client.query_one(question, &[]).await.expect("an answer").get(0));
    }
    answers
}

/// The answers of a database to queries that return a number; empty before the tables exist.
pub fn ask(place: &Place, questions: &[String]) -> Vec<i64> {
    match place.kind() {
        Kind::Sqlite => ask_sqlite(Path::new(place.url().trim_start_matches("sqlite:")), questions),
        Kind::Postgres => std::thread::scope(|scope| {
            let ask = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(ask_postgres(place.url(), questions))
            };
            scope.spawn(ask).join().expect("the database answers")
        }),
    }
}

/// Asserts that each stored run is complete and that no removed run has left unlisted rows.
pub fn assert_no_flaws(place: &Place) {
    for (question, answer) in flaws().iter().zip(ask(place, &flaws())) {
        assert_eq!(answer, 0, "{question}");
    }
}
