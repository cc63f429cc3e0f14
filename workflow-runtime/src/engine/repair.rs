//! Lets runs go on that have ended, and others begin where they have come to.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Inner;
use super::create::{not_created, started};
use super::letters;
use super::queries::not_found;
use crate::codec::Payload;
use crate::error::{Code, Error, Result};
use crate::history::Teller;
use crate::limits::JOURNAL_PAGE_ROWS;
use crate::names;
use crate::registry::hex;
use crate::replay::{Carried, Class, Command, Delivery, Encoded, End, Event, Identity, Suspension, TurnRecord};
use crate::store::{
    CreateAnswer, Effects, Failed, First, JournalRow, Letter, NewChunk, NewRun, Reopen, ReopenAnswer, RunKey, RunRow,
    Status, UnstickRun, UnstickRunAnswer,
};

/// The deliveries of a generation, each with the index of its row.
type Deliveries = Vec<(u64, Delivery)>;

/// Where a run is forked.
pub(crate) struct At {
    /// The index of the first event that is not kept, but for the call of a step, which is.
    pub event: u64,
    /// What the step that is called there is given instead.
    pub input: Option<Payload>,
    /// The id of the new run.
    pub id: Option<String>,
}

/// A part of a run's history.
struct Cut {
    generation: u64,
    kept: Deliveries,
    /// The event that is to come again, if one is.
    again: Option<Event>,
    /// The generations before.
    earlier: Vec<Deliveries>,
}

/// What a run begins with that goes on from a journal.
struct Beginning {
    rows: Vec<JournalRow>,
    letters: Vec<Letter>,
}

/// The step whose attempts an event is about, if it has failed one.
fn failed_attempt(event: &Event) -> Option<u64> {
    match event {
        Event::Attempt { op, .. } => Some(*op),
        _ => None,
    }
}

/// The operation that an event ends.
fn ends(event: &Event) -> Option<u64> {
    match event.class() {
        Class::Result(op) => Some(op),
        Class::Progress(_) | Class::OfRun => None,
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

/// The last good point of a generation that has failed or was cancelled: what is kept of it, and the event that is to come
/// again, if one is.
fn last_good_point(mut deliveries: Deliveries) -> (Deliveries, Option<Event>) {
    let ended = deliveries.iter().position(|(_, delivery)| delivery.unwinds.is_some() || delivery.end.is_some());
    let unwound = deliveries.iter().any(|(_, delivery)| delivery.unwinds.is_some());
    let Some(ended) = ended else { return (deliveries, None) };
    if unwound {
        // What was undone must not be taken for done.
        let undoable: BTreeSet<u64> = deliveries
            .iter()
            .flat_map(|(_, delivery)| &delivery.commands)
            .filter_map(|command| match command {
                Command::Step { op, rollback: true, .. } => Some(*op),
                _ => None,
            })
            .collect();
        let undone = deliveries[..=ended]
            .iter()
            .position(|(_, delivery)| matches!(delivery.event, Event::Completed { op, .. } if undoable.contains(&op)));
        if let Some(undone) = undone {
            deliveries.truncate(undone);
            return (deliveries, None);
        }
    }
    let last = deliveries.drain(ended..).next().map(|(_, delivery)| delivery.event);
    // Failures that the workflow has only taken note of, as `join_all` does, belong to the one by which it ended.
    let acted = deliveries.iter().rposition(|(_, delivery)| !delivery.commands.is_empty()).unwrap_or(0);
    let mut at = 0;
    deliveries.retain(|(_, delivery)| {
        at += 1;
        at - 1 <= acted || !is_failure(&delivery.event)
    });
    (deliveries, last.filter(comes_again))
}

impl Inner {
    /// Lets a run go on that has failed, was cancelled or is stuck.
    pub(crate) async fn retry(&self, id: &Arc<str>) -> Result<()> {
        self.check_open()?;
        let row = self.row(id).await?.ok_or_else(|| not_found(id))?;
        let refused = |status: Status| {
            Error::coded(Code::NotRepairable, format!("the run is {status}: there is nothing to be retried"))
                .run(id)
                .expected("a run that has failed, was cancelled or is stuck")
                .into_fatal()
        };
        let failed = |failed| not_done(failed, "retried").run(id);
        let answer = match row.status {
            Status::Stuck => match self.batcher.send(UnstickRun { run: id.clone() }).await.map_err(failed)? {
                UnstickRunAnswer::Committed => ReopenAnswer::Committed,
                UnstickRunAnswer::Unknown => ReopenAnswer::Unknown,
            },
            Status::Failed | Status::Cancelled => {
                let deliveries = self.deliveries(row.key, row.generation).await.map_err(|error| error.run(id))?;
                let (kept, again) = last_good_point(deliveries);
                let identity = Identity { run: id.clone(), workflow: "", generation: row.generation + 1 };
                let beginning = self.beginning(kept, again, &identity, id, None)?;
                let Beginning { rows, letters } = beginning;
                let reopen = Reopen { run: id.clone(), generation: row.generation, rows, letters };
                self.batcher.send_when_room(reopen).await.map_err(failed)?
            }
            status => return Err(refused(status)),
        };
        match answer {
            ReopenAnswer::Unknown => Err(not_found(id)),
            ReopenAnswer::Fenced => {
                let status = self.row(id).await?.map_or(row.status, |row| row.status);
                Err(refused(status).help("somebody else has retried it meanwhile"))
            }
            ReopenAnswer::Committed => {
                self.taking.miss();
                Ok(())
            }
        }
    }

    /// Starts a run that begins where another one has come to: its id.
    pub(crate) async fn fork(&self, source: &Arc<str>, at: At) -> Result<Arc<str>> {
        self.check_open()?;
        let row = self.row(source).await?.ok_or_else(|| not_found(source))?;
        let id: Arc<str> = match at.id {
            Some(id) => names::check("the id of a run", &id).map(|()| id.into())?,
            None => self.new_id().into(),
        };
        let cut = self.cut(&row, at.event).await;
        let Cut { generation, mut kept, again, earlier } =
            cut.map_err(|error| error.run(source).context("the run was not forked"))?;
        let asked = digest_of_fork(&row, at.event, at.input.as_ref());
        if let Some(input) = at.input {
            give(&mut kept, input).map_err(|error| error.run(source))?;
        }
        let (attributes, chunks) = self.shown(&row, &earlier, &kept).await?;
        let identity = Identity { run: id.clone(), workflow: "", generation: 0 };
        let again = match kept.is_empty() {
            true => self.start_of(row.key, generation).await?,
            false => again,
        };
        let Beginning { rows, letters } = self.beginning(kept, again, &identity, source, Some(source))?;
        let now = self.clock.now();
        let attributes = attributes.into_iter().map(|(key, value)| (key, Some(value))).collect();
        let new = NewRun {
            id: id.clone(),
            workflow: row.workflow,
            fingerprint: row.fingerprint,
            args_digest: asked,
            created_at: now,
            token: self.random.number(),
            effects: Some(Box::new(Effects { attributes, ..Effects::default() })),
            chunks,
            first: First::Journal { rows, letters },
        };
        match self.batcher.send_when_room(new).await.map_err(|failed| not_done(failed, "forked").run(source))? {
            CreateAnswer::Exists(row) if row.args_digest == asked => Ok(id),
            CreateAnswer::Exists(row) => {
                Err(Error::coded(Code::RunExists, format!("there is a run `{}` already", row.id)).run(&row.id))
            }
            CreateAnswer::Created(_) => {
                self.taking.miss();
                Ok(id)
            }
            CreateAnswer::Fenced | CreateAnswer::Unknown => Err(not_created(&id)),
        }
    }

    async fn deliveries(&self, key: RunKey, generation: u64) -> Result<Deliveries> {
        let mut deliveries = Deliveries::new();
        let mut next = 0;
        loop {
            let rows = self.store.journal(key, generation, next, JOURNAL_PAGE_ROWS).await?;
            let Some(last) = rows.last() else { return Ok(deliveries) };
            next = last.index + 1;
            for row in rows {
                let turn = TurnRecord::decode(row.format, row.checksum, &row.body)?;
                deliveries.extend(turn.deliveries.into_iter().map(|delivery| (row.index, delivery)));
            }
        }
    }

    /// What is kept of a run's history up to an event.
    async fn cut(&self, row: &RunRow, event: u64) -> Result<Cut> {
        let (mut teller, mut earlier) = (Teller::new(), Vec::new());
        for generation in 0..=row.generation {
            let deliveries = self.deliveries(row.key, generation).await?;
            for (at, (_, delivery)) in deliveries.iter().enumerate() {
                let begins = teller.next();
                teller.tell(delivery, &mut Vec::new())?;
                if event >= teller.next() {
                    continue;
                }
                // What was asked for behind an event cannot be kept in part.
                let kept = if event == begins { at } else { at + 1 };
                let mut deliveries = deliveries;
                deliveries.truncate(kept);
                // The event by which it ended comes once more.
                let ends = |(_, last): &(u64, Delivery)| last.end.is_some() || last.unwinds.is_some();
                let again = if deliveries.last().is_some_and(ends) { deliveries.pop() } else { None };
                let again = again.map(|(_, delivery)| delivery.event).filter(comes_again);
                return Ok(Cut { generation, kept: deliveries, again, earlier });
            }
            earlier.push(deliveries);
            teller.next_generation();
        }
        Err(Error::coded(Code::NotRepairable, format!("the run has no event {event} (yet)"))
            .expected(format!("less than {}", teller.next()))
            .help("`run.events().so_far()` gives its events, each with its index")
            .into_fatal())
    }

    /// How a generation began.
    async fn start_of(&self, key: RunKey, generation: u64) -> Result<Option<Event>> {
        let first = self.store.journal(key, generation, 0, 1).await?.into_iter().next();
        let turn = first.map(|row| TurnRecord::decode(row.format, row.checksum, &row.body)).transpose()?;
        Ok(turn.and_then(|turn| turn.deliveries.into_iter().next()).map(|delivery| delivery.event))
    }

    /// What a run has shown of itself by then: its attributes, and the chunks that its workflow has written.
    async fn shown(
        &self,
        row: &RunRow,
        earlier: &[Deliveries],
        kept: &Deliveries,
    ) -> Result<(BTreeMap<Arc<str>, Arc<str>>, Vec<NewChunk>)> {
        let mut attributes = BTreeMap::new();
        let mut chunks = Vec::new();
        let mut chunk = |stream: &str, value: Option<&Payload>| {
            let value = value.map(|value| Arc::from(value.as_str()));
            chunks.push(NewChunk { stream: stream.into(), id: self.random.number(), value });
        };
        let now = self.store.attributes(&row.id).await.map_err(|error| error.run(&row.id))?;
        for (_, delivery) in earlier.iter().flatten().chain(kept) {
            // The start has given those that no command tells of.
            if let Event::Started { carried: Some(carried), .. } = &delivery.event {
                for (key, value) in now.iter().filter(|(key, _)| carried.attributes.contains(&**key)) {
                    attributes.entry(key.clone()).or_insert_with(|| value.clone());
                }
            }
            for command in &delivery.commands {
                match command {
                    Command::Attribute { key, value: Some(value) } => {
                        attributes.insert(Arc::from(&**key), Arc::from(&**value));
                    }
                    Command::Attribute { key, value: None } => drop(attributes.remove(&**key)),
                    Command::Write { stream, value } => chunk(stream, Some(value)),
                    Command::CloseStream { stream } => chunk(stream, None),
                    _ => {}
                }
            }
        }
        Ok((attributes, chunks))
    }

    /// The journal and the letters of a run that goes on from what is kept of another one, or of itself.
    fn beginning(
        &self,
        kept: Deliveries,
        again: Option<Event>,
        identity: &Identity,
        was: &Arc<str>,
        source: Option<&Arc<str>>,
    ) -> Result<Beginning> {
        let now = self.clock.now();
        let number = || format!("reopened/{}/{:032x}", identity.generation, self.random.number());
        let key = || letters::for_resending(number());
        let letter = |event: &Event| letters::letter(event, now, key());
        if kept.is_empty() {
            // It begins anew, and draws other random numbers.
            let event = match again {
                Some(Event::Started { args, carried, .. }) => {
                    started(&self.random, &args, carried.map(|carried| Carried { ..*carried }))
                }
                _ => return Err(Error::coded(Code::Damaged, "the run's journal has no start").run(was)),
            };
            return Ok(Beginning { rows: Vec::new(), letters: vec![letter(&event)?] });
        }
        let rows = self.rewritten(kept, identity, was)?;
        let seed = hex(&self.random.number().to_le_bytes());
        let reopened = Event::Reopened { seed, source: source.map(|source| source.to_string()) };
        let mut letters = vec![letter(&reopened)?];
        if let Some(event) = &again {
            letters.push(letter(event)?);
        }
        Ok(Beginning { rows, letters })
    }

    /// Rows that say the same of another run: what is open is that one's own.
    fn rewritten(&self, kept: Deliveries, identity: &Identity, was: &str) -> Result<Vec<JournalRow>> {
        let ended: BTreeSet<u64> = kept.iter().filter_map(|(_, delivery)| ends(&delivery.event)).collect();
        let seed: [u8; 32] = match kept.first().map(|(_, delivery)| &delivery.event) {
            Some(Event::Started { seed, .. }) => Sha256::digest(seed.as_bytes()).into(),
            _ => [0; 32],
        };
        let mut rows: Vec<JournalRow> = Vec::new();
        let mut turn: Option<(u64, TurnRecord)> = None;
        let mut push = |record: TurnRecord| -> Result<()> {
            let (index, Encoded { format, checksum, body }) = (rows.len() as u64, record.encode()?);
            rows.push(JournalRow { index, turn: self.random.number(), format, checksum, body: body.into() });
            Ok(())
        };
        for (row, mut delivery) in kept {
            // A step that is attempted again has all its attempts.
            if failed_attempt(&delivery.event).is_some_and(|op| !ended.contains(&op)) {
                continue;
            }
            for command in &mut delivery.commands {
                match command {
                    Command::Child { op, run, .. } if !ended.contains(op) => {
                        *run = Cow::Owned(identity.child_id(&seed, *op).to_string());
                    }
                    Command::Step { op, run: Some(run), .. } if !ended.contains(op) => {
                        *run = Cow::Owned(identity.child_id(&seed, *op).to_string());
                    }
                    // A suspension is named after its run.
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
                    if let Some((_, record)) = turn.replace((row, TurnRecord { deliveries: vec![delivery] })) {
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

/// What a fork has in the place of the digest of its arguments, so that one that is asked for again is known. A start that
/// finds the fork under its id compares the arguments themselves.
fn digest_of_fork(source: &RunRow, event: u64, input: Option<&Payload>) -> [u8; 32] {
    let input = input.map_or("", Payload::as_str);
    Sha256::digest(format!("fork {} {event} {input}", source.key)).into()
}

/// Gives the step that was called last another input.
fn give(kept: &mut Deliveries, input: Payload) -> Result<()> {
    let last = kept.last_mut().and_then(|(_, delivery)| {
        delivery.commands.iter_mut().rev().find_map(|command| match command {
            Command::Step { given, .. } => Some(given),
            _ => None,
        })
    });
    match last {
        Some(given) => {
            *given = Some(input);
            Ok(())
        }
        None => Err(Error::coded(Code::NotRepairable, "no step is called at the event that the run is forked at")
            .help("give the index of the event at which the step was called: `StepOutcome::event`")
            .into_fatal()),
    }
}

fn not_done(failed: Failed, what: &str) -> Error {
    match failed.in_doubt {
        true => failed.error.context(format!("it is not known whether the run was {what}")).with_code(Code::InDoubt),
        false => failed.error.context(format!("the run was not {what}")),
    }
}
