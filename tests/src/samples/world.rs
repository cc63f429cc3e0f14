//! The clock and the log of the engines that open a sample.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use workflow_runtime::engine::{Environment, System};
use workflow_runtime::store::Store;
use workflow_runtime::{Builder, Engine};

use super::server_clock::ServerClock;
use crate::{Execution, Log};

/// The time at which samples are written, in milliseconds since 1970: the beginning of 2026.
pub const WRITTEN: u64 = 1_767_225_600_000;
/// The time at which samples are opened: an hour later, whatever the real date.
pub const OPENED: u64 = WRITTEN + 3_600_000;

/// A clock with a constant offset to the system's clock, and a log of executions.
#[derive(Clone)]
pub struct World {
    /// How far the system's clock is ahead of this one.
    behind: u64,
    executions: Arc<Mutex<Vec<Execution>>>,
}

impl World {
    /// A world whose clock shows `now` milliseconds since 1970.
    pub fn at(now: u64) -> Self {
        World { behind: System.now().saturating_sub(now), executions: Arc::default() }
    }

    /// An engine on the store that uses this clock only, not that of a database.
    pub fn builder(&self, store: Arc<dyn Store>) -> Builder {
        let log = Log::memory(self.executions.clone(), "life");
        Engine::builder()
            .store(Arc::new(ServerClock::new(store, None)))
            .resource(log)
            .environment(Arc::new(self.clone()))
    }

    /// The attempts of steps that the engines have begun.
    pub fn executions(&self) -> Vec<Execution> {
        self.executions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Environment for World {
    fn now(&self) -> u64 {
        System.now().saturating_sub(self.behind)
    }

    fn monotonic(&self) -> u64 {
        System.monotonic()
    }

    fn suspended(&self) -> u64 {
        System.suspended()
    }

    fn sleep_until(&self, time: u64) -> BoxFuture<'static, ()> {
        System.sleep_until(time)
    }

    fn fill(&self, bytes: &mut [u8]) {
        System.fill(bytes);
    }
}
