//! What commands share: the options, the output, the store.

use super::global::Global;
use super::output::Output;
use super::report::Outcome;
use super::store;
use crate::engine::{Builder, Client};
pub(super) use crate::steering::AnyRun;

pub(super) struct Context {
    pub output: Output,
    store: Option<String>,
    builder: Option<Builder>,
    client: Option<Client>,
}

impl Context {
    pub fn new(global: Global, builder: Builder) -> Context {
        Context { output: Output::new(&global), store: global.store, builder: Some(builder), client: None }
    }

    /// The client of the store, which must exist: it executes, creates and migrates nothing.
    pub async fn client(&mut self) -> Outcome<Client> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = Builder::default().url(self.url()?).must_exist().connect().await?;
        self.client = Some(client.clone());
        Ok(client)
    }

    /// A handle on a run that need not exist.
    pub async fn run(&mut self, id: &str) -> Outcome<AnyRun> {
        Ok(self.client().await?.get_run(id))
    }

    /// The URL of the store.
    pub fn url(&self) -> Outcome<String> {
        store::url(self.store.as_deref())
    }

    /// The store that was named by an option.
    pub fn named_store(&self) -> Option<&str> {
        self.store.as_deref()
    }

    /// The settings of this program's engine.
    pub fn take_builder(&mut self) -> Builder {
        self.builder.take().unwrap_or_default()
    }
}
