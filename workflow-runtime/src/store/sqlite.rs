//! A store in a SQLite file: the embedded default.
//!
//! [`writer`] owns the only writing connection, which commits a group of [`writes`] as one transaction, in [`batches`], and caches
//! [`heads`]; [`readers`] have their own. A lock of the operating system grants the right to execute ([`ownership`]), and
//! [`claims`] claims runs. [`tokens`] routes payloads; [`streams`] stores the chunks that runs write; [`effects`] applies
//! the other effects of turns. [`listing`] finds runs, and [`removal`] removes them. [`maintenance`] copies the file.

mod access;
mod batches;
mod claims;
mod columns;
mod counts;
mod creates;
mod deliveries;
mod effects;
mod fault;
mod heads;
mod identity;
mod listing;
mod maintenance;
mod mark;
mod messages;
mod notices;
mod open;
mod ownership;
mod read;
mod readers;
mod removal;
mod schema;
mod streams;
mod tokens;
mod workers;
mod writer;
mod writes;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use futures_util::future::BoxFuture;

use self::identity::Identity;
pub use self::maintenance::Sizes;
use self::mark::Mark;
use self::open::Opening;
use self::ownership::{Lock, foreign_holder};
use self::readers::{Readers, blocking};
use self::writer::Writer;
use super::{
    Answer, Attributes, ChunkPage, Claimable, Counts, DeliveryRow, Deploy, DeploymentRow, Ended, Failed, Filter,
    HourCount, InboxRow, JournalRow, Migration, NewWorker, Notice, OpenTokens, Ownership, Position, Registration,
    RunKey, RunRow, Status, Store, TokenRow, WorkerRow, Write, assert_engine,
};
use crate::environment::Environment;
use crate::error::{Code, Error};
use crate::failpoint::hit;
use crate::limits;

/// The durability of a commit of a [`SqliteStore`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// A commit waits until the data is on the disk (`PRAGMA synchronous = FULL`).
    #[default]
    Full,
    /// A commit waits for the operating system only (`PRAGMA synchronous = NORMAL`): faster by the wait for the disk. After
    /// a power loss or a crash of the operating system the last commits may be missing: completed steps run again, and
    /// started runs are unknown. A crash of the process loses nothing, and the file stays intact.
    Normal,
}

impl Synchronous {
    fn as_pragma(self) -> &'static str {
        match self {
            Synchronous::Full => "FULL",
            Synchronous::Normal => "NORMAL",
        }
    }
}

/// Stores runs in a SQLite file.
///
/// While the file is open, SQLite keeps two more beside it (`-wal`, `-shm`); a fourth, `.lock`, carries the lock that
/// grants the right to execute. In the folder `.workers` each process has a locked file while it executes. The file
/// belongs on a local disk: network file systems lack what WAL mode requires. New files and directories are accessible
/// only to the user that runs the program (0600, 0700); existing ones keep their permissions.
///
/// The file, and those beside it, must not be moved, replaced, removed or restored while it is open. The store detects this
/// before it acknowledges further writes and fails with [`Code::StoreReplaced`](crate::Code::StoreReplaced); the engine stays
/// closed until it is opened again. `VACUUM INTO`, `.backup` and other readers may be used at any time. A file that is restored
/// after its process was killed must not have the old `-wal` and `-shm` beside it.
///
/// ```no_run
/// use workflow_runtime::store::{SqliteStore, Synchronous};
///
/// let store = SqliteStore::open("orders.db", Synchronous::Full)?;
/// # Ok::<(), workflow_runtime::Error>(())
/// ```
pub struct SqliteStore {
    path: PathBuf,
    lock_file: PathBuf,
    /// The random id in the database.
    id: Arc<[u8]>,
    /// The process that the last [`acquire`](Store::acquire) has found to hold the lock with another database, and whether a
    /// warning named it.
    blocked_by: Arc<Mutex<Option<(u32, bool)>>>,
    writer: Arc<Mutex<Writer>>,
    readers: Arc<Readers>,
    /// Set by the watcher when the writer is busy: asks the writer to check for changes of other connections itself.
    look: AtomicBool,
    /// Set when that check found a change.
    noticed: AtomicBool,
    /// The sequence of the last inbox message that [`news`](Store::news) has reported.
    read: AtomicI64,
}

impl SqliteStore {
    /// Opens a database; creates it, with its directories, if it does not exist. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`Code::Store`](crate::Code::Store): the path cannot be used, the file is no database or is another program's, it
    /// cannot be written, the disk is full, or another program keeps it locked for more than five seconds.
    /// [`Code::StoreReplaced`](crate::Code::StoreReplaced): the `-wal` beside it belongs to another file, or to one that is gone.
    /// [`Code::NewerStore`](crate::Code::NewerStore): a newer version of this library has changed its tables so that this
    /// one cannot use them. Opening migrates the file of an older version; if that version could not use it afterwards and a
    /// process of it executes, the error is [`Code::Store`](crate::Code::Store) and names the process.
    pub fn open(path: impl AsRef<Path>, synchronous: Synchronous) -> Result<Self, Error> {
        Self::open_waiting(path, synchronous, limits::BUSY_TIMEOUT)
    }

    /// Opens a database that exists and has the tables of this version: creates and migrates nothing. For tools that
    /// read the store of another program. Blocks on the disk.
    ///
    /// A file that this process may not write can be read; each write fails. If there is no `-wal` beside such a file, no other
    /// process may open it meanwhile.
    ///
    /// # Errors
    ///
    /// Those of [`open`](SqliteStore::open), except for a file that cannot be written, and [`Code::Store`](crate::Code::Store) if there is no file at the path, or if an
    /// older version of this library made its tables.
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Self, Error> {
        let opening = Opening::new(Synchronous::Full, limits::BUSY_TIMEOUT);
        Self::open_as(path.as_ref(), Opening { may_migrate: false, ..opening })
    }

    /// Like [`open`](SqliteStore::open), with a timeout for the locks of other programs, then and later. For tests.
    #[doc(hidden)]
    pub fn open_waiting(
        path: impl AsRef<Path>,
        synchronous: Synchronous,
        busy_timeout: Duration,
    ) -> Result<Self, Error> {
        Self::open_as(path.as_ref(), Opening::new(synchronous, busy_timeout))
    }

    /// Like [`open`](SqliteStore::open) in a later build whose schema has these additional steps. For tests.
    #[doc(hidden)]
    pub fn open_migrating(path: impl AsRef<Path>, later: &'static [Migration]) -> Result<Self, Error> {
        let opening = Opening::new(Synchronous::Full, limits::BUSY_TIMEOUT);
        Self::open_as(path.as_ref(), Opening { migrations: opening.migrations.and(later), ..opening })
    }

    fn open_as(path: &Path, opening: Opening) -> Result<Self, Error> {
        let (address, connection) = open::open(path, opening)?;
        let identity = Identity::new(&address.path, &connection, Mark::open(&address.lock_file()))?;
        let id = identity.store().into();
        let writer = Writer::new(address.clone(), connection, identity);
        Ok(SqliteStore {
            id,
            blocked_by: Arc::default(),
            path: address.path.clone(),
            lock_file: address.lock_file(),
            readers: Readers::new(address, writer.replaced()),
            writer: Arc::new(Mutex::new(writer)),
            look: AtomicBool::new(false),
            noticed: AtomicBool::new(false),
            read: AtomicI64::new(0),
        })
    }

    /// The path of the database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether another connection has committed since the previous call, or the file was replaced by another one; never
    /// waits for a commit.
    fn foreign_change(&self) -> bool {
        if self.noticed.swap(false, Ordering::AcqRel) {
            return true;
        }
        let look = |writer: &mut Writer| {
            let was_replaced = writer.replaced().get().is_some();
            writer.foreign_change() || (!was_replaced && writer.is_open() && writer.check_identity().is_err())
        };
        match self.writer.try_lock() {
            Ok(mut writer) => look(&mut writer),
            Err(TryLockError::Poisoned(poisoned)) => look(&mut poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                self.look.store(true, Ordering::Release);
                false
            }
        }
    }
}

/// Warns once of a process that holds the lock and has another database open. Two looks must find it: between a process's lock and
/// its note the lock file has the note of its predecessor.
fn warn_of_holder(lock_file: &Path, holder: Option<u32>, before: &Mutex<Option<(u32, bool)>>) {
    let mut before = before.lock().unwrap_or_else(PoisonError::into_inner);
    *before = holder.map(|process| {
        let seen = before.filter(|(other, _)| *other == process);
        if seen == Some((process, false)) {
            tracing::warn!(
                lock = %lock_file.display(),
                process,
                help = "stop that process; this one executes then",
                "a process holds the lock of the database and has another file open, which this one has replaced: nothing \
                 executes the runs of this one"
            );
        }
        (process, seen.is_some())
    });
}

fn lock(writer: &Mutex<Writer>) -> MutexGuard<'_, Writer> {
    // A panic during a transaction drops the connection; the next transaction opens a new one.
    writer.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store for SqliteStore {
    fn commit<'a>(&'a self, group: &'a [Write]) -> BoxFuture<'a, Result<Vec<Answer>, Failed>> {
        Box::pin(async move {
            let mut writer = lock(&self.writer);
            let outcomes = writer.commit(group);
            if outcomes.as_ref().is_err_and(|failed| failed.error.code() == Code::StoreReplaced) {
                // Also wakes the callers that wait for a change.
                self.noticed.store(true, Ordering::Release);
            }
            if self.look.swap(false, Ordering::AcqRel) && writer.foreign_change() {
                self.noticed.store(true, Ordering::Release);
            }
            outcomes
        })
    }

    fn blocks(&self) -> bool {
        true
    }

    fn acquire(&self, owner: u64) -> BoxFuture<'_, Result<Option<Box<dyn Ownership>>, Error>> {
        assert_engine(owner);
        Box::pin(async move {
            let (path, writer) = (self.lock_file.clone(), Arc::clone(&self.writer));
            let (id, blocked_by) = (self.id.clone(), Arc::clone(&self.blocked_by));
            let acquire = move || {
                lock(&writer).check_identity()?;
                let Some(held) = Lock::take(&path)? else {
                    warn_of_holder(&path, foreign_holder(&path, &id), &blocked_by);
                    return Ok(None);
                };
                held.sign(&id);
                hit("sqlite: the lock is taken");
                lock(&writer).adopt(owner)?;
                Ok(Some(Box::new(held) as Box<dyn Ownership>))
            };
            blocking(acquire).await?
        })
    }

    fn blocked_by(&self) -> BoxFuture<'_, Result<Option<u32>, Error>> {
        let (path, id) = (self.lock_file.clone(), self.id.clone());
        Box::pin(async move { blocking(move || foreign_holder(&path, &id)).await })
    }

    fn register<'a>(&'a self, worker: &'a NewWorker) -> BoxFuture<'a, Result<Option<Box<dyn Registration>>, Error>> {
        Box::pin(async move {
            let (directory, writer, worker) =
                (workers::directory(&self.path), Arc::clone(&self.writer), worker.clone());
            let register = move || workers::register(&writer, &directory, &worker);
            Ok(Some(Box::new(blocking(register).await??) as Box<dyn Registration>))
        })
    }

    fn deploy<'a>(&'a self, change: &'a Deploy) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move {
            let (writer, change) = (Arc::clone(&self.writer), change.clone());
            blocking(move || lock(&writer).deploy(&change)).await?
        })
    }

    fn workers(&self) -> BoxFuture<'_, Result<Vec<WorkerRow>, Error>> {
        let directory = workers::directory(&self.path);
        Box::pin(self.readers.read("the workers", move |connection| workers::workers(connection, &directory)))
    }

    fn deployments(&self) -> BoxFuture<'_, Result<Vec<DeploymentRow>, Error>> {
        Box::pin(self.readers.read("the catalogues", workers::deployments))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let (readers, writer) = (Arc::clone(&self.readers), Arc::clone(&self.writer));
            let close = move || {
                readers.close();
                lock(&writer).close();
            };
            // If the runtime ends meanwhile, the next process that opens the file finds the log beside it.
            let _ = blocking(close).await;
            let log = identity::beside(&self.path, "-wal");
            if log.metadata().is_ok_and(|metadata| metadata.len() > 0) {
                tracing::info!(path = %log.display(), "the database is open elsewhere: this log is still a part of it");
            }
        })
    }

    fn run<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<RunRow>, Error>> {
        Box::pin(async move {
            let id: Arc<str> = id.into();
            self.readers.read("a run", move |connection| read::run(connection, &id)).await
        })
    }

    fn journal(
        &self,
        run: RunKey,
        generation: u64,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>> {
        let read = move |connection: &_| read::journal(connection, run, generation, from, limit);
        Box::pin(self.readers.read("a journal", read))
    }

    fn journals(&self, runs: Vec<(RunKey, u64)>, limit: usize) -> BoxFuture<'_, Result<Vec<Vec<JournalRow>>, Error>> {
        let read = move |connection: &_| {
            runs.iter().map(|(run, generation)| read::journal(connection, *run, *generation, 0, limit)).collect()
        };
        Box::pin(self.readers.read("journals", read))
    }

    fn last(&self, run: RunKey, generation: u64) -> BoxFuture<'_, Result<Option<JournalRow>, Error>> {
        Box::pin(self.readers.read("a journal", move |connection| read::last(connection, run, generation)))
    }

    fn inbox(&self, run: RunKey) -> BoxFuture<'_, Result<(u64, Vec<InboxRow>), Error>> {
        Box::pin(self.readers.read("an inbox", move |connection| read::inbox(connection, run)))
    }

    fn state<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Option<Arc<str>>, Error>> {
        let run: Arc<str> = run.into();
        Box::pin(self.readers.read("a state", move |connection| effects::state(connection, &run)))
    }

    fn attributes<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Attributes, Error>> {
        let run: Arc<str> = run.into();
        Box::pin(self.readers.read("attributes", move |connection| effects::attributes(connection, &run)))
    }

    fn list<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<Position>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RunRow>, Error>> {
        let filter = filter.clone();
        Box::pin(self.readers.read("runs", move |connection| listing::list(connection, &filter, after, limit)))
    }

    fn counts<'a>(&'a self, filter: &'a Filter, most: usize) -> BoxFuture<'a, Result<Counts, Error>> {
        let filter = filter.clone();
        Box::pin(self.readers.read("runs", move |connection| listing::counts(connection, &filter, most)))
    }

    fn hour_counts(&self, from: u64) -> BoxFuture<'_, Result<Vec<HourCount>, Error>> {
        Box::pin(self.readers.read("counts", move |connection| counts::read(connection, from)))
    }

    fn ended_before(&self, status: Status, most: u64) -> BoxFuture<'_, Result<Option<Ended>, Error>> {
        Box::pin(self.readers.read("runs", move |connection| removal::ended_before(connection, status, most)))
    }

    fn continued(
        &self,
        least: u64,
        after: Option<(u64, RunKey)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, Error>> {
        Box::pin(self.readers.read("runs", move |connection| read::continued(connection, least, after, limit)))
    }

    fn notices<'a>(
        &'a self,
        statuses: &'a [Status],
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Notice>, Error>> {
        let statuses = statuses.to_vec();
        Box::pin(self.readers.read("notices", move |connection| notices::notices(connection, &statuses, after, limit)))
    }

    fn children<'a>(&'a self, run: &'a str) -> BoxFuture<'a, Result<Vec<Arc<str>>, Error>> {
        let run: Arc<str> = run.into();
        Box::pin(self.readers.read("runs", move |connection| effects::children(connection, &run)))
    }

    fn open_tokens(&self, run: RunKey) -> BoxFuture<'_, Result<OpenTokens, Error>> {
        Box::pin(self.readers.read("the tokens of a run", move |connection| tokens::open_tokens(connection, run)))
    }

    fn delivery<'a>(
        &'a self,
        token: &'a str,
        key: &'a str,
        now: u64,
    ) -> BoxFuture<'a, Result<Option<DeliveryRow>, Error>> {
        let (token, key) = (token.to_owned(), key.to_owned());
        Box::pin(async move {
            self.readers.read("a delivery", move |connection| deliveries::delivery(connection, &token, &key, now)).await
        })
    }

    fn token<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Option<TokenRow>, Error>> {
        Box::pin(async move {
            let token: Arc<str> = token.into();
            self.readers.read("a token", move |connection| tokens::token(connection, &token)).await
        })
    }

    fn chunks<'a>(
        &'a self,
        run: RunKey,
        stream: &'a str,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<ChunkPage, Error>> {
        let stream: Arc<str> = stream.into();
        Box::pin(self.readers.read("a stream", move |connection| streams::page(connection, run, &stream, from, limit)))
    }

    fn streams(&self, run: RunKey) -> BoxFuture<'_, Result<Vec<Arc<str>>, Error>> {
        Box::pin(self.readers.read("streams", move |connection| streams::names(connection, run)))
    }

    fn news(&self, owner: u64) -> BoxFuture<'_, Result<Vec<RunKey>, Error>> {
        Box::pin(async move {
            let after = self.read.load(Ordering::Acquire);
            let read = move |connection: &_| read::news(connection, owner, after);
            let (news, last) = self.readers.read("an inbox", read).await?;
            self.read.store(last, Ordering::Release);
            Ok(news)
        })
    }

    fn claimable<'a>(&'a self, deployment: &'a str) -> BoxFuture<'a, Result<Claimable, Error>> {
        let deployment = deployment.to_owned();
        Box::pin(self.readers.read("what is due", move |connection| claims::claimable(connection, &deployment)))
    }

    fn changed<'a>(&'a self, environment: &'a dyn Environment) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            while !self.foreign_change() {
                environment.sleep(limits::WATCH_INTERVAL).await;
            }
        })
    }
}
