//! A note in the lock file about the database beside it, for the next process that opens it.
//!
//! Only errors and warnings depend on it: it is not synced, and a database works without it.

use std::fs::File;
use std::path::Path;

use super::access;

/// Behind it is the note of [`Lock`](super::ownership::Lock).
pub(super) const BYTES: usize = 40;

/// Writes to the lock file, and has the note that it had when it was opened.
#[derive(Debug)]
pub(super) struct Mark {
    /// `None` if it cannot be written: another user may own it.
    file: Option<File>,
    noted: Option<Note>,
}

/// The content of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Note {
    store: [u8; 16],
    /// The commit count of the database.
    commits: i64,
    /// The salts of a write-ahead log, which are new for each log, and the commit count of the database file without
    /// that log.
    log: [u8; 8],
    file_commits: i64,
}

impl Mark {
    /// Creates the file if it does not exist.
    pub fn open(lock_file: &Path) -> Self {
        Self::new(access::options().create(true).truncate(false).open(lock_file).ok())
    }

    /// Opens the file for reading only.
    pub fn look(lock_file: &Path) -> Self {
        Self::new(File::open(lock_file).ok())
    }

    fn new(file: Option<File>) -> Self {
        let noted = file.as_ref().and_then(read);
        Mark { file, noted }
    }

    /// Warns if the database has fewer commits than it had, or is another one.
    pub fn compare(&self, path: &Path, store: &[u8], commits: i64) {
        let Some(noted) = self.noted else { return };
        let path = path.display();
        if noted.store != *store {
            tracing::warn!(
                %path,
                "there is another database at the path than before: the runs of the previous one are not in it"
            );
        } else if commits < noted.commits {
            tracing::warn!(
                %path,
                missing = noted.commits - commits,
                "commits are missing from the database that were acknowledged: an earlier copy was restored, or its \
                 write-ahead log (-wal) was removed"
            );
        }
    }

    /// Whether the database file had more commits than these when this log was in use.
    pub fn is_later(&self, log: &Path, store: &[u8], commits: i64) -> bool {
        self.noted
            .is_some_and(|noted| noted.store == *store && commits < noted.file_commits && salts(log) == Some(noted.log))
    }

    /// Notes the commit counts of the database, with the log that is in use, and of the database file alone.
    pub fn set(&mut self, store: &[u8], commits: i64, log: &Path, file_commits: i64) {
        let Ok(store) = store.try_into() else { return };
        self.write(Note { store, commits, log: salts(log).unwrap_or_default(), file_commits });
    }

    fn write(&mut self, note: Note) {
        if self.noted.replace(note) == Some(note) {
            return;
        }
        #[cfg(unix)]
        if let Some(file) = &self.file {
            let Note { store, commits, log, file_commits } = note;
            let bytes = [&store[..], &commits.to_le_bytes(), &log, &file_commits.to_le_bytes()].concat();
            // Without the note a later process has fewer warnings.
            let _ = std::os::unix::fs::FileExt::write_all_at(file, &bytes, 0);
        }
    }
}

fn read(file: &File) -> Option<Note> {
    let mut bytes = [0; BYTES];
    std::io::Read::read_exact(&mut &*file, &mut bytes).ok()?;
    let (store, rest) = bytes.split_first_chunk::<16>()?;
    let (commits, rest) = rest.split_first_chunk::<8>()?;
    let (log, rest) = rest.split_first_chunk::<8>()?;
    let file_commits = rest.first_chunk::<8>()?;
    let (commits, file_commits) = (i64::from_le_bytes(*commits), i64::from_le_bytes(*file_commits));
    Some(Note { store: *store, commits, log: *log, file_commits })
}

/// The salts in the header of a write-ahead log.
fn salts(log: &Path) -> Option<[u8; 8]> {
    let mut header = [0; 32];
    std::io::Read::read_exact(&mut File::open(log).ok()?, &mut header).ok()?;
    header.get(16..)?.first_chunk::<8>().copied()
}
