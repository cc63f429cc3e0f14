//! Rows that another program has changed or deleted.

use std::path::Path;

use rusqlite::{Connection, params};
use workflow_runtime::{Code, Engine, Error, Status, Waiting};

use super::support::{arrivals, arrived, assert_error, engine, gated, open};

/// Longer than any operation here takes: whatever takes longer hangs.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// A database with two unfinished runs that no engine has open.
struct Broken {
    directory: tempfile::TempDir,
    name: &'static str,
}

impl Broken {
    /// Each test has a `name` of its own, which its gates share.
    async fn new(name: &'static str) -> Self {
        let broken = Broken { directory: tempfile::tempdir().expect("a temporary directory"), name };
        let engine = engine(&broken.path()).await;
        for run in ["victim", "other"] {
            engine.start(gated, broken.gate(run)).id(run).await.expect("the run starts");
            arrived(&broken.gate(run), 1).await;
        }
        broken
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("workflow.db")
    }

    fn gate(&self, run: &str) -> String {
        format!("{}/{run}", self.name)
    }

    fn connection(&self) -> Connection {
        let connection = Connection::open(self.path()).expect("the database opens");
        connection.busy_timeout(std::time::Duration::from_secs(5)).expect("the timeout is set");
        connection
    }

    /// Changes one row or more.
    fn change(&self, sql: &str) {
        let changed = self.connection().execute(sql, ()).expect("the change is valid SQL");
        assert!(changed > 0, "{sql} changes nothing");
    }

    /// Lets the other run complete.
    async fn other_completes(&self, engine: &Engine) {
        open(&self.gate("other"));
        let other = engine.get_run::<String, Error>("other").await.expect("the other run completes");
        assert_eq!(other, self.gate("other"));
    }

    /// Opens an engine, and expects that the victim is stuck and the other run completes: the error of the victim.
    async fn stuck(&self) -> Error {
        let engine = engine(&self.path()).await;
        self.other_completes(&engine).await;
        let victim = engine.get_run::<String, Error>("victim");
        let end = tokio::time::timeout(PATIENCE, (&victim).into_future()).await.expect("the await of a stuck run ends");
        let error = end.expect_err("the victim is stuck");
        let info = victim.info().await.expect("the run has a row");
        assert_eq!(info.status, Status::Stuck);
        let Some(Waiting::Stuck { details, .. }) = info.reason else { panic!("another reason: {:?}", info.reason) };
        assert!(error.causes().iter().all(|cause| details.contains(cause)), "{details}");
        assert_error(&error, Code::Stuck, &["victim", "help:"]);
        // Without the shutdown, the next engine would be a client until this one is dropped, and could still see the
        // stuck run.
        engine.shutdown().await.expect("the engine shuts down");
        error
    }

    /// Marks the victim as refused by another build, so that the next engine unsticks it, and lets it complete.
    async fn completes(&self) {
        self.change(
            "UPDATE runs SET stuck = '{}', refused_by = 'another build' WHERE id = 'victim' AND status = 'stuck'",
        );
        self.victim_completes().await;
    }

    async fn victim_completes(&self) {
        let engine = engine(&self.path()).await;
        open(&self.gate("victim"));
        let victim = engine.get_run::<String, Error>("victim").await.expect("the victim completes");
        assert_eq!(victim, self.gate("victim"));
    }
}

/// Damages the victim's journal, expects that only the victim is stuck, restores the journal, and lets the victim
/// complete.
async fn damage(name: &'static str, damage: &str, parts: &[&str]) -> Error {
    let broken = Broken::new(name).await;
    broken.connection().execute("CREATE TABLE backup AS SELECT * FROM journal", ()).expect("a copy is made");
    broken.change(damage);
    let error = broken.stuck().await;
    assert_error(&error, Code::Stuck, parts);
    assert_eq!(arrivals(&broken.gate("victim")), 1, "a damaged run was executed");
    broken.change(
        "INSERT OR REPLACE INTO journal SELECT * FROM backup
         WHERE run = (SELECT key FROM runs WHERE id = 'victim')",
    );
    broken.completes().await;
    error
}

macro_rules! of_victim {
    ($sql:literal) => {
        concat!($sql, " AND run = (SELECT key FROM runs WHERE id = 'victim')")
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_row_parks_only_its_run() {
    damage(
        "flipped",
        of_victim!("UPDATE journal SET body = CAST(replace(CAST(body AS TEXT), 'echo', 'echp') AS BLOB) WHERE idx = 0"),
        &["row 0 of the run's journal", "checksum", "restore"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_does_not_decode_parks_only_its_run() {
    let body = b"{\"deliveries\":[{}]}";
    let damaged = format!(
        of_victim!("UPDATE journal SET body = CAST('{}' AS BLOB), checksum = {} WHERE idx = 1"),
        String::from_utf8_lossy(body),
        crc32fast::hash(body),
    );
    damage("undecodable", &damaged, &["row 1 of the run's journal", "does not decode", "missing field", "restore"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_a_newer_format_waits_for_a_newer_build() {
    let error = damage(
        "format",
        of_victim!("UPDATE journal SET format = 99 WHERE idx = 1"),
        &[
            "row 1 of the run's journal",
            "a newer build has written",
            "expected: a format up to 3",
            "format 99",
            "a newer one",
        ],
    )
    .await;
    assert!(!format!("{error:?}").contains("backup"), "{error:?}");
}

/// Simulates a run that a client of a newer build has started.
#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_message_of_a_newer_format_waits_for_a_newer_build() {
    let broken = Broken::new("newer-message").await;
    {
        let right = std::fs::File::options().write(true).open(lock_of(&broken.path())).expect("the lock is a file");
        right.lock().expect("the lock is free");
        let client = engine(&broken.path()).await;
        client.start(gated, "newer-letter/late".to_owned()).id("late").await.expect("a client starts it");
    }
    broken.change("UPDATE inbox SET format = 99");
    {
        let engine = engine(&broken.path()).await;
        broken.other_completes(&engine).await;
        let late = engine.get_run::<String, Error>("late");
        let error = late.await.expect_err("the run is stuck");
        assert_error(
            &error,
            Code::Stuck,
            &["a message in its inbox cannot be read", "a newer build has written", "late"],
        );
        assert!(!format!("{error:?}").contains("backup"), "{error:?}");
        let stuck: String = broken
            .connection()
            .query_row("SELECT stuck FROM runs WHERE id = 'late'", (), |row| row.get(0))
            .expect("the row has a reason");
        assert!(stuck.contains("newer_format"), "{stuck}");
        engine.shutdown().await.expect("the engine shuts down");
    }
    broken.change("UPDATE inbox SET format = 1");
    broken.change("UPDATE runs SET stuck = '{}', refused_by = 'another build' WHERE id = 'late' AND status = 'stuck'");
    let engine = engine(&broken.path()).await;
    open("newer-letter/late");
    assert_eq!(engine.get_run::<String, Error>("late").await.expect("the run completes"), "newer-letter/late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_row_parks_only_its_run() {
    damage(
        "missing",
        of_victim!("DELETE FROM journal WHERE idx = 0"),
        &["a row of the run's journal is missing", "expected: row 0", "found: row 1", "backup"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_journal_parks_only_its_run() {
    damage("no-journal", of_victim!("DELETE FROM journal WHERE idx >= 0"), &["journal", "backup"]).await;
}

/// Damages the inbox message of a run that a client has started, before an engine reads it.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_inbox_message_parks_only_its_run() {
    let broken = Broken::new("letter").await;
    {
        let right = std::fs::File::options().write(true).open(lock_of(&broken.path())).expect("the lock is a file");
        right.lock().expect("the lock is free");
        let client = engine(&broken.path()).await;
        client.start(gated, "letter/late".to_owned()).id("late").await.expect("a client starts it");
    }
    let message: Vec<u8> = broken
        .connection()
        .query_row("SELECT body FROM inbox", (), |row| row.get(0))
        .expect("there is one inbox message");
    let set = |body: &[u8]| {
        broken.connection().execute("UPDATE inbox SET body = ?1", params![body]).expect("the inbox message is changed");
    };
    set(&message[1..]);
    {
        let engine = engine(&broken.path()).await;
        broken.other_completes(&engine).await;
        let error = engine.get_run::<String, Error>("late").await.expect_err("the run is stuck");
        assert_error(&error, Code::Stuck, &["a message in its inbox cannot be read", "checksum", "late"]);
        engine.shutdown().await.expect("the engine shuts down");
    }
    set(&message);
    broken.change("UPDATE runs SET stuck = '{}', refused_by = 'another build' WHERE id = 'late' AND status = 'stuck'");
    let engine = engine(&broken.path()).await;
    open("letter/late");
    assert_eq!(engine.get_run::<String, Error>("late").await.expect("the run completes"), "letter/late");
}

fn lock_of(path: &Path) -> std::path::PathBuf {
    path.with_extension("db.lock")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_an_unknown_workflow_waits_for_a_build_that_has_it() {
    let broken = Broken::new("unknown").await;
    let known: String = broken
        .connection()
        .query_row("SELECT workflow FROM runs WHERE id = 'victim'", (), |row| row.get(0))
        .expect("the victim has a row");
    broken.change("UPDATE runs SET workflow = 'gone::away' WHERE id = 'victim'");
    {
        let engine = engine(&broken.path()).await;
        broken.other_completes(&engine).await;
        let victim = engine.get_run::<String, Error>("victim");
        let info = victim.info().await.expect("the run has a row");
        assert_eq!((info.status, info.workflow.as_str()), (Status::Running, "gone::away"));
        let reason = victim.waiting().await.expect("the run has a journal")[0].to_string();
        assert_eq!(reason, "no live worker has the workflow `gone::away`");
        assert_eq!(arrivals(&broken.gate("victim")), 1);
    }
    broken.change(&format!("UPDATE runs SET workflow = '{known}' WHERE id = 'victim'"));
    broken.victim_completes().await;
}

/// Damages the row of a run in `runs`.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_an_unreadable_row_does_not_stop_other_runs() {
    for (name, change, repair) in [
        ("status", "status = 'dreaming'", "status = 'running'"),
        ("digest", "args_digest = X'00'", "args_digest = zeroblob(32)"),
    ] {
        let broken = Broken::new(name).await;
        broken.change(&format!("UPDATE runs SET {change} WHERE id = 'victim'"));
        {
            let engine = engine(&broken.path()).await;
            tokio::time::timeout(PATIENCE, broken.other_completes(&engine))
                .await
                .unwrap_or_else(|_| panic!("the other run waits for the damaged one ({change})"));
            let error = engine.get_run::<String, Error>("victim").info().await.expect_err("its row cannot be read");
            assert_error(&error, Code::Damaged, &["a row in it cannot be read", "backup"]);
        }
        broken.change(&format!("UPDATE runs SET {repair} WHERE id = 'victim'"));
        broken.victim_completes().await;
    }
}
