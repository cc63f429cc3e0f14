//! The point up to which a run that continues from a history keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::{Code, Error};
use crate::keys::KeyBase;
use crate::replay::{Class, Command, Delivery, End, Event, Reopening};

/// The deliveries of a generation, each with the index of its row.
pub(super) type Deliveries = Vec<(u64, Delivery)>;

/// The operation that an event ends.
pub(super) fn ends(event: &Event) -> Option<u64> {
    match event.class() {
        Class::Result(op) => Some(op),
        Class::Progress(_) | Class::OfRun => None,
    }
}

/// The operation that an event ends with success.
pub(super) fn succeeds(event: &Event) -> Option<u64> {
    match event {
        Event::Completed { op, .. } | Event::Ended { op, end: End::Completed(_) } => Some(*op),
        _ => None,
    }
}

/// Whether this end is a failure, so that the next attempt may end differently.
fn is_failure(event: &Event) -> bool {
    matches!(
        event,
        Event::Failed { .. } | Event::Ended { end: End::Failed(_) | End::Cancelled(_), .. } | Event::Conflict { .. }
    )
}

/// Whether an event that ended a run is delivered to it again. A timer becomes due again by itself.
fn is_redelivered(event: &Event) -> bool {
    !is_failure(event) && !matches!(event, Event::Cancel { .. } | Event::Timer { .. } | Event::Finished { .. })
}

/// The end of a generation, as far as it has been reached.
pub(super) struct Ending {
    /// The delivery with which the workflow ended.
    at: usize,
    /// The operations that were rolled back, or will be.
    undone: BTreeSet<u64>,
    /// The first delivery with the result of such an operation.
    first_undone: Option<usize>,
}

impl Ending {
    /// `None` while the workflow has not ended.
    pub fn of(deliveries: &Deliveries) -> Option<Self> {
        let at = deliveries.iter().position(|(_, delivery)| delivery.unwinds.is_some() || delivery.end.is_some())?;
        let last = &deliveries[at].1;
        let unwound = matches!(last.unwinds, Some(End::Failed(_) | End::Cancelled(_)));
        let mut undone = BTreeSet::new();
        if unwound {
            undone.extend(&last.undoes);
            // Operations that were running at that time, and have succeeded since.
            let undoable: BTreeSet<u64> =
                deliveries[..=at].iter().flat_map(|(_, delivery)| undoable(delivery)).collect();
            let late = deliveries[at + 1..].iter().filter_map(|(_, delivery)| succeeds(&delivery.event));
            undone.extend(late.filter(|op| undoable.contains(op)));
        }
        let is_undone = |delivery: &Delivery| succeeds(&delivery.event).is_some_and(|op| undone.contains(&op));
        let first_undone = deliveries.iter().position(|(_, delivery)| is_undone(delivery));
        Some(Ending { at, undone, first_undone })
    }

    /// Whether rollbacks have undone an operation, or will.
    pub fn undoes(&self) -> bool {
        !self.undone.is_empty()
    }
}

/// The steps that a delivery has issued and that have a rollback.
fn undoable(delivery: &Delivery) -> impl Iterator<Item = u64> {
    delivery.commands.iter().filter_map(|command| match command {
        Command::Step { op, rollback: true, .. } => Some(*op),
        _ => None,
    })
}

/// The last good point of a generation.
pub(super) struct LastGood {
    pub kept: Deliveries,
    /// The deliveries from the first undone result to the end of the workflow.
    pub cut: Deliveries,
    /// The event that is delivered again, if there is one.
    pub again: Option<Event>,
    /// The changes of the run.
    pub reopening: Reopening,
    /// The bases of the keys of the steps that are executed again.
    pub bases: BTreeMap<u64, KeyBase>,
    /// The steps among them that have new keys.
    pub renewed: BTreeSet<u64>,
    /// The children with ids that the workflow has chosen, which it has called since that point and had not dropped.
    pub called_again: Vec<(u64, Arc<str>)>,
}

/// The last good point of a generation that has failed or was cancelled. Operations that were rolled back do not count as
/// done: they and all later ones get new keys when they are executed again. Other operations keep their keys.
pub(super) fn last_good_point(mut deliveries: Deliveries, generation: u64) -> LastGood {
    let (mut bases, base) = bases(&deliveries, generation);
    let (mut reopening, mut renewed) = (Reopening { base, ..Reopening::default() }, BTreeSet::new());
    let (mut called_again, cut) = (Vec::new(), Deliveries::new());
    let Some(ending) = Ending::of(&deliveries) else {
        return LastGood { kept: deliveries, cut, again: None, reopening, bases, renewed, called_again };
    };
    if let Some(first) = ending.first_undone {
        let mut ended: BTreeMap<u64, usize> = BTreeMap::new();
        for (at, (_, delivery)) in deliveries.iter().enumerate() {
            if let Some(op) = ends(&delivery.event) {
                ended.insert(op, at);
            }
        }
        reopening.base.unwindings += 1;
        for (op, at) in ended {
            if at > first || ending.undone.contains(&op) {
                bases.insert(op, reopening.base);
                renewed.insert(op);
            }
        }
        if first <= ending.at {
            deliveries.truncate(ending.at + 1);
            let cut = deliveries.split_off(first);
            called_again.extend(named_children(&cut));
            return LastGood { kept: deliveries, cut, again: None, reopening, bases, renewed, called_again };
        }
    }
    let last = deliveries.drain(ending.at..).next().map(|(_, delivery)| delivery.event);
    // Failures without a command after them (as in `join_all`) belong to the failure with which the workflow ended.
    // The marker of a patch is no act: the workflow asks again.
    let acts = |(_, delivery): &(u64, Delivery)| {
        delivery.commands.iter().any(|command| !matches!(command, Command::Patch { .. }))
    };
    let acted = deliveries.iter().rposition(acts).unwrap_or(0);
    let mut at = 0;
    deliveries.retain(|(_, delivery)| {
        at += 1;
        at - 1 <= acted || !is_failure(&delivery.event)
    });
    LastGood { kept: deliveries, cut, again: last.filter(is_redelivered), reopening, bases, renewed, called_again }
}

/// The children with ids that the workflow has chosen, which it has called and not dropped. The same call finds the run under its
/// id again: unlike other children, it is not started anew.
fn named_children(deliveries: &[(u64, Delivery)]) -> impl Iterator<Item = (u64, Arc<str>)> {
    let commands = || deliveries.iter().flat_map(|(_, delivery)| &delivery.commands);
    let is_dropped =
        move |op: u64| commands().any(|command| matches!(command, Command::Cancel { op: dropped } if *dropped == op));
    let called = deliveries.iter().flat_map(|(_, delivery)| &delivery.commands).filter_map(|command| match command {
        Command::Child { op, run, own: Some(_), detached: false, .. } => Some((*op, Arc::from(&**run))),
        _ => None,
    });
    called.filter(move |(op, _)| !is_dropped(*op))
}

/// The bases of the idempotency keys of the steps of a generation, and the latest base.
fn bases(deliveries: &Deliveries, generation: u64) -> (BTreeMap<u64, KeyBase>, KeyBase) {
    let (mut bases, mut base) = (BTreeMap::new(), KeyBase { generation, unwindings: 0 });
    for (_, delivery) in deliveries {
        if let Event::Reopened { reopening, .. } = &delivery.event {
            base = reopening.base;
        }
        for command in &delivery.commands {
            if let Command::Step { op, key, .. } = command {
                bases.insert(*op, key.unwrap_or(base));
            }
        }
    }
    (bases, base)
}

/// Where a generation is cut for a fork: before an event of its delivery `at`; `first` if that is its first event.
pub(super) struct ForkPoint {
    pub at: usize,
    pub first: bool,
}

/// The part of a generation that a fork keeps, and the event that is delivered again, if there is one. An operation that was
/// rolled back must not count as done, and rollbacks are not forked.
pub(super) fn forked(mut deliveries: Deliveries, point: &ForkPoint) -> Result<(Deliveries, Option<Event>), Error> {
    let ending = Ending::of(&deliveries);
    if let Some(ending) = &ending {
        if let Some(undone) = ending.first_undone
            && (point.at > undone || (point.at == undone && !point.first))
        {
            return Err(refused_undone(&deliveries, undone));
        }
        if point.at > ending.at {
            return Err(Error::coded(
                Code::NotRepairable,
                "the workflow had ended by then, and its steps were being undone",
            )
            .help("fork the run at an event before its workflow ended: `RunEventKind::RollingBack` says where that was")
            .into_fatal());
        }
    }
    // The commands after one event cannot be kept in part.
    deliveries.truncate(if point.first { point.at } else { point.at + 1 });
    // The event with which the workflow ended is delivered again.
    let again = match ending {
        Some(ending) if ending.at < deliveries.len() => deliveries.pop(),
        _ => None,
    };
    Ok((deliveries, again.map(|(_, delivery)| delivery.event).filter(is_redelivered)))
}

/// The error of a fork that would count an operation as done which was rolled back.
fn refused_undone(deliveries: &Deliveries, at: usize) -> Error {
    let undone = deliveries.get(at).and_then(|(_, delivery)| succeeds(&delivery.event));
    let mut commands = deliveries.iter().flat_map(|(_, delivery)| &delivery.commands);
    let step = commands.find_map(|command| match command {
        Command::Step { op, step, .. } if Some(*op) == undone => Some(step.to_string()),
        _ => None,
    });
    let (op, step) = (undone.unwrap_or_default(), step.unwrap_or_default());
    Error::coded(
        Code::NotRepairable,
        format!("rollbacks of the run have undone step `{step}` (operation {op}), which had succeeded by then"),
    )
    .operation(format!("operation {op}: step `{step}`"))
    .help("fork the run at the call of that step, or at an event before it: `StepOutcome::event`")
    .into_fatal()
}
