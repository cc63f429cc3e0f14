//! The suspensions of a run that is retried: those that still wait keep their ids, so that an answer which a person gives
//! after the retry to a question from before it is accepted.

use std::collections::BTreeMap;

use super::point::{Deliveries, ends};
use crate::replay::{Command, Event, Suspension};
use crate::store::RunRow;

/// The suspensions that wait at the end of a history, by operation.
pub(super) type Waiting = BTreeMap<u64, Place>;

/// The place of a suspension, which its id names.
pub(super) struct Place {
    generation: u64,
    /// Counts the suspensions of the operation, from 1.
    number: u32,
}

/// The suspensions that wait at the end of a history of the run's current generation. The end of a workflow drops its suspensions:
/// if it has ended, those that waited until then.
pub(super) fn waiting(deliveries: &Deliveries, run: &RunRow) -> Waiting {
    let (mut waiting, mut numbers) = (Waiting::new(), BTreeMap::<u64, u32>::new());
    let mut suspends = |waiting: &mut Waiting, op: u64| {
        let number = numbers.entry(op).or_default();
        *number += 1;
        waiting.insert(op, Place { generation: run.generation, number: *number });
    };
    for (_, delivery) in deliveries {
        match &delivery.event {
            Event::Suspended { op, .. } => suspends(&mut waiting, *op),
            Event::Payload { op, .. } => drop(waiting.remove(op)),
            Event::Reopened { reopening, .. } => {
                for (op, place) in &mut waiting {
                    let earlier = reopening.suspended.iter().find(|(of, _)| of == op);
                    place.generation = earlier.map_or(run.generation, |(_, generation)| *generation);
                }
            }
            event => drop(ends(event).and_then(|op| waiting.remove(&op))),
        }
        if delivery.unwinds.is_some() || delivery.end.is_some() {
            break;
        }
        for command in &delivery.commands {
            match command {
                Command::Hook { op, token, .. } if Suspension::label(&run.id, token).is_some() => {
                    suspends(&mut waiting, *op);
                }
                Command::Cancel { op } => drop(waiting.remove(op)),
                _ => {}
            }
        }
    }
    waiting
}

/// The suspensions of a history that wait at its end and that its kept part has, too: the operation of each, and the generation in
/// its id. A suspension that was answered after the kept part is asked again, and gets another id.
pub(super) fn kept(waiting: &Waiting, kept: &Waiting) -> Box<[(u64, u64)]> {
    let same = |op: &u64, place: &Place| kept.get(op).is_some_and(|kept| kept.number == place.number);
    waiting.iter().filter(|(op, place)| same(op, place)).map(|(op, place)| (*op, place.generation)).collect()
}
