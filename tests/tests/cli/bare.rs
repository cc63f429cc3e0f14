//! The command line is not an engine: it does not execute runs, and does not migrate or create stores.

use workflow_runtime::store::{Migration, SqliteStore, Store};
use workflow_runtime::{Client, Engine, Error, Result, Status, step, workflow};

use crate::support::{Place, soon};
use crate::world::nap;

#[step]
async fn passes() -> Result<()> {
    Ok(())
}

/// Panics after its step, which makes the run stuck.
#[workflow(id = "panics")]
async fn panics() -> Result<()> {
    passes().await?;
    panic!("on purpose")
}

case!(
    #[threads]
    async fn the_command_line_does_not_become_the_executor_and_does_not_unstick() {
        let place = Place::sqlite();
        let engine = Engine::open(&place.url).await.unwrap();
        let stuck = engine.start(panics, ()).id("stuck-1").await.unwrap();
        soon(stuck).await.unwrap_err();
        engine.shutdown().await.unwrap();
        drop(engine);
        let client = Client::connect(&place.url).await.unwrap();
        client.start(nap, ()).id("waits").await.unwrap();
        // The command line keeps the store open while it follows the events of a run that no engine executes.
        let mut open = std::process::Command::new(env!("CARGO_BIN_EXE_command_line"))
            .args(["--store", &place.url, "events", "waits", "-f", "-o", "jsonl"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        for line in ["ls", "show stuck-1", "doctor", "count", "hooks", "result stuck-1"] {
            place.run(line);
        }
        assert_eq!(place.run("result stuck-1").code, 7);
        let store = SqliteStore::open_existing(place.path("runs.db")).unwrap();
        let row = store.run("stuck-1").await.unwrap().unwrap();
        assert_eq!(row.status, Status::Stuck);
        assert_eq!(store.run("waits").await.unwrap().unwrap().status, Status::Pending);
        assert_eq!(store.hour_counts(0).await.unwrap(), [], "the command line records no counts");
        let right = store.acquire(1).await.unwrap();
        assert!(right.is_some(), "the lock is free while the command line is open");
        drop((right, store));
        let engine = Engine::open(&place.url).await.unwrap();
        soon(async {
            while client.get_run::<(), Error>("waits").status().await.unwrap() != Status::Suspended {
                workflow_harness::pause().await;
            }
        })
        .await;
        open.kill().unwrap();
        open.wait().unwrap();
        engine.shutdown().await.unwrap();
    }
);

case!(
    #[threads]
    async fn a_store_that_does_not_exist_is_not_created() {
        let place = Place::sqlite();
        let missing = place.run("ls");
        assert_eq!(missing.code, 1, "{missing:?}");
        assert_eq!(std::fs::read_dir(place.directory.path()).unwrap().count(), 0, "no file is created");
        assert_eq!(place.run("--store memory: ls").code, 2);
    }
);

case!(
    #[postgres]
    async fn a_schema_that_does_not_exist_is_not_created() {
        let place = Place::postgres();
        let missing = place.run("ls");
        assert_eq!(missing.code, 1, "{missing:?}");
        assert!(missing.err.contains("no tables of this library"), "{missing:?}");
        let name = place.url.split("schema=").nth(1).unwrap().split('&').next().unwrap();
        let database = workflow_harness::postgres::connect(&place.url).await;
        let schemas = database.query("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&name]).await.unwrap();
        assert!(schemas.is_empty());
    }
);

case!(
    #[threads]
    async fn a_store_of_an_older_version_is_not_migrated() {
        // A build with another migration treats the store as one of an older version.
        static LATER: &[Migration] = &[Migration { sql: "CREATE TABLE later (x INTEGER);", is_additive: true }];
        let place = Place::sqlite();
        drop(SqliteStore::open_migrating(place.path("runs.db"), LATER).unwrap());
        place.run("ls").ok();
        let file = rusqlite::Connection::open(place.path("runs.db")).unwrap();
        file.execute_batch("UPDATE meta SET version = 0, readable_from = 0").unwrap();
        let older = place.run("ls");
        assert_eq!(older.code, 1, "{older:?}");
        let version: i64 = file.query_row("SELECT version FROM meta", (), |row| row.get(0)).unwrap();
        assert_eq!(version, 0, "the schema is unchanged");
    }
);

case!(
    #[threads]
    async fn a_store_that_the_first_version_wrote_is_not_migrated() {
        let place = Place::sqlite();
        let kept = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/format-1/store.sqlite");
        std::fs::copy(kept, place.path("runs.db")).unwrap();
        let listed = place.run("ls");
        assert_eq!(listed.code, 1, "{listed:?}");
        assert!(listed.err.contains("older version"), "{listed:?}");
        let file = rusqlite::Connection::open(place.path("runs.db")).unwrap();
        let version: i64 = file.query_row("SELECT version FROM meta", (), |row| row.get(0)).unwrap();
        assert_eq!(version, 1, "the schema is unchanged");
    }
);
