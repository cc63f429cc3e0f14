//! The replay core, which matches events to futures.
//!
//! It does no I/O and uses no clock and no store: a [`Core`] receives events and returns the commands that the workflow
//! issues after each. The same events produce the same workflow again, and recovery consists of nothing else.

mod carried;
mod check;
mod command;
mod core;
mod divergence;
mod event;
mod format;
mod identity;
mod journal;
mod kind;
mod open_work;
mod operation;
mod request;
mod shared;
#[cfg(test)]
mod tests;
mod unawaited;
mod unwind;
mod waker;

pub(crate) use self::carried::{Carried, Inherited, Reopening};
pub(crate) use self::core::Core;
pub(crate) use self::event::Class;
pub(crate) use self::format::Encoded;
pub(crate) use self::identity::{Identity, Target};
pub(crate) use self::journal::{Command, Commands, Delivery, End, Event, TurnRecord};
pub(crate) use self::kind::{Begins, Completion, Kind};
pub(crate) use self::open_work::{Outstanding, outstanding, owes_rollback};
pub(crate) use self::operation::Operation;
pub(crate) use self::request::{
    ChildRequest, Failing, HookRequest, LocalFuture, NONDETERMINISTIC, Named, Opening, Origin, Place, Received,
    Rollback, StartedChild, StepRequest, Suspension,
};
pub(crate) use self::shared::{
    Action, Actions, Chunk, Continued, Draw, Effects, Forward, Heir, Host, Shared, closed_already, current, full,
    placeholders,
};
pub(crate) use self::unawaited::Unawaited;
