//! Connections, each with its prepared statements.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

use deadpool::managed::{self, Metrics, RecycleResult};
use deadpool_postgres::ClientWrapper;
use rustc_hash::FxBuildHasher;
use tokio_postgres::types::Type;
use tokio_postgres::{Error, Statement};

pub(super) type Pool = managed::Pool<Manager>;
pub(super) type Object = managed::Object<Manager>;

/// A connection.
pub(super) struct Connection {
    client: ClientWrapper,
    /// Keyed by the addresses of their texts: a look-up by the text would take longer than to send the text.
    statements: Mutex<HashMap<(usize, usize), Statement, FxBuildHasher>>,
}

impl Deref for Connection {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.client
    }
}

impl Connection {
    /// The prepared statement for `sql`, with that text and these types, if this connection has one.
    pub fn known(&self, sql: &'static str) -> Option<Statement> {
        self.statements().get(&key(sql)).cloned()
    }

    pub async fn learn(&self, sql: &'static str, text: &str, types: &[Type]) -> Result<Statement, Error> {
        let statement = self.client.prepare_typed(text, types).await?;
        self.statements().insert(key(sql), statement.clone());
        Ok(statement)
    }

    fn statements(&self) -> std::sync::MutexGuard<'_, HashMap<(usize, usize), Statement, FxBuildHasher>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(sql: &'static str) -> (usize, usize) {
    (sql.as_ptr() as usize, sql.len())
}

/// Creates connections.
pub(super) struct Manager {
    pub connections: deadpool_postgres::Manager,
    /// Whether the server may compile expressions to machine code (JIT). The statements of a store are short: the compilation,
    /// of up to a second, takes longer than the execution.
    pub compiles: bool,
}

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = Error;

    async fn create(&self) -> Result<Connection, Error> {
        let client = self.connections.create().await?;
        if !self.compiles {
            match client.batch_execute("SET jit = off").await {
                // A database that is compatible with PostgreSQL may not have the setting.
                Err(error) if error.as_db_error().is_none() => return Err(error),
                _ => {}
            }
        }
        Ok(Connection { client, statements: Mutex::default() })
    }

    async fn recycle(&self, connection: &mut Connection, metrics: &Metrics) -> RecycleResult<Error> {
        self.connections.recycle(&mut connection.client, metrics).await
    }

    fn detach(&self, connection: &mut Connection) {
        self.connections.detach(&mut connection.client);
    }
}
