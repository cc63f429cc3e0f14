//! The second root of a run that is rolled back.

use std::future::poll_fn;
use std::panic::Location;
use std::sync::Arc;

use futures_util::future::join_all;

use super::kind::Kind;
use super::operation::Operation;
use super::shared::Shared;

/// Waits until everything has ended that may have to be undone, and then undoes, latest first.
pub(super) async fn roll_back(run: Arc<Shared>) {
    dropped_children_ended(&run).await;
    poll_fn(|context| run.poll_in_flight(context)).await;
    while let Some(armed) = run.next_rollback() {
        let undone = match armed.rollback.begin(&armed.value) {
            None => Ok(()),
            Some(Ok(undo)) => undo.await,
            // The step's result cannot be read: the run waits for a build that can read it.
            Some(Err(error)) => {
                run.fail(error);
                return std::future::pending().await;
            }
        };
        if let Err(error) = undone {
            run.rollback_failed(armed.op, error);
        }
    }
}

/// Waits for the ends of children that the workflow had dropped. A child that was never started, or was deleted,
/// counts as ended.
async fn dropped_children_ended(run: &Shared) {
    let ends = run.take_dropped_children().into_iter().filter_map(|child| {
        let mut operation = Operation::new(Location::caller())?;
        Some(async move {
            let ended = poll_fn(|context| operation.poll(context, || Some(Kind::Watch(child.clone()))));
            // Any end counts. An error of the poll cannot occur: the operation is polled by its own run, in its
            // turn.
            let _end = ended.await;
        })
    });
    let ends = join_all(ends.collect::<Vec<_>>());
    ends.await;
}
