//! Connections, and statements on them.

use std::borrow::Cow;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::BytesMut;
use deadpool::Runtime;
use deadpool::managed::{Hook, HookError, Metrics, QueueMode, Timeouts};
use deadpool_postgres::{ManagerConfig, RecyclingMethod};
use futures_util::TryStreamExt;
use rustc_hash::FxHashMap;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Row, Statement};

use super::clock::ServerClock;
use super::connection::{Manager, Object, Pool};
use super::fault::{Fault, Result};
use super::options::PostgresOptions;
use super::schema;
use crate::error::Error;
use crate::store::words::ended;

/// A value for a statement, with its type there, so that the statement can be sent without being prepared.
pub(super) type Arg<'a> = (&'a (dyn ToSql + Sync), Type);

/// Values with their types: `args![INT8: key, TEXT: word]`.
macro_rules! args {
    ($($type:ident: $value:expr),* $(,)?) => {
        &[$((&$value as &(dyn tokio_postgres::types::ToSql + Sync), tokio_postgres::types::Type::$type)),*][..]
    };
}
pub(super) use args;

/// A user's text. A text of PostgreSQL cannot contain NUL, which is stored as two characters.
#[derive(Debug)]
pub(super) struct Text<'a>(pub &'a str);

const ESCAPE: char = '\u{1a}';

impl ToSql for Text<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let text = match self.0.contains(['\0', ESCAPE]) {
            false => Cow::Borrowed(self.0),
            true => Cow::Owned(self.0.replace(ESCAPE, "\u{1a}\u{1a}").replace('\0', "\u{1a}0")),
        };
        text.as_ref().to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        <&str as ToSql>::accepts(ty)
    }

    to_sql_checked!();
}

/// The original of a stored [`Text`].
#[derive(Debug)]
pub(super) struct Plain(pub Arc<str>);

impl<'a> FromSql<'a> for Plain {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let text = <&str as FromSql<'_>>::from_sql(ty, raw)?;
        if !text.contains(ESCAPE) {
            return Ok(Plain(text.into()));
        }
        let (mut plain, mut messages) = (String::with_capacity(text.len()), text.chars());
        while let Some(message) = messages.next() {
            plain.push(match message {
                ESCAPE => match messages.next() {
                    Some('0') => '\0',
                    _ => ESCAPE,
                },
                message => message,
            });
        }
        Ok(Plain(plain.into()))
    }

    fn accepts(ty: &Type) -> bool {
        <&str as FromSql<'_>>::accepts(ty)
    }
}

/// The pauses between the attempts to read.
const READ_PAUSES: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// Identifies the server: while it is unchanged, no acknowledged write is lost. NULL where acknowledged writes can be lost.
/// Not every database that is compatible with PostgreSQL supports it, so only stores that listen ask for it.
const SERVER: &str =
    "CASE current_setting('synchronous_commit') WHEN 'off' THEN NULL ELSE pg_postmaster_start_time() END";

/// The longest idle time of a connection that is reused: a device on the way may drop it earlier, without notice.
const IDLE_CONNECTION: Duration = Duration::from_secs(120);

/// One database, shared by all parts of a store.
pub(super) struct Db {
    pub options: PostgresOptions,
    pub clock: ServerClock,
    /// For groups of writes and for reads.
    pool: Pool,
    /// For the lease alone, which must not wait for other work. The second one is used when the first does not answer.
    lease: Pool,
    /// For the transactions of steps, which may take long: no other work waits for them.
    transactions: Pool,
    /// The name of the database in messages to users; without a password.
    pub place: String,
    /// The schema, quoted.
    pub schema: String,
    /// How a transaction begins. A process that stops responding inside one would keep runs locked that other workers must
    /// take over: so the database ends the transaction, at the latest with the lease.
    begin: String,
    /// How the transaction of a step begins, which may outlast the lease.
    pub begin_long: String,
    /// The statements, with the schema filled in.
    statements: RwLock<FxHashMap<(usize, usize), Arc<str>>>,
}

impl Db {
    pub fn new(options: PostgresOptions) -> Result<Self, Error> {
        let tls = options.tls()?;
        let manage = |compiles: bool| {
            let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
            let connections = deadpool_postgres::Manager::from_config(options.config.clone(), tls.clone(), config);
            Manager { connections, compiles }
        };
        // A setting of a connection through a pooler would be seen by its other users.
        let compiles = !options.prepared;
        let pool = |size: usize, queue_mode: QueueMode, compiles: bool| {
            let times = Timeouts {
                wait: Some(options.timeout),
                create: Some(options.connect_timeout),
                // The check does not contact the server.
                recycle: None,
            };
            let fresh = |_: &mut _, metrics: &Metrics| match metrics.last_used() < IDLE_CONNECTION {
                true => Ok(()),
                false => Err(HookError::message("it may have been cut off meanwhile")),
            };
            let pool = Pool::builder(manage(compiles)).max_size(size).queue_mode(queue_mode).timeouts(times);
            pool.runtime(Runtime::Tokio1).pre_recycle(Hook::sync_fn(fresh)).build().map_err(|error| {
                Error::coded(crate::error::Code::Store, "could not set up the connections").because(error)
            })
        };
        Ok(Db {
            clock: ServerClock::default(),
            // The connection that was used last has warm caches in its server process.
            pool: pool(options.connections, QueueMode::Lifo, compiles)?,
            // Rotates, so that each connection is used, and thereby checked, from time to time.
            lease: pool(2, QueueMode::Fifo, compiles)?,
            // The statements of users may be long enough to be worth compiling.
            transactions: pool(options.connections, QueueMode::Lifo, true)?,
            place: options.place(),
            schema: quoted(&options.schema),
            begin: format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = {}; \
                 SET LOCAL statement_timeout = {}",
                milliseconds(options.lease.min(options.timeout)),
                milliseconds(options.timeout),
            ),
            begin_long: format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = {0}; \
                 SET LOCAL statement_timeout = {0}",
                milliseconds(options.timeout),
            ),
            statements: RwLock::default(),
            options,
        })
    }

    pub async fn connect(&self) -> Result<Session<'_>> {
        Ok(Session { db: self, client: Some(self.pool.get().await?), open: AtomicBool::new(false) })
    }

    pub async fn connect_for_transaction(&self) -> Result<Object> {
        Ok(self.transactions.get().await?)
    }

    pub async fn connect_for_lease(&self) -> Result<Session<'_>> {
        Ok(Session { db: self, client: Some(self.lease.get().await?), open: AtomicBool::new(false) })
    }

    /// A statement with `@server()` replaced by the expression for the server, `@ended` by the statuses of runs that have ended, and
    /// each other `@` by the schema.
    fn statement(&self, sql: &'static str) -> Arc<str> {
        let key = (sql.as_ptr() as usize, sql.len());
        if let Some(there) = self.statements.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return there.clone();
        }
        let text: Arc<str> = self.with_schema(sql).into();
        self.statements.write().unwrap_or_else(PoisonError::into_inner).insert(key, text.clone());
        text
    }

    pub fn with_schema(&self, sql: &str) -> String {
        let server = if self.options.listen.is_some() { SERVER } else { "NULL::timestamptz" };
        sql.replace("@server()", server).replace("@ended", ended!()).replace('@', &format!("{}.", self.schema))
    }

    pub fn explain(&self, fault: Fault, what: &str) -> Error {
        fault.explain(&self.place, what)
    }

    /// Sends a statement that reads, and for a while sends it again if the database is restarting or cannot be reached.
    pub async fn read(&self, what: &str, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>, Error> {
        match self.try_to_read(what, sql, args).await {
            Ok(rows) => Ok(rows),
            Err(fault) => Err(self.explain(schema::explained(self, fault).await, what)),
        }
    }

    /// Like [`read`](Db::read), with a fault that is not explained yet.
    pub async fn try_to_read(&self, what: &str, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>> {
        let (mut pauses, mut late) = (READ_PAUSES.into_iter(), false);
        loop {
            let read = async { self.connect().await?.query(sql, args).await };
            match (read.await, pauses.next()) {
                // Perhaps only the connection was lost.
                (Err(Fault::Late), Some(_)) if !late => late = true,
                (Err(fault), Some(pause)) if fault.is_transient() || fault.is_outage() => {
                    if !pause.is_zero() {
                        tracing::warn!(what, ?fault, "the database cannot be read; trying again");
                    }
                    tokio::time::sleep(pause).await;
                }
                (decided, _) => break decided,
            }
        }
    }
}

fn values<'a>(args: &'a [Arg<'a>]) -> impl ExactSizeIterator<Item = &'a (dyn ToSql + Sync)> {
    args.iter().map(|(value, _)| *value)
}

/// A time in the form of the database's settings.
fn milliseconds(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

/// Quotes an SQL identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A connection in use. Dropping it inside a transaction, or after a fault that spoils it, closes the connection: the
/// database then rolls back.
pub(super) struct Session<'d> {
    pub db: &'d Db,
    pub client: Option<Object>,
    /// Whether a transaction is open, or the connection has other state that the next user must not find.
    pub open: AtomicBool,
}

impl Session<'_> {
    fn client(&self) -> Result<&Object> {
        self.client.as_ref().ok_or(Fault::Unconnected)
    }

    /// Awaits `work` within the time limit. `work` is pinned by the caller: a future passed by value is copied each time.
    async fn in_time<T>(&self, work: Pin<&mut impl Future<Output = Result<T, tokio_postgres::Error>>>) -> Result<T> {
        match tokio::time::timeout(self.db.options.timeout, work).await {
            Ok(done) => Ok(done?),
            Err(_) => {
                self.spoil();
                // Idle connections may be lost as well, and each of them would have to time out.
                self.db.pool.retain(|_, _| false);
                Err(Fault::Late)
            }
        }
    }

    /// Sends a statement and returns its rows.
    ///
    /// PostgreSQL plans a prepared statement anew for each execution while it estimates the plan for the values to be
    /// cheaper than one for all values, and planning takes longer than writing a row. It knows the length of an array, and
    /// estimates fewer rows to be cheaper. It does not look behind a subquery, `(SELECT $1)`, and keeps one plan.
    pub async fn query(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>> {
        let client = self.client()?;
        let rows = pin!(async {
            if !self.db.options.prepared {
                return Box::pin(client.query_typed(&self.db.statement(sql), args)).await;
            }
            let statement = self.prepared(client, sql, args).await?;
            client.query_raw(&statement, values(args)).await?.try_collect().await
        });
        self.in_time(rows).await
    }

    /// Sends a statement without rows. Returns the number of rows that it has changed.
    pub async fn execute(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64> {
        let client = self.client()?;
        let changed = pin!(async {
            if !self.db.options.prepared {
                return Box::pin(client.execute_typed(&self.db.statement(sql), args)).await;
            }
            let statement = self.prepared(client, sql, args).await?;
            client.execute_raw(&statement, values(args)).await
        });
        self.in_time(changed).await
    }

    /// The prepared statement of a connection. Prepares it at its first use.
    async fn prepared(
        &self,
        connection: &Object,
        sql: &'static str,
        args: &[Arg<'_>],
    ) -> Result<Statement, tokio_postgres::Error> {
        if let Some(known) = connection.known(sql) {
            return Ok(known);
        }
        let types: Vec<Type> = args.iter().map(|(_, ty)| ty.clone()).collect();
        Box::pin(connection.learn(sql, &self.db.statement(sql), &types)).await
    }

    /// Sends a statement and returns the first of its rows.
    pub async fn query_opt(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Option<Row>> {
        Ok(self.query(sql, args).await?.into_iter().next())
    }

    /// Sends one or more statements without values; `sql` is sent as it is.
    pub async fn batch(&self, sql: &str) -> Result<()> {
        self.in_time(pin!(self.client()?.batch_execute(sql))).await
    }

    /// Begins a transaction. Statements that are pipelined with it are part of it.
    pub async fn begin(&self) -> Result<()> {
        self.open.store(true, Ordering::Release);
        self.batch(&self.db.begin).await
    }

    pub async fn commit(&self) -> Result<()> {
        self.batch("COMMIT").await?;
        self.open.store(false, Ordering::Release);
        Ok(())
    }

    pub async fn rollback(&self) {
        if self.open.load(Ordering::Acquire) && self.batch("ROLLBACK").await.is_ok() {
            self.open.store(false, Ordering::Release);
        }
    }

    /// Marks the connection as not to be used again, unless it is [kept](Session::keep).
    pub fn spoil(&self) {
        self.open.store(true, Ordering::Release);
    }
}

impl Session<'_> {
    /// Marks the connection as fit to be used again.
    pub fn keep(&self) {
        self.open.store(false, Ordering::Release);
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if self.open.load(Ordering::Acquire)
            && let Some(client) = self.client.take()
        {
            drop(Object::take(client));
        }
    }
}
