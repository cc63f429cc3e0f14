//! Converts errors of SQLite to errors that help an operator to fix the cause.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::error::{Code, Error};

/// Whether a failed COMMIT certainly committed nothing. In WAL mode a transaction is committed once its last frame is fully
/// written. Without space (`SQLITE_FULL`) or without the lock it is not; after a failed sync it may be.
pub(super) fn nothing_committed(fault: &rusqlite::Error) -> bool {
    matches!(
        fault.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::ReadOnly
                | ErrorCode::ConstraintViolation
                | ErrorCode::TooBig
        )
    )
}

/// Whether the connection must not be used again: the kernel reports a failed sync once, and the next one on the same
/// handle succeeds without having written anything.
pub(super) fn spoils(fault: &rusqlite::Error) -> bool {
    !nothing_committed(fault)
}

pub(super) fn is_busy(fault: &rusqlite::Error) -> bool {
    matches!(fault.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Whether the content of a row is the cause, and not the database.
pub(super) fn is_damage(fault: &rusqlite::Error) -> bool {
    matches!(
        fault,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..)
    )
}

/// `doing` completes "could not": "open", "write to", ..
pub(super) fn explain(path: &Path, doing: &str, fault: &rusqlite::Error) -> Error {
    let path = path.display();
    let directory = "check that the file and its directory exist and can be written by the user that runs this program \
                     (SQLite keeps two more files beside it, -wal and -shm)";
    let (code, what, help) = match fault {
        fault if is_damage(fault) => (
            Code::Damaged,
            "a row in it cannot be read",
            "the row was not written by this library, or the disk has damaged it: restore the file from a backup",
        ),
        _ => match fault.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => (
                Code::Store,
                "another program keeps it locked",
                "find the program (a database browser with an open transaction, a backup, another service) and close it",
            ),
            Some(ErrorCode::DiskFull) => {
                (Code::Store, "the disk is full", "make room on the disk; nothing that was committed is lost")
            }
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => (Code::Store, "it cannot be written", directory),
            Some(ErrorCode::CannotOpen) => (Code::Store, "the file cannot be opened", directory),
            Some(ErrorCode::NotADatabase) => (
                Code::Store,
                "it is not a SQLite database",
                "give the path of another file; nothing in this one was changed",
            ),
            Some(ErrorCode::DatabaseCorrupt) => (
                Code::Store,
                "the database is damaged",
                "if the file was just restored: its -wal and -shm are those of the file before; remove all three, and copy \
                 the backup again. Otherwise restore it from a backup, or copy what can be read with \
                 `sqlite3 FILE .recover`; keep the damaged file, and its -wal beside it, until then",
            ),
            Some(ErrorCode::SystemIoFailure) => (
                Code::Store,
                "the system failed to read or write it",
                "look for errors of the disk in the system's log; a network file system is no place for SQLite",
            ),
            Some(ErrorCode::TooBig) => (
                Code::Store,
                "a row is larger than SQLite takes",
                "have the steps that end together return less; store large data elsewhere and return its address",
            ),
            _ => (Code::Store, "SQLite refused it", "this is not expected: please report it with this text"),
        },
    };
    let detail = match fault.sqlite_error() {
        Some(error) => format!("{fault} (SQLite code {})", error.extended_code),
        None => fault.to_string(),
    };
    Error::coded(code, format!("could not {doing} the database {path}: {what}")).because(detail).help(help)
}
