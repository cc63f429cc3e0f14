//! What surrounds an engine on a sample: its clock and its log.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use workflow_runtime::engine::{Environment, System};
use workflow_runtime::store::Store;
use workflow_runtime::{Builder, Engine};

use super::serverless::Serverless;
use crate::{Execution, Log};

/// When samples are written, in milliseconds since 1970: at the beginning of 2026.
pub const WRITTEN: u64 = 1_767_225_600_000;
/// When they are opened: an hour later, in whichever year the test runs.
pub const OPENED: u64 = WRITTEN + 3_600_000;

/// A clock that shows another time than the system's and runs as fast, and a log of what was executed.
#[derive(Clone)]
pub struct World {
    /// By how much the system's clock is ahead of it.
    behind: u64,
    executions: Arc<Mutex<Vec<Execution>>>,
}

impl World {
    /// One whose clock shows `now` milliseconds since 1970.
    pub fn at(now: u64) -> Self {
        World { behind: System.now().saturating_sub(now), executions: Arc::default() }
    }

    /// An engine on the store that goes by this clock only, and not by that of a database.
    pub fn builder(&self, store: Arc<dyn Store>) -> Builder {
        let log = Log::memory(self.executions.clone(), "life");
        Engine::builder().store(Arc::new(Serverless::new(store))).resource(log).environment(Arc::new(self.clone()))
    }

    /// The attempts of steps that its engines have begun.
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
