//! The only connection that writes: a group of writes is a transaction.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use rusqlite::{Connection, ErrorCode};

use super::heads::Heads;
use super::identity::{Identity, leave_log};
use super::open::Address;
use super::writes::Group;
use super::{claims, fault, schema, workers};
use crate::error::Error;
use crate::failpoint::hit;
use crate::limits::COUNT_INTERVAL;
use crate::store::{Answer, Deploy, Failed, NewWorker, Write};

pub(super) struct Writer {
    address: Address,
    /// `None` after a fault that makes it unusable, until the next use.
    connection: Option<Connection>,
    /// `PRAGMA data_version` as last read; only commits of other connections change it.
    version: Option<i64>,
    heads: Heads,
    /// A commit failed whose outcome is unknown, and no group has been committed since. Until then no failure certainly
    /// means "not committed": it may concern the same group, sent again.
    in_doubt: bool,
    /// The identity of the open file.
    identity: Identity,
    /// When the commit count in the file was last incremented.
    counted: Option<Instant>,
    /// Whether [`close`](Writer::close) has closed the connection, and nothing was written since.
    is_closed: bool,
    /// Set once the file was replaced: nothing is written any more. Shared with the readers.
    replaced: Arc<OnceLock<Error>>,
}

impl Writer {
    pub(super) fn new(address: Address, connection: Connection, identity: Identity) -> Self {
        let mut writer = Writer {
            address,
            connection: Some(connection),
            version: None,
            heads: Heads::default(),
            in_doubt: false,
            identity,
            counted: None,
            is_closed: false,
            replaced: Arc::default(),
        };
        writer.foreign_change();
        writer
    }

    /// Whether it was not [closed](Writer::close): the files beside a database that it has closed may change.
    pub(super) fn is_open(&self) -> bool {
        !self.is_closed
    }

    /// Closes the connection, until the next write. If no other connection is open, SQLite writes its log into the database and
    /// removes it.
    pub(super) fn close(&mut self) {
        // A log of another file, or one whose end is in doubt, is left for the next process that opens the database.
        if self.replaced.get().is_some() || self.in_doubt || self.connection.is_none() {
            return;
        }
        self.connection = None;
        self.heads = Heads::default();
        // Not a version that any connection has, so that the next check notices commits of other connections.
        self.version = Some(-1);
        self.is_closed = true;
    }

    /// The error, once set, with which all writes and reads fail.
    pub(super) fn replaced(&self) -> Arc<OnceLock<Error>> {
        Arc::clone(&self.replaced)
    }

    /// Checks that the file at the path is still the opened one.
    pub(super) fn check_identity(&mut self) -> Result<(), Error> {
        if let Some(error) = self.replaced.get() {
            return Err(error.clone());
        }
        self.identity.check(self.connection.as_ref()).inspect_err(|error| {
            tracing::error!(?error, "the database file was replaced while it was open");
            let _ = self.replaced.set(error.clone());
        })
    }

    pub(super) fn commit(&mut self, group: &[Write]) -> Result<Vec<Answer>, Failed> {
        let is_counted = self.is_to_be_counted(group);
        let (outcomes, count) = self.transaction(|connection, heads| {
            let count = is_counted.then(|| raise_count(connection)).transpose()?;
            Ok((Group::new(connection, heads)?.apply_all(group)?, count))
        })?;
        self.in_doubt = false;
        if let Some(count) = count {
            self.identity.counted(count);
        }
        Ok(outcomes)
    }

    /// Not every commit is counted, since the row costs another page on the disk; writes of an idle engine never are.
    fn is_to_be_counted(&mut self, group: &[Write]) -> bool {
        let is_idle = |write: &Write| matches!(write, Write::Claim(_) | Write::Clean(_) | Write::RecordCounts(_));
        if group.iter().all(is_idle) {
            return false;
        }
        let now = Instant::now();
        let is_due = self.counted.is_none_or(|counted| now.duration_since(counted) >= COUNT_INTERVAL);
        if is_due {
            self.counted = Some(now);
        }
        is_due
    }

    /// Makes `owner` the engine that executes, and orphans the runs of the previous engine.
    pub(super) fn adopt(&mut self, owner: u64) -> Result<(), Error> {
        self.transaction(|connection, heads| {
            heads.clear();
            claims::adopt(connection, owner)
        })
        .map_err(|failed| failed.error)
    }

    /// Lists a worker, and publishes the catalogue of its build.
    pub(super) fn register(&mut self, directory: &Path, worker: &NewWorker) -> Result<(), Error> {
        let written = self.transaction(|connection, _| workers::write(connection, directory, worker));
        written.map_err(|failed| failed.error)
    }

    /// Changes the deployments.
    pub(super) fn deploy(&mut self, change: &Deploy) -> Result<u64, Error> {
        self.transaction(|connection, _| workers::deploy(connection, change)).map_err(|failed| failed.error)
    }

    /// Removes a worker from the list.
    pub(super) fn leave(&mut self, owner: u64) -> Result<(), Error> {
        self.transaction(|connection, _| workers::remove(connection, owner)).map_err(|failed| failed.error)
    }

    /// Whether another connection has committed since the previous call.
    pub(super) fn foreign_change(&mut self) -> bool {
        let Some(connection) = &self.connection else { return false };
        let version = connection
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut statement| statement.query_row((), |row| row.get::<_, i64>(0)));
        // A fault recurs in the next commit, which can report it.
        let Ok(version) = version else { return false };
        self.version.replace(version).is_some_and(|seen| seen != version)
    }

    /// Commits everything or nothing; no transaction is open afterwards.
    pub(super) fn transaction<T>(
        &mut self,
        work: impl FnOnce(&Connection, &mut Heads) -> rusqlite::Result<T>,
    ) -> Result<T, Failed> {
        if let Some(error) = self.replaced.get() {
            return Err(Failed::new(error.clone(), false, false));
        }
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.heads = Heads::default();
                self.reopen()?
            }
        };
        let (heads, address, identity) = (&mut self.heads, &self.address, &mut self.identity);
        let (outcome, committing) = attempt(&connection, |connection| {
            if heads.begin(connection)? {
                if let Some(error) = address.check_floor(connection)? {
                    return Err(Fault::Refused(error));
                }
                identity.refresh(connection)?;
            }
            Ok(work(connection, heads)?)
        });
        match outcome {
            Ok(value) => {
                self.connection = Some(connection);
                // Before the answer: a write to a file that is no longer at its path is not durable.
                match self.check_identity() {
                    Ok(()) => Ok(value),
                    Err(error) => Err(Failed::new(error, false, false)),
                }
            }
            Err(Fault::Refused(error)) => {
                // The next transaction checks the version again.
                self.heads = Heads::default();
                if connection.execute_batch("ROLLBACK").is_ok() {
                    self.connection = Some(connection);
                }
                Err(Failed::new(error, self.in_doubt, false))
            }
            Err(Fault::Sqlite(fault)) => {
                self.heads.clear();
                self.in_doubt |= committing && !fault::nothing_committed(&fault);
                // Also after a fault that has itself rolled back: the statement then fails, which does no harm.
                let _ = connection.execute_batch("ROLLBACK");
                let is_usable = connection.is_autocommit() && !fault::spoils(&fault);
                self.connection = Some(connection);
                // An overwritten file looks damaged.
                if let Err(error) = self.check_identity() {
                    return Err(Failed::new(error, false, false));
                }
                if !is_usable {
                    self.connection = None;
                }
                Err(self.failed(&fault))
            }
        }
    }

    fn failed(&self, fault: &rusqlite::Error) -> Failed {
        let refused = [ErrorCode::ConstraintViolation, ErrorCode::TooBig]
            .into_iter()
            .any(|code| fault.sqlite_error_code() == Some(code));
        Failed::new(fault::explain(&self.address.path, "write to", fault), self.in_doubt, refused)
    }

    fn reopen(&mut self) -> Result<Connection, Failed> {
        let open = || {
            let connection = self.address.writer()?;
            if self.in_doubt {
                // After a failed sync, what is read back as committed may exist only in the system's cache. A checkpoint
                // writes it again, into the database itself.
                connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()))?;
            }
            Ok(connection)
        };
        let opened = open();
        self.identity.reopened();
        self.is_closed = false;
        opened.map_err(|fault: rusqlite::Error| self.failed(&fault))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let (Some(connection), Some(_)) = (&self.connection, self.replaced.get()) {
            leave_log(connection, true);
        }
    }
}

/// Raises the commit count. Also writes the first page: a write-ahead log that has it shows the schema version of the file
/// that it belongs to.
fn raise_count(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached(&format!("PRAGMA user_version = {}", schema::LAYOUT))?.execute(())?;
    let sql = "UPDATE meta SET commits = commits + 1 RETURNING commits";
    connection.prepare_cached(sql)?.query_row((), |row| row.get(0))
}

/// Why a transaction was not committed.
enum Fault {
    Sqlite(rusqlite::Error),
    /// This build must not write the tables.
    Refused(Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(fault: rusqlite::Error) -> Self {
        Fault::Sqlite(fault)
    }
}

/// Returns the outcome, and whether it is the outcome of the COMMIT.
fn attempt<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> (Result<T, Fault>, bool) {
    hit("sqlite: before a transaction");
    let worked = execute(connection, "BEGIN IMMEDIATE").map_err(Fault::from).and_then(|()| work(connection));
    let Ok(value) = worked else { return (worked, false) };
    hit("sqlite: before the commit");
    let committed = execute(connection, "COMMIT").map(|()| value).map_err(Fault::from);
    hit("sqlite: after the commit");
    (committed, true)
}

fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute(()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use crate::store::sqlite::mark::Mark;
    use crate::store::sqlite::{Synchronous, open};
    use crate::store::{CreateAnswer, First, Message, NewRun};

    fn create(id: &str, bytes: usize) -> Write {
        let message = Message { dedupe: None, arrived_at: 0, format: 1, checksum: 0, body: vec![0; bytes].into() };
        Write::Create(NewRun {
            id: id.into(),
            workflow: "w".into(),
            fingerprint: "f".into(),
            args_digest: [0; 32],
            created_at: 0,
            token: 1,
            required_deployment: None,
            depth: 0,
            effects: None,
            chunks: Vec::new(),
            first: First::Message(message),
        })
    }

    fn writer(directory: &tempfile::TempDir) -> Writer {
        let path = directory.path().join("runs.db");
        let opening = open::Opening::new(Synchronous::Full, std::time::Duration::ZERO);
        let (address, connection) = open::open(&path, opening).unwrap();
        let identity = Identity::new(&address.path, &connection, Mark::open(&address.lock_file())).unwrap();
        Writer::new(address, connection, identity)
    }

    fn pages_max(writer: &Writer, pages: u32) {
        let connection = writer.connection.as_ref().unwrap();
        connection.query_row(&format!("PRAGMA max_page_count = {pages}"), (), |_| Ok(())).unwrap();
    }

    #[test]
    fn a_full_disk_refuses_a_whole_group_which_is_committed_once_there_is_room() {
        let directory = tempfile::TempDir::new().unwrap();
        let mut writer = writer(&directory);
        pages_max(&writer, 1);
        let group = [create("small", 10), create("large", 100_000)];
        for _ in 0..2 {
            let failed = writer.commit(&group).unwrap_err();
            assert!(!failed.in_doubt);
            assert_eq!(failed.error.code(), Code::Store);
            let text = format!("{:?}", failed.error);
            assert!(text.contains("the disk is full") && text.contains("runs.db") && text.contains("help: "), "{text}");
            assert!(writer.connection.as_ref().is_some_and(Connection::is_autocommit), "no transaction stays open");
        }
        pages_max(&writer, 1_000_000);
        assert!(matches!(
            writer.commit(&group).unwrap()[..],
            [Answer::Create(CreateAnswer::Created(1)), Answer::Create(CreateAnswer::Created(2))]
        ));
    }

    #[test]
    fn the_store_works_after_a_panic_in_a_transaction() {
        let directory = tempfile::TempDir::new().unwrap();
        let mut writer = writer(&directory);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            writer.transaction(|connection, heads| -> rusqlite::Result<()> {
                Group::new(connection, heads)?.apply(&create("half", 1))?;
                panic!("in the middle")
            })
        }));
        assert!(panicked.is_err());
        assert!(matches!(writer.commit(&[create("half", 1)]).unwrap()[..], [Answer::Create(CreateAnswer::Created(1))]));
    }
}
