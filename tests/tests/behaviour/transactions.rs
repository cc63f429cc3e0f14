//! Steps that change the user's tables in the transaction that records them. They have a queue, so that engines on
//! other stores need not execute them.

use futures::future::join_all;
use workflow_runtime::{Code, Engine, Error, Result, Run, Status, Transaction, hook, run_id, step, workflow};

use crate::support::{Lab, Place, soon};

const TABLE: &str = "CREATE TABLE public_entries (id bigserial PRIMARY KEY, run text NOT NULL, cents bigint NOT NULL)";

/// The table's name includes the test's schema, because tests share a database.
#[step(transaction, queue = "ledger", retries = 3, backoff = "0ms..0ms")]
async fn enter(tx: &mut Transaction, #[resource] lab: &Lab, table: String, cents: i64, how: String) -> Result<i64> {
    let attempt = lab.note(&how);
    let insert = format!("INSERT INTO {table} (run, cents) VALUES ('r', $1) RETURNING id");
    let id: i64 = tx.query_one(&insert, &[&cents]).await?.get(0);
    match how.as_str() {
        "fails first" if attempt == 1 => return Err(Error::new("not this time")),
        "fails" => return Err(Error::fatal("never")),
        "panics first" if attempt == 1 => panic!("not this time"),
        "ignores a failure" if attempt == 1 => drop(tx.execute("SELECT nonsense", &[]).await),
        "waits" => lab.pass_gate("transaction").await,
        "commits twice" => drop(tx.batch_execute("SELECT 1; SELECT 2").await?),
        _ => {}
    }
    Ok(id)
}

#[step(transaction, queue = "ledger")]
async fn total(tx: &mut Transaction, table: String) -> Result<i64> {
    let sum = tx.query_opt(&format!("SELECT coalesce(sum(cents), 0)::bigint FROM {table}"), &[]).await?;
    Ok(sum.map_or(0, |row| row.get(0)))
}

#[workflow]
async fn books(table: String, cents: i64, how: String) -> Result<i64> {
    enter(table, cents, how).await
}

#[workflow]
async fn books_many(table: String, entries: i64) -> Result<i64> {
    let entered = join_all((0..entries).map(|cents| enter(table.clone(), cents, "many".into()))).await;
    entered.into_iter().collect::<Result<Vec<_>>>()?;
    total(table).await
}

#[workflow]
async fn gives_up_booking(table: String) -> Result<String> {
    let id = run_id().unwrap_or_default();
    let how = tokio::select! {
        entered = enter(table, 1, "waits".into()) => entered.map(|_| "entered")?,
        enough = hook::<()>().token(format!("{id} gives up")) => enough.map(|()| "given up")?,
    };
    hook::<()>().token(id).await?;
    Ok(how.into())
}

struct Ledger {
    table: String,
    database: tokio_postgres::Client,
}

impl Ledger {
    async fn new(place: &Place) -> Self {
        let database = place.database().await;
        database.batch_execute(TABLE).await.expect("a table");
        let schema: String = database.query_one("SELECT current_schema()", &[]).await.expect("it answers").get(0);
        Ledger { table: format!("{schema}.public_entries"), database }
    }

    async fn entries(&self) -> Vec<i64> {
        let sql = format!("SELECT cents FROM {} ORDER BY id", self.table);
        self.database.query(&sql, &[]).await.expect("the entries").iter().map(|row| row.get(0)).collect()
    }
}

async fn open(place: &Place, lab: &Lab) -> Engine {
    place.builder(lab).queue("ledger", 4).open().await.expect("the engine opens")
}

case! {
    #[postgres]
    async fn the_sql_of_a_step_is_committed_with_its_result() {
        let (place, lab) = (Place::postgres(), Lab::new());
        let engine = open(&place, &lab).await;
        let ledger = Ledger::new(&place).await;
        let run = engine.start(books, (ledger.table.clone(), 7, "well".into())).await.unwrap();
        soon(&run).await.unwrap();
        assert_eq!((ledger.entries().await, lab.count("well")), (vec![7], 1));
        let run = engine.start(books_many, (ledger.table.clone(), 20)).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 7 + 190);
        assert_eq!(ledger.entries().await.len(), 21);
    }
}

case! {
    #[postgres]
    async fn the_sql_of_a_failed_attempt_is_rolled_back() {
        let (place, lab) = (Place::postgres(), Lab::new());
        let engine = open(&place, &lab).await;
        let ledger = Ledger::new(&place).await;
        for how in ["fails first", "panics first", "ignores a failure"] {
            let run = engine.start(books, (ledger.table.clone(), 1, how.into())).await.unwrap();
            soon(&run).await.unwrap_or_else(|error| panic!("{how}: {error:?}"));
            assert_eq!(lab.count(how), 2, "{how}");
        }
        assert_eq!(ledger.entries().await, [1, 1, 1]);
        let run = engine.start(books, (ledger.table.clone(), 1, "fails".into())).await.unwrap();
        assert_eq!(soon(&run).await.unwrap_err().code(), Code::User);
        assert_eq!(ledger.entries().await, [1, 1, 1]);
    }
}

case! {
    #[postgres]
    async fn the_sql_of_a_dropped_attempt_is_rolled_back() {
        let (place, lab) = (Place::postgres(), Lab::new());
        let engine = open(&place, &lab).await;
        let ledger = Ledger::new(&place).await;
        let run = engine.start(gives_up_booking, ledger.table.clone()).id("r").await.unwrap();
        soon(lab.executed("waits", 1)).await;
        engine.resume_hook("r gives up", &()).await.unwrap();
        let step: Run<i64> = engine.get_run(&run.children().await.unwrap()[0]);
        soon(async { while step.status().await.unwrap() != Status::Cancelled { workflow_harness::pause().await } }).await;
        lab.open_gate("transaction");
        engine.resume_hook("r", &()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), "given up");
        assert_eq!(ledger.entries().await, [0_i64; 0]);
    }
}

case! {
    #[postgres]
    async fn a_stale_owner_commits_nothing() {
        let (place, lab) = (Place::postgres(), Lab::new());
        let engine = open(&place, &lab).await;
        let ledger = Ledger::new(&place).await;
        let run = engine.start(books, (ledger.table.clone(), 5, "waits".into())).id("r").await.unwrap();
        lab.executed("waits", 1).await;
        // Simulates that another owner has claimed the run.
        let taken = "UPDATE runs SET owner = -1, epoch = epoch + 1 WHERE parent IS NOT NULL";
        assert_eq!(ledger.database.execute(taken, &[]).await.unwrap(), 1);
        lab.open_gate("transaction");
        let other = open(&place, &lab).await;
        drop(engine);
        let run: Run<i64> = other.get_run(run.id());
        soon(&run).await.unwrap();
        assert_eq!((ledger.entries().await, lab.count("waits")), (vec![5], 2));
    }
}

case! {
    #[postgres]
    async fn a_cancel_during_the_commit_leads_to_at_most_one_entry() {
        let (place, lab) = (Place::postgres(), Lab::new());
        let engine = open(&place, &lab).await;
        let ledger = Ledger::new(&place).await;
        lab.open_gate("transaction");
        let (mut entered, mut cancelled) = (0, 0);
        for round in 0..30 {
            let run = engine.start(books, (ledger.table.clone(), round, "waits".into())).await.unwrap();
            if soon(run.cancel("enough")).await.unwrap() {
                cancelled += 1;
            } else {
                assert_eq!(run.status().await.unwrap(), Status::Completed);
                entered += 1;
            }
        }
        // A cancelled run may have made its entry before the cancel. No entry is made twice.
        let entries = ledger.entries().await;
        assert!((entered..=entered + cancelled).contains(&entries.len()));
        let once: std::collections::BTreeSet<_> = entries.iter().collect();
        assert_eq!(once.len(), entries.len());
    }
}

case! {
    #[threads]
    async fn other_stores_refuse_transactional_steps_and_name_them() {
        for place in [Place::memory(), Place::sqlite()] {
            let lab = Lab::new();
            let refused = place.builder(&lab).queue("ledger", 1).open().await.unwrap_err();
            assert_eq!(refused.code(), Code::Unsupported);
            let text = format!("{refused:?}");
            assert!(text.contains("behaviour::transactions::enter") && text.contains("::total"), "{text}");
            // An engine that does not serve the queue, and a client, open without an error.
            place.builder(&lab).open().await.unwrap().shutdown().await.unwrap();
            drop(place.builder(&lab).connect().await.unwrap());
        }
        let alone = total("nothing".into()).await.unwrap_err();
        assert_eq!(alone.code(), Code::OutsideRun, "{alone:?}");
    }
}
