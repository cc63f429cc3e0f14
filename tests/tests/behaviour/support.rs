//! What the tests share: stores, a laboratory for steps, clocks, and stores that inject faults.

mod build;
mod clock;
mod faulty;
mod lab;
mod schedule;
#[path = "../shared/server_clock.rs"]
mod server_clock;
pub mod spans;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use build::{Build, build, ghost};
pub use clock::ManualClock;
pub use faulty::{Faulty, When};
pub use lab::Lab;
pub use schedule::{Schedule, Scheduled};
pub use server_clock::ServerClock;
use tempfile::TempDir;
use workflow_runtime::store::{JournalRow, MemoryStore, PostgresStore, SqliteStore, Store, Synchronous};
use workflow_runtime::{Builder, Engine};

/// Defines a test once for each store.
macro_rules! on_each_store {
    ($($(#[$meta:meta])* async fn $name:ident($place:ident: Place) $body:block)*) => {
        $(
            $(#[$meta])*
            mod $name {
                #[allow(unused_imports)]
                use super::*;

                async fn test($place: $crate::support::Place) $body

                case!(@ memory, Nothing, || {
                    workflow_harness::threads(test($crate::support::Place::memory()))
                });
                case!(@ sqlite, Nothing, || {
                    workflow_harness::threads(test($crate::support::Place::sqlite()))
                });
                case!(@ postgres, Postgres, || {
                    workflow_harness::threads(test($crate::support::Place::postgres()))
                });
            }
        )*
    };
}

/// Waits for a future, for at most two minutes.
pub async fn soon<F: IntoFuture>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(120), what.into_future()).await.expect("the future is not ready in time")
}

/// Waits until the journal of a run contains this text.
pub async fn recorded(place: &Place, id: &str, what: &str) {
    soon(async {
        while !place.journal(id).await.concat().contains(what) {
            workflow_harness::pause().await;
        }
    })
    .await;
}

/// The store of a test. It outlives the engines that are opened on it.
#[derive(Clone)]
pub enum Place {
    Memory(MemoryStore),
    Sqlite(Arc<TempDir>),
    Postgres(Arc<Schema>),
}

/// A schema of a PostgreSQL database.
pub struct Schema {
    url: String,
    /// A store for reads by the test, opened once because opening takes a while.
    reader: OnceLock<Arc<dyn Store>>,
}

impl Place {
    pub fn memory() -> Self {
        Place::Memory(MemoryStore::new())
    }

    pub fn sqlite() -> Self {
        Place::Sqlite(Arc::new(tempfile::tempdir().expect("a temporary directory")))
    }

    pub fn postgres() -> Self {
        Place::at(workflow_harness::postgres::url())
    }

    /// A store in PostgreSQL, by its URL with a schema.
    pub fn at(url: String) -> Self {
        Place::Postgres(Arc::new(Schema { url, reader: OnceLock::new() }))
    }

    /// The same database, with additional URL parameters.
    pub fn with(&self, parameters: &str) -> Self {
        let Place::Postgres(schema) = self else { panic!("the place is not a database") };
        Place::at(format!("{}&{parameters}", schema.url))
    }

    /// The URL by which another process opens the store. `None` in memory.
    pub fn url(&self) -> Option<String> {
        match self {
            Place::Memory(_) => None,
            Place::Sqlite(directory) => Some(format!("sqlite:{}", directory.path().join("runs.db").display())),
            Place::Postgres(schema) => Some(schema.url.clone()),
        }
    }

    /// The store itself. On a database or file, each call opens it anew, as another process would.
    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Place::Postgres(schema) => {
                let store = workflow_harness::wait(PostgresStore::open(&schema.url));
                Arc::new(store.expect("the store opens"))
            }
            Place::Memory(store) => Arc::new(store.clone()),
            Place::Sqlite(directory) => {
                let path = directory.path().join("runs.db");
                Arc::new(SqliteStore::open(path, Synchronous::Normal).expect("the store opens"))
            }
        }
    }

    /// A client of the database, whose search path is the schema.
    pub async fn database(&self) -> tokio_postgres::Client {
        let Place::Postgres(schema) = self else { panic!("the place is not a database") };
        let (base, parameters) = schema.url.split_once('?').expect("the URL has parameters");
        let name = parameters.split('&').find_map(|pair| pair.strip_prefix("schema=")).expect("the URL names a schema");
        let (client, connection) = tokio_postgres::connect(base, tokio_postgres::NoTls).await.expect("it connects");
        tokio::spawn(connection);
        client.batch_execute(&format!("SET search_path = {name}")).await.expect("the schema exists");
        client
    }

    /// A store that the test only reads.
    fn reader(&self) -> Arc<dyn Store> {
        match self {
            Place::Postgres(schema) => schema.reader.get_or_init(|| self.store()).clone(),
            _ => self.store(),
        }
    }

    /// A builder of an engine on the store, with the lab that the steps of these tests use.
    pub fn builder(&self, lab: &Lab) -> Builder {
        Engine::builder().store(self.store()).resource(lab.clone())
    }

    pub async fn open(&self, lab: &Lab) -> Engine {
        self.builder(lab).replay_every_turn().open().await.expect("the engine opens")
    }

    /// A builder of an engine whose only clock is `clock`. It replaces the clock of a database server, too.
    pub fn builder_at(&self, lab: &Lab, clock: &ManualClock) -> Builder {
        let store = Arc::new(ServerClock::new(self.store(), None));
        self.builder(lab).store(store).environment(Arc::new(clock.clone()))
    }

    /// Opens an engine on a stopped clock. First waits until the engine that was dropped before, which may have a
    /// commit under way, has released the store: on a stopped clock the new engine would never retry to acquire it.
    pub async fn open_at(&self, lab: &Lab, clock: &ManualClock) -> Engine {
        let store = self.store();
        while store.acquire(1).await.expect("the store locks").is_none() {
            workflow_harness::pause().await;
        }
        self.builder_at(lab, clock).replay_every_turn().open().await.expect("the engine opens")
    }

    /// The journal of a run, as text.
    pub async fn journal(&self, id: &str) -> Vec<String> {
        self.rows(id).await.iter().map(|row| String::from_utf8_lossy(&row.body).into_owned()).collect()
    }

    /// The number of messages in a run's inbox.
    pub async fn inbox(&self, id: &str) -> usize {
        let store = self.reader();
        let row = store.run(id).await.expect("the store reads").expect("the run exists");
        store.inbox(row.key).await.expect("the store reads").1.len()
    }

    pub async fn rows(&self, id: &str) -> Vec<JournalRow> {
        let store = self.reader();
        let row = store.run(id).await.expect("the store reads").expect("the run exists");
        store.journal(row.key, row.generation, 0, usize::MAX >> 1).await.expect("the store reads")
    }
}
