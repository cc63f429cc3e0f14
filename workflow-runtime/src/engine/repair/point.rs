//! Up to where a history is kept by a run that goes on with it.

use std::collections::{BTreeMap, BTreeSet};

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

/// Whether the next attempt of what has ended so may end otherwise.
fn is_failure(event: &Event) -> bool {
    matches!(
        event,
        Event::Failed { .. } | Event::Ended { end: End::Failed(_) | End::Cancelled(_), .. } | Event::Conflict { .. }
    )
}

/// Whether an event by which a run ended is given to it once more. A timer comes by itself.
fn comes_again(event: &Event) -> bool {
    !is_failure(event) && !matches!(event, Event::Cancel { .. } | Event::Timer { .. } | Event::Finished { .. })
}

/// How a generation came to its end, as far as it has.
pub(super) struct Ending {
    /// The delivery by which the workflow ended.
    at: usize,
    /// The operations that were undone, or are to be.
    undone: BTreeSet<u64>,
    /// The first delivery that brought the result of one.
    first_undone: Option<usize>,
}

impl Ending {
    /// Nothing while the workflow goes on.
    pub fn of(deliveries: &Deliveries) -> Option<Self> {
        let at = deliveries.iter().position(|(_, delivery)| delivery.unwinds.is_some() || delivery.end.is_some())?;
        let last = &deliveries[at].1;
        let unwound = matches!(last.unwinds, Some(End::Failed(_) | End::Cancelled(_)));
        let mut undone = BTreeSet::new();
        if unwound {
            undone.extend(&last.undoes);
            // Those that were under way then, and have succeeded since.
            let undoable: BTreeSet<u64> =
                deliveries[..=at].iter().flat_map(|(_, delivery)| undoable(delivery)).collect();
            let late = deliveries[at + 1..].iter().filter_map(|(_, delivery)| succeeds(&delivery.event));
            undone.extend(late.filter(|op| undoable.contains(op)));
        }
        let is_undone = |delivery: &Delivery| succeeds(&delivery.event).is_some_and(|op| undone.contains(&op));
        let first_undone = deliveries.iter().position(|(_, delivery)| is_undone(delivery));
        Some(Ending { at, undone, first_undone })
    }

    /// Whether rollbacks have undone something, or are about to.
    pub fn undoes(&self) -> bool {
        !self.undone.is_empty()
    }
}

/// The steps that a delivery has asked for and that can be undone.
fn undoable(delivery: &Delivery) -> impl Iterator<Item = u64> {
    delivery.commands.iter().filter_map(|command| match command {
        Command::Step { op, rollback: true, .. } => Some(*op),
        _ => None,
    })
}

/// The last good point of a generation.
pub(super) struct LastGood {
    pub kept: Deliveries,
    /// The event that is to come again, if one is.
    pub again: Option<Event>,
    /// What changes for the run.
    pub reopening: Reopening,
    /// What the keys of the steps begin with that are executed again.
    pub bases: BTreeMap<u64, KeyBase>,
    /// Those of them whose keys are new.
    pub renewed: BTreeSet<u64>,
}

/// The last good point of a generation that has failed or was cancelled. What was undone is not taken for done: it and all
/// that followed has keys of its own when it is executed again. What was not undone keeps its key.
pub(super) fn last_good_point(mut deliveries: Deliveries, generation: u64) -> LastGood {
    let (mut bases, base) = bases(&deliveries, generation);
    let (mut reopening, mut renewed) = (Reopening { base, ..Reopening::default() }, BTreeSet::new());
    let Some(ending) = Ending::of(&deliveries) else {
        return LastGood { kept: deliveries, again: None, reopening, bases, renewed };
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
            deliveries.truncate(first);
            return LastGood { kept: deliveries, again: None, reopening, bases, renewed };
        }
    }
    let last = deliveries.drain(ending.at..).next().map(|(_, delivery)| delivery.event);
    // Failures that the workflow has only taken note of, as `join_all` does, belong to the one by which it ended.
    let acted = deliveries.iter().rposition(|(_, delivery)| !delivery.commands.is_empty()).unwrap_or(0);
    let mut at = 0;
    deliveries.retain(|(_, delivery)| {
        at += 1;
        at - 1 <= acted || !is_failure(&delivery.event)
    });
    LastGood { kept: deliveries, again: last.filter(comes_again), reopening, bases, renewed }
}

/// What the idempotency keys of the steps of a generation begin with, and what they have come to begin with.
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

/// Where a generation is cut for a fork: just before an event of its delivery `at`, which is `first` among those.
pub(super) struct ForkPoint {
    pub at: usize,
    pub first: bool,
}

/// What is kept of a generation for a fork, and the event that is to come again, if one is. What was undone must not be taken
/// for done, and rollbacks are not forked.
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
    // What was asked for behind an event cannot be kept in part.
    deliveries.truncate(if point.first { point.at } else { point.at + 1 });
    // The event by which it ended comes once more.
    let again = match ending {
        Some(ending) if ending.at < deliveries.len() => deliveries.pop(),
        _ => None,
    };
    Ok((deliveries, again.map(|(_, delivery)| delivery.event).filter(comes_again)))
}

/// The refusal of a fork that would take for done what was undone.
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
