//! Checks whether the open file is still the one at its path.
//!
//! SQLite writes to the file that it has opened, even if that file was moved: commits to a removed, renamed or replaced file
//! are lost with it. A check of the path after each commit detects that. An overwrite in place, as by `cp`, does not change
//! the file's number. But only checkpoints write the database file itself, and they never decrease its commit count: so
//! whenever the file was written, the check reads its count, bypassing the write-ahead log.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

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

/// The content of a database file itself, without its write-ahead log.
#[derive(Debug)]
struct Inside {
    store: Vec<u8>,
    commits: i64,
}

#[derive(Debug)]
pub(super) struct Identity {
    path: PathBuf,
    file: File,
    /// The metadata when the content was last read.
    content: Content,
    store: Vec<u8>,
    /// The commit count that was last read from the file, if it had one.
    commits: Option<i64>,
}

impl Identity {
    /// The identity of a file that was just opened and has its tables.
    pub fn new(path: &Path, connection: &Connection) -> Result<Self, Error> {
        let explain = |fault| super::fault::explain(path, "open", &fault);
        let missing = |error: io::Error| replaced(path, &error);
        let store = connection.query_row("SELECT store FROM meta", (), |row| row.get(0)).map_err(explain)?;
        let Stamp { file, .. } = stamp(path).map_err(missing)?;
        if inside(path).ok().flatten().is_none() {
            // The tables of a new file are still in the write-ahead log.
            // If the checkpoint fails, for example on a full disk, they stay there for a while longer.
            let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()));
        }
        let Stamp { content, .. } = stamp(path).map_err(missing)?;
        let commits = inside(path).ok().flatten().map(|inside| inside.commits);
        Ok(Identity { path: path.to_owned(), file, content, store, commits })
    }

    /// Checks that the writes are in the file at the path. Costs one system call, unless the file was written.
    pub fn check(&mut self) -> Result<(), Error> {
        match stamp(&self.path) {
            Ok(Stamp { file, content }) if file == self.file => match content == self.content {
                true => Ok(()),
                false => self.look_inside(content),
            },
            other => self.settle(other.map_err(|error| error.kind())),
        }
    }

    /// Checks again, until two consecutive checks agree.
    #[cold]
    fn settle(&mut self, first: Result<Stamp, io::ErrorKind>) -> Result<(), Error> {
        let mut before = first.map(|stamp| stamp.file);
        for _ in 0..SETTLES {
            std::thread::sleep(SETTLE);
            let now = stamp(&self.path);
            match &now {
                Ok(Stamp { file, content }) if *file == self.file => return self.look_inside(*content),
                Err(error) if before == Err(error.kind()) => return Err(replaced(&self.path, error)),
                Ok(Stamp { file, .. }) if before == Ok(*file) && file.links != self.file.links => {
                    return Err(replaced(&self.path, "it has another name now (a hard link)"));
                }
                Ok(Stamp { file, .. }) if before == Ok(*file) => {
                    return Err(replaced(&self.path, "there is another file at its path"));
                }
                _ => {}
            }
            before = now.map(|stamp| stamp.file).map_err(|error| error.kind());
        }
        tracing::warn!(path = %self.path.display(), "the file system gives the database another number again and again");
        Ok(())
    }

    /// Checks a file that was written, by a checkpoint or by another program.
    #[cold]
    fn look_inside(&mut self, content: Content) -> Result<(), Error> {
        for _ in 0..REREADS {
            match inside(&self.path) {
                Ok(Some(inside)) if inside.store != self.store => {
                    return Err(replaced(&self.path, "another store was written over it"));
                }
                Ok(Some(inside)) if self.commits.is_some_and(|commits| inside.commits < commits) => {
                    return Err(replaced(&self.path, "an earlier copy of it was written over it"));
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
        Err(replaced(&self.path, "something else was written over it"))
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
    connection
        .query_row("SELECT store, commits FROM meta", (), |row| Ok(Inside { store: row.get(0)?, commits: row.get(1)? }))
        .optional()
}

/// A URI that makes SQLite treat the file as immutable, and so ignore the write-ahead log.
fn past_the_log(path: &Path) -> OsString {
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
        format!("the database {} is not the file any more that this process has open", path.display()),
    )
    .because(why)
    .help(
        "nothing is written any more, and what was committed shortly before may be in the old file only. Stop all processes \
         that have the database open before it is moved, restored or removed, then start them again; copies are made by \
         `VACUUM INTO` or `.backup`",
    )
}
