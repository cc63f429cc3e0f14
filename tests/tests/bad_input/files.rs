//! Files that are no database of ours.

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

use super::support::{assert_error, came, comings, engine, gated, open, quick};

async fn refused(path: &Path) -> Error {
    Engine::open(&format!("sqlite:{}", path.display())).await.expect_err("the file is refused")
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("notes.txt");
    let text = "this is no database\n".repeat(1000);
    fs::write(&path, &text).expect("it is written");
    assert_error(&refused(&path).await, Code::Store, &["notes.txt", "not a SQLite database", "another file"]);
    assert_eq!(fs::read_to_string(&path).expect("it is there"), text);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("workflow.db");
    engine(&path).await.shutdown().await.expect("it shuts down");
    let raise = "UPDATE meta SET version = 99, readable_from = 99";
    Connection::open(&path).expect("it opens").execute(raise, ()).expect("it is changed");
    assert_error(&refused(&path).await, Code::NewerStore, &["workflow.db", "version 3", "found: version 99", "update"]);
    let version: i32 = Connection::open(&path)
        .expect("it opens")
        .query_row("SELECT version FROM meta", (), |row| row.get(0))
        .expect("it is readable");
    assert_eq!(version, 99);
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("contacts.db");
    let theirs = Connection::open(&path).expect("it opens");
    theirs
        .execute_batch("CREATE TABLE contacts (name TEXT); INSERT INTO contacts VALUES ('Ada');")
        .expect("it is made");
    drop(theirs);
    let before = fs::read(&path).expect("it is there");
    assert_error(
        &refused(&path).await,
        Code::Store,
        &["contacts.db", "belongs to another program", "tables: contacts"],
    );
    assert_eq!(fs::read(&path).expect("it is there"), before);
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
    assert_eq!(engine.start(quick, 1).await.expect("it starts").await.expect("it completes"), 1);
    assert!(path.is_file());

    let file = directory.path().join("file");
    fs::write(&file, "").expect("it is written");
    assert_error(&refused(&file.join("workflow.db")).await, Code::Store, &["cannot be used", "file", "help:"]);
}

/// Opens the database in a process of a user who may do nothing, and gives what it says.
fn open_as_nobody(directory: &Path, path: &Path) -> String {
    const NOBODY: u32 = 65_534;
    let program = directory.join("opens");
    // Not by this process: a child that another test forks meanwhile would keep it open for writing, and what is open for
    // writing cannot be executed.
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
async fn a_database_that_may_not_be_written_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("workflow.db");
    engine(&path).await.shutdown().await.expect("it shuts down");
    let permit = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
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
async fn a_foreign_lock_is_an_error_of_the_start_and_a_wait_of_what_runs() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("workflow.db");
    let store = SqliteStore::open_waiting(&path, Synchronous::Full, Duration::from_millis(100)).expect("it opens");
    let engine = Engine::builder().store(Arc::new(store)).open().await.expect("the engine opens");
    let run = engine.start(gated, "locked".to_owned()).await.expect("it starts");
    came("locked", 1).await;

    let foreign = Connection::open(&path).expect("it opens");
    foreign.execute_batch("BEGIN EXCLUSIVE").expect("it locks");
    open("locked");
    let error = engine.start(quick, 1).id("refused").await.expect_err("the file is locked");
    assert_error(&error, Code::Store, &["the run was not started", "another program keeps it locked", "refused"]);
    let error = SqliteStore::open_waiting(&path, Synchronous::Full, Duration::from_millis(100));
    if let Ok(second) = error {
        let error = Engine::builder().store(Arc::new(second)).open().await.map(drop);
        // It is a client as long as the first engine lives, and needs no lock for that.
        error.expect("a client opens");
    }
    foreign.execute_batch("ROLLBACK").expect("it unlocks");

    assert_eq!(run.await.expect("it goes on"), "locked");
    assert_eq!(comings("locked"), 1, "the step ran again");
    assert!(!engine.get_run::<u64, Error>("refused").exists().await.expect("the store is readable"));
    assert_eq!(engine.start(quick, 1).id("refused").await.expect("it starts").await.expect("it completes"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_does_not_open_under_a_foreign_lock() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("workflow.db");
    engine(&path).await.shutdown().await.expect("it shuts down");
    let foreign = Connection::open(&path).expect("it opens");
    foreign.execute_batch("BEGIN EXCLUSIVE").expect("it locks");
    let open = || async {
        let store = SqliteStore::open_waiting(&path, Synchronous::Full, Duration::from_millis(100))?;
        Engine::builder().store(Arc::new(store)).open().await
    };
    assert_error(&open().await.expect_err("it is locked"), Code::Store, &["another program keeps it locked"]);
    foreign.execute_batch("ROLLBACK").expect("it unlocks");
    open().await.expect("it opens");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_engines_on_one_file_make_one_run_of_an_id() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("workflow.db");
    let engines = [engine(&path).await, engine(&path).await];
    open("shared");
    let runs = (0..20)
        .flat_map(|_| &engines)
        .map(|engine| async { engine.start(gated, "shared".to_owned()).id("shared").await?.await });
    for result in futures::future::join_all(runs).await {
        assert_eq!(result.expect("it completes"), "shared");
    }
    assert_eq!(comings("shared"), 1);
}
