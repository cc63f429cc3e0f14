//! One durable operation, as the core of a future.

use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::kind::{Completion, Kind};
use super::request::{ChildRequest, HookRequest, Received};
use super::shared::{Shared, current};
use super::unawaited;
use crate::codec::Payload;
use crate::definition::WorkflowDefinition;
use crate::error::{Code, Error};
use crate::model::Deployment;

/// One operation of one run. It is issued at its first poll, and cancelled when it is dropped before its result.
pub(crate) struct Operation {
    run: Arc<Shared>,
    site: &'static Location<'static>,
    op: Option<u64>,
    taken: bool,
    /// Whether the operation was polled, or passed to a combinator that will poll it.
    awaited: bool,
}

impl Operation {
    /// An operation of the run that this thread is polling, if any.
    pub fn new(site: &'static Location<'static>) -> Option<Self> {
        Some(Operation { run: current()?, site, op: None, taken: false, awaited: false })
    }

    pub fn run(&self) -> &Shared {
        &self.run
    }

    /// The location of the call in the workflow.
    pub fn site(&self) -> &'static Location<'static> {
        self.site
    }

    /// Marks that dropping it unpolled is not a mistake: a combinator polls it, or it was refused.
    pub fn hand_over(&mut self) {
        self.awaited = true;
    }

    /// Whether it may be polled now.
    pub fn check_turn(&mut self) -> Result<(), Error> {
        self.awaited = true;
        self.run.check_turn(self.site)
    }

    /// Issues the operation at the first call; ready with its result. An error means that it was polled outside its run.
    pub fn poll(
        &mut self,
        context: &mut Context<'_>,
        kind: impl FnOnce() -> Option<Kind>,
    ) -> Poll<Result<Completion, Error>> {
        self.awaited = true;
        if let Err(error) = self.run.check_turn(self.site) {
            return Poll::Ready(Err(error));
        }
        match self.op {
            Some(op) => match self.run.take(op, context.waker()) {
                Some(completion) => {
                    self.taken = true;
                    Poll::Ready(Ok(completion))
                }
                None => Poll::Pending,
            },
            None => {
                self.op = kind().and_then(|kind| self.run.issue(kind, self.site, Some(context.waker())));
                Poll::Pending
            }
        }
    }
}

impl Operation {
    /// Issues a hook: unlike other operations at once, so that it is open before it is awaited.
    pub fn open(site: &'static Location<'static>, hook: HookRequest) -> Option<Self> {
        let mut operation = Operation::new(site)?;
        // It accepts payloads from now on, awaited or not.
        operation.awaited = true;
        operation.op = operation.run.issue(Kind::Hook(Box::new(hook)), site, None);
        Some(operation)
    }

    /// Starts a child run that is not awaited, and returns its id.
    pub fn detach(mut self, child: ChildRequest) -> Result<Option<Arc<str>>, Error> {
        self.awaited = true;
        self.run.check_turn(self.site)?;
        let op = self.run.issue(Kind::Child(Box::new(child)), self.site, None);
        Ok(op.map(|op| self.run.child_id(op)))
    }

    /// Ends the run's generation.
    pub fn continue_as_new(
        &mut self,
        definition: &'static WorkflowDefinition,
        args: &mut Option<Payload>,
        deployment: Option<&Deployment>,
    ) -> Result<(), Error> {
        self.check_turn()?;
        let refused =
            |what: String| Err(Error::coded(Code::InvalidContinuation, what).run(self.run.run_id()).into_fatal());
        if self.run.identity().workflow != definition.source.id {
            let (own, other) = (self.run.identity().workflow, definition.source.id);
            return refused(format!("a run of workflow `{own}` cannot continue as one of workflow `{other}`"));
        }
        if self.run.is_unwinding() {
            return refused("a run that is being rolled back cannot continue as new".to_owned());
        }
        if let Some(args) = args.take() {
            self.run.continue_as_new(args, deployment.cloned());
        }
        Ok(())
    }

    /// Withdraws the request of [`continue_as_new`](Operation::continue_as_new) in this poll.
    pub fn stay(&self) {
        let _args = self.run.take_continued();
    }

    /// The next item that a hook has received. An error means that it was polled outside its run.
    pub fn receive(&mut self, context: &mut Context<'_>) -> Poll<Result<Received, Error>> {
        if let Err(error) = self.run.check_turn(self.site) {
            return Poll::Ready(Err(error));
        }
        match self.op.and_then(|op| self.run.take_received(op, context.waker())) {
            Some(received) => Poll::Ready(Ok(received)),
            None => Poll::Pending,
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        match self.op {
            Some(op) if !self.taken => self.run.drop_operation(op),
            None if !self.awaited && self.run.counts_as_dropped() => unawaited::log(&self.run, self.site),
            _ => {}
        }
    }
}
