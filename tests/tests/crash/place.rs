//! The database and the directory of the programs under test.

use std::path::PathBuf;

use tempfile::TempDir;
use workflow_harness::postgres;
use workflow_tests::Execution;

use super::snapshot::{self, Snapshot};

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Sqlite,
    Postgres,
}

/// A database and a directory with the log.
pub struct Place {
    kind: Kind,
    directory: TempDir,
    url: String,
}

impl Place {
    pub fn new(kind: Kind) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let url = match kind {
            Kind::Sqlite => format!("sqlite:{}", directory.path().join("workflow.db").display()),
            // The next process waits until the lease of the killed one has expired.
            Kind::Postgres => format!("{}&lease=1s", postgres::url()),
        };
        Place { kind, directory, url }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// The runs that are stored now.
    pub fn stored(&self) -> Snapshot {
        match self.kind {
            Kind::Sqlite => snapshot::of_database(&self.directory.path().join("workflow.db")),
            Kind::Postgres => std::thread::scope(|scope| {
                let read = || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    runtime.expect("a runtime").block_on(snapshot::of_postgres(&self.url))
                };
                scope.spawn(read).join().expect("the database is readable")
            }),
        }
    }

    pub fn executions(&self) -> Vec<Execution> {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().map(|line| Execution::parse(line).unwrap_or_else(|| panic!("not an execution: {line}"))).collect()
    }
}
