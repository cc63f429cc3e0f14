//! A database file that is removed, replaced or overwritten while an engine has it open.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use workflow_runtime::{Client, Code, Engine, Error, Status};

use super::support::{arrivals, arrived, assert_error, engine, gated, quick};

/// Longer than any operation here takes: whatever takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

struct Case {
    directory: tempfile::TempDir,
    engine: Engine,
    gate: &'static str,
}

impl Case {
    /// An engine with a run that waits, and a copy of its file from before its latest commits. There was no checkpoint
    /// since the engine opened. Each test has a `gate` of its own.
    async fn without_checkpoint(gate: &'static str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let engine = engine(&directory.path().join("workflow.db")).await;
        let case = Case { directory, engine, gate };
        case.engine.start(gated, gate.to_owned()).id("waits").await.expect("the run starts");
        arrived(gate, 1).await;
        let copy = format!("VACUUM INTO '{}'", case.at("copy.db").display());
        case.connection().execute(&copy, ()).expect("a copy is made");
        case.start().await.expect("the run starts");
        case
    }

    /// An engine with a run that waits, and an old copy of its file. The file has a checkpoint since the copy was made.
    /// Each test has a `gate` of its own.
    async fn new(gate: &'static str) -> Self {
        let case = Self::without_checkpoint(gate).await;
        let of_copy = commits(&Connection::open(case.at("copy.db")).expect("the copy opens"));
        // Until the counts of commits distinguish the file from its copy.
        while commits(&case.connection()) == of_copy {
            case.start().await.expect("the run starts");
        }
        case.checkpoint();
        case.start().await.expect("a checkpoint by another program does not close the engine");
        case
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn connection(&self) -> Connection {
        let connection = Connection::open(self.at("workflow.db")).expect("the database opens");
        connection.busy_timeout(Duration::from_secs(5)).expect("the timeout is set");
        connection
    }

    fn checkpoint(&self) {
        let done = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        while self.connection().query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), done).expect("the checkpoint runs")
            != 0
        {}
    }

    async fn start(&self) -> Result<String, Error> {
        let run = self.engine.start(quick, 1).await?;
        Ok(run.id().to_owned())
    }

    /// Asserts that the engine acknowledges nothing and that a pending await fails.
    async fn is_closed(&self) {
        let error = self.start().await.expect_err("the start must not be acknowledged");
        assert_error(&error, Code::StoreReplaced, &["workflow.db", "help:", "VACUUM INTO"]);
        let waits = self.engine.get_run::<String, Error>("waits");
        let end = tokio::time::timeout(PATIENCE, (&waits).into_future()).await.expect("the await ends");
        assert_eq!(end.expect_err("the engine is closed").code(), Code::StoreReplaced);
        assert_eq!(self.start().await.expect_err("the engine stays closed").code(), Code::StoreReplaced);
        assert_eq!(arrivals(self.gate), 1);
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

/// Like [`closes`], without a checkpoint.
async fn closes_without_checkpoint(gate: &'static str, change: impl FnOnce(&Path, &Path)) -> Case {
    let case = Case::without_checkpoint(gate).await;
    change(&case.at("workflow.db"), &case.at("copy.db"));
    case.is_closed().await;
    case
}

/// Asserts that the restored file does not open while the old write-ahead log is beside it, and that it opens with the
/// rows of the copy after the log was moved away.
async fn opens_only_without_the_log(case: Case) {
    let Case { directory, engine: closed, .. } = case;
    let at = |name: &str| directory.path().join(name);
    closed.shutdown().await.expect("the engine shuts down");
    drop(closed);
    let restored = fs::read(at("workflow.db")).expect("the file is readable");
    let error = Engine::open(&format!("sqlite:{}", at("workflow.db").display()))
        .await
        .expect_err("the log belongs to another file");
    assert_error(&error, Code::StoreReplaced, &["workflow.db-wal", "does not belong", "help:", "-shm"]);
    assert!(fs::read(at("workflow.db")).expect("the file is readable") == restored, "the restored file was changed");
    fs::rename(at("workflow.db-wal"), at("kept-wal")).expect("the file is moved");
    let _ = fs::remove_file(at("workflow.db-shm"));
    let engine = engine(&at("workflow.db")).await;
    let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let connection = Connection::open(at("workflow.db")).expect("the database opens");
    let runs = connection.query_row("SELECT count(*) FROM runs", (), count).expect("the table is readable");
    assert_eq!(runs, 1, "the file has the runs of the copy");
    assert_eq!(engine.start(quick, 2).await.expect("the run starts").await.expect("the run completes"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_the_file_closes_the_engine() {
    closes("removed", |file, _| fs::remove_file(file).expect("the file is removed")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renaming_the_file_closes_the_engine_and_loses_no_acknowledged_run() {
    let case = closes("renamed", |file, _| {
        fs::rename(file, file.with_file_name("renamed.db")).expect("the file is renamed");
        // Rename the log, too.
        fs::rename(file.with_extension("db-wal"), file.with_file_name("renamed.db-wal")).expect("the file is renamed");
    })
    .await;
    drop(case.engine);
    let runs: i64 = Connection::open(case.directory.path().join("renamed.db"))
        .expect("the database opens")
        .query_row("SELECT count(*) FROM runs WHERE id = 'waits'", (), |row| row.get(0))
        .expect("the table is readable");
    assert_eq!(runs, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_another_file_over_the_file_closes_the_engine() {
    closes("moved", |file, copy| fs::rename(copy, file).expect("the file is moved")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_an_earlier_copy_over_the_file_closes_the_engine() {
    closes("restored", |file, copy| _ = fs::copy(copy, file).expect("the file is restored")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_a_copy_over_the_file_before_a_checkpoint_closes_the_engine_and_keeps_the_copy() {
    let write_over = |file: &Path, copy: &Path| _ = fs::copy(copy, file).expect("the file is restored");
    opens_only_without_the_log(closes_without_checkpoint("restored early", write_over).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_a_copy_over_the_file_before_a_checkpoint_closes_the_engine_and_keeps_the_copy() {
    let move_over = |file: &Path, copy: &Path| fs::rename(copy, file).expect("the file is moved");
    opens_only_without_the_log(closes_without_checkpoint("moved early", move_over).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_the_log_closes_the_engine_and_loses_no_acknowledged_run() {
    let remove = |file: &Path, _: &Path| fs::remove_file(file.with_extension("db-wal")).expect("the file is removed");
    let Case { directory, engine: closed, .. } = closes_without_checkpoint("log", remove).await;
    closed.shutdown().await.expect("the engine shuts down");
    drop(closed);
    let path = directory.path().join("workflow.db");
    let engine = engine(&path).await;
    let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let connection = Connection::open(&path).expect("the database opens");
    let runs = connection.query_row("SELECT count(*) FROM runs", (), count).expect("the table is readable");
    assert!(runs >= 2, "{runs} runs");
    assert_eq!(engine.start(quick, 2).await.expect("the run starts").await.expect("the run completes"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_the_index_of_the_log_closes_the_engine() {
    closes_without_checkpoint("index", |file, _| {
        fs::remove_file(file.with_extension("db-shm")).expect("the file is removed")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_engine_notices_that_its_log_is_removed() {
    let case = Case::without_checkpoint("idle log").await;
    fs::remove_file(case.at("workflow.db-wal")).expect("the file is removed");
    let waits = case.engine.get_run::<String, Error>("waits");
    let end = tokio::time::timeout(PATIENCE, (&waits).into_future()).await.expect("the await ends");
    assert_eq!(end.expect_err("the engine is closed").code(), Code::StoreReplaced);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_or_a_change_by_another_program_does_not_close_the_engine() {
    let case = Case::without_checkpoint("vacuumed").await;
    for number in 0..3 {
        case.connection().execute("VACUUM", ()).expect("the file is vacuumed");
        case.start().await.expect("nothing happened to the file");
        case.connection().execute("VACUUM", ()).expect("the file is vacuumed");
        case.checkpoint();
        case.start().await.expect("nothing happened to the file");
        let index = format!("CREATE INDEX of_another_{number} ON runs (created_at)");
        case.connection().execute(&index, ()).expect("the index is created");
        case.checkpoint();
        case.start().await.expect("nothing happened to the file");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn overwriting_the_file_closes_the_engine() {
    closes("overwritten", |file, _| fs::write(file, "something else").expect("the file is overwritten")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hard_link_to_the_file_closes_the_engine_and_is_not_opened() {
    let case =
        closes("linked", |file, _| fs::hard_link(file, file.with_file_name("link.db")).expect("the link is created"))
            .await;
    let link = format!("sqlite:{}", case.at("link.db").display());
    let error = Engine::open(&link).await.expect_err("the file has two names");
    assert_error(&error, Code::Store, &["link.db", "2 names", "hard links"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_engine_notices_that_its_file_is_removed() {
    let case = Case::new("idle").await;
    fs::remove_file(case.at("workflow.db")).expect("the file is removed");
    let waits = case.engine.get_run::<String, Error>("waits");
    let end = tokio::time::timeout(PATIENCE, (&waits).into_future()).await.expect("the await ends");
    assert_eq!(end.expect_err("the engine is closed").code(), Code::StoreReplaced);
    case.engine.shutdown().await.expect("there is nothing left to do");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_can_open_a_new_file_after_the_removal() {
    let case = closes("again", |file, _| {
        for name in ["workflow.db", "workflow.db-wal", "workflow.db-shm"] {
            let _ = fs::remove_file(file.with_file_name(name));
        }
    })
    .await;
    case.engine.shutdown().await.expect("the engine shuts down");
    let engine = engine(&case.at("workflow.db")).await;
    assert_eq!(engine.start(quick, 2).await.expect("the run starts").await.expect("the run completes"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_or_copying_the_file_does_not_close_the_engine() {
    let case = Case::new("read").await;
    for number in 0..3 {
        let connection = case.connection();
        let copy = format!("VACUUM INTO '{}'", case.at(&format!("copy-{number}.db")).display());
        connection.execute(&copy, ()).expect("a copy is made");
        let runs: i64 =
            connection.query_row("SELECT count(*) FROM runs", (), |row| row.get(0)).expect("the file is readable");
        assert!(runs > 0);
        case.checkpoint();
        drop(connection);
        fs::read(case.at("workflow.db")).expect("the file is readable");
        case.start().await.expect("nothing happened to the file");
        let client = Client::connect(&format!("sqlite:{}", case.at("workflow.db").display()))
            .await
            .expect("the client connects");
        let info = client.get_run::<String, Error>("waits").info().await.expect("the run is there");
        assert!(matches!(info.status, Status::Running | Status::Suspended));
    }
}

/// Linux from 6.13 gives a file a precise time with the first write after its times were read, and the time of the last tick
/// with other writes. The precise time costs a second write of the disk in each commit.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_checks_of_the_files_do_not_read_the_times_of_the_log() {
    const ROUNDS: u64 = 200;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = engine(&directory.path().join("workflow.db")).await;
    let write = async || engine.start(quick, 1).await.expect("the run starts").await.expect("the run completes");
    let mut in_one_tick = 0;
    for round in 0..ROUNDS {
        // The test has read the times: the first commit has a precise time.
        write().await;
        let beside = directory.path().join(format!("{round}"));
        fs::write(&beside, []).expect("a file is written");
        write().await;
        let [log, beside] = [directory.path().join("workflow.db-wal"), beside]
            .map(|path| fs::metadata(path).expect("the file exists").modified().expect("the system has times"));
        in_one_tick += u64::from(log == beside);
    }
    assert!(in_one_tick > 0, "each write after another file was written has a time of its own");
}
