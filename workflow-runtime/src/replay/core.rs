//! Delivers events to a workflow's future and polls it until it is pending.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::task::Unconstrained;

use super::divergence;
use super::identity::Identity;
use super::journal::{Command, Delivery, End, Event};
use super::kind::Completion;
use super::request::{Received, Suspension};
use super::shared::{BranchFuture, BranchId, Host, ROOT, Shared};
use super::unwind;
use super::waker::BranchWaker;
use crate::codec::Payload;
use crate::definition::{RunFuture, WorkflowDefinition};
use crate::error::{Code, Error};
use crate::limits;
use crate::panics::panic_text;
use crate::text::excerpt;

struct Branch<F> {
    // Tokio's cooperative budget would make a poll depend on earlier work of the thread.
    future: Unconstrained<F>,
    queued: Arc<BranchWaker>,
    waker: Waker,
}

impl<F: Future + Unpin> Branch<F> {
    fn new(shared: &Arc<Shared>, id: BranchId, future: Unconstrained<F>) -> Self {
        let queued = BranchWaker::new(shared, id);
        Branch { future, waker: queued.waker(), queued }
    }

    fn poll(&mut self) -> Result<Poll<F::Output>, Error> {
        self.queued.leave_queue();
        let mut context = Context::from_waker(&self.waker);
        catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.future).poll(&mut context))).map_err(|panic| {
            Error::coded(Code::Panic, format!("the workflow panicked: {}", panic_text(&*panic)))
                .help("fix the code and deploy it: the run then continues from before the panic")
        })
    }
}

/// A run in memory: its workflow's future and the operations it waits for.
pub(crate) struct Core {
    definition: &'static WorkflowDefinition,
    shared: Arc<Shared>,
    root: Option<Branch<RunFuture>>,
    branches: BTreeMap<BranchId, Branch<BranchFuture>>,
    ended: bool,
}

impl Core {
    /// A run before its first event.
    pub fn new(definition: &'static WorkflowDefinition, identity: Identity, host: Host) -> Self {
        Core { definition, shared: Shared::new(identity, host), root: None, branches: BTreeMap::new(), ended: false }
    }

    pub fn definition(&self) -> &'static WorkflowDefinition {
        self.definition
    }

    /// Whether the workflow has returned.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Delivers an event for the first time, and returns the delivery to record. After an error the core is unusable.
    pub fn deliver(&mut self, at: u64, event: Event) -> Result<Delivery, Error> {
        self.shared.begin(at, None);
        let ended = self.turn(&event)?;
        let (unwinds, end) = self.settle(ended)?;
        let commands = self.shared.finish(end.as_ref(), Vec::new)?;
        let undoes = self.shared.take_undoes();
        let delivery = Delivery { at: self.shared.now(), event, commands, unwinds, undoes, end };
        if delivery.end.is_some() {
            self.ended = true;
            self.discard();
        }
        Ok(delivery)
    }

    /// Delivers an event again, and compares the commands of the workflow with the recorded ones. `later` are the commands that
    /// are recorded for later events: an explanation of a difference looks there.
    pub fn replay(&mut self, delivery: Delivery, later: impl FnOnce() -> Vec<Command>) -> Result<(), Error> {
        self.shared.begin(delivery.at, Some(delivery.commands));
        let ended = self.turn(&delivery.event)?;
        let (unwinds, end) = self.settle(ended)?;
        self.shared.finish(end.as_ref(), later)?;
        // These are already recorded: the next delivery must not record them again.
        self.shared.take_undoes();
        let same = |found: &Option<End>, recorded: &Option<End>| match (found, recorded) {
            (None, None) => true,
            (Some(End::Completed(found)), Some(End::Completed(recorded)))
            | (Some(End::Failed(found)), Some(End::Failed(recorded))) => {
                found.same_value(recorded, self.definition.recode_output)
            }
            (Some(End::Cancelled(found)), Some(End::Cancelled(recorded))) => found == recorded,
            (Some(End::Continued(found)), Some(End::Continued(recorded))) => {
                found.same_value(recorded, self.definition.recode_args)
            }
            _ => false,
        };
        if !same(&unwinds, &delivery.unwinds) || !same(&end, &delivery.end) {
            let recorded = delivery.unwinds.as_ref().or(delivery.end.as_ref());
            return Err(divergence::ends_otherwise(recorded, unwinds.as_ref().or(end.as_ref())));
        }
        if end.is_some() {
            self.ended = true;
            self.discard();
        }
        Ok(())
    }

    fn turn(&mut self, event: &Event) -> Result<Option<End>, Error> {
        let waker = match event {
            Event::Cancel { .. } if self.shared.is_unwinding() => None,
            // The workflow is not polled, so it cannot refuse.
            Event::Cancel { reason } => return Ok(Some(End::Cancelled(reason.clone()))),
            Event::Started { seed, args, carried } => {
                self.shared.seed(seed, carried.as_deref());
                Some(self.start(args)?)
            }
            Event::Completed { op, value } => self.shared.complete(*op, Completion::Completed(value.clone()))?,
            Event::Failed { op, error } => self.shared.complete(*op, Completion::Failed(error.clone()))?,
            Event::Timer { op } => self.shared.complete(*op, Completion::Due)?,
            Event::Woken { op } => self.shared.complete(*op, Completion::Woken)?,
            Event::Ended { op, end } => self.shared.complete(*op, self.shared.ended(*op, end.clone()))?,
            Event::WakeUp => None,
            Event::Reopened { seed, reopening } => {
                let disarmed = self.shared.reopen(seed, reopening);
                self.drop_in_run(disarmed);
                None
            }
            Event::Suspended { op, label, payload, type_name } => {
                let (label, type_name) = (label.clone(), Arc::from(&**type_name));
                self.shared.suspended(*op, Suspension { label, payload: payload.clone(), type_name })?;
                None
            }
            Event::Finished { value, .. } => return self.finish(value.clone()).map(Some),
            Event::Payload { op, value } if self.shared.resumed(*op, value) => None,
            Event::Payload { op, value } => self.shared.receive(*op, Received::Payload(value.clone()))?,
            Event::Conflict { op, owner } => self.shared.receive(*op, Received::Conflict(Arc::from(&**owner)))?,
            Event::Attempt { op, attempt, error, not_before, .. } => {
                self.shared.attempt_failed(*op, *attempt, error, *not_before)?;
                None
            }
        };
        let Some(waker) = waker else { return Ok(None) };
        let shared = self.shared.clone();
        shared.enter(|| {
            waker.wake();
            self.poll()
        })
    }

    /// The consequences of the end of the workflow, or of its rollbacks:
    /// how the workflow ended, if rollbacks follow, and how the run ends.
    fn settle(&mut self, ended: Option<End>) -> Result<(Option<End>, Option<End>), Error> {
        let Some(end) = ended else { return Ok((None, None)) };
        if self.shared.is_unwinding() {
            return Ok((None, Some(self.unwound(end))));
        }
        if matches!(end, End::Continued(_)) {
            self.shared.carry();
        }
        if !self.shared.owes(&end) {
            return Ok((None, Some(end)));
        }
        self.shared.discard();
        let slots = self.shared.unwind(end.clone());
        self.drop_futures(slots);
        self.shared.undiscard();
        let rollbacks = unwind::roll_back(self.shared.clone());
        let root: RunFuture = Box::pin(async move {
            rollbacks.await;
            Ok(Payload::null())
        });
        let root = Branch::new(&self.shared, ROOT, tokio::task::unconstrained(root));
        let waker = root.waker.clone();
        self.root = Some(root);
        let shared = self.shared.clone();
        let ended = shared.enter(|| {
            waker.wake();
            self.poll()
        })?;
        let last = ended.map(|_| self.unwound(end.clone()));
        Ok((Some(end), last))
    }

    /// The end of a run whose rollbacks have finished.
    fn unwound(&self, end: End) -> End {
        let (end, failures) = self.shared.unwound().unwrap_or((end, Vec::new()));
        failures.iter().fold(end, |end, failure| match end {
            End::Failed(error) => End::Failed((self.definition.rollback_failed)(&error, failure).unwrap_or(error)),
            End::Cancelled(reason) => End::Cancelled(format!("{reason}; and a rollback failed: {failure}")),
            End::Completed(_) | End::Continued(_) => end,
        })
    }

    fn start(&mut self, args: &Payload) -> Result<Waker, Error> {
        let shared = self.shared.clone();
        let definition = self.definition;
        let future =
            shared.enter(|| catch_unwind(AssertUnwindSafe(|| shared.host().bodies.run(definition, args)))).map_err(
                |panic| Error::coded(Code::Panic, format!("the workflow panicked: {}", panic_text(&*panic))),
            )??;
        let root = Branch::new(&shared, ROOT, tokio::task::unconstrained(future));
        let waker = root.waker.clone();
        self.root = Some(root);
        Ok(waker)
    }

    /// Polls the woken branches, first woken first, until none is woken.
    fn poll(&mut self) -> Result<Option<End>, Error> {
        let mut polls = 0;
        while let Some(id) = self.shared.next_woken() {
            polls += 1;
            if polls > limits::POLLS_PER_EVENT_MAX {
                return Err(Error::coded(
                    Code::Limit,
                    "the workflow wakes itself for ever without waiting for anything",
                )
                .expected(format!("at most {} polls after one event", limits::POLLS_PER_EVENT_MAX)));
            }
            if id == ROOT {
                let Some(root) = &mut self.root else { continue };
                if let Poll::Ready(outcome) = root.poll()? {
                    return Ok(Some(outcome.map_or_else(End::Failed, End::Completed)));
                }
            } else if let Some(branch) = self.branches.get_mut(&id)
                && branch.poll()?.is_ready()
            {
                self.branches.remove(&id);
                self.shared.branch_ended();
            }
            if let Some(args) = self.shared.take_continued() {
                return Ok(Some(End::Continued(args)));
            }
            if let Some(value) = self.shared.take_finished() {
                return self.finish(value).map(Some);
            }
            if self.shared.has_fault() {
                return Ok(None);
            }
            for (id, future) in self.shared.take_spawned() {
                let branch = Branch::new(&self.shared, id, future);
                branch.waker.wake_by_ref();
                self.branches.insert(id, branch);
            }
        }
        Ok(None)
    }

    /// The end of a run that receives its result before its workflow returns.
    fn finish(&self, value: Payload) -> Result<End, Error> {
        if (self.definition.recode_output)(&value).is_none() {
            let id = self.definition.source.id;
            return Err(Error::coded(
                Code::Payload,
                format!("the value that `finish` was given does not fit the result of workflow `{id}`"),
            )
            .run(self.shared.run_id())
            .found(excerpt(value.as_str()))
            .help("pass `finish` a value of the type that the workflow returns, and deploy the fixed code"));
        }
        Ok(End::Completed(value))
    }

    /// Drops the futures without recording cancellations.
    fn discard(&mut self) {
        self.shared.discard();
        let slots = self.shared.clear();
        self.drop_futures(slots);
    }

    fn drop_futures(&mut self, slots: impl Sized) {
        let (root, branches) = (self.root.take(), std::mem::take(&mut self.branches));
        // Inside the run, so that calls of destructors belong to this run, and have no effect.
        self.drop_in_run(root);
        self.drop_in_run(branches);
        self.drop_in_run(slots);
    }

    /// Drops values that the user's code has created.
    fn drop_in_run(&self, dropped: impl Sized) {
        if let Err(panic) = self.shared.enter(|| catch_unwind(AssertUnwindSafe(|| drop(dropped)))) {
            tracing::warn!(run = %self.shared.run_id(), "a destructor panicked: {}", panic_text(&*panic));
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.discard();
    }
}
