//! The journal with which a run begins that continues from another run, or from its own history.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::super::effects::started;
use super::super::inner::Inner;
use super::super::messages;
use super::point::{Deliveries, ends};
use crate::error::{Code, Error, Result};
use crate::keys::{self, KeyBase};
use crate::replay::{Carried, Command, Delivery, Encoded, Event, Identity, Reopening, Suspension, TurnRecord};
use crate::store::{JournalRow, Message};
use crate::text::hex;

/// The first rows and messages of a run that continues from a journal.
pub(super) struct Beginning {
    pub rows: Vec<JournalRow>,
    pub messages: Vec<Message>,
}

/// The changes of a run that continues from a journal.
#[derive(Default)]
pub(super) struct Changes {
    pub reopening: Reopening,
    /// The bases of the keys of open steps, if they differ from those of later steps.
    pub bases: BTreeMap<u64, KeyBase>,
    /// The operations that wait for runs which they have started and which they keep.
    pub children: BTreeSet<u64>,
}

/// The step of which an event is a failed attempt.
fn failed_attempt(event: &Event) -> Option<u64> {
    match event {
        Event::Attempt { op, .. } => Some(*op),
        _ => None,
    }
}

/// The operations that are no longer open: they have ended, are detached, or were dropped.
fn closed(kept: &Deliveries) -> BTreeSet<u64> {
    let mut closed: BTreeSet<u64> = kept.iter().filter_map(|(_, delivery)| ends(&delivery.event)).collect();
    let mut goes_on = BTreeSet::new();
    for (_, Delivery { commands, .. }) in kept {
        for command in commands {
            match command {
                // If such a step is dropped later, its result may have to be rolled back.
                Command::Step { op, rollback: true, .. }
                    if !commands
                        .iter()
                        .any(|other| matches!(other, Command::Cancel { op: dropped } if dropped == op)) =>
                {
                    goes_on.insert(*op);
                }
                Command::Child { op, detached: true, own: None, .. } => drop(closed.insert(*op)),
                Command::Cancel { op } if !goes_on.contains(op) => drop(closed.insert(*op)),
                _ => {}
            }
        }
    }
    closed
}

/// The runs that a run still waits for and has started as its children, by operation. Steps with new keys are
/// executed by other runs.
pub(super) fn awaited_children(kept: &Deliveries, renewed: &BTreeSet<u64>) -> Vec<(u64, Arc<str>)> {
    let closed = closed(kept);
    let awaited = |command: &Command| match command {
        Command::Child { op, run, .. } => Some((*op, Arc::from(&**run))),
        Command::Step { op, run: Some(run), .. } if !renewed.contains(op) => Some((*op, Arc::from(&**run))),
        _ => None,
    };
    let commands = kept.iter().flat_map(|(_, delivery)| &delivery.commands);
    commands.filter_map(awaited).filter(|(op, _)| !closed.contains(op)).collect()
}

impl Inner {
    /// The journal and the messages of a run that continues from the kept history of another run, or of its own.
    pub(super) fn beginning(
        &self,
        kept: Deliveries,
        again: Option<Event>,
        identity: &Identity,
        was: &Arc<str>,
        changes: Changes,
    ) -> Result<Beginning> {
        let now = self.clock.now();
        let key = || messages::for_resending(keys::reopened(identity.generation, self.random.number()));
        let message = |event: &Event| messages::message(event, now, key());
        if kept.is_empty() {
            // The run begins anew, with another random seed.
            let event = match again {
                Some(Event::Started { args, carried, .. }) => {
                    let mut carried = carried.map_or_else(Carried::default, |carried| *carried);
                    carried.forwards.extend(changes.reopening.forwards);
                    started(&self.random, &args, carried.some())
                }
                _ => {
                    let text = "the run was cancelled before it was started: it has no arguments to begin with";
                    return Err(Error::coded(Code::NotRepairable, text)
                        .run(was)
                        .help("start another run")
                        .into_fatal());
                }
            };
            return Ok(Beginning { rows: Vec::new(), messages: vec![message(&event)?] });
        }
        let rows = self.rewritten(kept, identity, was, &changes)?;
        let reopening = changes.reopening;
        let seed = hex(&self.random.number().to_le_bytes());
        let mut messages = vec![message(&Event::Reopened { seed, reopening })?];
        if let Some(event) = &again {
            messages.push(message(event)?);
        }
        Ok(Beginning { rows, messages })
    }

    /// The kept rows, rewritten for another run: open operations get the ids and keys of that run.
    fn rewritten(
        &self,
        kept: Deliveries,
        identity: &Identity,
        was: &str,
        Changes { reopening, bases, children }: &Changes,
    ) -> Result<Vec<JournalRow>> {
        let ended: BTreeSet<u64> = kept.iter().filter_map(|(_, delivery)| ends(&delivery.event)).collect();
        let closed = closed(&kept);
        let seed: [u8; 32] = match kept.first().map(|(_, delivery)| &delivery.event) {
            Some(Event::Started { seed, .. }) => Sha256::digest(seed.as_bytes()).into(),
            _ => [0; 32],
        };
        let mut rows: Vec<JournalRow> = Vec::new();
        let mut turn: Option<(u64, TurnRecord)> = None;
        let mut push = |record: TurnRecord| -> Result<()> {
            let (index, Encoded { format, checksum, body }) = (rows.len() as u64, record.encode()?);
            rows.push(JournalRow { index, turn: self.random.number(), format, checksum, body });
            Ok(())
        };
        for (row, mut delivery) in kept {
            // A step that is attempted again gets its full number of attempts: its failed attempts are left out.
            if failed_attempt(&delivery.event).is_some_and(|op| !ended.contains(&op)) {
                continue;
            }
            for command in &mut delivery.commands {
                match command {
                    Command::Child { op, run, own, .. } if !closed.contains(op) => match own {
                        // A child that the run itself has started stays its own when it continues.
                        Some(own) if *identity.run != *was => {
                            *own = Uuid::from_u128(identity.child_token(&seed, *op));
                        }
                        None if !children.contains(op) => {
                            *run = Cow::Owned(identity.child_id(&seed, *op).to_string());
                        }
                        Some(_) | None => {}
                    },
                    Command::Step { op, run, key, .. } if !closed.contains(op) => {
                        *key = Some(bases.get(op).copied().unwrap_or(reopening.base));
                        if run.is_some() && !children.contains(op) {
                            *run = Some(Cow::Owned(identity.child_id(&seed, *op).to_string()));
                        }
                    }
                    // The token of a suspension contains the id of its run.
                    Command::Hook { token, .. } => {
                        if let Some(label) = Suspension::label(was, token) {
                            *token = Cow::Owned(Suspension::token(&identity.run, label).to_string());
                        }
                    }
                    _ => {}
                }
            }
            match &mut turn {
                Some((of, record)) if *of == row => record.deliveries.push(delivery),
                _ => {
                    if let Some((_, record)) = turn.replace((row, TurnRecord::from(delivery))) {
                        push(record)?;
                    }
                }
            }
        }
        if let Some((_, record)) = turn {
            push(record)?;
        }
        Ok(rows)
    }
}
