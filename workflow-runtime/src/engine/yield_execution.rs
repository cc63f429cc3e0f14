//! Yielding the right to execute, on a store on which one worker executes, to another live worker.
//!
//! Any process can ask for it: the request is a mark at the worker in the store, which the worker finds when it looks for due
//! runs. The worker then ends its attempts as in a shutdown, releases its runs and the right, and stays open; another worker
//! acquires the right as if this one had ended. If it dies meanwhile, the others acquire the right at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::inner::Inner;
use super::registration::info;
use crate::error::{Code, Error, Result};
use crate::limits::{OWNERSHIP_INTERVAL, YIELD_REST, YIELD_WAIT};
use crate::model::WorkerInfo;
use crate::store::Deploy;

impl Inner {
    /// Asks the worker that executes to yield, and waits until another one executes.
    pub(crate) async fn yield_execution(&self) -> Result<WorkerInfo> {
        self.check_open()?;
        let roster = self.roster().await?;
        let (Some(holder), waiting) = roster.executing_and_waiting() else {
            return Err(cannot_yield("no live process executes the runs of the store")
                .help("open a worker: it executes at once"));
        };
        if waiting.is_empty() {
            return Err(no_candidate(self.alive().await?));
        }
        let waiting: Vec<u64> = waiting.iter().map(|row| row.owner).collect();
        self.ask_to_yield(true).await?;
        let end = self.clock.monotonic().saturating_add(YIELD_WAIT.as_millis() as u64);
        loop {
            self.environment.sleep(OWNERSHIP_INTERVAL).await;
            let roster = self.roster().await?;
            match roster.executing_and_waiting().0 {
                Some(row) if row.owner == holder.owner && !row.yields => return Err(no_candidate(self.alive().await?)),
                Some(row) if row.owner == holder.owner => {}
                Some(row) if waiting.contains(&row.owner) || row.pid != holder.pid => {
                    let owner = row.owner;
                    let found = roster.workers().find(|(row, _)| row.owner == owner);
                    return found.map(|(row, serves)| info(row, serves)).ok_or_else(|| no_candidate(String::new()));
                }
                Some(_) => {
                    return Err(cannot_yield(
                        "no other process has acquired the right to execute, so this process executes again",
                    )
                    .help(format!(
                        "check that the other processes still run; each has {YIELD_REST:?} to acquire the right"
                    )));
                }
                None => {}
            }
            if self.clock.monotonic() >= end {
                self.ask_to_yield(false).await?;
                let pid = holder.pid.unwrap_or_default();
                let text = format!("process {pid} has not yielded the right to execute within {YIELD_WAIT:?}");
                return Err(Error::coded(Code::Timeout, text).help(
                    "the request was withdrawn; if the process does not respond, stop it: another process then executes",
                ));
            }
        }
    }

    async fn ask_to_yield(&self, asked: bool) -> Result<()> {
        let changed = self.store.deploy(&Deploy::Yield { asked }).await?;
        self.activations.miss();
        match changed == 0 && asked {
            true => Err(no_candidate(self.alive().await?)),
            false => Ok(()),
        }
    }

    /// Yields the right to execute, as it was asked to, if another worker can acquire it. Returns whether it did.
    pub(super) async fn yield_to_another(self: &Arc<Self>) -> Result<bool> {
        if self.roster().await?.executing_and_waiting().1.is_empty() {
            self.store.deploy(&Deploy::Yield { asked: false }).await?;
            tracing::warn!(
                "this process was asked to yield the right to execute, and keeps it: no other one could execute"
            );
            return Ok(false);
        }
        tracing::info!(
            "this process was asked to yield the right to execute: it ends its attempts and releases its runs"
        );
        // From now on it claims no run, dispatches no attempt, and starts runs as a client.
        self.executing.store(false, Ordering::Release);
        if let Err(error) = self.release_runs(std::future::ready(())).await {
            tracing::warn!(?error, "some runs could not be released; the next engine recovers them");
        }
        if !self.draining.is_cancelled() {
            self.attempts.reopen();
            self.drivers.reopen();
        }
        self.lose(self.owner());
        // Under its new number: it is ready to execute again.
        self.register().await;
        tracing::info!("this process has yielded the right to execute");
        Ok(true)
    }
}

fn cannot_yield(text: &str) -> Error {
    Error::coded(Code::CannotYield, text)
}

fn no_candidate(found: String) -> Error {
    cannot_yield("no other process can take over the execution")
        .expected("a live worker that waits for the right to execute; on PostgreSQL all workers execute")
        .found(found)
        .help("open the program that is to execute the runs, and repeat this while both run")
}
