//! Kills a program that deletes runs, and keeps few of those that have ended, at each operation of its store: whatever is
//! there at any moment is whole, and what is not there has left nothing but what is on its way out.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;
use workflow_tests::brief::CHUNKS;

use super::child::{Child, command, was_killed};
use super::place::{Kind, Place};
use super::snapshot::Snapshot;
use super::sweep::in_parallel;
use super::{blocking, full};

/// What no database has at any moment: rows of runs that are not there and are not on their way out, and runs that have
/// ended and lack something of what each of them had.
fn flaws() -> Vec<String> {
    let nobody = |column: &str| format!("{column} NOT IN (SELECT key FROM runs)");
    let lost = |column: &str| format!("{} AND {column} NOT IN (SELECT run FROM remains)", nobody(column));
    let ended = "status IN ('completed', 'failed') AND workflow LIKE '%::brief'";
    let mut flaws: Vec<String> = ["journal", "inbox", "dedupe", "tokens", "streams"]
        .iter()
        .map(|table| format!("{table} WHERE {}", lost("run")))
        .chain(
            ["watchers", "notices", "states", "attributes"]
                .iter()
                .map(|table| format!("{table} WHERE {}", nobody("run"))),
        )
        .collect();
    flaws.push(format!("executions WHERE {}", lost("target")));
    flaws.push(format!("tokens WHERE state = 'open' AND {}", nobody("run")));
    flaws.push("chunks WHERE stream NOT IN (SELECT key FROM streams)".to_owned());
    flaws.push("remains WHERE run IN (SELECT key FROM runs)".to_owned());
    let without = |what: &str| format!("runs WHERE {ended} AND NOT EXISTS (SELECT 1 FROM {what})");
    for table in ["states", "attributes", "tokens", "streams", "executions", "journal", "dedupe"] {
        flaws.push(without(&format!("{table} WHERE {table}.run = runs.key")));
    }
    flaws.push(format!(
        "runs WHERE {ended} AND (SELECT count(*) FROM streams JOIN chunks ON stream = streams.key WHERE run = runs.key) < {CHUNKS}"
    ));
    flaws.into_iter().map(|flaw| format!("SELECT count(*) FROM {flaw}")).collect()
}

/// What is on its way out.
const REMAINS: &str = "SELECT (SELECT count(*) FROM remains)
    + (SELECT count(*) FROM journal WHERE run NOT IN (SELECT key FROM runs))";

/// The answers of a SQLite file, as a copy of it has them; nothing before there are tables.
fn ask_sqlite(path: &Path, questions: &[String]) -> Vec<i64> {
    let copies = tempfile::tempdir().expect("a temporary directory");
    let copy = copies.path().join("db");
    if std::fs::copy(path, &copy).is_err() {
        return Vec::new();
    }
    let wal = path.with_file_name("workflow.db-wal");
    if wal.exists() {
        std::fs::copy(wal, copies.path().join("db-wal")).expect("the log can be copied");
    }
    let connection = Connection::open(&copy).expect("the copy opens");
    let ask = |question: &String| connection.query_row(question, (), |row| row.get(0));
    questions.iter().map(ask).collect::<Result<_, _>>().unwrap_or_default()
}

async fn ask_postgres(url: &str, questions: &[String]) -> Vec<i64> {
    let client = workflow_harness::postgres::connect(url).await;
    if client.query_opt("SELECT 1 WHERE to_regclass('remains') IS NOT NULL", &[]).await.expect("it answers").is_none() {
        return Vec::new();
    }
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.expect("a transaction");
    let mut answers = Vec::new();
    for question in questions {
        answers.push(client.query_one(question, &[]).await.expect("an answer").get(0));
    }
    answers
}

struct History {
    kind: Kind,
    place: Place,
    lives: usize,
    deleted: BTreeSet<String>,
}

impl History {
    fn new(kind: Kind) -> Self {
        History { kind, place: Place::new(kind), lives: 0, deleted: BTreeSet::new() }
    }

    fn ask(&self, questions: &[String]) -> Vec<i64> {
        match self.kind {
            Kind::Sqlite => ask_sqlite(Path::new(self.place.url().trim_start_matches("sqlite:")), questions),
            Kind::Postgres => std::thread::scope(|scope| {
                let ask = || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    runtime.expect("a runtime").block_on(ask_postgres(self.place.url(), questions))
                };
                scope.spawn(ask).join().expect("the database answers")
            }),
        }
    }

    /// Runs the program, and kills it at this operation: whether it was killed.
    fn live(&mut self, kill: Option<u64>) -> bool {
        self.lives += 1;
        let (url, log) = (self.place.url().to_owned(), self.place.log());
        let mut args = vec![url, log.to_string_lossy().into_owned(), self.lives.to_string()];
        args.extend((0..6).map(|number| format!("{}-{number}", self.lives)));
        let mut command = command(env!("CARGO_BIN_EXE_forgets"), args);
        if let Some(point) = kill {
            command.env("WORKFLOW_FAIL_POINT", point.to_string());
        }
        let mut child = Child::spawn(command);
        let status = child.end();
        assert!(status.success() || was_killed(status) && kill.is_some(), "the program ended with {status}");
        self.deleted.extend(child.said("deleted").into_iter().map(str::to_owned));
        let stored = self.place.stored();
        let resurrected: Vec<_> = self.deleted.iter().filter(|id| stored.contains_key(*id)).collect();
        assert!(resurrected.is_empty(), "deleted, and there: {resurrected:?}");
        self.check(&stored);
        !status.success()
    }

    fn check(&self, stored: &Snapshot) {
        for (question, answer) in flaws().iter().zip(self.ask(&flaws())) {
            assert_eq!(answer, 0, "{question}");
        }
        for (id, run) in stored.iter().filter(|(_, run)| ["completed", "failed"].contains(&&*run.status)) {
            assert!(run.operations().end.is_some(), "run {id} has lost the end of its journal");
            assert!(run.journal.iter().zip(0..).all(|(row, index)| row.index == index), "run {id} has lost a row");
        }
    }

    /// Lets it come to its end.
    fn finish(mut self) {
        assert!(!self.live(None));
        let completed = self.place.stored().values().filter(|run| run.status == "completed").count();
        assert_eq!((completed, self.place.stored().len()), (3, 3));
        assert_eq!(self.ask(&[REMAINS.to_owned()]), [0], "something is left");
    }
}

fn at_fail_points(kind: Kind, step: usize) {
    let mut points = 64;
    while History::new(kind).live(Some(points)) {
        points += 32;
    }
    let points: Vec<u64> = (1..=points).step_by(step).collect();
    let killed = std::sync::atomic::AtomicUsize::new(0);
    in_parallel(&points, |point| {
        let mut history = History::new(kind);
        // Sometimes what goes on with it is killed as well.
        for kill in [*point, point / 2 + 40] {
            let was_killed = history.live(Some(kill));
            killed.fetch_add(usize::from(was_killed), std::sync::atomic::Ordering::Relaxed);
            if !was_killed || kill % 3 != 0 {
                break;
            }
        }
        history.finish();
    });
    let killed = killed.into_inner();
    println!("killed {killed} times at {} fail points", points.len());
    assert!(killed >= points.len() * 3 / 4, "the sweep killed next to nothing: {killed} of {}", points.len());
}

case! {
    fn what_is_deleted_or_not_kept_is_whole_or_gone_whenever_it_is_killed() {
        at_fail_points(Kind::Sqlite, if full() { 1 } else { 9 });
    }
}

case! {
    #[postgres]
    async fn what_is_deleted_or_not_kept_is_whole_or_gone_whenever_it_is_killed_on_postgres() {
        blocking(|| at_fail_points(Kind::Postgres, if full() { 1 } else { 40 }));
    }
}
