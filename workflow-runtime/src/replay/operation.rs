//! One durable operation, as the core of a future.

use std::borrow::Cow;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Poll};

use uuid::Uuid;

use super::journal::{Command, End};
use super::request::{ChildRequest, HookRequest, LocalFuture, NONDETERMINISTIC, Received, StepRequest, Target};
use super::shared::{Shared, current};
use super::unawaited;
use crate::codec::{Payload, Recode};
use crate::definition::{Source, WorkflowDefinition};
use crate::error::{Code, Error};
use crate::model::Deployment;

/// The kind of an operation.
pub(crate) enum Kind {
    Step(Box<StepRequest>),
    Timer {
        until: u64,
        /// Whether it is the timer of a timeout, and not a sleep.
        bounds: bool,
        /// The time of the call, if it lasts for a duration from then on.
        since: Option<u64>,
    },
    Local(Option<LocalFuture>),
    Hook(Box<HookRequest>),
    Child(Box<ChildRequest>),
    /// The end of a run.
    Watch(Target),
}

/// How an operation ended.
#[derive(Debug)]
pub(crate) enum Completion {
    Completed(Payload),
    Failed(Payload),
    Due,
    /// A sleep ended before its deadline.
    Woken,
    /// Another run has ended.
    Ended(End),
}

impl Kind {
    /// Whether its result comes from elsewhere: this engine does not execute the operation.
    pub(super) fn is_elsewhere(&self) -> bool {
        match self {
            Kind::Step(step) => !step.is_here() || step.suspension().is_some(),
            Kind::Hook(_) | Kind::Child(_) | Kind::Watch(_) => true,
            Kind::Timer { .. } | Kind::Local(_) => false,
        }
    }

    /// The definition of its step or workflow, and the former ids of that.
    pub(super) fn definition(&self) -> Option<(Source, &'static [&'static str])> {
        match self {
            Kind::Step(step) => Some((step.definition.source, step.definition.was)),
            Kind::Child(child) => Some((child.definition.source, child.definition.was)),
            Kind::Timer { .. } | Kind::Local(_) | Kind::Hook(_) | Kind::Watch(_) => None,
        }
    }

    /// How the input is recoded.
    pub(super) fn recode(&self) -> Recode {
        match self {
            Kind::Step(step) => step.definition.recode_args,
            Kind::Child(child) => child.definition.recode_args,
            Kind::Timer { .. } | Kind::Local(_) | Kind::Hook(_) | Kind::Watch(_) => |_| None,
        }
    }

    pub(super) fn command(&self, run: &Shared, op: u64) -> Command {
        match self {
            Kind::Step(step) => Command::Step {
                op,
                step: Cow::Borrowed(step.definition.source.id),
                name: step.name.as_deref().map(|name| Cow::Owned(name.to_owned())),
                input: step.input.clone(),
                rollback: step.rollback.is_some(),
                run: (!step.is_here()).then(|| Cow::Owned(run.child_id(op).to_string())),
                given: None,
                key: None,
            },
            Kind::Timer { until, .. } => Command::Timer { op, until: *until },
            Kind::Child(child) => Command::Child {
                op,
                workflow: Cow::Borrowed(child.definition.source.id),
                run: Cow::Owned(run.target(op, self).run.to_string()),
                input: child.input.clone(),
                detached: child.detached,
                abandoned: child.abandoned,
                own: child.named.as_ref().map(|named| Uuid::from_u128(named.token)),
                attributes: child.attributes.clone(),
            },
            Kind::Watch(watched) => Command::Watch { op, run: Cow::Owned(watched.run.to_string()) },
            Kind::Hook(hook) => Command::Hook {
                op,
                token: Cow::Owned(hook.token.to_string()),
                drawn: hook.drawn,
                // A `null` is read back as `None`.
                metadata: hook.metadata.clone().filter(|metadata| metadata.as_str() != "null"),
            },
            Kind::Local(_) => Command::Step {
                op,
                step: Cow::Borrowed(NONDETERMINISTIC),
                name: None,
                input: Payload::null(),
                rollback: false,
                run: None,
                given: None,
                key: None,
            },
        }
    }
}

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
