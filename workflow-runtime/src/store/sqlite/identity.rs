//! Whether the file that is open is still the one at its path.
//!
//! SQLite writes to the file that it has opened, wherever that is now: what is committed to one that was removed, renamed or
//! replaced is gone with it. A look at the path after each commit finds that. A file that was overwritten in place, as `cp`
//! does it, is the same to the system. But the database file itself is only written by checkpoints, and those never take its
//! count of commits back: so whenever the file was written, its count is looked at, past the write-ahead log.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::error::{Code, Error};

/// Between two looks at a path that seems to lead to another file: some file systems do not always give a file the same
/// number.
const SETTLE: Duration = Duration::from_millis(100);

/// How often a path is looked at that gives another answer each time.
const SETTLES: usize = 10;

/// Between two looks into a file that cannot be read: it may be being overwritten.
const REREAD: Duration = Duration::from_millis(50);
const REREADS: usize = 20;

/// What the system says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: File,
    content: Content,
}

/// Which file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct File {
    device: u64,
    inode: u64,
    links: u64,
}

/// When it was written, and its size.
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

/// The system keeps a file that is open from being removed or replaced.
#[cfg(not(unix))]
fn stamp(_: &Path) -> io::Result<Stamp> {
    let file = File { device: 0, inode: 0, links: 1 };
    Ok(Stamp { file, content: Content { seconds: 0, nanoseconds: 0, bytes: 0 } })
}

/// What a database file has in itself, without its write-ahead log.
#[derive(Debug)]
struct Inside {
    store: Vec<u8>,
    commits: i64,
}

#[derive(Debug)]
pub(super) struct Identity {
    path: PathBuf,
    file: File,
    /// As it was when it was last looked into.
    content: Content,
    store: Vec<u8>,
    /// The count that was last found in the file, if there was one.
    commits: Option<i64>,
}

impl Identity {
    /// Of the file that was just opened, and has its tables.
    pub fn new(path: &Path, connection: &Connection) -> Result<Self, Error> {
        let explain = |fault| super::fault::explain(path, "open", &fault);
        let missing = |error: io::Error| replaced(path, &error);
        let store = connection.query_row("SELECT store FROM meta", (), |row| row.get(0)).map_err(explain)?;
        let Stamp { file, .. } = stamp(path).map_err(missing)?;
        if inside(path).ok().flatten().is_none() {
            // A new file has nothing in itself yet.
            // If that fails, the disk may be full, it has nothing in itself for a while longer.
            let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()));
        }
        let Stamp { content, .. } = stamp(path).map_err(missing)?;
        let commits = inside(path).ok().flatten().map(|inside| inside.commits);
        Ok(Identity { path: path.to_owned(), file, content, store, commits })
    }

    /// That what was written is in the file at the path. Costs one call of the system, unless the file was written.
    pub fn check(&mut self) -> Result<(), Error> {
        match stamp(&self.path) {
            Ok(Stamp { file, content }) if file == self.file => match content == self.content {
                true => Ok(()),
                false => self.look_inside(content),
            },
            other => self.settle(other.map_err(|error| error.kind())),
        }
    }

    /// Looks again, until two looks in a row say the same.
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

    /// The file was written: by a checkpoint, or by somebody else.
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

/// That a file which is to be opened has one name: SQLite keeps a write-ahead log beside each of them, and two logs of one
/// file are its end.
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

/// What the file itself has: nothing if its tables are all in the write-ahead log still. Through SQLite, because closing the
/// file by other means would drop the locks of the connections that this process has.
fn inside(path: &Path) -> rusqlite::Result<Option<Inside>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(past_the_log(path), flags)?;
    // Else a file is refused as damaged that is shorter than it says, as during a checkpoint.
    connection.pragma_update(None, "writable_schema", true)?;
    if !connection.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'meta'")?.exists(())? {
        return Ok(None);
    }
    connection
        .query_row("SELECT store, commits FROM meta", (), |row| Ok(Inside { store: row.get(0)?, commits: row.get(1)? }))
        .optional()
}

/// A URI by which SQLite takes the file for one that nobody writes.
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
