//! Attempts of steps that run in a transaction of the store.

use std::sync::Arc;

use super::inner::Inner;
use super::messages::message;
use super::parts::active_run::ActiveRun;
use crate::definition::{AttemptFailure, AttemptResult, Transactional};
use crate::error::{Code, Error};
use crate::keys;
use crate::replay::Event;
use crate::store::{Dedupe, Recorded};

/// The operation that an attempt belongs to, and its run.
pub(super) struct At {
    pub engine: Arc<Inner>,
    pub live: Arc<ActiveRun>,
    pub op: u64,
}

/// Executes one attempt. The run receives its success as a message of the inbox, committed with the SQL of the step; this
/// function then returns `None`, as if the attempt was given up.
pub(super) async fn attempt(
    at: At,
    attempt: Transactional<AttemptResult>,
    adopt: fn(Error) -> AttemptFailure,
) -> Option<AttemptResult> {
    let At { engine, live, op } = at;
    let Some(transactions) = engine.store.transactions() else {
        return Some(Err(adopt(
            Error::coded(Code::Unsupported, "steps with `transaction` need a store in PostgreSQL").into_fatal(),
        )));
    };
    let transaction = match transactions.begin().await {
        Ok(transaction) => transaction,
        Err(error) => return Some(Err(adopt(error))),
    };
    let (result, transaction) = attempt(transaction).await;
    let value = match result {
        Ok(value) => value,
        failed => return Some(failed),
    };
    // The same for all attempts of the call: if two of them get here, only one is recorded.
    let dedupe = Dedupe { key: keys::transaction(live.generation, op), lasts: true };
    let message = match message(&Event::Completed { op, value }, engine.clock.now(), Some(dedupe)) {
        Ok(message) => message,
        Err(error) => return Some(Err(adopt(error))),
    };
    match transactions.commit(transaction, live.key, live.generation, live.fence, &message).await {
        Ok(Recorded::Committed) => {
            engine.news.sent();
            None
        }
        Ok(Recorded::Fenced) => {
            tracing::warn!(run = %live.id, op, "the run is another engine's now: what a step has done is rolled back");
            None
        }
        Err(error) => Some(Err(adopt(error))),
    }
}
