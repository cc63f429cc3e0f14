//! Transactions in which a step changes the user's own tables and its success is recorded.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error as SqlError, Row};

use super::connection::Object;
use super::db::{Session, args};
use super::fault::{Fault, Result};
use super::messages;
use super::notes::Notes;
use super::shared::Shared;
use crate::error::{Code, Error};
use crate::failpoint::hit;
use crate::store::{Fence, Message, RunKey};

/// The pause between two attempts to find out whether a commit succeeded.
const READ_BACK_INTERVAL: Duration = Duration::from_millis(500);

/// Locks a live run until the transaction ends, if its owner, epoch and generation are those of the writer.
const HOLD: &str = "
SELECT 1 FROM @runs WHERE key = $1 AND owner = $2 AND epoch = $3 AND generation = $4
    AND status NOT IN @ended FOR NO KEY UPDATE";

const WAIT: &str = "SELECT 1 FROM @runs WHERE key = $1 FOR NO KEY UPDATE";

/// The transaction in which a `#[step(transaction)]` runs its SQL. It is in the database of the store, on a connection of
/// its own, at the isolation level `READ COMMITTED` unless its first statement sets another one.
///
/// The engine commits it together with the record of the step's success when the step returns `Ok`. It is rolled back when
/// the step returns `Err`, panics or is stopped, or when another worker owns the run by then. Do not end it yourself: a
/// later failure does not undo what `COMMIT` has made durable.
///
/// A statement may take as long as any statement of the store (`?timeout=30s`). Behind a pooler without prepared statements,
/// use [`query_typed`](Transaction::query_typed) and [`execute_typed`](Transaction::execute_typed).
pub struct Transaction {
    /// `None` once the transaction has ended.
    client: Option<Object>,
}

impl Transaction {
    fn client(&self) -> &Object {
        match &self.client {
            Some(client) => client,
            None => unreachable!("the connection exists until the transaction has ended"),
        }
    }

    /// Executes a statement and returns the number of rows that it has changed.
    ///
    /// # Errors
    ///
    /// Those of the database and of the connection to it.
    pub async fn execute(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, SqlError> {
        self.client().execute(sql, values).await
    }

    /// Executes a statement without preparing it, and returns the number of rows that it has changed.
    ///
    /// # Errors
    ///
    /// Those of the database and of the connection to it.
    pub async fn execute_typed(&mut self, sql: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Result<u64, SqlError> {
        self.client().execute_typed(sql, values).await
    }

    /// Executes a statement and returns its rows.
    ///
    /// # Errors
    ///
    /// Those of the database and of the connection to it.
    pub async fn query(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, SqlError> {
        self.client().query(sql, values).await
    }

    /// Executes a statement without preparing it, and returns its rows.
    ///
    /// # Errors
    ///
    /// Those of the database and of the connection to it.
    pub async fn query_typed(
        &mut self,
        sql: &str,
        values: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, SqlError> {
        self.client().query_typed(sql, values).await
    }

    /// Executes a statement that returns exactly one row.
    ///
    /// # Errors
    ///
    /// Those of the database and of the connection to it; also if the statement returns no row or several.
    pub async fn query_one(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Row, SqlError> {
        self.client().query_one(sql, values).await
    }

    /// Executes a statement that returns at most one row.
    ///
    /// # Errors
    ///
    /// Those of the database and of the connection to it; also if the statement returns several rows.
    pub async fn query_opt(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, SqlError> {
        self.client().query_opt(sql, values).await
    }

    /// Executes statements without values, separated by semicolons.
    ///
    /// # Errors
    ///
    /// Those of the database and of the connection to it.
    pub async fn batch_execute(&mut self, sql: &str) -> Result<(), SqlError> {
        self.client().batch_execute(sql).await
    }
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            // Closing the connection makes the database roll back.
            drop(Object::take(client));
        }
    }
}

/// The outcome of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// It is committed with the message, or a message with the same key was committed before.
    Committed,
    /// It is rolled back: the writer does not own the run, or no longer does.
    Fenced,
}

/// Begins transactions in a store that supports them.
#[derive(Clone)]
pub struct Transactions(pub(super) Arc<Shared>);

impl Transactions {
    pub(crate) async fn begin(&self) -> Result<Transaction, Error> {
        let db = &self.0.db;
        let begun = async {
            let client = db.connect_for_transaction().await?;
            let transaction = Transaction { client: Some(client) };
            transaction.client().batch_execute(&db.begin_long).await?;
            Ok::<_, Fault>(transaction)
        };
        begun.await.map_err(|fault| db.explain(fault, "begin the transaction of a step"))
    }

    /// Commits a transaction together with a message to its run, if the owner still holds the run. After an error nothing is
    /// committed: if the outcome of the commit is unknown, it is read back, however long that takes.
    pub(crate) async fn commit(
        &self,
        mut transaction: Transaction,
        run: RunKey,
        generation: u64,
        fence: Fence,
        message: &Message,
    ) -> Result<Recorded, Error> {
        let shared = &self.0;
        let session = Session { db: &shared.db, client: transaction.client.take(), open: AtomicBool::new(true) };
        let explain = |fault: Fault| {
            let ignored = fault.state() == Some(&tokio_postgres::error::SqlState::IN_FAILED_SQL_TRANSACTION);
            let error = shared.db.explain(fault, "commit the transaction of a step");
            match ignored {
                true => error.help(
                    "a statement of the step failed, and the step ignored its error; return the error from the step",
                ),
                false => error,
            }
        };
        match record(shared, &session, run, generation, fence, message).await {
            Ok(true) => {}
            Ok(false) => {
                session.rollback().await;
                let known = messages::is_known(&session, run, message).await.map_err(explain)?;
                return Ok(if known { Recorded::Committed } else { Recorded::Fenced });
            }
            Err(fault) => {
                if fault.spoils() {
                    session.spoil();
                } else {
                    session.rollback().await;
                }
                return Err(explain(fault));
            }
        }
        hit("the transaction of a step is about to be committed");
        let committed = session.commit().await;
        hit("the transaction of a step is committed");
        match committed {
            Ok(()) => Ok(Recorded::Committed),
            Err(fault) => {
                session.spoil();
                if fault.nothing_done() {
                    return Err(explain(fault));
                }
                tracing::warn!(
                    ?fault,
                    "it is not known whether the transaction of a step was committed; it is read back"
                );
                match read_back(shared, run, message).await {
                    true => Ok(Recorded::Committed),
                    false => Err(explain(fault)),
                }
            }
        }
    }
}

/// Adds the message to the transaction. Returns `false` if the run is not the owner's or has had this message before.
async fn record(
    shared: &Shared,
    session: &Session<'_>,
    run: RunKey,
    generation: u64,
    fence: Fence,
    message: &Message,
) -> Result<bool> {
    let held = session
        .query_opt(
            HOLD,
            args![
                INT8: run, INT8: fence.owner.cast_signed(), INT8: fence.epoch.cast_signed(),
                INT8: generation.cast_signed(),
            ],
        )
        .await?;
    if held.is_none() || messages::is_known(session, run, message).await? {
        return Ok(false);
    }
    let (ours, mut notes) = (shared.ours(), Notes::default());
    messages::receive(session, &ours, &mut notes, run, message, None).await?;
    notes.send(session, &ours.tag, &ours.owners).await?;
    Ok(true)
}

/// Finds out whether a transaction whose commit was not answered was committed.
async fn read_back(shared: &Shared, run: RunKey, message: &Message) -> bool {
    loop {
        let look = async {
            let session = shared.db.connect().await?;
            session.begin().await?;
            // A commit that is still in progress has the run locked.
            session.query(WAIT, args![INT8: run]).await?;
            let known = messages::is_known(&session, run, message).await?;
            session.rollback().await;
            Ok::<_, Fault>(known)
        };
        match look.await {
            Ok(known) => return known,
            Err(fault) => {
                tracing::warn!(?fault, "it could not be read back whether a transaction was committed; trying again");
                tokio::time::sleep(READ_BACK_INTERVAL).await;
            }
        }
    }
}

/// The error for steps that need transactions in a store that has none.
pub(crate) fn refusal(steps: &[&str]) -> Error {
    Error::coded(Code::Unsupported, "steps with `transaction` need a store in PostgreSQL")
        .found(format!("steps with `transaction`: {}", steps.join(", ")))
        .help("open the engine on PostgreSQL, `Engine::open(\"postgres://..\")`; or give these steps a `queue` that engines on PostgreSQL serve")
}
