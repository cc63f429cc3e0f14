//! Branches of a run, which are polled beside its root future.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use crate::durable::Durable;
use crate::engine::in_this_step;
use crate::replay::current;

/// Runs a durable future beside the workflow, in the same run.
///
/// Dropping the handle does not stop the branch; the end of the run drops it, which cancels the operations it awaits. A
/// panic in it is a panic of the workflow. It is polled in a fixed order, so a replay repeats it. Elsewhere: `tokio::spawn`.
///
/// ```
/// # use workflow_runtime::{Result, spawn, step, workflow};
/// # #[step] async fn load(n: u32) -> Result<u32> { Ok(n) }
/// #[workflow]
/// async fn both() -> Result<u32> {
///     let first = spawn(load(1));
///     let second = load(2).await?;
///     Ok(first.await? + second)
/// }
/// ```
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Durable + Send + 'static,
    F::Output: Send + 'static,
{
    let Some(run) = current() else {
        return JoinHandle(Inner::Task(tokio::spawn(in_this_step(future))));
    };
    let slot = Arc::new(Mutex::new(Slot { output: None, waker: None }));
    let handle = JoinHandle(Inner::Branch(slot.clone()));
    run.spawn(Box::pin(async move {
        let output = future.await;
        let waker = {
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            slot.output = Some(output);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }));
    handle
}

struct Slot<T> {
    output: Option<T>,
    waker: Option<Waker>,
}

/// Returns the output of a spawned branch: see [`spawn`].
pub struct JoinHandle<T>(Inner<T>);

enum Inner<T> {
    Branch(Arc<Mutex<Slot<T>>>),
    /// Outside a workflow.
    Task(tokio::task::JoinHandle<T>),
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    /// # Panics
    ///
    /// Outside a workflow, if the spawned future has panicked.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let slot = match &mut self.0 {
            Inner::Branch(slot) => slot,
            Inner::Task(task) => {
                return match ready!(Pin::new(task).poll(context)) {
                    Ok(output) => Poll::Ready(output),
                    Err(error) => match error.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        // The runtime is shutting down, and the waiting task with it.
                        Err(_) => Poll::Pending,
                    },
                };
            }
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        match slot.output.take() {
            Some(output) => Poll::Ready(output),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Durable for JoinHandle<T> {}
