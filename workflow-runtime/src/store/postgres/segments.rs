//! Cuts a group of writes into statements.

use rustc_hash::FxHashSet;

use super::{creates, turns};
use crate::store::{Claim, First, Message, NewRun, Release, RunKey, SendMessage, Turn, Write};

/// Writes that one statement can do, with their places in the group.
pub(super) enum Segment<'g> {
    /// Runs with their first turns, of one owner.
    Creates(u64, Vec<(usize, &'g NewRun)>),
    Starts(Vec<(usize, &'g NewRun)>),
    Turns(Vec<(usize, &'g Turn)>),
    Messages(Vec<(usize, &'g str, &'g Message)>),
    /// Any other write.
    Single(usize, &'g Write),
}

impl<'g> Segment<'g> {
    fn of(place: usize, write: &'g Write) -> Self {
        match write {
            Write::Create(new) => match &new.first {
                First::Turn { row, .. } if row.index != 0 => Segment::Single(place, write),
                First::Turn { owner, .. } => Segment::Creates(*owner, vec![(place, new)]),
                First::Message(_) => Segment::Starts(vec![(place, new)]),
                First::Later | First::Begin(_) | First::Journal { .. } => Segment::Single(place, write),
            },
            Write::Turn(turn) => Segment::Turns(vec![(place, turn)]),
            Write::SendMessage(SendMessage { run, message, unstick: false }) => {
                Segment::Messages(vec![(place, run, message)])
            }
            _ => Segment::Single(place, write),
        }
    }

    /// The runs for which the segment may do more than append rows: it may end or release them.
    pub fn left(&self) -> impl Iterator<Item = RunKey> {
        let (turns, released) = match self {
            Segment::Turns(turns) => (&turns[..], None),
            Segment::Single(_, Write::Release(Release { run, .. })) => (&[][..], Some(*run)),
            _ => (&[][..], None),
        };
        turns.iter().filter(|(_, turn)| !turns::is_row(turn)).map(|(_, turn)| turn.run).chain(released)
    }

    /// The run that the segment's only write concerns.
    fn run(&self) -> Option<Run<'g>> {
        Some(match self {
            Segment::Creates(_, runs) | Segment::Starts(runs) => Run::Id(&runs.first()?.1.id),
            Segment::Turns(turns) => Run::Key(turns.first()?.1.run),
            Segment::Messages(messages) => Run::Id(messages.first()?.1),
            Segment::Single(..) => return None,
        })
    }

    fn is_alike(&self, next: &Self) -> bool {
        match (self, next) {
            (Segment::Creates(owner, _), Segment::Creates(other, _)) => owner == other,
            (Segment::Starts(_), Segment::Starts(_))
            | (Segment::Turns(_), Segment::Turns(_))
            | (Segment::Messages(_), Segment::Messages(_)) => true,
            _ => false,
        }
    }

    /// Whether the order of the two does not matter: a run that is being created has no turn yet.
    fn commutes(&self, next: &Self) -> bool {
        let creates = |segment: &Self| matches!(segment, Segment::Creates(..) | Segment::Starts(_));
        let turns = |segment: &Self| matches!(segment, Segment::Turns(_));
        (creates(self) && turns(next)) || (turns(self) && creates(next))
    }

    fn extend(&mut self, next: Self) {
        match (self, next) {
            (Segment::Creates(_, there), Segment::Creates(_, new)) | (Segment::Starts(there), Segment::Starts(new)) => {
                there.extend(new);
            }
            (Segment::Turns(there), Segment::Turns(new)) => there.extend(new),
            (Segment::Messages(there), Segment::Messages(new)) => there.extend(new),
            _ => {}
        }
    }

    /// Whether one statement does all of it, and may be executed late, when no caller waits for its answer any more. A claim
    /// must not lock its worker's row for long: without `SKIP LOCKED` it may have to wait.
    pub fn is_plain(&self, skips_locked: bool) -> bool {
        match self {
            Segment::Creates(_, runs) | Segment::Starts(runs) => runs.iter().all(|(_, new)| creates::is_plain(new)),
            Segment::Turns(turns) => turns.iter().all(|(_, turn)| turns::is_plain(turn)),
            Segment::Messages(_) => true,
            Segment::Single(_, Write::Claim(Claim { again, .. })) => skips_locked && !again,
            Segment::Single(..) => false,
        }
    }
}

#[derive(PartialEq, Eq, Hash)]
enum Run<'g> {
    Id(&'g str),
    Key(RunKey),
}

/// Cuts a group into as few segments as keep its order.
pub(super) fn segments(group: &[Write]) -> Vec<Segment<'_>> {
    let mut segments: Vec<(Segment<'_>, FxHashSet<Run<'_>>)> = Vec::new();
    for (place, write) in group.iter().enumerate() {
        let next = Segment::of(place, write);
        let mut joins = None;
        for (position, (there, runs)) in segments.iter().enumerate().rev() {
            if there.is_alike(&next) {
                joins = next.run().filter(|run| !runs.contains(run)).map(|_| position);
                break;
            }
            if !there.commutes(&next) {
                break;
            }
        }
        match joins.and_then(|position| segments.get_mut(position)) {
            Some((there, runs)) => {
                runs.extend(next.run());
                there.extend(next);
            }
            None => {
                let runs = next.run().into_iter().collect();
                segments.push((next, runs));
            }
        }
    }
    segments.into_iter().map(|(segment, _)| segment).collect()
}
