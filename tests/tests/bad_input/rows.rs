//! Rows that were changed behind the library's back, or lost.

use std::path::Path;

use rusqlite::{Connection, params};
use workflow_runtime::{Code, Engine, Error, Status, Waiting};

use super::support::{assert_error, came, comings, engine, gated, open};

/// Longer than any of this takes: passing it is a hang.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// A database with two runs in their middle, which no engine has open.
struct Broken {
    directory: tempfile::TempDir,
    name: &'static str,
}

impl Broken {
    /// `name` is of this test alone.
    async fn new(name: &'static str) -> Self {
        let broken = Broken { directory: tempfile::tempdir().expect("a temporary directory"), name };
        let engine = engine(&broken.path()).await;
        for run in ["victim", "other"] {
            engine.start(gated, broken.gate(run)).id(run).await.expect("it starts");
            came(&broken.gate(run), 1).await;
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
        connection.busy_timeout(std::time::Duration::from_secs(5)).expect("it can wait");
        connection
    }

    /// Changes one row or more.
    fn change(&self, sql: &str) {
        let changed = self.connection().execute(sql, ()).expect("the change is good SQL");
        assert!(changed > 0, "{sql} changes nothing");
    }

    /// Lets the other run complete.
    async fn other_completes(&self, engine: &Engine) {
        open(&self.gate("other"));
        let other = engine.get_run::<String, Error>("other").await.expect("the other run goes on");
        assert_eq!(other, self.gate("other"));
    }

    /// Opens an engine: why the victim is stuck.
    async fn stuck(&self) -> Error {
        let engine = engine(&self.path()).await;
        self.other_completes(&engine).await;
        let victim = engine.get_run::<String, Error>("victim");
        let end = tokio::time::timeout(PATIENCE, (&victim).into_future())
            .await
            .expect("the victim is stuck, not awaited for ever");
        let error = end.expect_err("the victim is stuck");
        let info = victim.info().await.expect("it has a row");
        assert_eq!(info.status, Status::Stuck);
        let Some(Waiting::Stuck { details, .. }) = info.reason else { panic!("another reason: {:?}", info.reason) };
        assert!(error.causes().iter().all(|cause| details.contains(cause)), "{details}");
        assert_error(&error, Code::Stuck, &["victim", "help:"]);
        // Else the next engine, a client until this one is gone, might still find the run stuck.
        engine.shutdown().await.expect("it shuts down");
        error
    }

    /// Lets the victim complete with what counts as another build.
    async fn completes(&self) {
        self.change(
            "UPDATE runs SET stuck = '{}', refused_by = 'another build' WHERE id = 'victim' AND status = 'stuck'",
        );
        self.goes_on().await;
    }

    async fn goes_on(&self) {
        let engine = engine(&self.path()).await;
        open(&self.gate("victim"));
        let victim = engine.get_run::<String, Error>("victim").await.expect("the victim goes on");
        assert_eq!(victim, self.gate("victim"));
    }
}

/// Keeps a copy of the victim's journal, damages it, and mends it again.
async fn damage(name: &'static str, damage: &str, parts: &[&str]) -> Error {
    let broken = Broken::new(name).await;
    broken.connection().execute("CREATE TABLE backup AS SELECT * FROM journal", ()).expect("a copy is made");
    broken.change(damage);
    let error = broken.stuck().await;
    assert_error(&error, Code::Stuck, parts);
    assert_eq!(comings(&broken.gate("victim")), 1, "a damaged run is executed");
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
async fn a_flipped_bit_in_a_row_parks_its_run_alone() {
    damage(
        "flipped",
        of_victim!("UPDATE journal SET body = CAST(replace(CAST(body AS TEXT), 'echo', 'echp') AS BLOB) WHERE idx = 0"),
        &["row 0 of the run's journal", "checksum", "restore"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_does_not_decode_parks_its_run_alone() {
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
            "expected: a format up to 2",
            "format 99",
            "a newer one",
        ],
    )
    .await;
    assert!(!format!("{error:?}").contains("backup"), "{error:?}");
}

/// A run that a client of a newer build has started.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_of_a_newer_format_waits_for_a_newer_build() {
    let broken = Broken::new("newer-letter").await;
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
        let error = late.await.expect_err("it is stuck");
        assert_error(
            &error,
            Code::Stuck,
            &["a letter in its inbox cannot be read", "a newer build has written", "late"],
        );
        assert!(!format!("{error:?}").contains("backup"), "{error:?}");
        let stuck: String = broken
            .connection()
            .query_row("SELECT stuck FROM runs WHERE id = 'late'", (), |row| row.get(0))
            .expect("it says why");
        assert!(stuck.contains("newer_format"), "{stuck}");
        engine.shutdown().await.expect("it shuts down");
    }
    broken.change("UPDATE inbox SET format = 1");
    broken.change("UPDATE runs SET stuck = '{}', refused_by = 'another build' WHERE id = 'late' AND status = 'stuck'");
    let engine = engine(&broken.path()).await;
    open("newer-letter/late");
    assert_eq!(engine.get_run::<String, Error>("late").await.expect("it goes on"), "newer-letter/late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_row_parks_its_run_alone() {
    damage(
        "missing",
        of_victim!("DELETE FROM journal WHERE idx = 0"),
        &["a row of the run's journal is missing", "expected: row 0", "found: row 1", "backup"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_journal_parks_its_run_alone() {
    damage("no-journal", of_victim!("DELETE FROM journal WHERE idx >= 0"), &["journal", "backup"]).await;
}

/// A run that a client has started, whose letter no engine has seen yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_letter_parks_its_run_alone() {
    let broken = Broken::new("letter").await;
    {
        let right = std::fs::File::options().write(true).open(lock_of(&broken.path())).expect("the lock is a file");
        right.lock().expect("the lock is free");
        let client = engine(&broken.path()).await;
        client.start(gated, "letter/late".to_owned()).id("late").await.expect("a client starts it");
    }
    let letter: Vec<u8> =
        broken.connection().query_row("SELECT body FROM inbox", (), |row| row.get(0)).expect("there is one letter");
    let set = |body: &[u8]| {
        broken.connection().execute("UPDATE inbox SET body = ?1", params![body]).expect("the letter is changed");
    };
    set(&letter[1..]);
    {
        let engine = engine(&broken.path()).await;
        broken.other_completes(&engine).await;
        let error = engine.get_run::<String, Error>("late").await.expect_err("it is stuck");
        assert_error(&error, Code::Stuck, &["a letter in its inbox cannot be read", "checksum", "late"]);
        engine.shutdown().await.expect("it shuts down");
    }
    set(&letter);
    broken.change("UPDATE runs SET stuck = '{}', refused_by = 'another build' WHERE id = 'late' AND status = 'stuck'");
    let engine = engine(&broken.path()).await;
    open("letter/late");
    assert_eq!(engine.get_run::<String, Error>("late").await.expect("it goes on"), "letter/late");
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
        .expect("there is the victim");
    broken.change("UPDATE runs SET workflow = 'gone::away' WHERE id = 'victim'");
    {
        let engine = engine(&broken.path()).await;
        broken.other_completes(&engine).await;
        let victim = engine.get_run::<String, Error>("victim");
        let info = victim.info().await.expect("it has a row");
        assert_eq!((info.status, info.workflow.as_str()), (Status::Running, "gone::away"));
        let reason = victim.waiting().await.expect("it has a journal")[0].to_string();
        assert_eq!(reason, "no live worker has the workflow `gone::away`");
        assert_eq!(comings(&broken.gate("victim")), 1);
    }
    broken.change(&format!("UPDATE runs SET workflow = '{known}' WHERE id = 'victim'"));
    broken.goes_on().await;
}

/// The row itself: what says that there is a run.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_own_row_cannot_be_read_stops_no_other_run() {
    for (name, change, mend) in [
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
        broken.change(&format!("UPDATE runs SET {mend} WHERE id = 'victim'"));
        broken.goes_on().await;
    }
}
