//! Checks whether the open files are still those at their paths.
//!
//! SQLite writes to the files that it has opened, even if they were moved: commits to a removed, renamed or replaced database
//! or write-ahead log are lost with it. A check of the paths after each commit detects that. An overwrite in place, as by
//! `cp`, does not change the file's number. But only checkpoints write the database file itself, and they never decrease its
//! commit count, nor write a schema version that was not committed before: so whenever the file was written, the check reads
//! both, bypassing the write-ahead log. `VACUUM INTO` gives each copy the next schema version.
//!
//! A database that was replaced while no process had it open may have the write-ahead log of its predecessor beside it,
//! if that was not closed properly. SQLite would apply the log to it, and damage it. The same numbers reveal it: see
//! [`check_log`].

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use super::mark::Mark;
use crate::error::{Code, Error};

/// The pause between two checks of a path that seems to lead to another file: some file systems do not always report the
/// same number for a file.
const SETTLE: Duration = Duration::from_millis(100);

/// How often a path is checked that gives a different result each time.
const SETTLES: usize = 10;

/// The pause between two attempts to read a file that cannot be read: another program may be overwriting it.
const REREAD: Duration = Duration::from_millis(50);
const REREADS: usize = 20;

/// The system's metadata of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: File,
    content: Content,
}

/// The identities of the database and of the two files beside it, if they exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Files {
    database: File,
    log: Option<(u64, u64)>,
    index: Option<(u64, u64)>,
}

/// The identity of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct File {
    device: u64,
    inode: u64,
    links: u64,
}

/// The time of its last write, and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Content {
    seconds: i64,
    nanoseconds: i64,
    bytes: u64,
}

#[cfg(unix)]
fn stamp(path: &Path) -> io::Result<Stamp> {
    use std::os::unix::fs::MetadataExt;

    let metadata = std::fs::metadata(path)?;
    Ok(Stamp {
        file: File { device: metadata.dev(), inode: metadata.ino(), links: metadata.nlink() },
        content: Content { seconds: metadata.mtime(), nanoseconds: metadata.mtime_nsec(), bytes: metadata.size() },
    })
}

/// The system prevents an open file from being removed or replaced.
#[cfg(not(unix))]
fn stamp(_: &Path) -> io::Result<Stamp> {
    let file = File { device: 0, inode: 0, links: 1 };
    Ok(Stamp { file, content: Content { seconds: 0, nanoseconds: 0, bytes: 0 } })
}

/// The device and the number of a file beside the database.
#[cfg(target_os = "linux")]
fn number(path: &Path) -> Option<(u64, u64)> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
    use rustix::io::Errno;

    // Not the times: after Linux (since 6.13, "multigrain timestamps") has returned the times of a file, the next write sets
    // a new time, and the sync after it also writes the inode. That took a third of the time of a commit.
    match statx(CWD, path, AtFlags::empty(), StatxFlags::INO) {
        Ok(file) => Some((makedev(file.stx_dev_major, file.stx_dev_minor), file.stx_ino)),
        // A kernel or a sandbox without the call.
        Err(Errno::NOSYS | Errno::PERM) => stamp(path).ok().map(|Stamp { file, .. }| (file.device, file.inode)),
        Err(_) => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn number(path: &Path) -> Option<(u64, u64)> {
    stamp(path).ok().map(|Stamp { file, .. }| (file.device, file.inode))
}

/// The identity that a database contains: with its write-ahead log, or the file alone.
#[derive(Debug, PartialEq, Eq)]
struct Inside {
    store: Vec<u8>,
    commits: i64,
    schema: i64,
}

/// The paths of a database and of the files beside it.
#[derive(Debug)]
struct Paths {
    database: PathBuf,
    log: PathBuf,
    index: PathBuf,
}

impl Paths {
    fn of(database: &Path) -> Self {
        Paths { log: beside(database, "-wal"), index: beside(database, "-shm"), database: database.to_owned() }
    }

    fn look(&self) -> io::Result<(Files, Content)> {
        let Stamp { file, content } = stamp(&self.database)?;
        Ok((Files { database: file, log: number(&self.log), index: number(&self.index) }, content))
    }
}

/// The path of a file beside a database.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[derive(Debug)]
pub(super) struct Identity {
    paths: Paths,
    files: Files,
    /// The metadata of the database when its content was last read.
    content: Content,
    store: Vec<u8>,
    /// The commit count that was last read from the file, if it had one.
    commits: Option<i64>,
    /// The schema version, and the `PRAGMA data_version` at which it was read: only other processes change both.
    schema: i64,
    version: Option<i64>,
    mark: Mark,
}

impl Identity {
    /// The identity of a file that was just opened and has its tables. `mark` records its commits for later processes.
    pub fn new(path: &Path, connection: &Connection, mark: Mark) -> Result<Self, Error> {
        let explain = |fault| super::fault::explain(path, "open", &fault);
        let missing = |error: io::Error| replaced(path, &error);
        let paths = Paths::of(path);
        // The read makes SQLite open the files beside the database.
        let Inside { store, commits: all, schema } = view(connection).map_err(explain)?;
        let (files, _) = paths.look().map_err(missing)?;
        if inside(path).ok().flatten().is_none() {
            // The tables of a new file are still in the write-ahead log.
            // If the checkpoint fails, for example on a full disk, they stay there for a while longer.
            let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()));
        }
        let (_, content) = paths.look().map_err(missing)?;
        let commits = inside(path).ok().flatten().map(|inside| inside.commits);
        let mut identity = Identity { paths, files, content, store, commits, schema, version: None, mark };
        identity.mark.compare(path, &identity.store, all);
        identity.counted(all);
        Ok(identity)
    }

    /// The random id that the database contains.
    pub fn store(&self) -> &[u8] {
        &self.store
    }

    /// Reads the schema version again if another process has committed since.
    pub fn refresh(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let version = connection.prepare_cached("PRAGMA data_version")?.query_row((), |row| row.get(0))?;
        if self.version != Some(version) {
            self.schema = connection.pragma_query_value(None, "schema_version", |row| row.get(0))?;
            self.version = Some(version);
        }
        Ok(())
    }

    /// Records the files beside the database after all connections were closed: SQLite then creates new ones.
    pub fn reopened(&mut self) {
        self.version = None;
        if let Ok((files, _)) = self.paths.look() {
            self.files = Files { database: self.files.database, ..files };
        }
    }

    /// Records the commit count, for the next process that opens the database.
    pub fn counted(&mut self, commits: i64) {
        self.mark.set(&self.store, commits, &self.paths.log, self.commits.unwrap_or(0));
    }

    /// Checks that the writes of this connection are in the files at the paths. Costs three system calls, unless the database
    /// was written.
    pub fn check(&mut self, connection: Option<&Connection>) -> Result<(), Error> {
        match self.paths.look() {
            Ok((files, content)) if files == self.files => match content == self.content {
                true => Ok(()),
                false => self.look_inside(content, connection),
            },
            other => self.settle(other.map_err(|error| error.kind()), connection),
        }
    }

    /// Checks again, until two consecutive checks agree.
    #[cold]
    fn settle(
        &mut self,
        first: Result<(Files, Content), io::ErrorKind>,
        connection: Option<&Connection>,
    ) -> Result<(), Error> {
        let mut before = first.map(|(files, _)| files);
        for _ in 0..SETTLES {
            std::thread::sleep(SETTLE);
            let now = self.paths.look();
            match &now {
                Ok((files, content)) if *files == self.files => return self.look_inside(*content, connection),
                Err(error) if before == Err(error.kind()) => return Err(replaced(&self.paths.database, error)),
                Ok((files, _)) if before == Ok(*files) => {
                    if let Some(connection) = connection {
                        self.save_log(*files, connection);
                    }
                    return Err(replaced(&self.paths.database, self.difference(*files)));
                }
                _ => {}
            }
            before = now.map(|(files, _)| files).map_err(|error| error.kind());
        }
        tracing::warn!(
            path = %self.paths.database.display(),
            "the file system gives the database another number again and again"
        );
        Ok(())
    }

    /// Writes a log that was removed into the database, unless another process may have begun a new log.
    fn save_log(&self, now: Files, connection: &Connection) {
        if now == (Files { log: None, ..self.files }) {
            // If it fails, what the log had is lost with it.
            let _ = connection.query_row("PRAGMA wal_checkpoint(FULL)", (), |_| Ok(()));
        }
    }

    fn difference(&self, now: Files) -> &'static str {
        let then = self.files;
        let number = |file: File| (file.device, file.inode);
        if number(now.database) != number(then.database) {
            "there is another file at its path"
        } else if now.database != then.database {
            "it has another name now (a hard link)"
        } else if now.log != then.log {
            "its write-ahead log (-wal) was removed or replaced"
        } else {
            "the index of its write-ahead log (-shm) was removed or replaced"
        }
    }

    /// Checks a file that was written, by a checkpoint or by another program.
    #[cold]
    fn look_inside(&mut self, content: Content, connection: Option<&Connection>) -> Result<(), Error> {
        for _ in 0..REREADS {
            let there = inside(&self.paths.database);
            // Without a connection, or after a fault, the schema version is not compared.
            let knows_schema = connection.is_some_and(|connection| self.refresh(connection).is_ok());
            let path = &self.paths.database;
            match there {
                Ok(Some(inside)) if inside.store != self.store => {
                    return Err(replaced(path, "another store was written over it"));
                }
                Ok(Some(inside)) if self.commits.is_some_and(|commits| inside.commits < commits) => {
                    return Err(replaced(path, "an earlier copy of it was written over it"));
                }
                Ok(Some(inside)) if knows_schema && inside.schema > self.schema => {
                    return Err(replaced(path, "a copy of it was written over it"));
                }
                Ok(Some(inside)) => {
                    (self.commits, self.content) = (Some(inside.commits), content);
                    return Ok(());
                }
                Ok(None) if self.commits.is_none() => {
                    self.content = content;
                    return Ok(());
                }
                Ok(None) | Err(_) => std::thread::sleep(REREAD),
            }
        }
        Err(replaced(&self.paths.database, "something else was written over it"))
    }
}

/// Checks that a file to be opened has one name only: SQLite keeps a write-ahead log beside each name, and two logs for
/// one file would damage it.
pub(super) fn check_links(path: &Path) -> Result<(), Error> {
    match stamp(path) {
        Ok(Stamp { file: File { links, .. }, .. }) if links > 1 => Err(Error::coded(
            Code::Store,
            format!("the database {} has {links} names (hard links)", path.display()),
        )
        .help(
            "remove all names but one: under each of them SQLite would keep another log, and the file would be damaged",
        )),
        _ => Ok(()),
    }
}

/// Checks, before the store writes, that the write-ahead log beside a database was written for it. If not, the log does
/// not change.
///
/// The log has what was committed after the file was last written. So the file alone never has more commits than the
/// file with its log, and an intact file stays readable with its log.
pub(super) fn check_log(path: &Path, connection: &Connection, mark: &Mark) -> Result<(), Error> {
    let log = beside(path, "-wal");
    if std::fs::metadata(&log).map_or(0, |metadata| metadata.len()) == 0 {
        return Ok(());
    }
    // First the file: the view must not miss commits of other processes between the two reads.
    let Ok(Some(file)) = inside(path) else { return Ok(()) };
    let fits = match view(connection) {
        Ok(both) => {
            let is_ahead = file.commits > both.commits || file.schema > both.schema;
            file.store == both.store && !is_ahead && !mark.is_later(&log, &file.store, file.commits)
        }
        // Other faults recur, and are explained then.
        Err(fault) => !matches!(
            fault.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown)
        ),
    };
    if fits {
        return Ok(());
    }
    Err(Error::coded(
        Code::StoreReplaced,
        format!("the log {} does not belong to the database beside it", log.display()),
    )
    .because(
        "the database was restored or replaced, and the log has commits of the previous file, which its last process \
             did not write into that file",
    )
    .help(
        "to use the database as it was restored, move the log and the -shm beside it away; to keep what was committed \
             last, put the previous file back. Nothing was changed",
    ))
}

/// Checks that no write-ahead log remains from a database that was removed: SQLite would delete it.
pub(super) fn check_left_log(path: &Path) -> Result<(), Error> {
    let log = beside(path, "-wal");
    let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if bytes(path) > 0 || bytes(&log) == 0 {
        return Ok(());
    }
    Err(Error::coded(Code::StoreReplaced, format!("the database {} is missing, but its log still exists", path.display()))
        .because(format!("{} has commits that its last process did not write into the database", log.display()))
        .help(
            "put the database back, or restore a copy; to begin with an empty database, move the log and the -shm beside it \
             away. Nothing was changed",
        ))
}

/// Sets whether SQLite keeps the write-ahead log when the connection is closed. Otherwise it may write a log over a
/// database that it does not belong to.
pub(super) fn leave_log(connection: &Connection, leaves: bool) {
    // If it fails, the log is written as usual.
    let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, leaves);
}

/// Reads the content of a database, with its write-ahead log.
fn view(connection: &Connection) -> rusqlite::Result<Inside> {
    let schema = connection.pragma_query_value(None, "schema_version", |row| row.get(0))?;
    connection.query_row("SELECT store, commits FROM meta", (), |row| {
        Ok(Inside { store: row.get(0)?, commits: row.get(1)?, schema })
    })
}

/// Reads the content of the file itself; `None` if its tables are still in the write-ahead log. Reads through SQLite,
/// because closing the file by other means would drop the locks of the other connections of this process.
fn inside(path: &Path) -> rusqlite::Result<Option<Inside>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(past_the_log(path), flags)?;
    // Otherwise SQLite rejects a file as damaged that is shorter than its header says, as during a checkpoint.
    connection.pragma_update(None, "writable_schema", true)?;
    if !connection.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'meta'")?.exists(())? {
        return Ok(None);
    }
    view(&connection).optional()
}

/// A URI that makes SQLite treat the file as immutable, and so ignore the write-ahead log.
pub(super) fn past_the_log(path: &Path) -> OsString {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    uri.into()
}

fn replaced(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::coded(
        Code::StoreReplaced,
        format!("the database {} is no longer the file that this process has open", path.display()),
    )
    .because(why)
    .help(
        "this process writes nothing more; the last commits may be in the old file only. Stop all processes \
         that have the database open before it is moved, restored or removed, and remove the -wal and -shm beside a file that \
         is replaced, then start them again; make copies with `VACUUM INTO` or `.backup`",
    )
}
