//! The end of an engine, and what it has in common with an engine that yields the right to execute: no attempt begins any more,
//! those that run end, and the runs are released to the store.

use std::sync::{Arc, PoisonError};

use super::inner::Inner;
use super::inner::StopOnDrop;
use crate::error::Result;
use crate::limits::{ABORT_GRACE, SHUTDOWN_GRACE};
use crate::store::Release;

impl Inner {
    pub(super) async fn shutdown(self: &Arc<Self>) -> Result<()> {
        // Stops the engine also if the caller drops this future.
        let _stop = StopOnDrop(self.clone());
        self.draining.cancel();
        self.async_permits.close();
        self.blocking_permits.close();
        self.tasks.close();
        let released = self.release_runs(self.tasks.wait()).await;
        self.leave().await;
        self.stop();
        self.batcher.closed().await;
        drop(self.kept.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.store.close().await;
        self.settings.telemetry.flush().await;
        released.map_err(|error| error.context("some runs could not be released; the next engine recovers them"))
    }

    /// Waits for the attempts that are running, for up to ten seconds, then aborts them; records their results, and releases
    /// all runs in memory to the store, once `claims` have ended. Meanwhile no attempt may begin.
    pub(super) async fn release_runs(&self, claims: impl Future<Output = ()>) -> Result<()> {
        self.attempts.close();
        let grace = self.environment.sleep(SHUTDOWN_GRACE);
        tokio::select! {
            biased;
            () = self.attempts.wait() => {}
            () = grace => {
                for live in self.live_runs().values() {
                    live.abort_attempts();
                }
                // An attempt that never yields cannot be aborted; its result will be refused.
                tokio::select! {
                    biased;
                    () = self.attempts.wait() => {}
                    () = self.environment.sleep(ABORT_GRACE) => {}
                }
            }
        }
        // A driver ends when its mailbox is empty. Only timers could still add arrivals.
        self.timers.clear();
        self.drivers.close();
        // The run's driver polls a step that computes for long before its first await. Its result will be refused.
        tokio::select! {
            biased;
            _ = futures_util::future::join(self.drivers.wait(), claims) => {}
            () = self.environment.sleep(SHUTDOWN_GRACE) => {}
        }
        let runs: Vec<_> = self.live_runs().values().cloned().collect();
        let mut released = Vec::with_capacity(runs.len());
        for live in &runs {
            if let Some(inbox_seq) = live.close() {
                released.push(self.batcher.send(Release { run: live.key, fence: live.fence, inbox_seq }));
            }
        }
        let mut failed = Ok(());
        for reply in released {
            if let Err(error) = reply.await {
                failed = Err(error.error);
            }
        }
        failed
    }
}
