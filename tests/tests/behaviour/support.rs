//! A place for the store, a laboratory for the steps, a clock to set, a store that misbehaves.

mod clock;
mod faulty;
mod lab;
mod schedule;
#[path = "../shared/serverless.rs"]
mod serverless;
pub mod spans;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use clock::ManualClock;
pub use faulty::{Faulty, When};
pub use lab::Lab;
pub use schedule::{Schedule, Scheduled};
pub use serverless::Serverless;
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

/// Waits for a future, for a limited time.
pub async fn soon<F: IntoFuture>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), what.into_future()).await.expect("it does not come to its end")
}

/// Waits until the journal of a run has this in it.
pub async fn recorded(place: &Place, id: &str, what: &str) {
    soon(async {
        while !place.journal(id).await.concat().contains(what) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Where a test's runs are. It outlives the engines that are opened on it.
#[derive(Clone)]
pub enum Place {
    Memory(MemoryStore),
    Sqlite(Arc<TempDir>),
    Postgres(Arc<Schema>),
}

/// A schema of a database.
pub struct Schema {
    url: String,
    /// For looking at it: opening it takes a while.
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

    /// A database, by the URL of a schema.
    pub fn at(url: String) -> Self {
        Place::Postgres(Arc::new(Schema { url, reader: OnceLock::new() }))
    }

    /// The same database, with these parameters as well.
    pub fn with(&self, parameters: &str) -> Self {
        let Place::Postgres(schema) = self else { panic!("it is no database") };
        Place::at(format!("{}&{parameters}", schema.url))
    }

    /// The URL by which another process opens it; `None` in memory.
    pub fn url(&self) -> Option<String> {
        match self {
            Place::Memory(_) => None,
            Place::Sqlite(directory) => Some(format!("sqlite:{}", directory.path().join("runs.db").display())),
            Place::Postgres(schema) => Some(schema.url.clone()),
        }
    }

    /// The store itself. Each call for a database opens it anew, as another process would.
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

    /// The database itself, with the schema on the path.
    pub async fn database(&self) -> tokio_postgres::Client {
        let Place::Postgres(schema) = self else { panic!("it is no database") };
        let (base, parameters) = schema.url.split_once('?').expect("it has parameters");
        let name = parameters.split('&').find_map(|pair| pair.strip_prefix("schema=")).expect("it names a schema");
        let (client, connection) = tokio_postgres::connect(base, tokio_postgres::NoTls).await.expect("it connects");
        tokio::spawn(connection);
        client.batch_execute(&format!("SET search_path = {name}")).await.expect("it is there");
        client
    }

    /// The store, to be looked at only.
    fn reader(&self) -> Arc<dyn Store> {
        match self {
            Place::Postgres(schema) => schema.reader.get_or_init(|| self.store()).clone(),
            _ => self.store(),
        }
    }

    /// An engine on the place, with the lab that the steps of these tests use.
    pub fn builder(&self, lab: &Lab) -> Builder {
        Engine::builder().store(self.store()).resource(lab.clone())
    }

    pub async fn open(&self, lab: &Lab) -> Engine {
        self.builder(lab).replay_every_turn().open().await.expect("the engine opens")
    }

    /// An engine on a clock that all the world goes by, the server of a database included.
    pub fn builder_at(&self, lab: &Lab, clock: &ManualClock) -> Builder {
        let store = Arc::new(Serverless::new(self.store()));
        self.builder(lab).store(store).environment(Arc::new(clock.clone()))
    }

    /// An engine on a clock that stands still. It waits for the end of the engine that was dropped before it, which may
    /// have a commit under way: on that clock nobody would ask again for the right to execute.
    pub async fn open_at(&self, lab: &Lab, clock: &ManualClock) -> Engine {
        let store = self.store();
        while store.acquire(1).await.expect("the store locks").is_none() {
            tokio::task::yield_now().await;
        }
        self.builder_at(lab, clock).replay_every_turn().open().await.expect("the engine opens")
    }

    /// The journal of a run, as text.
    pub async fn journal(&self, id: &str) -> Vec<String> {
        self.rows(id).await.iter().map(|row| String::from_utf8_lossy(&row.body).into_owned()).collect()
    }

    /// How many letters wait in a run's inbox.
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
