//! An engine on its own database.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use tokio::runtime::Runtime;
use workflow_runtime::Engine;
use workflow_runtime::store::{SqliteStore, Synchronous};

use super::Result;
use super::counting::{Counting, Counts};

pub struct Ours {
    pub engine: Engine,
    store: Arc<Counting<SqliteStore>>,
    pub runtime: Runtime,
    path: PathBuf,
}

impl Ours {
    /// On the runtime that `#[tokio::main]` makes.
    pub fn open(directory: &Path, synchronous: Synchronous) -> Result<Self> {
        let path = directory.join("ours.db");
        let runtime = Runtime::new()?;
        let store = Arc::new(Counting::new(SqliteStore::open(&path, synchronous)?));
        // A replay is measured several times without a step in between.
        let builder = Engine::builder().store(store.clone()).recoveries(u32::MAX);
        let engine = runtime.block_on(builder.open())?;
        Ok(Ours { engine, store, runtime, path })
    }

    pub fn counts(&self) -> Counts {
        self.store.counts()
    }

    pub fn journal(&self) -> Result<Journal> {
        Journal::measure(&self.path)
    }
}

/// The size of a database's journals.
#[derive(Clone, Copy)]
pub struct Journal {
    pub rows: u64,
    /// Bytes of the encoded turns, without the other columns.
    pub bytes: u64,
}

impl Journal {
    pub fn measure(path: &Path) -> Result<Self> {
        let sql = "SELECT count(*), coalesce(sum(length(body)), 0) FROM journal";
        let number = |row: &rusqlite::Row<'_>, column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        let measured = |row: &rusqlite::Row<'_>| Ok(Journal { rows: number(row, 0)?, bytes: number(row, 1)? });
        Ok(Connection::open(path)?.query_row(sql, (), measured)?)
    }

    /// Bytes of a turn, on average.
    pub fn body(self) -> usize {
        (self.bytes as f64 / self.rows.max(1) as f64).round() as usize
    }
}
