//! A database file that is taken away or overwritten under an engine that has it open.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use workflow_runtime::{Client, Code, Engine, Error, Status};

use super::support::{assert_error, came, comings, engine, gated, quick};

/// Longer than any of this takes: passing it is a hang.
const PATIENCE: Duration = Duration::from_secs(30);

struct Case {
    directory: tempfile::TempDir,
    engine: Engine,
    gate: &'static str,
}

impl Case {
    /// An engine that executes a run which waits, and has committed more since a copy of its file was made. No checkpoint has
    /// happened since it was opened. `gate` is of this test alone.
    async fn without_checkpoint(gate: &'static str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let engine = engine(&directory.path().join("workflow.db")).await;
        let case = Case { directory, engine, gate };
        case.engine.start(gated, gate.to_owned()).id("waits").await.expect("it starts");
        came(gate, 1).await;
        let copy = format!("VACUUM INTO '{}'", case.at("copy.db").display());
        case.connection().execute(&copy, ()).expect("a copy is made");
        case.start().await.expect("it starts");
        case
    }

    /// An engine that executes a run which waits, on a file of which there is an old copy. `gate` is of this test alone.
    async fn new(gate: &'static str) -> Self {
        let case = Self::without_checkpoint(gate).await;
        let of_copy = commits(&Connection::open(case.at("copy.db")).expect("the copy opens"));
        // Until the file can be told from its copy.
        while commits(&case.connection()) == of_copy {
            case.start().await.expect("it starts");
        }
        case.checkpoint();
        case.start().await.expect("a checkpoint by another program is nothing unusual");
        case
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn connection(&self) -> Connection {
        let connection = Connection::open(self.at("workflow.db")).expect("the database opens");
        connection.busy_timeout(Duration::from_secs(5)).expect("it can wait");
        connection
    }

    fn checkpoint(&self) {
        let done = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        while self.connection().query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), done).expect("it can be asked") != 0 {}
    }

    async fn start(&self) -> Result<String, Error> {
        let run = self.engine.start(quick, 1).await?;
        Ok(run.id().to_owned())
    }

    /// Asserts that nothing is acknowledged any more, and that whoever waits learns of it.
    async fn is_closed(&self) {
        let error = self.start().await.expect_err("it must not be acknowledged");
        assert_error(&error, Code::StoreReplaced, &["workflow.db", "help:", "VACUUM INTO"]);
        let waits = self.engine.get_run::<String, Error>("waits");
        let end = tokio::time::timeout(PATIENCE, (&waits).into_future()).await.expect("it is not awaited for ever");
        assert_eq!(end.expect_err("the engine is closed").code(), Code::StoreReplaced);
        assert_eq!(self.start().await.expect_err("for good").code(), Code::StoreReplaced);
        assert_eq!(comings(self.gate), 1);
    }
}

fn commits(connection: &Connection) -> i64 {
    connection.query_row("SELECT commits FROM meta", (), |row| row.get(0)).expect("there is a count")
}

async fn closes(gate: &'static str, change: impl FnOnce(&Path, &Path)) -> Case {
    let case = Case::new(gate).await;
    change(&case.at("workflow.db"), &case.at("copy.db"));
    case.is_closed().await;
    case
}

/// As [`closes`], before any checkpoint.
async fn closes_without_checkpoint(gate: &'static str, change: impl FnOnce(&Path, &Path)) -> Case {
    let case = Case::without_checkpoint(gate).await;
    change(&case.at("workflow.db"), &case.at("copy.db"));
    case.is_closed().await;
    case
}

/// Asserts that the file does not open with the log beside it, which is not its own, and that it opens as it was copied once
/// the log was moved away.
async fn opens_without_the_log_only(case: Case) {
    let Case { directory, engine: closed, .. } = case;
    let at = |name: &str| directory.path().join(name);
    closed.shutdown().await.expect("it gives the right up");
    drop(closed);
    let restored = fs::read(at("workflow.db")).expect("it is readable");
    let error =
        Engine::open(&format!("sqlite:{}", at("workflow.db").display())).await.expect_err("the log is not its own");
    assert_error(&error, Code::StoreReplaced, &["workflow.db-wal", "does not belong", "help:", "-shm"]);
    assert!(fs::read(at("workflow.db")).expect("it is readable") == restored, "the restored file is left as it is");
    fs::rename(at("workflow.db-wal"), at("kept-wal")).expect("it is moved");
    let _ = fs::remove_file(at("workflow.db-shm"));
    let engine = engine(&at("workflow.db")).await;
    let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let connection = Connection::open(at("workflow.db")).expect("it opens");
    let runs = connection.query_row("SELECT count(*) FROM runs", (), count).expect("it is whole");
    assert_eq!(runs, 1, "it is as it was copied");
    assert_eq!(engine.start(quick, 2).await.expect("it starts").await.expect("it completes"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_removed_closes_the_engine() {
    closes("removed", |file, _| fs::remove_file(file).expect("it is removed")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_renamed_closes_the_engine_and_has_all_that_was_acknowledged() {
    let case = closes("renamed", |file, _| {
        fs::rename(file, file.with_file_name("renamed.db")).expect("it is renamed");
        // The log goes with it.
        fs::rename(file.with_extension("db-wal"), file.with_file_name("renamed.db-wal")).expect("it is renamed");
    })
    .await;
    drop(case.engine);
    let runs: i64 = Connection::open(case.directory.path().join("renamed.db"))
        .expect("it opens")
        .query_row("SELECT count(*) FROM runs WHERE id = 'waits'", (), |row| row.get(0))
        .expect("it is whole");
    assert_eq!(runs, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_another_one_is_moved_over_closes_the_engine() {
    closes("moved", |file, copy| fs::rename(copy, file).expect("it is moved")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_an_earlier_copy_is_written_over_closes_the_engine() {
    closes("restored", |file, copy| _ = fs::copy(copy, file).expect("it is restored")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_copy_is_written_over_before_any_checkpoint_closes_the_engine_and_keeps_the_copy() {
    let write_over = |file: &Path, copy: &Path| _ = fs::copy(copy, file).expect("it is restored");
    opens_without_the_log_only(closes_without_checkpoint("restored early", write_over).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_copy_is_moved_over_before_any_checkpoint_closes_the_engine_and_keeps_the_copy() {
    let move_over = |file: &Path, copy: &Path| fs::rename(copy, file).expect("it is moved");
    opens_without_the_log_only(closes_without_checkpoint("moved early", move_over).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_removed_closes_the_engine_and_nothing_that_was_acknowledged_is_lost() {
    let remove = |file: &Path, _: &Path| fs::remove_file(file.with_extension("db-wal")).expect("it is removed");
    let Case { directory, engine: closed, .. } = closes_without_checkpoint("log", remove).await;
    closed.shutdown().await.expect("it gives the right up");
    drop(closed);
    let path = directory.path().join("workflow.db");
    let engine = engine(&path).await;
    let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let connection = Connection::open(&path).expect("it opens");
    let runs = connection.query_row("SELECT count(*) FROM runs", (), count).expect("it is whole");
    assert!(runs >= 2, "{runs} runs");
    assert_eq!(engine.start(quick, 2).await.expect("it starts").await.expect("it completes"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_the_log_that_is_removed_closes_the_engine() {
    closes_without_checkpoint("index", |file, _| {
        fs::remove_file(file.with_extension("db-shm")).expect("it is removed")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_engine_notices_that_its_log_is_removed() {
    let case = Case::without_checkpoint("idle log").await;
    fs::remove_file(case.at("workflow.db-wal")).expect("it is removed");
    let waits = case.engine.get_run::<String, Error>("waits");
    let end = tokio::time::timeout(PATIENCE, (&waits).into_future()).await.expect("it is not awaited for ever");
    assert_eq!(end.expect_err("the engine is closed").code(), Code::StoreReplaced);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_another_program_vacuums_or_changes_is_not_taken_for_a_replacement() {
    let case = Case::without_checkpoint("vacuumed").await;
    for number in 0..3 {
        case.connection().execute("VACUUM", ()).expect("it is vacuumed");
        case.start().await.expect("nothing happened to the file");
        case.connection().execute("VACUUM", ()).expect("it is vacuumed");
        case.checkpoint();
        case.start().await.expect("nothing happened to the file");
        let index = format!("CREATE INDEX of_another_{number} ON runs (created_at)");
        case.connection().execute(&index, ()).expect("it is created");
        case.checkpoint();
        case.start().await.expect("nothing happened to the file");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_something_else_is_written_over_closes_the_engine() {
    closes("overwritten", |file, _| fs::write(file, "something else").expect("it is overwritten")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_gets_another_name_closes_the_engine_and_is_not_opened_with_two() {
    let case =
        closes("linked", |file, _| fs::hard_link(file, file.with_file_name("link.db")).expect("it is linked")).await;
    let link = format!("sqlite:{}", case.at("link.db").display());
    let error = Engine::open(&link).await.expect_err("it has two names");
    assert_error(&error, Code::Store, &["link.db", "2 names", "hard links"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_idle_notices_as_well() {
    let case = Case::new("idle").await;
    fs::remove_file(case.at("workflow.db")).expect("it is removed");
    let waits = case.engine.get_run::<String, Error>("waits");
    let end = tokio::time::timeout(PATIENCE, (&waits).into_future()).await.expect("it is not awaited for ever");
    assert_eq!(end.expect_err("the engine is closed").code(), Code::StoreReplaced);
    case.engine.shutdown().await.expect("there is nothing left to do");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_opened_again_goes_on_with_what_is_there() {
    let case = closes("again", |file, _| {
        for name in ["workflow.db", "workflow.db-wal", "workflow.db-shm"] {
            let _ = fs::remove_file(file.with_file_name(name));
        }
    })
    .await;
    case.engine.shutdown().await.expect("it gives the right up");
    let engine = engine(&case.at("workflow.db")).await;
    assert_eq!(engine.start(quick, 2).await.expect("it starts").await.expect("it completes"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_reads_or_copies_is_not_taken_for_a_replacement() {
    let case = Case::new("read").await;
    for number in 0..3 {
        let connection = case.connection();
        let copy = format!("VACUUM INTO '{}'", case.at(&format!("copy-{number}.db")).display());
        connection.execute(&copy, ()).expect("a copy is made");
        let runs: i64 =
            connection.query_row("SELECT count(*) FROM runs", (), |row| row.get(0)).expect("it is readable");
        assert!(runs > 0);
        case.checkpoint();
        drop(connection);
        fs::read(case.at("workflow.db")).expect("it is readable");
        case.start().await.expect("nothing happened to the file");
        let client =
            Client::connect(&format!("sqlite:{}", case.at("workflow.db").display())).await.expect("it connects");
        let info = client.get_run::<String, Error>("waits").info().await.expect("the run is there");
        assert!(matches!(info.status, Status::Running | Status::Suspended));
    }
}
