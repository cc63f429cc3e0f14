//! An engine on its own schema.

use std::sync::Arc;

use tokio::runtime::Runtime;
use workflow_runtime::Engine;
use workflow_runtime::store::PostgresStore;

use crate::Result;
use crate::counting::{Counting, Counts};

pub struct Ours {
    pub engine: Engine,
    store: Arc<Counting<PostgresStore>>,
    pub runtime: Runtime,
    url: String,
}

impl Ours {
    /// On the runtime that `#[tokio::main]` makes.
    pub fn open(url: String) -> Result<Self> {
        let runtime = Runtime::new()?;
        let (engine, store) = runtime.block_on(async {
            let store = Arc::new(Counting::new(PostgresStore::open(&url).await?));
            Ok::<_, workflow_runtime::Error>((Engine::builder().store(store.clone()).open().await?, store))
        })?;
        Ok(Ours { engine, store, runtime, url })
    }

    pub fn counts(&self) -> Counts {
        self.store.counts()
    }

    /// Bytes of an encoded turn, on average.
    pub fn body(&self) -> Result<usize> {
        self.runtime.block_on(async {
            let sql = "SELECT coalesce(round(avg(length(body))), 0)::bigint FROM journal";
            let bytes: i64 = super::connect(&self.url).await.query_one(sql, &[]).await?.try_get(0)?;
            Ok(usize::try_from(bytes)?)
        })
    }
}
