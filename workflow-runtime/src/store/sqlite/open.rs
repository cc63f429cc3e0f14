//! Opening a database: whose it is, which version it has, and that it can be written.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{Synchronous, fault, schema};
use crate::error::{Code, Error};

/// How the connections of one store are made.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// Absolute and without symbolic links, so that all who open the file agree on the one beside it that is locked.
    pub(super) path: PathBuf,
    synchronous: Synchronous,
    busy_timeout: Duration,
}

/// Opens the database, and creates it with its directories if there is none.
pub(super) fn open(
    path: &Path,
    synchronous: Synchronous,
    busy_timeout: Duration,
) -> Result<(Address, Connection), Error> {
    if path.as_os_str().is_empty() || path == Path::new(":memory:") {
        return Err(Error::coded(
            Code::InvalidUrl,
            format!("\"{}\" is not the path of a database file", path.display()),
        )
        .help("give the path of a file, or use `MemoryStore` (\"memory:\") for runs that need not be kept"));
    }
    // Absolute, because SQLite gives a meaning to some relative names.
    let path = std::path::absolute(path).map_err(|error| unusable(path, &error))?;
    if path.is_dir() {
        return Err(Error::coded(Code::Store, format!("could not open the database {}", path.display()))
            .because("it is a directory")
            .help("give the path of a file in it"));
    }
    if let Some(directory) = path.parent() {
        create_directories(directory).map_err(|error| unusable(directory, &error))?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let explain = |fault| fault::explain(&path, "open", &fault);
    let mut connection = Connection::open_with_flags(&path, flags).map_err(explain)?;
    connection.busy_timeout(busy_timeout).map_err(explain)?;
    // First look, then touch: another program's file stays as it is.
    let owned = identify(&connection).map_err(explain)?;
    check(&path, &owned)?;
    if connection.is_readonly("main").map_err(explain)? {
        return Err(Error::coded(
            Code::Store,
            format!("could not open the database {}: it is read-only", path.display()),
        )
        .help(
            "make the file writable for the user that runs this program; a store that cannot be written is of no use",
        ));
    }
    switch_to_wal(&path, &connection, busy_timeout)?;
    create_tables(&path, &mut connection)?;
    let path = fs::canonicalize(&path).map_err(|error| unusable(&path, &error))?;
    let address = Address { path, synchronous, busy_timeout };
    address.prepare_writer(&connection).map_err(|fault| fault::explain(&address.path, "open", &fault))?;
    Ok((address, connection))
}

impl Address {
    /// Another connection for writing. It does not create the file: one that is gone must not come back empty.
    pub(super) fn writer(&self) -> rusqlite::Result<Connection> {
        let connection = self.connect()?;
        self.prepare_writer(&connection)?;
        Ok(connection)
    }

    /// Another connection for reading.
    pub(super) fn reader(&self) -> rusqlite::Result<Connection> {
        let connection = self.connect()?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(self.busy_timeout)?;
        prepare(&connection)?;
        Ok(connection)
    }

    fn prepare_writer(&self, connection: &Connection) -> rusqlite::Result<()> {
        prepare(connection)?;
        connection.pragma_update(None, "synchronous", self.synchronous.as_pragma())
    }

    /// The file whose lock is the right to execute. It is not the database itself: closing any handle of a file drops
    /// the POSIX locks that SQLite has on it.
    pub(super) fn lock_file(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".lock");
        name.into()
    }
}

/// Statements are prepared once. Without the stable plans SQLite would look at the values that are bound to some of them
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

/// Creates what is missing, and makes sure that a power loss does not take the new directories away with the database
/// in them: SQLite syncs the directory of its files, and none above it.
fn create_directories(directory: &Path) -> io::Result<()> {
    let missing = directory.ancestors().take_while(|ancestor| !ancestor.is_dir()).count();
    if missing == 0 {
        return Ok(());
    }
    fs::create_dir_all(directory)?;
    if cfg!(unix) {
        for above in directory.ancestors().skip(1).take(missing) {
            File::open(above)?.sync_all()?;
        }
    }
    Ok(())
}

enum Owned {
    Nobody,
    Ours { version: i32 },
    Others { application_id: i32, tables: Vec<String> },
}

fn identify(connection: &Connection) -> rusqlite::Result<Owned> {
    // One snapshot: else tables that another process is just creating are seen without the id that they come with.
    let _snapshot = connection.is_autocommit().then(|| connection.unchecked_transaction()).transpose()?;
    let application_id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if application_id == schema::APPLICATION_ID {
        return Ok(Owned::Ours { version });
    }
    let tables = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') ORDER BY name LIMIT 10")?
        .query_map((), |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    Ok(match application_id == 0 && version == 0 && tables.is_empty() {
        true => Owned::Nobody,
        false => Owned::Others { application_id, tables },
    })
}

fn check(path: &Path, owned: &Owned) -> Result<(), Error> {
    let path = path.display();
    match owned {
        Owned::Nobody | Owned::Ours { version: schema::VERSION } => Ok(()),
        Owned::Ours { version } => Err(Error::coded(
            Code::NewerStore,
            format!("the database {path} was written by a newer version of this library"),
        )
        .expected(format!("tables of version {}", schema::VERSION))
        .found(format!("version {version}"))
        .help("update this program; nothing in the file has been changed")),
        Owned::Others { application_id, tables } => {
            Err(Error::coded(Code::Store, format!("the database {path} belongs to another program"))
                .expected("an empty database, or one that this library has made")
                .found(format!("application_id {application_id:#010x}, tables: {}", tables.join(", ")))
                .help("give the path of another file; this one has been left as it is"))
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

fn create_tables(path: &Path, connection: &mut Connection) -> Result<(), Error> {
    let explain = |fault| fault::explain(path, "create tables in", &fault);
    if let Owned::Ours { .. } = identify(connection).map_err(explain)? {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(explain)?;
    // Another process may have been faster.
    let owned = identify(&transaction).map_err(explain)?;
    check(path, &owned)?;
    if let Owned::Nobody = owned {
        let create = || {
            transaction.execute_batch(schema::TABLES)?;
            transaction.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", schema::VERSION)
        };
        create().map_err(explain)?;
    }
    transaction.commit().map_err(explain)
}
