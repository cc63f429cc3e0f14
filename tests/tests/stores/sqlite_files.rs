//! The files of a SQLite store: opening, errors, locks and sizes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use workflow_runtime::store::{
    Answer, Clean, CreateAnswer, DeleteAnswer, First, SqliteStore, Store, Synchronous, Write,
};
use workflow_runtime::{Code, Error};

use crate::fixture::*;

fn open(path: impl AsRef<Path>) -> Result<SqliteStore, Error> {
    SqliteStore::open_waiting(path, Synchronous::Full, Duration::from_millis(20))
}

/// Opens a store that must be refused: the code and the full text of the error.
fn refused(path: impl AsRef<Path>) -> (Code, String) {
    let error = open(path).expect_err("the store cannot be opened");
    (error.code(), format!("{error:?}"))
}

#[track_caller]
fn assert_text(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
    assert!(text.contains("help: "), "{text}");
}

case! {
    async fn a_reopened_store_has_all_rows() {
        let fx = Fixture::sqlite();
        let right = fx.execute(ADA).await;
        let key = fx.create(new_run("r", taken_by(ADA))).await;
        fx.send("r", message("one")).await;
        let before = (fx.run("r").await, fx.journal(key).await, fx.inbox(key).await);
        let path = fx.directory.as_ref().unwrap().path().join("runs.db");
        drop(right);
        drop(fx.store);
        assert!(!path.with_extension("db-wal").exists(), "closing the last connection removes the log");
        let store = open(&path).unwrap();
        let after = (
            store.run("r").await.unwrap().unwrap(),
            store.journal(key, 0, 0, 10).await.unwrap(),
            store.inbox(key).await.unwrap().1,
        );
        assert_eq!(after, before);
    }
}

case! {
    fn missing_directories_are_created() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("a/b/c.db");
        let store = open(&path).unwrap();
        assert_eq!(store.path(), path.canonicalize().unwrap());
    }
}

case! {
    fn engines_that_create_a_database_at_the_same_time_all_succeed() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("runs.db");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| SqliteStore::open(&path, Synchronous::Normal).unwrap());
            }
        });
    }
}

case! {
    fn a_file_that_is_no_database_is_refused_and_not_changed() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("notes.txt");
        let text = "not a database, and longer than the header of one. ".repeat(100);
        fs::write(&path, &text).unwrap();
        let (code, message) = refused(&path);
        assert_eq!(code, Code::Store);
        assert_text(&message, &["notes.txt", "not a SQLite database"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

case! {
    fn a_database_of_another_program_is_refused_and_not_changed() {
        let directory = TempDir::new().unwrap();
        for (name, sql) in [
            ("tables.db", "CREATE TABLE customers (name TEXT)"),
            ("id.db", "PRAGMA application_id = 252006674"),
            ("version.db", "PRAGMA user_version = 3"),
        ] {
            let path = directory.path().join(name);
            rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
            let before = fs::read(&path).unwrap();
            let (code, message) = refused(&path);
            assert_eq!(code, Code::Store);
            assert_text(&message, &[name, "belongs to another program"]);
            assert_eq!(fs::read(&path).unwrap(), before);
            assert_eq!(message.contains("customers"), name == "tables.db", "{message}");
        }
    }
}

case! {
    fn a_database_of_a_newer_version_is_refused() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("runs.db");
        drop(open(&path).unwrap());
        rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 9").unwrap();
        let (code, message) = refused(&path);
        assert_eq!(code, Code::NewerStore);
        assert_text(&message, &["runs.db", "newer version", "found: layout 9", "update this program"]);
    }
}

case! {
    fn a_path_that_is_no_file_is_reported() {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let (code, message) = refused(directory.path());
        assert_eq!(code, Code::Store);
        assert_text(&message, &["is a directory"]);
        assert_text(&refused(directory.path().join("file/runs.db")).1, &["file", "cannot be used for a database"]);
        for path in ["", ":memory:"] {
            let (code, message) = refused(path);
            assert_eq!(code, Code::InvalidUrl);
            assert_text(&message, &["MemoryStore"]);
        }
    }
}

case! {
    fn two_names_of_one_file_are_one_store() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("runs.db");
        let store = open(&path).unwrap();
        let link = directory.path().join("link.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(open(link).unwrap().path(), store.path());
    }
}

case! {
    async fn a_lock_of_another_program_is_reported_until_it_is_released() {
        let fx = Fixture::sqlite();
        let path = fx.directory.as_ref().unwrap().path().join("runs.db");
        let store = open(&path).unwrap();
        let foreign = rusqlite::Connection::open(&path).unwrap();
        foreign.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let group = [Write::Create(new_run("r", First::Message(message("begin"))))];
        let failed = store.commit(&group).await.unwrap_err();
        assert!(!failed.in_doubt);
        assert_eq!(failed.error.code(), Code::Store);
        assert_text(&format!("{:?}", failed.error), &["runs.db", "another program keeps it locked"]);
        let error = store.acquire(ADA).await.map(drop).unwrap_err();
        assert_text(&format!("{error:?}"), &["another program keeps it locked"]);
        foreign.execute_batch("ROLLBACK").unwrap();
        assert!(store.acquire(ADA).await.unwrap().is_some(), "a right that could not be recorded is not kept");
        assert!(matches!(store.commit(&group).await.unwrap()[..], [Answer::Create(CreateAnswer::Created(_))]));
    }
}

case! {
    fn a_database_that_stays_locked_is_not_opened() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("runs.db");
        let foreign = rusqlite::Connection::open(&path).unwrap();
        foreign.execute_batch("CREATE TABLE t (x); DROP TABLE t; BEGIN EXCLUSIVE").unwrap();
        let (code, message) = refused(&path);
        assert_eq!(code, Code::Store);
        assert_text(&message, &["runs.db", "another program keeps it locked"]);
    }
}

/// Starts the test with this name in a child process, in which `CHILD` is set.
fn child(test: &str, path: &Path, uid: Option<u32>) -> Child {
    use std::os::unix::process::CommandExt;

    let program = std::env::current_exe().unwrap();
    let program = match uid {
        None => program,
        // The user may not have access to the directory of the test program.
        Some(_) => {
            let copy = path.parent().unwrap().join("program");
            fs::copy(program, &copy).unwrap();
            copy
        }
    };
    let mut command = Command::new(program);
    command.args(["--exact", "--nocapture", test]).env("CHILD", path).stdout(Stdio::piped());
    if let Some(uid) = uid {
        command.uid(uid).gid(uid).current_dir("/");
    }
    command.spawn().unwrap()
}

fn is_child() -> Option<PathBuf> {
    std::env::var_os("CHILD").map(PathBuf::from)
}

case! {
    async fn another_process_takes_over_as_soon_as_the_first_is_killed() {
        if let Some(path) = is_child() {
            let store = open(path).unwrap();
            let _right = store.acquire(BOB).await.unwrap().unwrap();
            println!("\nit has the right");
            std::future::pending::<()>().await;
        }
        let fx = Fixture::sqlite();
        let path = fx.directory.as_ref().unwrap().path().join("runs.db");
        let mut child = child("sqlite_files::another_process_takes_over_as_soon_as_the_first_is_killed", &path, None);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "it has the right"));
        assert!(fx.store.acquire(ADA).await.unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(fx.store.acquire(ADA).await.unwrap().is_some());
    }
}

case! {
    fn a_file_that_cannot_be_written_is_refused_when_it_is_opened() {
        use std::os::unix::fs::PermissionsExt;

        if let Some(path) = is_child() {
            for name in ["read-only.db", "in-read-only-directory/runs.db", "in-read-only-directory/new.db"] {
                let (code, message) = refused(path.with_file_name(name));
                assert_eq!(code, Code::Store);
                assert_text(&message, &[name, "written"]);
            }
            let (_, message) = refused(path.with_file_name("in-read-only-directory/below/new.db"));
            assert_text(&message, &["below", "Permission denied"]);
            return;
        }
        let directory = TempDir::new().unwrap();
        let closed = directory.path().join("in-read-only-directory");
        fs::create_dir(&closed).unwrap();
        let path = directory.path().join("read-only.db");
        drop(open(&path).unwrap());
        drop(open(closed.join("runs.db")).unwrap());
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(&path, 0o444);
        mode(&closed.join("runs.db"), 0o666);
        mode(&closed, 0o555);
        mode(directory.path(), 0o777);
        // Permissions do not stop root.
        let root = fs::OpenOptions::new().append(true).open(&path).is_ok();
        let test = "sqlite_files::a_file_that_cannot_be_written_is_refused_when_it_is_opened";
        let output = child(test, &path, root.then_some(65_534)).wait_with_output().unwrap();
        mode(&closed, 0o755);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

case! {
    async fn own_commits_are_not_reported_as_changes() {
        use futures::FutureExt;

        let fx = Fixture::sqlite();
        let store = Arc::clone(&fx.store);
        let right = fx.execute(ADA).await;
        fx.create(new_run("r", taken_by(ADA))).await;
        fx.send("r", message("one")).await;
        drop(right);
        assert!(store.changed(&workflow_runtime::engine::System).now_or_never().is_none());
    }
}

fn pragma(path: &Path, name: &str) -> i64 {
    rusqlite::Connection::open(path).unwrap().pragma_query_value(None, name, |row| row.get(0)).unwrap()
}

case! {
    async fn a_file_shrinks_after_its_runs_are_removed() {
        let fx = Fixture::sqlite();
        let path = fx.directory.as_ref().unwrap().path().join("runs.db");
        let key = fx.create(new_run("large", First::Later)).await;
        for _ in 0..40 {
            fx.send("large", message(&"x".repeat(400_000))).await;
        }
        let full = pragma(&path, "page_count");
        assert_eq!(fx.commit(delete(key)).await, DeleteAnswer::Committed);
        assert_eq!(pragma(&path, "page_count"), full);
        let clean = Clean { expired: Vec::new(), now: 0, messages_before: 0, runs: 10, most: ALL };
        while fx.commit(clean.clone()).await.more {}
        let (now, free) = (pragma(&path, "page_count"), pragma(&path, "freelist_count"));
        assert!(now < full / 2 && free <= 1100, "{full} pages, then {now}, {free} of them free");
    }
}

case! {
    async fn a_large_write_ahead_log_is_truncated() {
        let fx = Fixture::sqlite();
        let path = fx.directory.as_ref().unwrap().path().join("runs.db");
        let log = || fs::metadata(path.with_extension("db-wal")).unwrap().len();
        fx.create(new_run("r", First::Later)).await;
        let reader = rusqlite::Connection::open(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM runs").unwrap();
        // The log cannot be reused while a reader holds a snapshot from before it.
        for _ in 0..60 {
            fx.send("r", message(&"x".repeat(400_000))).await;
        }
        assert!(log() > 20 << 20);
        drop(reader);
        for _ in 0..3 {
            fx.send("r", message("small")).await;
        }
        assert!(log() <= 17 << 20, "{} bytes", log());
    }
}
