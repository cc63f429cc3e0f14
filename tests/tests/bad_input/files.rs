//! Files that an engine cannot open, and locks of other programs.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use workflow_runtime::store::{SqliteStore, Synchronous};
use workflow_runtime::{Code, Engine, Error};

use super::support::{arrivals, arrived, assert_error, engine, gated, open, quick};

async fn refused(path: &Path) -> Error {
    Engine::open(&format!("sqlite:{}", path.display())).await.expect_err("the file is refused")
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_not_changed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("notes.txt");
    let text = "this is no database\n".repeat(1000);
    fs::write(&path, &text).expect("the file is written");
    assert_error(&refused(&path).await, Code::Store, &["notes.txt", "not a SQLite database", "another file"]);
    assert_eq!(fs::read_to_string(&path).expect("the file exists"), text);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_not_changed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("workflow.db");
    engine(&path).await.shutdown().await.expect("the engine shuts down");
    let raise = "UPDATE meta SET version = 99, readable_from = 99";
    Connection::open(&path).expect("the database opens").execute(raise, ()).expect("the version is changed");
    assert_error(&refused(&path).await, Code::NewerStore, &["workflow.db", "version 4", "found: version 99", "update"]);
    let version: i32 = Connection::open(&path)
        .expect("the database opens")
        .query_row("SELECT version FROM meta", (), |row| row.get(0))
        .expect("the file is readable");
    assert_eq!(version, 99);
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_not_changed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("contacts.db");
    let theirs = Connection::open(&path).expect("the database opens");
    theirs
        .execute_batch("CREATE TABLE contacts (name TEXT); INSERT INTO contacts VALUES ('Ada');")
        .expect("the tables are created");
    drop(theirs);
    let before = fs::read(&path).expect("the file exists");
    assert_error(
        &refused(&path).await,
        Code::Store,
        &["contacts.db", "belongs to another program", "tables: contacts"],
    );
    assert_eq!(fs::read(&path).expect("the file exists"), before);
}

#[tokio::test]
async fn a_directory_in_place_of_the_file_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    assert_error(&refused(directory.path()).await, Code::Store, &["it is a directory", "help:"]);
}

#[tokio::test]
async fn a_missing_directory_is_created_and_a_file_in_its_place_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("a/b/c/workflow.db");
    let engine = engine(&path).await;
    assert_eq!(engine.start(quick, 1).await.expect("the run starts").await.expect("the run completes"), 1);
    assert!(path.is_file());

    let file = directory.path().join("file");
    fs::write(&file, "").expect("the file is written");
    assert_error(&refused(&file.join("workflow.db")).await, Code::Store, &["cannot be used", "file", "help:"]);
}

/// Opens the database in a process of an unprivileged user: the output.
fn open_as_nobody(directory: &Path, path: &Path) -> String {
    const NOBODY: u32 = 65_534;
    let program = directory.join("opens");
    // `cp` writes the copy. If this process wrote it, a child that another test forks meanwhile could hold it open for
    // writing, and a file that is open for writing cannot be executed.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_opens")).arg(&program).status();
    assert!(copied.is_ok_and(|status| status.success()), "the program cannot be copied");
    let mut command = Command::new(program);
    command.arg(format!("sqlite:{}", path.display()));
    let root = fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0);
    if root {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().expect("the program runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn a_database_without_write_permission_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("workflow.db");
    engine(&path).await.shutdown().await.expect("the engine shuts down");
    let permit =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the mode is changed");
    let program = tempfile::tempdir().expect("a temporary directory");
    permit(program.path(), 0o755);

    permit(&path, 0o444);
    permit(directory.path(), 0o555);
    let said = open_as_nobody(program.path(), &path);
    for part in ["code store", "workflow.db", "help:"] {
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
    assert!(said.contains("read-only") || said.contains("cannot be"), "{said}");

    let said = open_as_nobody(program.path(), &directory.path().join("another.db"));
    for part in ["code store", "another.db", "help:"] {
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
    permit(directory.path(), 0o755);
}

#[test]
fn a_missing_resource_is_named_with_the_step_that_needs_it() {
    let output = Command::new(env!("CARGO_BIN_EXE_opens")).arg("resource").output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stdout);
    for part in ["code missing_resource", "opens::Bank", "opens::charge", "Engine::builder().resource("] {
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_another_program_fails_a_start_and_delays_a_running_run() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("workflow.db");
    let store =
        SqliteStore::open_waiting(&path, Synchronous::Full, Duration::from_millis(100)).expect("the database opens");
    let engine = Engine::builder().store(Arc::new(store)).open().await.expect("the engine opens");
    let run = engine.start(gated, "locked".to_owned()).await.expect("the run starts");
    arrived("locked", 1).await;

    let other_program = Connection::open(&path).expect("the database opens");
    other_program.execute_batch("BEGIN EXCLUSIVE").expect("the file is locked");
    open("locked");
    let error = engine.start(quick, 1).id("refused").await.expect_err("the file is locked");
    assert_error(&error, Code::Store, &["the run was not started", "another program keeps it locked", "refused"]);
    let error = SqliteStore::open_waiting(&path, Synchronous::Full, Duration::from_millis(100));
    if let Ok(second) = error {
        let error = Engine::builder().store(Arc::new(second)).open().await.map(drop);
        // While the first engine executes, the second one is a client, which needs no lock.
        error.expect("a client opens");
    }
    other_program.execute_batch("ROLLBACK").expect("the file is unlocked");

    assert_eq!(run.await.expect("the run continues"), "locked");
    assert_eq!(arrivals("locked"), 1, "the step ran again");
    assert!(!engine.get_run::<u64, Error>("refused").exists().await.expect("the store is readable"));
    assert_eq!(
        engine.start(quick, 1).id("refused").await.expect("the run starts").await.expect("the run completes"),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_does_not_open_while_another_program_locks_the_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("workflow.db");
    engine(&path).await.shutdown().await.expect("the engine shuts down");
    let other_program = Connection::open(&path).expect("the database opens");
    other_program.execute_batch("BEGIN EXCLUSIVE").expect("the file is locked");
    let open = || async {
        let store = SqliteStore::open_waiting(&path, Synchronous::Full, Duration::from_millis(100))?;
        Engine::builder().store(Arc::new(store)).open().await
    };
    assert_error(&open().await.expect_err("the file is locked"), Code::Store, &["another program keeps it locked"]);
    other_program.execute_batch("ROLLBACK").expect("the file is unlocked");
    open().await.expect("the engine opens");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_engines_on_one_file_create_one_run_with_an_id() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("workflow.db");
    let engines = [engine(&path).await, engine(&path).await];
    open("shared");
    let runs = (0..20)
        .flat_map(|_| &engines)
        .map(|engine| async { engine.start(gated, "shared".to_owned()).id("shared").await?.await });
    for result in futures::future::join_all(runs).await {
        assert_eq!(result.expect("the run completes"), "shared");
    }
    assert_eq!(arrivals("shared"), 1);
}
