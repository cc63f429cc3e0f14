//! The raw work: rows like ours, in an append-only table.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::Result;
use super::pairs::{Spent, Watch};

/// The columns of our journal, without its index.
const TABLE: &str = "
CREATE TABLE journal (
    position   INTEGER PRIMARY KEY,
    run        INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    idx        INTEGER NOT NULL,
    turn       BLOB    NOT NULL,
    format     INTEGER NOT NULL,
    checksum   INTEGER NOT NULL,
    body       BLOB    NOT NULL
) STRICT";

const INSERT: &str =
    "INSERT INTO journal (run, generation, idx, turn, format, checksum, body) VALUES (?1, 0, ?2, ?3, 1, ?4, ?5)";

pub struct Raw {
    connection: Connection,
    body: Vec<u8>,
    rows: i64,
}

impl Raw {
    /// A table whose rows have bodies of this size.
    pub fn open(directory: &Path, body: usize) -> Result<Self> {
        let connection = Connection::open(directory.join("raw.db"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.execute_batch(TABLE)?;
        let mut raw = Raw { connection, body: vec![b'7'; body], rows: 0 };
        // A growing log is slower than one that is overwritten, as ours is by now.
        raw.connection.pragma_update(None, "synchronous", "OFF")?;
        raw.append(3_000, 1.0)?;
        raw.connection.pragma_update(None, "synchronous", "FULL")?;
        Ok(raw)
    }

    /// Appends rows, on average `group` per commit.
    pub fn append(&mut self, rows: u64, group: f64) -> Result<Spent> {
        let mut begin = self.connection.prepare("BEGIN IMMEDIATE")?;
        let mut insert = self.connection.prepare(INSERT)?;
        let mut commit = self.connection.prepare("COMMIT")?;
        let watch = Watch::start();
        let (mut appended, mut groups) = (0, 0.0);
        while appended < rows {
            groups += 1.0;
            let end = ((groups * group).round() as u64).clamp(appended + 1, rows);
            begin.execute(())?;
            for _ in appended..end {
                self.rows += 1;
                let row = self.rows;
                let turn = (u128::from(row.cast_unsigned()) * 0x9E37_79B9_7F4A_7C15).to_be_bytes();
                let checksum = row.wrapping_mul(0x5851_F42D) & 0xFFFF_FFFF;
                insert.execute(params![row / 11 + 1, row % 1_000, turn, checksum, self.body])?;
            }
            commit.execute(())?;
            appended = end;
        }
        Ok(watch.stop(rows as f64))
    }

    /// The duration of each of `commits` commits of one row.
    pub fn commits(&mut self, commits: usize) -> Result<Vec<Duration>> {
        (0..commits).map(|_| Ok(self.append(1, 1.0)?.time())).collect()
    }
}
