//! Operations whose value a workflow discards: `let _ = charge(1);` executes nothing.

use super::Pass;
use crate::context::invocation::{ChildWithId, Detach, Invocation};
use crate::context::step::StepCall;
use crate::context::suspend::{Finish, Suspend, Suspending};
use crate::context::{ContinueAsNew, Hook, HookBuilder, Nondeterministic, Sleep, Timeout, WriteChunk};
use crate::definition::Workflow;
use crate::durable::DurableBlock;
use crate::handles::resume::ResumeHook;
use crate::handles::resume_run::Resume;
use crate::handles::start::{CreateRun, Start};

/// Never implemented: its message is the error.
#[diagnostic::on_unimplemented(
    message = "this is dropped before it is awaited, so nothing of it is executed",
    label = "add `.await`",
    note = "a branch that is not waited for is `workflow_runtime::spawn(..)`; if nothing is to be executed, remove it"
)]
pub trait Awaited {}

/// The initializer of `let _ = ..;`.
pub struct Unawaited<T>(pub T);

impl<T: Operation> Unawaited<T> {
    /// Refuses everything.
    pub fn pass(self) -> T
    where
        T: Awaited,
    {
        self.0
    }
}

impl<T> Pass for Unawaited<T> {
    type Probed = T;

    fn pass(self) -> T {
        self.0
    }
}

/// A value that does nothing unless it is awaited. Handles are excluded: dropping a `JoinHandle` does not stop its branch.
pub trait Operation {}
impl<R> Operation for StepCall<R> {}
impl<W: Workflow> Operation for Invocation<W> {}
impl<W: Workflow> Operation for ChildWithId<W> {}
impl<W: Workflow> Operation for Detach<W> {}
impl<W: Workflow> Operation for ContinueAsNew<W> {}
impl<F> Operation for DurableBlock<F> {}
impl<F> Operation for Timeout<F> {}
impl<T> Operation for Nondeterministic<T> {}
impl Operation for Sleep {}
impl<T> Operation for Hook<T> {}
impl<T> Operation for HookBuilder<T> {}
impl<R> Operation for Suspend<R> {}
impl<R> Operation for Suspending<R> {}
impl<T> Operation for Finish<T> {}
impl Operation for WriteChunk {}
impl<W> Operation for Start<W> {}
impl<W: Workflow> Operation for CreateRun<W> {}
impl Operation for ResumeHook {}
impl Operation for Resume {}
