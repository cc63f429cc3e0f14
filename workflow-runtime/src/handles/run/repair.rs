//! The repair of a run: retry and fork.

use super::Run;
use crate::error::Result;
use crate::handles::repair::Fork;

impl<T, E> Run<T, E> {
    /// Resumes a run that has failed, was cancelled or is stuck, from its last good point: under the same id, and in any
    /// process that executes its workflow. A run whose process has died needs no retry: an engine recovers it by itself.
    ///
    /// A **stuck** run is tried again at once, as a new build would. A **failed** or **cancelled** run gets
    /// another [generation](crate::RunInfo::generation) with the journal of the previous one, which does not change.
    /// Steps that have succeeded are not executed again. The steps that made the run fail are executed again,
    /// with all their attempts and with the [idempotency keys](crate::StepInfo::idempotency_key) that they had.
    /// If the workflow itself returned the error, it receives the last event once more, so that a corrected build
    /// can handle it. Results that rollbacks have undone are not reused: if there were rollbacks, everything from
    /// the first undone result on is executed again, with new keys. A run that was cancelled before its first turn
    /// starts from its arguments. Its state and attributes keep their values until they are set again.
    ///
    /// **Payloads** that the run had received after the first undone result are delivered again, in their order, and so
    /// are those that it had not received when it ended: to their hook, or, if it is opened again, to the next hook with
    /// its token, before payloads that are sent after the retry. A hook with a random token has another token when it is
    /// opened again. A suspension that is asked again waits for another answer, and the hooks of a child that is started
    /// again wait for other payloads. A hook accepts payloads again once an engine has loaded the run; until then a sender
    /// gets the error that it got before the retry, for example [`Code::HookDisposed`](crate::Code::HookDisposed).
    ///
    /// The **children** that made it fail are retried as well, and so are those that were cancelled because it
    /// had ended: each under its id and from its own last good point, and likewise their children. The result of
    /// such a child arrives as if it had never failed. If a child was already retried, the run waits for it, or
    /// takes its result if it has ended meanwhile. A child that was deleted is started again, and so is one that
    /// was called after a result that rollbacks of this run have undone, unless it has an
    /// [id](crate::Invocation::id): it continues. A failure of a child that the workflow
    /// has handled, and after which it has continued, stays a failure. Runs that are not awaited as children are
    /// not retried: detached runs, and runs that are awaited through a handle. Retry such a run before this one.
    /// The retry waits for the end of children, and of steps in queues, that are still being cancelled.
    ///
    /// A parent or another waiter that has already received the failure is not notified again. The retry
    /// is durable once this returns, for all of these runs at once: before that none of them has changed.
    ///
    /// # Errors
    ///
    /// [`Code::NotRepairable`](crate::Code::NotRepairable) if the run has completed or has not ended, if
    /// another call retried it first, or if it was cancelled before it had arguments;
    /// [`Code::Limit`](crate::Code::Limit) if more than 1,000 runs would have to be retried at once (retry its
    /// children first); [`Code::RunNotFound`](crate::Code::RunNotFound); or if the store rejects the write.
    ///
    /// ```
    /// # use std::sync::atomic::{AtomicBool, Ordering};
    /// # use workflow_runtime::{Engine, Error, Result, step, workflow};
    /// # static REPAIRED: AtomicBool = AtomicBool::new(false);
    /// #[step(retries = 0)]
    /// async fn ship(order: u64) -> Result<u64> {
    ///     if REPAIRED.load(Ordering::SeqCst) { Ok(order) } else { Err(Error::new("the carrier is down")) }
    /// }
    /// # #[workflow] async fn checkout(order: u64) -> Result<u64> { ship(order).await }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let engine = Engine::open("memory:").await?;
    /// let run = engine.start(checkout, 7).await?;
    /// assert!((&run).await.is_err());
    /// REPAIRED.store(true, Ordering::SeqCst);
    /// run.retry().await?;
    /// assert_eq!(run.await?, 7);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn retry(&self) -> Result<()> {
        self.engine().await?.inner().retry(&self.id).await
    }

    /// Starts a new run from the history of this one up to just before an [event](Run::events), given by
    /// its index. If the event is the call of a step, the new run keeps that call and executes the step;
    /// it also keeps all other operations that the workflow issued at the same time. Index 0 starts
    /// from the beginning, with the same arguments. This run does not change, and may still be executing.
    ///
    /// Results recorded before the event are not executed again. Operations in progress belong to the new run: it executes
    /// their steps, starts their children and opens their hooks (a token that this run still has is a conflict); sleeps
    /// keep their deadlines. From there on, idempotency keys and random numbers differ. Children of this run do not change.
    ///
    /// Results that [rollbacks](crate::StepCall::rollback) of this run have undone, or will undo, cannot be kept: fork it
    /// at the first result that was undone, or at an event before it. If the new run fails, it undoes only the steps that
    /// it has executed itself; this run undoes the inherited ones, unless [`undo_inherited`](Fork::undo_inherited) is set.
    ///
    /// # Errors
    ///
    /// [`Code::NotRepairable`](crate::Code::NotRepairable) if the event does not exist, if a step that had succeeded by
    /// then was undone (the error names it), if the run was cancelled before it had arguments, or if an
    /// [input](Fork::input) is given and no step is called there; [`Code::EventsRemoved`](crate::Code::EventsRemoved)
    /// if the event was [removed](crate::Retention::generations) (the error names the first kept one); or if the store
    /// rejects the write. [`Code::InvalidArguments`](crate::Code::InvalidArguments) if the input does not fit the step.
    /// [`Code::RunExists`](crate::Code::RunExists) if another run has the [id](Fork::id).
    /// [`Code::RunNotFound`](crate::Code::RunNotFound). If this build does not match the history, the new run is stuck.
    ///
    /// ```
    /// # use workflow_runtime::{Engine, Result, step, workflow};
    /// # #[step] async fn draw(prompt: String) -> Result<String> { Ok(format!("picture of {prompt}")) }
    /// # #[step] async fn frame(picture: String) -> Result<String> { Ok(format!("framed {picture}")) }
    /// #[workflow]
    /// async fn poster(prompt: String) -> Result<String> {
    ///     let picture = draw(prompt).await?;
    ///     frame(picture).await
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let engine = Engine::open("memory:").await?;
    /// let run = engine.start(poster, "a cat".to_owned()).await?;
    /// let outcome = run.outcome().await?;
    /// let framing = &outcome.steps[1]; // the picture is not drawn again
    /// let fork = run.fork(framing.event).input(&("another picture",)).await?;
    /// assert_eq!(fork.await?, "framed another picture");
    /// # Ok(())
    /// # }
    /// ```
    pub fn fork(&self, event: u64) -> Fork<T, E> {
        Fork::new(self.engine.clone(), self.clone(), event)
    }
}
