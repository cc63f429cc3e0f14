//! The payloads that a run receives again when it is retried.
//!
//! A retry may cut the journal before a payload was received, and a run may end while its inbox holds payloads. The engine has
//! accepted them, so the next generation receives them, in their order:
//!
//! - A hook of the kept part receives its payloads again.
//! - A payload of a hook that was opened behind the cut is for the next hook with its token: the journal has a placeholder in
//!   place of the operation, as for hooks of the generation before a `continue_as_new`. Such a hook with a random token has another
//!   token when it is opened again, so its payloads are not for it. A hook that the run had not opened when it ended,
//!   and for whose token the store had accepted payloads, is treated alike.
//! - A suspension of the kept part receives its answer again. One behind the cut is asked anew: an answer belongs to one question.

use std::collections::{BTreeMap, BTreeSet};

use super::super::messages;
use super::point::Deliveries;
use crate::codec::Payload;
use crate::error::Result;
use crate::replay::{Command, Event, Suspension, placeholders};
use crate::store::{About, InboxRow, Message};

/// The part of a run's history that its next generation does not keep.
pub(super) struct Lost<'d> {
    /// The deliveries behind the cut, whose payloads are delivered again.
    pub cut: &'d Deliveries,
    /// The messages that the inbox holds for the generation.
    pub inbox: Vec<InboxRow>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Again {
    /// The new placeholders, with their addresses.
    pub forwards: Vec<(u64, Box<str>)>,
    /// The suspended operations that receive their answers.
    pub answered: Vec<u64>,
    /// The payloads, each with its operation.
    pub payloads: Vec<(u64, Message)>,
    /// The sequences of the messages that they replace.
    pub replaced: Vec<u64>,
}

/// The operations of the next generation that can receive payloads.
#[derive(Default)]
struct Kept {
    /// Hooks and placeholders.
    hooks: BTreeSet<u64>,
    /// Operations that are suspended.
    suspended: BTreeSet<u64>,
}

impl Kept {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Started { carried: Some(carried), .. } => self.hooks.extend(carried.forwards.keys()),
            Event::Reopened { reopening, .. } => self.hooks.extend(reopening.forwards.iter().map(|(op, _)| op)),
            Event::Suspended { op, .. } => drop(self.suspended.insert(*op)),
            event => drop(event.op().map(|op| self.suspended.remove(&op))),
        }
    }

    fn command(&mut self, run: &str, command: &Command) {
        match command {
            Command::Hook { op, token, .. } if Suspension::label(run, token).is_some() => {
                self.suspended.insert(*op);
            }
            Command::Hook { op, .. } => drop(self.hooks.insert(*op)),
            Command::Cancel { op } => drop(self.suspended.remove(op)),
            _ => {}
        }
    }
}

/// The addresses of the hooks that were opened behind the cut, by operation.
#[derive(Default)]
struct Opened(BTreeMap<u64, Box<str>>);

impl Opened {
    fn event(&mut self, event: &Event) {
        if let Event::Reopened { reopening, .. } = event {
            self.0.extend(reopening.forwards.iter().cloned());
        }
    }

    fn command(&mut self, run: &str, command: &Command) {
        match command {
            // Only a random token has an address other than itself.
            Command::Hook { op, token, drawn: false, .. } if Suspension::label(run, token).is_none() => {
                self.0.insert(*op, (&**token).into());
            }
            _ => {}
        }
    }
}

/// The recipients of payloads.
struct Recipients {
    kept: Kept,
    opened: Opened,
    /// The new placeholders, by address.
    placeholders: BTreeMap<Box<str>, u64>,
}

impl Recipients {
    /// The operation that receives a payload which was sent to this operation.
    fn of(&mut self, op: u64) -> Option<u64> {
        if self.kept.hooks.contains(&op) {
            return Some(op);
        }
        let address = self.opened.0.get(&op)?.clone();
        self.at(address)
    }

    /// The placeholder for the next hook with an address.
    fn at(&mut self, address: Box<str>) -> Option<u64> {
        if let Some(placeholder) = self.placeholders.get(&address) {
            return Some(*placeholder);
        }
        let taken =
            |number: &u64| self.kept.hooks.contains(number) || self.placeholders.values().any(|it| it == number);
        let placeholder = placeholders().find(|number| !taken(number))?;
        self.placeholders.insert(address, placeholder);
        Some(placeholder)
    }
}

/// The payloads that the next generation of a run receives again. `first` is the event that it begins with, if it keeps no row.
pub(super) fn again(run: &str, kept: &Deliveries, first: Option<&Event>, lost: Lost<'_>, now: u64) -> Result<Again> {
    let mut again = Again::default();
    let mut recipients = Recipients { kept: Kept::default(), opened: Opened::default(), placeholders: BTreeMap::new() };
    first.into_iter().for_each(|event| recipients.kept.event(event));
    for (_, delivery) in kept {
        recipients.kept.event(&delivery.event);
        delivery.commands.iter().for_each(|command| recipients.kept.command(run, command));
    }
    for (_, delivery) in lost.cut {
        let (event, op) = (&delivery.event, delivery.event.op());
        // The first event of a suspended operation may be its answer; later ones answer suspensions behind the cut.
        let answers = op.is_some_and(|op| recipients.kept.suspended.remove(&op));
        if let Event::Payload { op, value } = event {
            let to = if answers { Some(*op) } else { recipients.of(*op) };
            if let Some(to) = to {
                again.answered.extend(answers.then_some(to));
                again.payloads.push((to, payload(value, now)?));
            }
        }
        recipients.opened.event(event);
        delivery.commands.iter().for_each(|command| recipients.opened.command(run, command));
    }
    // A suspension accepts another answer only after one that did not fit: the last one counts.
    let last: BTreeMap<u64, u64> = lost.inbox.iter().filter_map(|row| Some((sent_to(row)?, row.sequence))).collect();
    for row in lost.inbox {
        let to = match (sent_to(&row), &row.about) {
            (Some(op), _) if recipients.kept.suspended.contains(&op) => {
                let counts = last.get(&op) == Some(&row.sequence);
                again.answered.extend(counts.then_some(op));
                counts.then_some(op)
            }
            (Some(op), _) => recipients.of(op),
            (None, Some(About::Token(token))) => recipients.at((**token).into()),
            (None, _) => continue,
        };
        again.replaced.push(row.sequence);
        // Without a recipient it stays in the inbox, unread.
        again.payloads.push((to.unwrap_or(messages::NO_OPERATION), message(row)));
    }
    again.forwards = recipients.placeholders.into_iter().map(|(address, op)| (op, address)).collect();
    Ok(again)
}

/// The operation to which a message has sent a payload.
fn sent_to(row: &InboxRow) -> Option<u64> {
    match row.about {
        Some(About::Operation(op)) if op != messages::NO_OPERATION => Some(op),
        _ => None,
    }
}

fn payload(value: &Payload, now: u64) -> Result<Message> {
    messages::message(&Event::Payload { op: messages::NO_OPERATION, value: value.clone() }, now, None)
}

fn message(row: InboxRow) -> Message {
    let InboxRow { arrived_at, format, checksum, body, .. } = row;
    Message { dedupe: None, arrived_at, format, checksum, body }
}
