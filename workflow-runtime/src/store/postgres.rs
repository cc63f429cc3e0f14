//! A store in PostgreSQL, for any number of processes.
//!
//! [`db`] has the [connections](connection). [`commit`] cuts groups of writes into [`segments`] and sends them as statements
//! and transactions, with [`turns`], [`verified`], [`creates`], [`messages`], [`tokens`], [`effects`], [`streams`],
//! [`claims`] and [`removal`]. [`listing`] finds runs. [`workers`] manages leases, which decide who executes. [`notes`]
//! notifies other processes of a commit, and [`listen`] receives that. [`schema`] creates the tables.

mod appends;
mod claims;
mod clock;
mod columns;
mod commit;
mod connection;
mod counts;
mod creates;
mod db;
mod deliveries;
mod effects;
mod fault;
mod listen;
mod listing;
mod locks;
mod messages;
mod notes;
mod notices;
mod options;
mod place;
mod read;
mod removal;
mod reopens;
mod roster;
mod schema;
mod segments;
mod shared;
mod signals;
mod streams;
mod tables;
mod tls;
mod tokens;
mod transactions;
mod turns;
mod verified;
mod watching;
mod work;
mod workers;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use self::db::{Db, Text, args};
use self::fault::Fault;
pub use self::options::PostgresOptions;
use self::shared::Shared;
use self::signals::{Signals, Watching};
pub(crate) use self::transactions::{Recorded, refusal};
pub use self::transactions::{Transaction, Transactions};
use super::{
    Answer, Attributes, ChunkPage, Claimable, Counts, DeliveryRow, Deploy, DeploymentRow, Ended, Failed, Filter,
    Follow, Followed, Following, HourCount, InboxRow, JournalRow, NewWorker, Notice, OpenTokens, Ownership, Position,
    Registration, RunKey, RunRow, Status, Store, TokenRow, WorkerRow, Write, assert_engine,
};
use crate::environment::{Environment, System};
use crate::error::Error;

/// The pause between two attempts to open a database that cannot be reached.
const OPEN_PAUSE: Duration = Duration::from_millis(500);

const NEWS: &str = "SELECT run, sequence FROM @inbox WHERE holder = $1 AND holder <> 0 AND NOT unread";

/// Notifies the run's owner if the follower waits for journal rows: the owner does not check for followers at each row.
const FOLLOW: &str = "
WITH marked AS (
    UPDATE @runs SET awaited = true, followed = followed OR $2, traced = traced OR $3
    WHERE id = $1 AND status NOT IN @ended
        AND NOT (awaited AND (followed OR NOT $2) AND (traced OR NOT $3)) AND (SELECT readable_from FROM @meta) <= $6
    RETURNING key, owner
)
SELECT pg_notify($4, $5 || ' t' || key || '.' || owner)::text FROM marked WHERE $3";

/// A store of runs in a PostgreSQL database, in a schema of its own.
///
/// Any number of processes can open it, and each executes runs independently of the others. When the lease of a
/// process that no longer answers has expired, the other processes take over its runs.
///
/// ```no_run
/// use workflow_runtime::store::PostgresStore;
///
/// # async fn open() -> workflow_runtime::Result<()> {
/// let store = PostgresStore::open("postgres://app@localhost/shop").await?;
/// # Ok(())
/// # }
/// ```
pub struct PostgresStore {
    shared: Arc<Shared>,
}

impl PostgresStore {
    /// Opens a database by its URL: see [`PostgresOptions`]. Creates the schema and its tables if they do not exist, and
    /// migrates the tables of an older version. While the database is down or has no free connection, it retries for the
    /// URL's `connect_timeout`.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidUrl`](crate::Code::InvalidUrl); [`Code::Store`](crate::Code::Store): the database cannot be reached in
    /// time or rejects the login, the user lacks a privilege, or the schema belongs to another application;
    /// [`Code::NewerStore`](crate::Code::NewerStore): a newer version of this library has changed the tables so that this
    /// version cannot use them. Tables of an older version are migrated; if that version can no longer use the tables, its
    /// workers lose their leases.
    pub async fn open(url: &str) -> Result<Self, Error> {
        Self::open_with(PostgresOptions::new(url)?).await
    }

    /// Opens a database with these options: see [`open`](PostgresStore::open).
    ///
    /// # Errors
    ///
    /// Those of [`open`](PostgresStore::open).
    pub async fn open_with(options: PostgresOptions) -> Result<Self, Error> {
        Self::open_as(options, true).await
    }

    /// Opens a database that has the tables of this version: creates and migrates nothing. For tools that read the
    /// store of another program.
    ///
    /// # Errors
    ///
    /// Those of [`open`](PostgresStore::open), and [`Code::Store`](crate::Code::Store) if the schema has no tables, or those
    /// of an older version of this library.
    pub async fn open_existing(url: &str) -> Result<Self, Error> {
        Self::open_as(PostgresOptions::new(url)?, false).await
    }

    async fn open_as(options: PostgresOptions, may_migrate: bool) -> Result<Self, Error> {
        let db = Db::new(options)?;
        let begun = Instant::now();
        let mut late = false;
        while let Err((fault, what)) = prepare(&db, may_migrate).await {
            // One timeout is retried: the connection may have been lost, or another session may have locked the tables.
            let again = fault.may_pass() && !(matches!(fault, Fault::Late) && std::mem::replace(&mut late, true));
            if !again || begun.elapsed() + OPEN_PAUSE > db.options.connect_timeout {
                return Err(db.explain(fault, what));
            }
            tracing::warn!(place = db.place, ?fault, "the database cannot be reached; trying again");
            tokio::time::sleep(OPEN_PAUSE).await;
        }
        let mut tag = [0; 8];
        System.fill(&mut tag);
        let shared = Arc::new(Shared {
            db,
            tag: format!("{:016x}", u64::from_le_bytes(tag)).into(),
            owners: Mutex::new(Arc::default()),
            verified: Arc::default(),
            signals: Signals::default(),
            watching: Watching::default(),
            reported: Mutex::default(),
            interrupted: AtomicBool::new(false),
            giving_up: Mutex::default(),
            listener: Mutex::default(),
        });
        listen::start(&shared).await;
        Ok(PostgresStore { shared })
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("place", &self.shared.db.place).finish_non_exhaustive()
    }
}

/// Connects and prepares the schema. On failure, returns the fault and the action that failed.
async fn prepare(db: &Db, may_migrate: bool) -> Result<(), (Fault, &'static str)> {
    let session = db.connect().await.map_err(|fault| (fault, "open the store"))?;
    schema::prepare(&session, may_migrate).await.map_err(|fault| {
        session.spoil();
        (fault, "prepare the schema")
    })?;
    db.clock.ask(&session).await.map_err(|fault| {
        session.spoil();
        (fault, "read the server's clock")
    })
}

impl Store for PostgresStore {
    fn commit<'a>(&'a self, group: &'a [Write]) -> BoxFuture<'a, Result<Vec<Answer>, Failed>> {
        Box::pin(async move {
            let answers = commit::commit(&self.shared.db, &self.shared.ours(), group).await?;
            watching::committed(&self.shared, group);
            Ok(answers)
        })
    }

    /// Any number of engines can hold the right to execute.
    fn acquire(&self, owner: u64) -> BoxFuture<'_, Result<Option<Box<dyn Ownership>>, Error>> {
        assert_engine(owner);
        Box::pin(async move {
            let lease = workers::acquire(&self.shared, owner).await?;
            Ok(Some(Box::new(lease) as Box<dyn Ownership>))
        })
    }

    /// The registration lasts as long as the lease.
    fn register<'a>(&'a self, worker: &'a NewWorker) -> BoxFuture<'a, Result<Option<Box<dyn Registration>>, Error>> {
        Box::pin(async move { roster::register(&self.shared, worker).await.map(|()| None) })
    }

    fn deploy<'a>(&'a self, change: &'a Deploy) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(roster::deploy(&self.shared, change))
    }

    fn workers(&self) -> BoxFuture<'_, Result<Vec<WorkerRow>, Error>> {
        Box::pin(roster::workers(&self.shared))
    }

    fn deployments(&self) -> BoxFuture<'_, Result<Vec<DeploymentRow>, Error>> {
        Box::pin(roster::deployments(&self.shared))
    }

    fn run<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<RunRow>, Error>> {
        Box::pin(read::run(&self.shared.db, id))
    }

    fn journal(
        &self,
        run: RunKey,
        generation: u64,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>> {
        Box::pin(read::journal(&self.shared.db, run, generation, from, limit))
    }

    fn journals(&self, runs: Vec<(RunKey, u64)>, limit: usize) -> BoxFuture<'_, Result<Vec<Vec<JournalRow>>, Error>> {
        Box::pin(async move { read::journals(&self.shared.db, &runs, limit).await })
    }

    fn last(&self, run: RunKey, generation: u64) -> BoxFuture<'_, Result<Option<JournalRow>, Error>> {
        Box::pin(read::last(&self.shared.db, run, generation))
    }

    fn inbox(&self, run: RunKey) -> BoxFuture<'_, Result<(u64, Vec<InboxRow>), Error>> {
        Box::pin(read::inbox(&self.shared.db, run))
    }

    fn state<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Option<Arc<str>>, Error>> {
        Box::pin(effects::state(&self.shared.db, run))
    }

    fn attributes<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Attributes, Error>> {
        Box::pin(effects::attributes(&self.shared.db, run))
    }

    fn list<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<Position>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RunRow>, Error>> {
        Box::pin(listing::list(&self.shared.db, filter, after, limit))
    }

    fn counts<'a>(&'a self, filter: &'a Filter, most: usize) -> BoxFuture<'a, Result<Counts, Error>> {
        Box::pin(listing::counts(&self.shared.db, filter, most))
    }

    fn hour_counts(&self, from: u64) -> BoxFuture<'_, Result<Vec<HourCount>, Error>> {
        Box::pin(counts::read(&self.shared.db, from))
    }

    fn ended_before(&self, status: Status, most: u64) -> BoxFuture<'_, Result<Option<Ended>, Error>> {
        Box::pin(removal::ended_before(&self.shared.db, status, most))
    }

    fn continued(
        &self,
        least: u64,
        after: Option<(u64, RunKey)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, Error>> {
        Box::pin(read::continued(&self.shared.db, least, after, limit))
    }

    fn notices<'a>(
        &'a self,
        statuses: &'a [Status],
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Notice>, Error>> {
        Box::pin(notices::notices(&self.shared.db, statuses, after, limit))
    }

    fn children<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Vec<Arc<str>>, Error>> {
        Box::pin(effects::children(&self.shared.db, run))
    }

    fn open_tokens(&self, run: RunKey) -> BoxFuture<'_, Result<OpenTokens, Error>> {
        Box::pin(tokens::open_tokens(&self.shared.db, run))
    }

    fn delivery<'a>(
        &'a self,
        token: &'a str,
        key: &'a str,
        now: u64,
    ) -> BoxFuture<'a, Result<Option<DeliveryRow>, Error>> {
        Box::pin(deliveries::delivery(&self.shared.db, token, key, now))
    }

    fn token<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Option<TokenRow>, Error>> {
        Box::pin(tokens::token(&self.shared.db, token))
    }

    fn chunks<'a>(
        &'a self,
        run: RunKey,
        stream: &'a str,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<ChunkPage, Error>> {
        Box::pin(streams::page(&self.shared.db, run, stream, from, limit))
    }

    fn streams(&self, run: RunKey) -> BoxFuture<'_, Result<Vec<Arc<str>>, Error>> {
        Box::pin(streams::names(&self.shared.db, run))
    }

    /// Reads all undelivered inbox messages that arrived under this holder, and leaves out those that were reported before:
    /// the order of commits cannot hide a message.
    fn news(&self, owner: u64) -> BoxFuture<'_, Result<Vec<RunKey>, Error>> {
        Box::pin(async move {
            let row = |row: &_| Ok((read::get(row, 0)?, read::get(row, 1)?));
            let there: Vec<(RunKey, i64)> =
                self.shared.db.rows("read news", NEWS, args![INT8: owner.cast_signed()], row).await?;
            let mut reported = self.shared.reported.lock().unwrap_or_else(PoisonError::into_inner);
            let new: BTreeSet<RunKey> =
                there.iter().filter(|(_, sequence)| !reported.contains(sequence)).map(|(run, _)| *run).collect();
            *reported = there.into_iter().map(|(_, sequence)| sequence).collect();
            Ok(new.into_iter().collect())
        })
    }

    fn claimable<'a>(&'a self, deployment: &'a str) -> BoxFuture<'a, Result<Claimable, Error>> {
        Box::pin(claims::claimable(&self.shared.db, deployment))
    }

    fn follow<'a>(
        &'a self,
        run: RunKey,
        id: &'a Arc<str>,
        what: Follow,
    ) -> BoxFuture<'a, Result<Option<Box<dyn Following>>, Error>> {
        Box::pin(async move {
            let following = self.shared.signals.follow(run, id);
            let (chunks, rows) = (what == Follow::Chunks, what == Follow::Journal);
            let (shared, id, tag) = (&self.shared, Text(id), &*self.shared.tag);
            let build = schema::build(&shared.db);
            let args =
                args![TEXT: id, BOOL: chunks, BOOL: rows, TEXT: shared.db.options.schema, TEXT: tag, INT4: build];
            match shared.db.try_to_read("follow a run", FOLLOW, args).await {
                Ok(_) => {}
                // Nothing can be written there, and no notification arrives: changes are looked for.
                Err(fault) if fault.is_of_standby() => {}
                Err(fault) => {
                    return Err(shared.db.explain(schema::explained(&shared.db, fault).await, "follow a run"));
                }
            }
            // This store ignores its own notifications, so it forgets the run here.
            if rows {
                shared.verified.forget(run).await;
            }
            Ok(Some(Box::new(following) as Box<dyn Following>))
        })
    }

    fn follow_all(&self) -> Option<Box<dyn Following>> {
        Some(watching::watch(&self.shared))
    }

    fn patience(&self) -> Duration {
        self.shared.db.options.connect_timeout
    }

    fn server_time(&self) -> Option<u64> {
        self.shared.db.clock.now()
    }

    fn transactions(&self) -> Option<Transactions> {
        Some(Transactions(self.shared.clone()))
    }

    fn followed(&self) -> Followed {
        self.shared.signals.take_followed(self.shared.db.options.poll)
    }

    fn changed<'a>(&'a self, _: &'a dyn Environment) -> BoxFuture<'a, ()> {
        Box::pin(self.shared.signals.changing(self.shared.db.options.poll))
    }
}
