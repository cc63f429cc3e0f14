//! Stores that earlier builds have written and that the repository keeps: this build opens them and completes every
//! run.

#[macro_use]
extern crate workflow_harness;

mod again;
mod before;
mod more;
mod parked;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;
use workflow_harness::{postgres, wait};
use workflow_runtime::Error;
use workflow_runtime::store::{PostgresStore, SqliteStore, Store, Synchronous};
use workflow_tests::samples::{COUNTED, COUNTED_HOUR, OPENED, POSTGRES, SCHEMA, SQLITE, World};

/// The folders of the samples, one for each format.
fn samples() -> Vec<PathBuf> {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let entries = std::fs::read_dir(kept).expect("there are samples").map(|entry| entry.expect("an entry").path());
    let mut samples: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    samples.sort();
    assert!(!samples.is_empty());
    samples
}

/// A copy of a sample, which the test may change.
struct Copy {
    store: Arc<dyn Store>,
    _directory: Option<TempDir>,
}

impl Copy {
    fn sqlite(sample: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("runs.db");
        std::fs::copy(sample.join(SQLITE), &path).expect("the file is copied");
        let store = SqliteStore::open(path, Synchronous::Normal).expect("the file opens");
        Copy { store: Arc::new(store), _directory: Some(directory) }
    }

    async fn postgres(sample: &Path) -> Self {
        let url = postgres::url();
        let (_, schema) = url.split_once("schema=").expect("the URL names a schema");
        let schema = schema.split('&').next().unwrap_or_default();
        let commands = std::fs::read_to_string(sample.join(POSTGRES)).expect("the file is readable");
        let database = postgres::connect(&url).await;
        database.batch_execute(&commands.replace(SCHEMA, schema)).await.expect("the schema is created");
        let store = PostgresStore::open(&url).await.expect("the schema opens");
        Copy { store: Arc::new(store), _directory: None }
    }
}

async fn assert_runs_continue(sample: &Path, copy: Copy, is_shared: bool) {
    println!("{}", sample.display());
    let world = World::at(OPENED);
    let name = sample.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("format-"));
    let number: u32 = name.and_then(|number| number.parse().ok()).expect("a folder is named by its number");
    let client = world.builder(copy.store.clone()).connect().await.expect("a client connects");
    before::assert_unchanged(&client, number).await;
    if number >= 3 {
        more::assert_unchanged(&client, is_shared).await;
    }
    if number >= 4 {
        again::assert_unchanged(&client).await;
        let counts = copy.store.hour_counts(0).await.expect("the counts are read");
        let mut found: Vec<_> = counts.iter().map(|count| (count.hour, count.figure, count.runs)).collect();
        found.sort();
        assert_eq!(found, COUNTED.map(|(figure, runs)| (COUNTED_HOUR, figure, runs)));
    }
    parked::complete_all(&world, &copy.store, number).await;
}

case! {
    #[threads]
    async fn every_run_of_a_kept_file_continues() {
        for sample in samples() {
            assert_runs_continue(&sample, Copy::sqlite(&sample), false).await;
        }
    }
}

case! {
    #[postgres]
    async fn every_run_of_a_kept_schema_continues() {
        for sample in samples() {
            let copy = wait(Copy::postgres(&sample));
            assert_runs_continue(&sample, copy, true).await;
        }
    }
}

/// The version of the tables, and the highest format of a row of a journal.
fn formats(file: &Path) -> (i64, u32) {
    let connection = Connection::open(file).expect("the file opens");
    let version = connection.query_row("SELECT version FROM meta", (), |row| row.get(0)).expect("there is a version");
    let format = connection.query_row("SELECT coalesce(max(format), 0) FROM journal", (), |row| row.get(0));
    (version, format.expect("the journal is readable"))
}

case! {
    #[threads]
    async fn a_sample_has_the_newest_tables_and_the_newest_rows() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        let kept: Vec<_> = samples().iter().enumerate().map(|(number, sample)| {
            let copy = at(&format!("{number}.db"));
            std::fs::copy(sample.join(SQLITE), &copy).expect("the file is copied");
            formats(&copy)
        }).collect();
        drop(SqliteStore::open(at("new.db"), Synchronous::Normal).expect("a file is created"));
        let newest = formats(&at("new.db")).0;
        assert!(kept.iter().any(|(version, _)| *version == newest), "no sample has tables of version {newest}: {kept:?}");
        // The error of a row of a later format names the newest one.
        let connection = Connection::open(at("0.db")).expect("the file opens");
        connection.execute("UPDATE journal SET format = 1000000", ()).expect("the rows are changed");
        drop(connection);
        let store = SqliteStore::open(at("0.db"), Synchronous::Normal).expect("the file opens");
        let world = World::at(OPENED);
        let client = world.builder(Arc::new(store)).connect().await.expect("a client connects");
        let run = client.get_run::<serde_json::Value, Error>("completed");
        let error = run.steps().await.expect_err("the rows are of a later build");
        let text = format!("{error:?}");
        let newest = text.split("a format up to ").nth(1).expect("the error names the newest format");
        let newest: u32 = newest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().parse().expect("a number");
        assert!(kept.iter().any(|(_, format)| *format == newest), "no sample has rows of format {newest}: {kept:?}");
    }
}

fn main() -> std::process::ExitCode {
    workflow_harness::main(file!())
}
