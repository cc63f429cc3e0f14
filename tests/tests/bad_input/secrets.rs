//! Passwords in errors, permissions of files, and control characters in names.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use workflow_runtime::{Code, Engine, Error};

use super::support::{engine, quick};

#[tokio::test]
async fn the_error_of_a_refused_url_does_not_show_its_password() {
    for url in [
        "mysql://app:secret@host/shop",
        "Redis://:secret@host",
        "host=db user=app password=secret",
        "app:secret@host/shop",
        "//app:secret@host/shop",
        "Postgres://app:x@secret@host/shop",
        "POSTGRES:app:secret@host/shop",
        "postgres://app:x?secret@host/shop",
        "secret",
    ] {
        let error = Engine::open(url).await.expect_err("the URL is refused");
        assert_eq!(error.code(), Code::InvalidUrl, "{url}");
        let shown = format!("{error} {error:?}").to_lowercase();
        assert!(!shown.contains("secret"), "{url}: {shown}");
        assert!(shown.contains("postgres://"), "the error does not show a valid form: {shown}");
    }
}

#[tokio::test]
async fn a_scheme_may_be_written_in_capitals() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine =
        Engine::open(&format!("SQLite:{}", directory.path().join("w.db").display())).await.expect("the engine opens");
    engine.shutdown().await.expect("the engine shuts down");
    Engine::open("MEMORY:").await.expect("the engine opens").shutdown().await.expect("the engine shuts down");
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).expect("the file exists").permissions().mode() & 0o777
}

#[tokio::test]
async fn the_files_of_a_store_are_accessible_to_its_user_only() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join(".workflow/deep/workflow.db");
    let engine = engine(&path).await;
    engine.start(quick, 1).await.expect("the run starts").await.expect("the run completes");
    for name in ["workflow.db", "workflow.db-wal", "workflow.db-shm", "workflow.db.lock"] {
        assert_eq!(mode(&path.with_file_name(name)), 0o600, "{name}");
    }
    for directory in [".workflow", ".workflow/deep"].map(|name| directory.path().join(name)) {
        assert_eq!(mode(&directory), 0o700, "{directory:?}");
    }
}

#[tokio::test]
async fn existing_files_keep_their_permissions() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("workflow.db");
    engine(&path).await.shutdown().await.expect("the engine shuts down");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).expect("the mode is changed");
    engine(&path).await.shutdown().await.expect("the engine shuts down");
    assert_eq!(mode(&path), 0o664);
}

#[tokio::test]
async fn control_characters_of_names_do_not_reach_errors() {
    let engine = Engine::open("memory:").await.expect("the engine opens");
    let name = "id\u{1b}[2J\nWARN forged";
    let run = engine.get_run::<u64, Error>(name);
    let errors = [
        run.info().await.expect_err("there is no such run"),
        (&run).into_future().await.expect_err("there is no such run"),
        run.cancel("why").await.map(drop).expect_err("there is no such run"),
        run.delete().await.expect_err("there is no such run"),
        run.resume(&1).label(name).await.map(drop).expect_err("there is no such run"),
        engine.start(quick, 1).id(name).await.map(drop).expect_err("the call is refused"),
        engine.resume_hook(name, &1).await.expect_err("the call is refused"),
        engine.start_by_id(name, json!(1)).await.map(drop).expect_err("there is no such run"),
    ];
    for error in errors {
        let shown = format!("{error} {}", error.run_id().unwrap_or_default());
        assert!(!shown.contains(char::is_control), "{shown:?}");
        assert!(!format!("{error:?}").contains("\nWARN"), "{error:?}");
    }
}
