//! Stores that earlier builds have written and that the repository keeps: this build opens them and completes every
//! run.

#[macro_use]
extern crate workflow_harness;

mod before;
mod parked;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use workflow_harness::{postgres, wait};
use workflow_runtime::store::{PostgresStore, SqliteStore, Store, Synchronous};
use workflow_tests::samples::{OPENED, POSTGRES, SCHEMA, SQLITE, World};

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

async fn assert_runs_continue(sample: &Path, copy: Copy) {
    println!("{}", sample.display());
    let world = World::at(OPENED);
    let is_first = sample.ends_with("format-1");
    let client = world.builder(copy.store.clone()).connect().await.expect("a client connects");
    before::assert_unchanged(&client, is_first).await;
    parked::complete_all(&world, &copy.store, is_first).await;
}

case! {
    #[threads]
    async fn every_run_of_a_kept_file_continues() {
        for sample in samples() {
            assert_runs_continue(&sample, Copy::sqlite(&sample)).await;
        }
    }
}

case! {
    #[postgres]
    async fn every_run_of_a_kept_schema_continues() {
        for sample in samples() {
            let copy = wait(Copy::postgres(&sample));
            assert_runs_continue(&sample, copy).await;
        }
    }
}

fn main() -> std::process::ExitCode {
    workflow_harness::main(file!())
}
