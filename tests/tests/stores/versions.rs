//! Builds of different versions on one database: what older builds can do after a migration.

use std::path::PathBuf;

use std::time::Duration;

use workflow_runtime::store::{
    ClaimAnswer, CreateAnswer, First, Migration, NewRun, PostgresOptions, PostgresStore, SendMessage, SqliteStore,
    Store, Synchronous, Turn, TurnAnswer, Write,
};
use workflow_runtime::{Client, Code, Engine, Error, hook, workflow};

use crate::fixture::*;

const ADDS: Migration = Migration { sql: "CREATE TABLE later (x INTEGER);", is_additive: true };
const ADDS_IN_SCHEMA: Migration = Migration { sql: "CREATE TABLE @later (x bigint);", is_additive: true };
const BREAKS: Migration = Migration { sql: "ALTER TABLE dedupe RENAME TO known;", is_additive: false };
const BREAKS_IN_SCHEMA: Migration = Migration { sql: "ALTER TABLE @dedupe RENAME TO known;", is_additive: false };
const FAILS: Migration = Migration { sql: "SELECT nothing FROM nowhere;", is_additive: true };

#[track_caller]
fn assert_error(error: &Error, code: Code, words: &[&str]) {
    let text = format!("{error:?}");
    assert_eq!(error.code(), code, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
    assert!(text.contains("help: "), "{text}");
}

fn path(fx: &Fixture) -> PathBuf {
    fx.directory.as_ref().unwrap().path().join("runs.db")
}

/// The schema version of this build.
const BUILD: i32 = 4;
/// The schema version of a build that has the steps `ADDS` and `BREAKS`, too.
const BROKEN: i32 = BUILD + 2;

/// The schema version of the file, and the least version that can use it.
fn file_version(fx: &Fixture) -> (i32, i32) {
    let connection = rusqlite::Connection::open(path(fx)).unwrap();
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    connection.query_row("SELECT version, readable_from FROM meta", (), row).unwrap()
}

async fn schema_version(fx: &Fixture) -> (i32, i32) {
    let row = fx.database().await.query_one("SELECT version, readable_from FROM meta", &[]).await.unwrap();
    (row.get(0), row.get(1))
}

async fn open_migrating(fx: &Fixture, later: &'static [Migration]) -> Result<PostgresStore, Error> {
    let options = PostgresOptions::new(fx.url.as_deref().unwrap()).unwrap();
    PostgresStore::open_with(options.migrating(later)).await
}

#[workflow]
async fn waits_for_mail() -> Result<u32, Error> {
    hook::<u32>().token("mail").open().await
}

/// Asserts that an engine and a client that have a store open write nothing after `raise`, which raises the least
/// version that can use the tables, and that a caller who awaits a run gets the error.
async fn neither_writes_after(url: &str, raise: impl AsyncFnOnce()) {
    let engine = Engine::open(url).await.unwrap();
    let client = Client::connect(url).await.unwrap();
    let waits = engine.start(waits_for_mail, ()).id("waits").await.unwrap();
    raise().await;
    let words = ["version 99", "while this process had it open", "update this program"];
    let error = client.start(waits_for_mail, ()).id("new").await.map(drop).unwrap_err();
    assert_error(&error, Code::NewerStore, &words);
    let error = client.resume_hook("mail", &1u32).await.unwrap_err();
    assert_error(&error, Code::NewerStore, &words);
    // The engine may notice the migration here or earlier.
    let _ = engine.start(waits_for_mail, ()).id("newer").await;
    let end = tokio::time::timeout(Duration::from_secs(30), waits.into_future()).await.expect("the wait ends");
    assert_error(&end.unwrap_err(), Code::NewerStore, &words);
    let error = engine.start(waits_for_mail, ()).id("newest").await.map(drop).unwrap_err();
    assert_error(&error, Code::NewerStore, &words);
}

fn for_others(id: &str) -> NewRun {
    new_run(id, First::Message(message("begin")))
}

case! {
    async fn builds_share_a_file_after_an_additive_migration() {
        let fx = Fixture::sqlite();
        let right = fx.execute(ADA).await;
        let key = fx.create(new_run("r", taken_by(ADA))).await;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| SqliteStore::open_migrating(path(&fx), &[ADDS]).unwrap());
            }
        });
        assert_eq!(file_version(&fx), (BUILD + 1, 1));
        let newer = SqliteStore::open_migrating(path(&fx), &[ADDS]).unwrap();
        assert!(matches!(commit(&newer, for_others("new")).await, CreateAnswer::Created(_)));
        assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), ..turn(key) }).await, TurnAnswer::Committed);
        assert!(matches!(commit(&*fx.another(), for_others("old")).await, CreateAnswer::Created(_)));
        drop(right);
    }
}

case! {
    async fn a_breaking_migration_of_a_file_is_refused_while_an_older_build_executes() {
        let fx = Fixture::sqlite();
        let right = fx.execute(ADA).await;
        let key = fx.create(new_run("r", taken_by(ADA))).await;
        let pid = format!("process {}", std::process::id());
        let error = SqliteStore::open_migrating(path(&fx), &[ADDS, BREAKS]).unwrap_err();
        let found = format!("found: version {BUILD}");
        assert_error(&error, Code::Store, &["runs.db", "older version", &pid, "stop process", &found]);
        assert_eq!(file_version(&fx), (BUILD, 1));
        assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), ..turn(key) }).await, TurnAnswer::Committed);
        // No engine executes.
        drop(right);
        let client = fx.another();
        let newer = SqliteStore::open_migrating(path(&fx), &[ADDS, BREAKS]).unwrap();
        assert_eq!(file_version(&fx), (BROKEN, BROKEN));
        assert!(matches!(commit(&newer, for_others("new")).await, CreateAnswer::Created(_)));
        // Older builds get an error when they commit, acquire the right to execute, or open the file.
        for older in [&client, &fx.store] {
            let failed = older.commit(&[Write::Create(for_others("old"))]).await.unwrap_err();
            assert!(!failed.in_doubt);
            let words = ["runs.db", "while this process had it open", "update this program"];
            assert_error(&failed.error, Code::NewerStore, &words);
        }
        let error = client.acquire(BOB).await.map(drop).unwrap_err();
        assert_error(&error, Code::NewerStore, &["runs.db"]);
        let error = SqliteStore::open(path(&fx), Synchronous::Full).unwrap_err();
        let found = format!("found: version {BROKEN}, usable from version {BROKEN} on");
        assert_error(&error, Code::NewerStore, &[&format!("that version {BUILD} can use"), &found]);
        assert!(newer.acquire(BOB).await.unwrap().is_some(), "the right is free");
    }
}

case! {
    async fn a_failed_migration_leaves_a_file_unchanged() {
        let fx = Fixture::sqlite();
        let error = SqliteStore::open_migrating(path(&fx), &[ADDS, FAILS]).unwrap_err();
        assert_error(&error, Code::Store, &["runs.db", "nowhere"]);
        assert_eq!(file_version(&fx), (BUILD, 1));
        drop(SqliteStore::open_migrating(path(&fx), &[ADDS]).unwrap());
        assert_eq!(file_version(&fx), (BUILD + 1, 1));
    }
}

case! {
    fn a_file_of_a_pre_release_build_is_reported_and_not_changed() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("runs.db");
        let made = "CREATE TABLE meta (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), owner INTEGER NOT NULL) STRICT;
                    CREATE TABLE runs (key INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE) STRICT;
                    PRAGMA application_id = 1464224855; PRAGMA user_version = 1;";
        rusqlite::Connection::open(&path).unwrap().execute_batch(made).unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = SqliteStore::open(&path, Synchronous::Full).unwrap_err();
        assert_error(&error, Code::Store, &["runs.db", "pre-release build", "remove it, or finish its runs"]);
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}

case! {
    #[postgres]
    async fn builds_share_a_schema_after_an_additive_migration() {
        let fx = Fixture::postgres();
        let right = fx.execute(ADA).await;
        let key = fx.create(new_run("r", taken_by(ADA))).await;
        for newer in futures::future::join_all((0..4).map(|_| open_migrating(&fx, &[ADDS_IN_SCHEMA]))).await {
            newer.unwrap();
        }
        assert_eq!(schema_version(&fx).await, (BUILD + 1, 1));
        let newer = open_migrating(&fx, &[ADDS_IN_SCHEMA]).await.unwrap();
        let other = newer.acquire(BOB).await.unwrap().unwrap();
        assert!(matches!(commit(&newer, new_run("new", taken_by(BOB))).await, CreateAnswer::Created(_)));
        assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), ..turn(key) }).await, TurnAnswer::Committed);
        assert!(right.lasts());
        let older = fx.another();
        assert!(matches!(commit(&*older, for_others("old")).await, CreateAnswer::Created(_)));
        drop((right, other));
    }
}

case! {
    #[postgres]
    async fn a_breaking_migration_ends_the_leases_of_older_builds() {
        let fx = Fixture::postgres_with("&lease=1500ms");
        let right = fx.execute(ADA).await;
        let key = fx.create(new_run("r", taken_by(ADA))).await;
        let newer = open_migrating(&fx, &[ADDS_IN_SCHEMA, BREAKS_IN_SCHEMA]).await.unwrap();
        assert_eq!(schema_version(&fx).await, (BROKEN, BROKEN));
        assert_eq!(fx.turn(Turn { row: Some(row(1, 2)), ..turn(key) }).await, TurnAnswer::Fenced);
        right.lost().await;
        let error = fx.store.acquire(BOB).await.map(drop).unwrap_err();
        assert_error(&error, Code::NewerStore, &[&format!("usable from version {BROKEN} on"), "update this program"]);
        let error = PostgresStore::open(fx.url.as_deref().unwrap()).await.unwrap_err();
        assert_error(&error, Code::NewerStore, &[&format!("usable from version {BROKEN} on"), "update this program"]);
        // The newer build claims its run.
        let _right = newer.acquire(BOB).await.unwrap().unwrap();
        let claimed = tokio::time::timeout(std::time::Duration::from_secs(30), async {
            loop {
                match commit(&newer, claim(BOB, u64::MAX)).await {
                    ClaimAnswer::Claimed(runs) if runs.is_empty() => newer.changed(&workflow_runtime::engine::System).await,
                    ClaimAnswer::Claimed(runs) => return runs,
                    other => panic!("not claimed: {other:?}"),
                }
            }
        });
        assert_eq!(claimed.await.expect("in time")[0].key, key);
    }
}

case! {
    async fn an_engine_and_a_client_write_nothing_to_a_file_after_a_breaking_migration() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("runs.db");
        let raise = async || {
            let connection = rusqlite::Connection::open(&path).unwrap();
            connection.busy_timeout(Duration::from_secs(5)).unwrap();
            connection.execute("UPDATE meta SET version = 99, readable_from = 99", ()).unwrap();
        };
        neither_writes_after(&format!("sqlite:{}", path.display()), raise).await;
        let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        let connection = rusqlite::Connection::open(&path).unwrap();
        assert_eq!(connection.query_row("SELECT count(*) FROM runs", (), count).unwrap(), 1);
        assert_eq!(connection.query_row("SELECT count(*) FROM inbox", (), count).unwrap(), 0);
    }
}

case! {
    #[postgres]
    async fn an_engine_and_a_client_write_nothing_to_a_schema_after_a_breaking_migration() {
        let fx = Fixture::postgres_with("&lease=1500ms");
        let database = fx.database().await;
        let raise = async || {
            database.execute("UPDATE meta SET version = 99, readable_from = 99", &[]).await.unwrap();
        };
        neither_writes_after(fx.url.as_deref().unwrap(), raise).await;
        let sql = "SELECT count(*) FILTER (WHERE id = 'new'), (SELECT count(*) FROM inbox) FROM runs";
        let row = database.query_one(sql, &[]).await.unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (0, 0));
    }
}

case! {
    #[postgres]
    async fn a_breaking_migration_waits_for_the_transactions_of_older_builds() {
        let fx = Fixture::postgres();
        let (older, database) = (fx.database().await, fx.database().await);
        older.batch_execute("BEGIN; SELECT readable_from FROM meta").await.unwrap();
        let options = PostgresOptions::new(fx.url.as_deref().unwrap()).unwrap();
        let migrating = PostgresStore::open_with(options.migrating(&[ADDS_IN_SCHEMA, BREAKS_IN_SCHEMA]));
        let migrating = tokio::spawn(migrating);
        let waits = "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE relation = 'meta'::regclass AND NOT granted)";
        while !database.query_one(waits, &[]).await.unwrap().get::<_, bool>(0) {
            assert!(!migrating.is_finished(), "the migration does not wait");
        }
        older.batch_execute("COMMIT").await.unwrap();
        migrating.await.unwrap().unwrap();
        assert_eq!(schema_version(&fx).await, (BROKEN, BROKEN));
    }
}

case! {
    #[postgres]
    async fn an_older_build_writes_nothing_to_a_schema_after_a_breaking_migration() {
        let fx = Fixture::postgres();
        let right = fx.execute(ADA).await;
        fx.create(new_run("r", taken_by(ADA))).await;
        let (client, database) = (fx.another(), fx.database().await);
        let newer = open_migrating(&fx, &[ADDS_IN_SCHEMA, BREAKS_IN_SCHEMA]).await.unwrap();
        let sent = || Write::SendMessage(SendMessage { run: "r".into(), message: message("old"), unstick: false });
        let for_later = || Write::Create(new_run("later", First::Later));
        let groups = [
            vec![Write::Create(for_others("old"))],
            vec![Write::Create(for_others("old")), Write::Create(for_others("older"))],
            vec![sent()],
            vec![for_later()],
            vec![Write::Create(for_others("old")), sent(), for_later()],
        ];
        for group in groups {
            for older in [&client, &fx.store] {
                let failed = older.commit(&group).await.unwrap_err();
                assert!(!failed.in_doubt, "{failed:?}");
                let usable = format!("usable from version {BROKEN} on");
                assert_error(&failed.error, Code::NewerStore, &["while this process had it open", &usable]);
            }
        }
        let created = fx.store.commit(&[Write::Create(new_run("own", taken_by(ADA)))]).await;
        assert!(matches!(created.as_deref(), Ok([workflow_runtime::store::Answer::Create(CreateAnswer::Fenced)]) | Err(_)), "{created:?}");
        let runs: i64 = database.query_one("SELECT count(*) FROM runs", &[]).await.unwrap().get(0);
        let messages: i64 = database.query_one("SELECT count(*) FROM inbox", &[]).await.unwrap().get(0);
        assert_eq!((runs, messages), (1, 0));
        drop((right, newer));
    }
}

case! {
    #[postgres]
    async fn a_failed_migration_leaves_a_schema_unchanged() {
        let fx = Fixture::postgres();
        let error = open_migrating(&fx, &[ADDS_IN_SCHEMA, FAILS]).await.map(drop).unwrap_err();
        assert_error(&error, Code::Store, &["nowhere"]);
        assert_eq!(schema_version(&fx).await, (BUILD, 1));
        open_migrating(&fx, &[ADDS_IN_SCHEMA]).await.unwrap();
        assert_eq!(schema_version(&fx).await, (BUILD + 1, 1));
    }
}

case! {
    #[postgres]
    async fn a_schema_of_a_pre_release_build_is_reported_and_not_changed() {
        for version in 1..=3 {
            let fx = Fixture::postgres();
            let (schema, database) = (fx.schema(), fx.database().await);
            let make = format!(
                "DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema};
                 CREATE TABLE meta (only_row integer NOT NULL PRIMARY KEY CHECK (only_row = 1), application text NOT NULL,
                    version integer NOT NULL);
                 CREATE TABLE runs (key bigint); INSERT INTO meta VALUES (1, 'workflow-runtime', {version})"
            );
            database.batch_execute(&make).await.unwrap();
            let error = PostgresStore::open(fx.url.as_deref().unwrap()).await.unwrap_err();
            let found = format!("pre-release version {version}");
            assert_error(&error, Code::Store, &["pre-release build", &found, "remove it, or finish its runs"]);
            let left = database.query("SELECT 1 FROM pg_tables WHERE schemaname = $1", &[&schema]).await.unwrap();
            assert_eq!(left.len(), 2);
        }
    }
}
