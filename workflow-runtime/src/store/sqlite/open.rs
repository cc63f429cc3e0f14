//! Opens a database: checks which program it belongs to, its version, and whether it can be written.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::identity::beside;
use super::mark::Mark;
use super::ownership::Lock;
use super::{Synchronous, access, fault, identity, schema};
use crate::error::{Code, Error};
use crate::limits::WAL_BYTES_KEPT;
use crate::store::migrations::{Fit, Migrations, Version, pre_release};

/// How to open the connections of a store.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// Absolute and without symbolic links, so that all processes that open the file use the same lock file beside it.
    pub(super) path: PathBuf,
    opening: Opening,
    /// Whether this process may only read the file.
    is_read_only: bool,
}

/// The options for opening a database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    pub synchronous: Synchronous,
    /// How long to wait for the locks of other programs, then and later.
    pub busy_timeout: Duration,
    /// The schema steps that this build knows.
    pub migrations: Migrations,
    /// Whether tables are created and migrated. Otherwise the tables of an older build are refused, and so is a missing
    /// file.
    pub may_migrate: bool,
}

impl Opening {
    pub fn new(synchronous: Synchronous, busy_timeout: Duration) -> Self {
        Opening { synchronous, busy_timeout, migrations: schema::MIGRATIONS, may_migrate: true }
    }
}

/// Opens the database, and creates it with its directories if it does not exist.
pub(super) fn open(path: &Path, opening: Opening) -> Result<(Address, Connection), Error> {
    if path.as_os_str().is_empty() || path == Path::new(":memory:") {
        return Err(Error::coded(
            Code::InvalidUrl,
            format!("\"{}\" is not the path of a database file", path.display()),
        )
        .help("give the path of a file, or use `MemoryStore` (\"memory:\") for runs that need not be kept"));
    }
    // Absolute, because SQLite treats some relative names specially.
    let path = std::path::absolute(path).map_err(|error| unusable(path, &error))?;
    if path.is_dir() {
        return Err(Error::coded(Code::Store, format!("could not open the database {}", path.display()))
            .because("it is a directory")
            .help("give the path of a file in it"));
    }
    // Without symbolic links: SQLite puts its files beside the file itself.
    let own = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    identity::check_left_log(&own(&path))?;
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if opening.may_migrate {
        if let Some(directory) = path.parent() {
            create_directories(directory).map_err(|error| unusable(directory, &error))?;
        }
        access::create(&path).map_err(|error| unusable(&path, &error))?;
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    identity::check_links(&path)?;
    let explain = |fault| fault::explain(&path, "open", &fault);
    let mut connection = Connection::open_with_flags(&path, flags).map_err(explain)?;
    // SQLite opens a file for reading only if it may not write it.
    let is_read_only = !opening.may_migrate && connection.is_readonly("main").map_err(explain)?;
    if is_read_only {
        connection = for_reading(&own(&path)).map_err(explain)?;
    }
    connection.busy_timeout(opening.busy_timeout).map_err(explain)?;
    // Checks before it writes: a file of another program stays unchanged, and a log that is not this file's is not written
    // into it.
    identity::leave_log(&connection, true);
    let file = own(&path);
    identity::check_log(&file, &connection, &Mark::look(&beside(&file, ".lock")))?;
    let there = check(&path, &connection, opening.migrations)?;
    identity::leave_log(&connection, false);
    if there == Version::NONE {
        // Must be set before the first write: otherwise the file can never shrink.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(explain)?;
    }
    if !is_read_only && connection.is_readonly("main").map_err(explain)? {
        return Err(Error::coded(
            Code::Store,
            format!("could not open the database {}: it is read-only", path.display()),
        )
        .help("make the file writable for the user that runs this program: a store is read and written"));
    }
    if !is_read_only {
        switch_to_wal(&path, &connection, opening.busy_timeout)?;
    }
    let path = fs::canonicalize(&path).map_err(|error| unusable(&path, &error))?;
    let address = Address { path, opening, is_read_only };
    address.migrate(&mut connection)?;
    for file in [&address.path, &address.lock_file()] {
        access::warn_if_open_to_others(file);
    }
    address.prepare_writer(&connection).map_err(|fault| fault::explain(&address.path, "open", &fault))?;
    Ok((address, connection))
}

impl Address {
    /// Opens another connection for writing. Does not create the file: a removed file must not reappear empty.
    pub(super) fn writer(&self) -> rusqlite::Result<Connection> {
        let connection = self.connect()?;
        self.prepare_writer(&connection)?;
        Ok(connection)
    }

    /// Opens another connection for reading.
    pub(super) fn reader(&self) -> rusqlite::Result<Connection> {
        let connection = self.connect()?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = match self.is_read_only {
            true => for_reading(&self.path)?,
            false => Connection::open_with_flags(&self.path, flags)?,
        };
        connection.busy_timeout(self.opening.busy_timeout)?;
        prepare(&connection)?;
        Ok(connection)
    }

    fn prepare_writer(&self, connection: &Connection) -> rusqlite::Result<()> {
        prepare(connection)?;
        connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
        connection.pragma_update(None, "synchronous", self.opening.synchronous.as_pragma())
    }

    /// Creates the tables, or applies the missing steps.
    ///
    /// A step that makes the tables unusable for older builds requires the right to execute: an engine that has it is such a
    /// build. Clients of older builds fail at their next commit: see [`Writer`](super::writer::Writer).
    fn migrate(&self, connection: &mut Connection) -> Result<(), Error> {
        let Opening { migrations, may_migrate, .. } = self.opening;
        let there = check(&self.path, connection, migrations)?;
        let fit = migrations.fit(there);
        let _right = match fit {
            Fit::Usable | Fit::Newer => return Ok(()),
            Fit::Additive | Fit::Breaking if !may_migrate => return Err(migrations.older(self.path.display(), there)),
            // No engine executes yet.
            Fit::Breaking if there == Version::NONE => None,
            Fit::Additive => None,
            Fit::Breaking => match Lock::take(&self.lock_file())? {
                None => return Err(self.older_executor(connection, there)),
                right => right,
            },
        };
        let explain = |fault| fault::explain(&self.path, "create tables in", &fault);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(explain)?;
        // Another process may have migrated meanwhile.
        let there = check(&self.path, &transaction, migrations)?;
        let apply = || {
            migrations.missing(there.version).try_for_each(|sql| transaction.execute_batch(sql))?;
            transaction.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", schema::LAYOUT)?;
            let Version { version, readable_from } = migrations.newest();
            let sql = "UPDATE meta SET version = max(version, ?1), readable_from = max(readable_from, ?2)";
            transaction.execute(sql, (version, readable_from)).map(drop)
        };
        if migrations.fit(there) != Fit::Usable {
            apply().map_err(explain)?;
        }
        transaction.commit().map_err(explain)
    }

    /// The error of a build whose steps would make the tables unusable for the engine that executes.
    fn older_executor(&self, connection: &Connection, there: Version) -> Error {
        let sql = "SELECT pid FROM workers WHERE owner = (SELECT owner FROM meta)";
        let process = match connection.query_row(sql, (), |row| row.get::<_, i64>(0)) {
            Ok(pid) => format!("process {pid}"),
            Err(_) => "another process".to_owned(),
        };
        let path = self.path.display();
        Error::coded(Code::Store, format!("the database {path} is in use by an older version of this library"))
            .because(format!(
                "{process} executes its runs, and could not use the tables any more that this program needs"
            ))
            .expected(format!("tables of version {}", self.opening.migrations.newest().version))
            .found(format!("version {}", there.version))
            .help(format!("stop {process}, and open the database again"))
    }

    /// The error of a commit after a newer build has made the tables unusable for this one.
    pub(super) fn check_floor(&self, connection: &Connection) -> rusqlite::Result<Option<Error>> {
        let (there, migrations) = (version(connection)?, self.opening.migrations);
        Ok((migrations.fit(there) == Fit::Newer).then(|| {
            migrations.newer(self.path.display(), there).because("it was migrated while this process had it open")
        }))
    }

    /// The file whose lock is the right to execute. It is not the database itself: closing any handle of a file drops
    /// the POSIX locks that SQLite has on it.
    pub(super) fn lock_file(&self) -> PathBuf {
        beside(&self.path, ".lock")
    }
}

/// Opens a file that this process may not write. Without a write-ahead log no process has it open, and SQLite, which would create
/// one, must treat the file as one that does not change.
fn for_reading(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    match fs::metadata(beside(path, "-wal")) {
        Ok(log) if log.len() > 0 => Connection::open_with_flags(path, flags - OpenFlags::SQLITE_OPEN_URI),
        _ => Connection::open_with_flags(identity::past_the_log(path), flags),
    }
}

/// Statements are prepared once. Without stable query plans (QPSG) SQLite would inspect the values bound to some statements
/// and prepare those again at every use.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(64);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn unusable(path: &Path, error: &io::Error) -> Error {
    Error::coded(Code::Store, format!("the path {} cannot be used for a database", path.display()))
        .because(error)
        .help("give a path whose directory exists, or can be created and written by the user that runs this program")
}

/// Creates the missing directories, and syncs them so that a power loss does not remove them together with the database:
/// SQLite syncs the directory of its files, and no directory above it.
fn create_directories(directory: &Path) -> io::Result<()> {
    let missing = directory.ancestors().take_while(|ancestor| !ancestor.is_dir()).count();
    if missing == 0 {
        return Ok(());
    }
    access::create_directories(directory)?;
    if cfg!(unix) {
        for above in directory.ancestors().skip(1).take(missing) {
            File::open(above)?.sync_all()?;
        }
    }
    Ok(())
}

/// The program that a file belongs to.
enum Owned {
    Nobody,
    Ours(Version),
    /// A pre-release build of this library created it.
    PreRelease,
    /// A build created it that stores its version in another place.
    NewerLayout(i32),
    Others {
        application_id: i32,
        tables: Vec<String>,
    },
}

fn identify(connection: &Connection) -> rusqlite::Result<Owned> {
    // One snapshot: otherwise it could see tables that another process is just creating, without the id set with them.
    let _snapshot = connection.is_autocommit().then(|| connection.unchecked_transaction()).transpose()?;
    let application_id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let layout: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if application_id == schema::APPLICATION_ID {
        return match layout {
            schema::LAYOUT => version(connection).map(Owned::Ours),
            schema::PRE_RELEASE => Ok(Owned::PreRelease),
            layout => Ok(Owned::NewerLayout(layout)),
        };
    }
    let tables = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') ORDER BY name LIMIT 10")?
        .query_map((), |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    Ok(match application_id == 0 && layout == 0 && tables.is_empty() {
        true => Owned::Nobody,
        false => Owned::Others { application_id, tables },
    })
}

/// The version of the tables of a file of this library.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<Version> {
    connection
        .prepare_cached("SELECT version, readable_from FROM meta")?
        .query_row((), |row| Ok(Version { version: row.get(0)?, readable_from: row.get(1)? }))
}

/// The version of the tables, if this build can use or migrate them.
fn check(path: &Path, connection: &Connection, migrations: Migrations) -> Result<Version, Error> {
    let owned = identify(connection).map_err(|fault| fault::explain(path, "open", &fault))?;
    let path = path.display();
    match owned {
        Owned::Nobody => Ok(Version::NONE),
        Owned::Ours(version) if migrations.fit(version) == Fit::Newer => Err(migrations.newer(path, version)),
        Owned::Ours(version) => Ok(version),
        Owned::PreRelease => Err(pre_release(path, "a file of a pre-release build")),
        Owned::NewerLayout(layout) => Err(Error::coded(
            Code::NewerStore,
            format!("the database {path} was written by a newer version of this library"),
        )
        .expected(format!("a file of layout {}", schema::LAYOUT))
        .found(format!("layout {layout}"))
        .help("update this program; nothing in the file has been changed")),
        Owned::Others { application_id, tables } => {
            Err(Error::coded(Code::Store, format!("the database {path} belongs to another program"))
                .expected("an empty database, or one that this library has made")
                .found(format!("application_id {application_id:#010x}, tables: {}", tables.join(", ")))
                .help("give the path of another file; nothing in this one was changed"))
        }
    }
}

fn switch_to_wal(path: &Path, connection: &Connection, busy_timeout: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + busy_timeout;
    loop {
        let mode = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0));
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                return Err(Error::coded(
                    Code::Store,
                    format!("the database {} cannot use a write-ahead log", path.display()),
                )
                .found(format!("journal_mode {mode}"))
                .help("put it on a local disk: network file systems lack the shared memory that it needs"));
            }
            // SQLite does not wait here when two processes create a database at the same time: each holds a lock that
            // the other needs.
            Err(fault) if fault::is_busy(&fault) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(fault) => return Err(fault::explain(path, "open", &fault)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Migration;

    const ADDS: Migration = Migration { sql: "CREATE TABLE later (x INTEGER);", is_additive: true };

    #[test]
    fn opening_without_migration_does_not_change_the_file() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("runs.db");
        let looking = Opening { may_migrate: false, ..Opening::new(Synchronous::Full, Duration::ZERO) };
        assert_eq!(open(&path, looking).map(drop).unwrap_err().code(), Code::Store);
        assert!(!path.exists(), "it creates no file");
        let (_, connection) = open(&path, Opening { may_migrate: true, ..looking }).unwrap();
        let created = version(&connection).unwrap();
        drop(connection);
        let newer = Opening { migrations: looking.migrations.and(&[ADDS]), ..looking };
        let error = open(&path, newer).map(drop).unwrap_err();
        assert!(format!("{error:?}").contains("older version"), "{error:?}");
        let (_, connection) = open(&path, looking).unwrap();
        assert_eq!(version(&connection).unwrap(), created);
    }
}
