//! Worker processes on one PostgreSQL database, and the runs that a test starts for them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::try_join_all;
use tempfile::TempDir;
use workflow_harness::postgres;
use workflow_runtime::{Client, Code, Error};
use workflow_tests::Execution;
use workflow_tests::chain::{Chain, chain};

use super::child::{Child, command};
use super::snapshot;

/// Longer than anything here takes: whatever takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(240);
/// The interval between two polls.
const LOOK: Duration = Duration::from_millis(10);
/// The number of runs that are started at the same time.
const STARTS: usize = 500;

/// Records each journal row that is inserted while the owner of its run is no longer in `workers`.
const AUDIT: &str = "
CREATE TABLE audit (run bigint NOT NULL, owner bigint NOT NULL);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO audit SELECT key, owner FROM runs
        WHERE key = NEW.run AND owner NOT IN (SELECT owner FROM workers);
    RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER INSERT ON journal FOR EACH ROW EXECUTE FUNCTION audit()";

/// A database with a client, and a directory with logs.
pub struct Site {
    pub url: String,
    pub directory: TempDir,
    pub client: Client,
    pub database: tokio_postgres::Client,
}

/// By run, the tokens of the executions whose results were recorded.
pub type Results = BTreeMap<String, Vec<String>>;

impl Site {
    /// A site on a new schema, whose leases have this duration.
    pub async fn new(lease: &str) -> Self {
        Site::on(format!("{}&lease={lease}", postgres::url())).await
    }

    pub async fn on(url: String) -> Self {
        let client = Client::connect(&url).await.expect("the client connects");
        let database = postgres::connect(&url).await;
        let schema: String =
            database.query_one("SELECT current_schema()", &[]).await.expect("the database answers").get(0);
        let audit = AUDIT.replace("AS $$", &format!("SET search_path = {schema} AS $$"));
        database.batch_execute(&audit).await.expect("the audit is installed");
        Site { url, directory: tempfile::tempdir().expect("a temporary directory"), client, database }
    }

    pub fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// The path for the gate file of a chain. The file does not exist yet.
    pub fn gate(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    pub fn worker(&self, life: &str) -> Child {
        self.worker_at(&self.url, life)
    }

    /// A worker that reaches the database by this URL.
    pub fn worker_at(&self, url: &str, life: &str) -> Child {
        let mut child = self.worker_to_be(url, life);
        tokio::task::block_in_place(|| child.wait_for("open"));
        child
    }

    /// A worker process whose engine may not be open yet.
    pub fn worker_to_be(&self, url: &str, life: &str) -> Child {
        self.program(env!("CARGO_BIN_EXE_worker"), url, life)
    }

    /// Starts a program that executes.
    pub fn program(&self, path: &str, url: &str, life: &str) -> Child {
        Child::spawn(command(path, [url, &self.log().to_string_lossy(), life]))
    }

    /// The warnings of a worker.
    pub fn warnings(&self, life: &str) -> Vec<String> {
        let warnings = std::fs::read_to_string(self.log().with_extension(life)).unwrap_or_default();
        warnings.lines().map(str::to_owned).collect()
    }

    /// Reconnects the test's own connection to the database.
    pub async fn reconnect(&mut self) {
        self.database = postgres::connect(&self.url).await;
    }

    /// Starts chains with these ids, and tries again after errors of the database.
    pub async fn start(&self, ids: &[String], links: &Chain) {
        let start = async |id: &String| loop {
            match self.client.start(chain, links.clone()).id(id).await {
                Err(error) if [Code::Store, Code::InDoubt].contains(&error.code()) => tokio::time::sleep(LOOK).await,
                started => return started,
            }
        };
        for ids in ids.chunks(STARTS) {
            let started = tokio::time::timeout(PATIENCE, try_join_all(ids.iter().map(start))).await;
            started.expect("the starts do not hang").expect("the runs start");
        }
    }

    /// Waits for the results of the runs.
    pub async fn results(&self, ids: &[String]) -> Results {
        let result = async |id: &String| -> Result<(String, Vec<String>), Error> {
            let run = self.client.get_run::<Vec<String>, Error>(id);
            loop {
                match (&run).await {
                    Ok(tokens) => return Ok((id.clone(), tokens)),
                    Err(error) if error.code() == Code::Store => tokio::time::sleep(LOOK).await,
                    Err(error) => return Err(error),
                }
            }
        };
        let results = tokio::time::timeout(PATIENCE, try_join_all(ids.iter().map(result))).await;
        match results {
            Ok(results) => results.expect("the runs complete").into_iter().collect(),
            Err(_) => panic!("runs do not complete: {:#?}", self.unfinished().await),
        }
    }

    /// Some of the unfinished runs, each with whether its owner is registered, its inbox and the length of its journal.
    async fn unfinished(&self) -> Vec<String> {
        let sql = "SELECT id || ' ' || status || ', owner ' || owner || ', wakes at ' || coalesce(wake_at::text, '-')
                || ', owner registered: ' || (owner IN (SELECT owner FROM workers)) || ', epoch ' || epoch
                || ', messages ' || (SELECT count(*) || ' of which unread ' || count(*) FILTER (WHERE NOT unread)
                    FROM inbox WHERE run = runs.key)
                || ', turns ' || (SELECT count(*) FROM journal WHERE run = runs.key)
            FROM runs WHERE completed_at IS NULL LIMIT 5";
        let rows = self.database.query(sql, &[]).await.expect("the runs");
        let runs = rows.iter().map(|row| row.get(0));
        let lives = std::fs::read_dir(self.directory.path()).into_iter().flatten().flatten();
        let warnings = lives.filter(|file| file.path().file_stem().is_some_and(|stem| stem == "log")).map(|file| {
            let text = std::fs::read_to_string(file.path()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(20).collect();
            format!("the last lines of {}, backwards: {lines:#?}", file.path().display())
        });
        runs.chain(warnings).collect()
    }

    /// Waits until a query returns `true`.
    pub async fn until(&self, sql: &str) {
        let holds = async {
            while !self.database.query_one(sql, &[]).await.expect("the database answers").get::<_, bool>(0) {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(PATIENCE, holds).await.unwrap_or_else(|_| panic!("this does not become true: {sql}"));
    }

    /// The workers that hold leases.
    pub async fn owners(&self) -> Vec<i64> {
        let rows = self.database.query("SELECT owner FROM workers", &[]).await.expect("the workers");
        rows.iter().map(|row| row.get(0)).collect()
    }

    pub fn executions(&self) -> Vec<Execution> {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        // The last line may not be complete yet.
        let lines = log.rfind('\n').map_or("", |end| &log[..end]).lines();
        lines.map(|line| Execution::parse(line).unwrap_or_else(|| panic!("not an execution: {line}"))).collect()
    }

    /// Waits until the log has this many executions.
    pub async fn executed(&self, count: usize) {
        let there = async {
            while self.executions().len() < count {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(PATIENCE, there).await.expect("the steps are executed in time");
    }

    /// Asserts that each run completed with all its steps, that no stale owner wrote a journal row, and that no step
    /// was executed again after its recorded execution. Executions by workers that were `stopped` past their lease
    /// cannot be prevented: returns the number of those.
    pub async fn check(&self, results: &Results, links: u32, stopped: &[&str]) -> usize {
        let mut last: BTreeMap<(String, u64), Vec<String>> = BTreeMap::new();
        for execution in self.executions() {
            last.entry((execution.run, execution.op)).or_default().push(execution.life);
        }
        let mut late = 0;
        for (run, tokens) in results {
            assert_eq!(tokens.len(), links as usize, "run {run}");
            let mut executed: BTreeMap<u64, &Vec<String>> = BTreeMap::new();
            for ((_, op), lives) in last.range((run.clone(), 0)..=(run.clone(), u64::MAX)) {
                executed.insert(*op, lives);
            }
            assert_eq!(executed.len(), tokens.len(), "run {run}: {executed:?}");
            for (token, lives) in tokens.iter().zip(executed.into_values()) {
                let at = lives.iter().position(|life| life == token);
                let at =
                    at.unwrap_or_else(|| panic!("run {run} has a result of no execution: {token}, not in {lives:?}"));
                for again in &lives[at + 1..] {
                    let life = again.split('#').next().unwrap_or_default();
                    assert!(stopped.contains(&life), "run {run}: {token} was recorded, and {again} was executed later");
                    late += 1;
                }
            }
        }
        let stored = snapshot::of_postgres(&self.url).await;
        for id in results.keys() {
            let run = &stored[id];
            assert_eq!(run.status, "completed", "run {id}");
            assert!(run.operations().end.is_some(), "run {id} has no end");
            assert!(run.inbox.is_empty(), "run {id} has left inbox messages: {:?}", run.inbox);
        }
        let stale: i64 =
            self.database.query_one("SELECT count(*) FROM audit", &[]).await.expect("the database answers").get(0);
        assert_eq!(stale, 0, "journal rows were written under owners that are not in `workers`");
        late
    }
}

/// Ids with this prefix.
pub fn ids(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name}-{number}")).collect()
}
