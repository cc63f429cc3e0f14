//! Copies of a database, and the return of its free pages to the file system.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::readers::blocking;
use super::{SqliteStore, access, fault, lock};
use crate::error::{Code, Error};

/// How many pages one transaction returns: the writes of an engine wait for it.
const VACUUM_PAGES: u64 = 1_000;

/// The sizes of a database: see [`SqliteStore::sizes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sizes {
    /// The size of the database, in bytes.
    pub bytes: u64,
    /// How many of these bytes hold no data. New data is written there first.
    pub free_bytes: u64,
    /// The size of the write-ahead log, in bytes.
    pub log_bytes: u64,
}

impl SqliteStore {
    /// Writes a copy of the store at one moment to a new file. Engines can execute meanwhile. The copy is on the disk
    /// when this returns. It appears at its path complete or not at all, and only its owner can read it.
    ///
    /// An engine that opens the copy continues the runs from that moment, and executes again what they did later in the
    /// original.
    ///
    /// # Errors
    ///
    /// [`Code::Store`](crate::Code::Store) if there is a file at the path, or if it cannot be written: the copy is then
    /// removed.
    pub async fn backup(&self, to: impl AsRef<Path>) -> Result<(), Error> {
        let (to, readers, from) = (to.as_ref().to_owned(), self.readers.clone(), self.path.clone());
        blocking(move || {
            let to = std::path::absolute(&to).map_err(|error| not_written(&to, &error))?;
            if to.symlink_metadata().is_ok() {
                return Err(exists(&to));
            }
            let partial = partial(&to);
            access::create_new(&partial).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => exists(&partial),
                _ => not_written(&to, &error),
            })?;
            let copied = readers
                .connect()
                .and_then(|connection| connection.execute("VACUUM INTO ?1", [partial.to_string_lossy()]).map(drop));
            let finished = match copied {
                Ok(()) => publish(&partial, &to).map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => exists(&to),
                    _ => not_written(&to, &error),
                }),
                Err(fault) => Err(fault::explain(&from, "copy", &fault)),
            };
            let _ = fs::remove_file(&partial);
            finished
        })
        .await?
    }

    /// Returns the pages that hold no data to the file system, in small transactions, so that engines can execute
    /// meanwhile. Returns the sizes afterwards.
    ///
    /// # Errors
    ///
    /// If the store cannot be written.
    pub async fn vacuum(&self) -> Result<Sizes, Error> {
        let before = self.sizes().await?;
        let page_bytes = self.pragma("page_size").await?.max(1);
        let parts = before.free_bytes / page_bytes / VACUUM_PAGES + 1;
        let writer = self.writer.clone();
        blocking(move || {
            for _ in 0..parts {
                let vacuum = |connection: &rusqlite::Connection, _: &mut super::heads::Heads| {
                    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
                    let mut rows = statement.query(())?;
                    while rows.next()?.is_some() {}
                    Ok(())
                };
                lock(&writer).transaction(vacuum).map_err(|failed| failed.error)?;
            }
            Ok::<(), Error>(())
        })
        .await??;
        // The file shrinks when the log is written into it.
        let checkpoint =
            |connection: &rusqlite::Connection| connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()));
        self.readers.read("the log of", checkpoint).await?;
        self.sizes().await
    }

    /// The sizes of the database.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub async fn sizes(&self) -> Result<Sizes, Error> {
        let page_bytes = self.pragma("page_size").await?;
        let (pages, free) = (self.pragma("page_count").await?, self.pragma("freelist_count").await?);
        let log = super::identity::beside(&self.path, "-wal");
        let log_bytes = fs::metadata(log).map_or(0, |metadata| metadata.len());
        Ok(Sizes { bytes: pages * page_bytes, free_bytes: free * page_bytes, log_bytes })
    }

    async fn pragma(&self, name: &'static str) -> Result<u64, Error> {
        let read = move |connection: &rusqlite::Connection| {
            connection.query_row(&format!("PRAGMA {name}"), (), |row| row.get::<_, i64>(0))
        };
        Ok(self.readers.read("the size of", read).await?.cast_unsigned())
    }
}

/// The name of an incomplete copy.
fn partial(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    to.with_file_name(name)
}

/// Makes a complete copy appear at its path, and durable.
fn publish(partial: &Path, to: &Path) -> io::Result<()> {
    File::open(partial)?.sync_all()?;
    match fs::hard_link(partial, to) {
        Ok(()) => fs::remove_file(partial)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        // The file system has no links. It cannot exclude that another file appears at the path at this moment.
        Err(_) if to.symlink_metadata().is_err() => fs::rename(partial, to)?,
        Err(error) => return Err(error),
    }
    if cfg!(unix) {
        let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

fn exists(path: &Path) -> Error {
    Error::coded(Code::Store, format!("the file {} exists, and a backup does not overwrite files", path.display()))
        .help("give the path of a new file, or remove this one")
}

fn not_written(path: &Path, error: &io::Error) -> Error {
    Error::coded(Code::Store, format!("the backup {} could not be written", path.display()))
        .because(error)
        .help("check that its directory exists, can be written, and has room for the database")
}
