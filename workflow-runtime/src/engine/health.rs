//! Whether an engine works.

use super::inner::Inner;
use crate::error::{Code, Error, Result};
use crate::limits::HEALTH_WAIT;
use crate::model::Health;

impl Inner {
    /// Asks the store for an answer, for a limited time.
    pub(crate) async fn health(&self) -> Result<Health> {
        if self.stopped.is_cancelled() || self.draining.is_cancelled() {
            return Err(self.closed("the engine is shut down", "open another one"));
        }
        // No run has this id.
        let answer = self.store.run("");
        tokio::select! {
            biased;
            answer = answer => answer.map(drop)?,
            () = self.environment.sleep(HEALTH_WAIT) => {
                return Err(Error::coded(Code::Store, "the store does not answer")
                    .expected(format!("an answer within {} s", HEALTH_WAIT.as_secs()))
                    .help("check the load of the disk or of the database, and the connection to it"));
            }
        }
        let executes = self.is_executing();
        let blocked_by = if executes { None } else { self.store.blocked_by().await? };
        Ok(Health { executes, blocked_by, runs: self.live_runs().len(), attempts: self.attempts.len() })
    }
}
