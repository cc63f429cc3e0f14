//! Groups of writes: how they become statements and transactions.
//!
//! A group is cut into [segments](Segment): writes of one kind to different runs, each of which is one statement. A group
//! that is a single such statement is sent as it is. Any other group is a transaction, which first locks all runs that it
//! concerns, in the order of their keys.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::creates::Made;
use super::db::{Db, Session, Text, args};
use super::fault::{Fault, Result};
use super::notes::Notes;
use super::segments::{Segment, segments};
use super::turns::{self, Taken};
use super::verified::Verified;
use super::{claims, creates, effects, messages, notices, removal, schema, streams, tokens};
use crate::error::{Code, Error};
use crate::failpoint::hit;
use crate::store::{
    About, Answer, AppendChunk, Claim, Clean, CreateAnswer, Delete, Effects, Failed, First, JournalRow, Message,
    NewRun, Noticed, Release, RemoveGenerations, Reopen, Replace, RowChange, RunKey, SendMessage, SendMessageAnswer,
    Turn, TurnAnswer, UnstickRun, UnstickRunAnswer, Write,
};

/// How often, at most, a transaction is sent that the database rolls back because of other transactions.
const ATTEMPTS: u32 = 8;

/// The store that commits.
pub(super) struct Ours {
    /// The prefix of this store's notifications, by which it recognises its own.
    pub tag: Arc<str>,
    /// The owner numbers of the workers that are registered through this store.
    pub owners: Arc<[i64]>,
    pub verified: Arc<Verified>,
}

/// A transaction in progress.
pub(super) struct Work<'w, 'd> {
    pub session: &'w Session<'d>,
    pub ours: &'w Ours,
    pub notes: Notes,
}

impl Work<'_, '_> {
    /// Puts a message into a run's inbox, unless its dedupe key is known, and makes the run due.
    pub async fn receive(&mut self, run: RunKey, message: &Message, about: Option<&About>) -> Result<()> {
        messages::receive(self.session, self.ours, &mut self.notes, run, message, about).await
    }

    pub async fn send_message(&mut self, run: &str, message: &Message, unstick: bool) -> Result<SendMessageAnswer> {
        let sent = messages::send(self.session, self.ours, &[(run, message)], Some(&mut self.notes)).await?;
        let Some((outcome, key)) = sent.into_iter().next() else { return Ok(SendMessageAnswer::Unknown) };
        if let Some(key) = key.filter(|_| unstick) {
            claims::unstick_one(self, key).await?;
        }
        Ok(outcome)
    }
}

/// Why a group was not committed, and whether it may have been.
struct Undone {
    fault: Fault,
    in_doubt: bool,
}

impl Undone {
    fn certain(fault: Fault) -> Self {
        Undone { fault, in_doubt: false }
    }
}

/// Commits a group.
pub(super) async fn commit(db: &Db, ours: &Ours, group: &[Write]) -> Result<Vec<Answer>, Failed> {
    let mut attempt = 1;
    loop {
        let undone = match once(db, ours, group).await {
            Ok(answers) => return Ok(answers),
            Err(undone) => undone,
        };
        if undone.in_doubt || !undone.fault.is_transient() || attempt == ATTEMPTS {
            // Whether the database rejected the statement, and did not report a failure of itself or of the connection.
            let refused = undone.fault.state().is_some() && !undone.fault.is_outage();
            let error = db.explain(schema::explained(db, undone.fault).await, "commit");
            return Err(Failed { error, in_doubt: undone.in_doubt, refused });
        }
        tracing::debug!(attempt, fault = ?undone.fault, "the database has rolled a commit back; trying again");
        tokio::time::sleep(Duration::from_millis(u64::from(attempt * attempt))).await;
        attempt += 1;
    }
}

async fn once(db: &Db, ours: &Ours, group: &[Write]) -> Result<Vec<Answer>, Undone> {
    ours.verified.leave(group);
    if group.iter().any(|write| matches!(write, Write::Claim(Claim { again: true, .. }))) {
        ours.verified.end_round();
    }
    let mut answers: Vec<Option<Answer>> = vec![None; group.len()];
    let session = db.connect().await.map_err(Undone::certain)?;
    let refreshed = db.clock.refresh(&session).await;
    refreshed.map_err(|fault| Undone { in_doubt: false, ..unanswered(&session, fault) })?;
    // Outside a transaction, which could be rolled back.
    let settled = ours.verified.settle(&session, &ours.owners).await;
    settled.map_err(|fault| Undone { in_doubt: false, ..unanswered(&session, fault) })?;
    hit("a group is about to be sent");
    match &segments(group)[..] {
        [segment] if segment.is_plain(db.options.skip_locked) => plain(&session, ours, segment, &mut answers).await?,
        segments => Box::pin(transaction(&session, ours, segments, &mut answers)).await?,
    }
    hit("a group is committed");
    let answered: Option<Vec<Answer>> = answers.into_iter().collect();
    answered.ok_or_else(|| Undone { fault: unanswered_write(), in_doubt: true })
}

/// Sends a segment as one statement.
async fn plain(
    session: &Session<'_>,
    ours: &Ours,
    segment: &Segment<'_>,
    answers: &mut [Option<Answer>],
) -> Result<(), Undone> {
    if let Segment::Turns(turns) = segment {
        return plain_turns(session, ours, turns, answers).await;
    }
    Box::pin(alone(session, ours, segment, answers)).await.map_err(|fault| unanswered(session, fault))
}

async fn alone(
    session: &Session<'_>,
    ours: &Ours,
    segment: &Segment<'_>,
    answers: &mut [Option<Answer>],
) -> Result<()> {
    match segment {
        Segment::Creates(owner, runs) => {
            let new: Vec<&NewRun> = runs.iter().map(|(_, new)| *new).collect();
            let made = creates::create(session, ours, *owner, &new, true).await?;
            place(answers, runs.iter().map(|(place, _)| *place), made.into_iter().map(|made| made.answer.into()));
        }
        Segment::Starts(runs) => {
            let new: Vec<&NewRun> = runs.iter().map(|(_, new)| *new).collect();
            let made = creates::start(session, ours, &new, true).await?;
            place(answers, runs.iter().map(|(place, _)| *place), made.into_iter().map(|made| made.answer.into()));
        }
        Segment::Messages(parts) => {
            let messages: Vec<(&str, &Message)> = parts.iter().map(|(_, run, message)| (*run, *message)).collect();
            let sent = messages::send(session, ours, &messages, None).await?;
            place(answers, parts.iter().map(|(place, ..)| *place), sent.into_iter().map(|(answer, _)| answer.into()));
        }
        Segment::Single(place, Write::Claim(claim)) => {
            set(answers, *place, claims::claim(session, ours, claim).await?.into());
        }
        Segment::Turns(_) | Segment::Single(..) => {}
    }
    Ok(())
}

/// Sends turns as one statement, or as two pipelined ones if some are rows of verified runs and some are not.
async fn plain_turns(
    session: &Session<'_>,
    ours: &Ours,
    turns: &[(usize, &Turn)],
    answers: &mut [Option<Answer>],
) -> Result<(), Undone> {
    ours.verified
        .settle(session, &ours.owners)
        .await
        .map_err(|fault| Undone { in_doubt: false, ..unanswered(session, fault) })?;
    let (rows, others) = ours.verified.part(turns);
    let sent: Vec<&Turn> = others.iter().map(|(_, turn)| *turn).collect();
    let take = async {
        match &sent[..] {
            [] => Ok(Vec::new()),
            sent => Box::pin(turns::take(session, ours, sent, false)).await,
        }
    };
    let (appended, taken) = tokio::join!(biased; ours.verified.append(session, &rows), take);
    let (appended, taken) = match (appended, taken) {
        (Ok(appended), Ok(taken)) => (appended, taken),
        // If only the other turns were refused, they are tried again by themselves.
        (Ok(true), Err(fault)) if fault.nothing_done() && !fault.spoils() && !rows.turns.is_empty() => {
            (true, vec![Taken::Tied; others.len()])
        }
        (Err(fault), Err(other)) => {
            let in_doubt = !fault.nothing_done() || !other.nothing_done();
            return Err(Undone { in_doubt, ..unanswered(session, fault) });
        }
        (Err(fault), Ok(_)) | (Ok(_), Err(fault)) => {
            let undone = unanswered(session, fault);
            let alone = rows.turns.is_empty() || others.is_empty();
            return Err(Undone { in_doubt: undone.in_doubt || !alone, ..undone });
        }
    };
    let mut left = others;
    for ((place, _), taken) in left.iter().zip(&taken) {
        if *taken != Taken::Tied {
            set(answers, *place, taken.answer().into());
        }
    }
    let mut taken = taken.into_iter();
    left.retain(|_| taken.next() == Some(Taken::Tied));
    if appended {
        rows.turns.iter().for_each(|(place, _)| set(answers, *place, TurnAnswer::Committed.into()));
    } else {
        left.extend(rows.turns);
    }
    if left.is_empty() {
        return Ok(());
    }
    // The remaining turns are another commit: from here on a failure leaves a part of the group committed.
    hit("a part of a group is committed");
    Box::pin(transaction(session, ours, &[Segment::Turns(left)], answers))
        .await
        .map_err(|undone| Undone { in_doubt: true, ..undone })
}

/// The result of a failed statement that was a transaction by itself.
fn unanswered(session: &Session<'_>, fault: Fault) -> Undone {
    if fault.spoils() {
        session.spoil();
    }
    Undone { in_doubt: !fault.nothing_done(), fault }
}

fn place(answers: &mut [Option<Answer>], places: impl Iterator<Item = usize>, those: impl IntoIterator<Item = Answer>) {
    places.zip(those).for_each(|(place, answer)| set(answers, place, answer));
}

fn set(answers: &mut [Option<Answer>], place: usize, answer: Answer) {
    if let Some(slot) = answers.get_mut(place) {
        *slot = Some(answer);
    }
}

async fn transaction(
    session: &Session<'_>,
    ours: &Ours,
    segments: &[Segment<'_>],
    answers: &mut [Option<Answer>],
) -> Result<(), Undone> {
    let (begun, known, locked) =
        tokio::join!(biased; session.begin(), known(session, segments), lock(session, segments));
    let worked = async {
        begun?;
        known?;
        locked?;
        let mut work = Work { session, ours, notes: Notes::default() };
        for segment in segments {
            apply(&mut work, segment, answers).await?;
        }
        work.notes.send(session, &ours.tag, &ours.owners).await
    };
    if let Err(fault) = worked.await {
        if fault.spoils() {
            session.spoil();
        } else {
            session.rollback().await;
        }
        return Err(Undone::certain(fault));
    }
    hit("a transaction is about to be committed");
    session.commit().await.map_err(|fault| {
        session.spoil();
        Undone { in_doubt: !fault.nothing_done(), fault }
    })
}

/// Checks that this build may use the tables. Turns need no check: a migration takes all runs from their workers.
async fn known(session: &Session<'_>, segments: &[Segment<'_>]) -> Result<()> {
    match segments.iter().all(|segment| matches!(segment, Segment::Turns(_))) {
        true => Ok(()),
        false => schema::check_floor(session).await,
    }
}

/// Locks the runs that a transaction concerns, and the watchers of the runs that it ends.
const LOCK: &str = "
SELECT key FROM @runs WHERE key IN (
    SELECT unnest($1)
    UNION ALL SELECT key FROM @runs WHERE id = ANY ($2)
    UNION ALL SELECT run FROM @tokens WHERE token = ANY ($3)
    UNION ALL SELECT watcher FROM @watchers WHERE run = ANY ($4)
) ORDER BY key FOR NO KEY UPDATE";

/// The ids of the other runs that the effects of a run concern.
fn others(effects: Option<&Effects>) -> impl Iterator<Item = &str> {
    let watched = effects.into_iter().flat_map(|effects| effects.watches.iter().map(|watch| &*watch.run));
    let unwatched = effects.into_iter().flat_map(|effects| effects.unwatches.iter().map(|(run, _)| &**run));
    // Children that may exist already.
    let attached = effects
        .into_iter()
        .flat_map(|effects| effects.children.iter().filter(|child| child.attach.is_some()).map(|child| &*child.new.id));
    watched
        .chain(attached)
        .chain(unwatched)
        .chain(effects.into_iter().flat_map(|effects| effects.messages.iter().map(|message| &*message.run)))
}

async fn lock(session: &Session<'_>, segments: &[Segment<'_>]) -> Result<()> {
    let (mut keys, mut ids, mut tokens, mut ended) =
        (BTreeSet::new(), BTreeSet::<&str>::new(), BTreeSet::<&str>::new(), BTreeSet::new());
    for segment in segments {
        match segment {
            Segment::Creates(_, runs) | Segment::Starts(runs) => {
                ids.extend(runs.iter().flat_map(|(_, new)| others(new.effects.as_deref())));
            }
            Segment::Turns(turns) => {
                for (_, turn) in turns {
                    keys.insert(turn.run);
                    ids.extend(others(turn.effects.as_deref()));
                    if turn.change.as_ref().is_some_and(|change| change.status.is_terminal()) {
                        ended.insert(turn.run);
                    }
                }
            }
            Segment::Messages(messages) => ids.extend(messages.iter().map(|(_, run, _)| *run)),
            Segment::Single(_, write) => match write {
                Write::Create(new) => {
                    ids.insert(&*new.id);
                    ids.extend(others(new.effects.as_deref()));
                }
                Write::SendMessage(SendMessage { run, .. }) | Write::UnstickRun(UnstickRun { run }) => {
                    ids.insert(&**run);
                }
                Write::Reopen(Reopen { run, below }) => keys.extend(below.iter().chain([run]).map(|next| next.run)),
                Write::Replace(Replace { run, new, .. }) => {
                    keys.insert(*run);
                    ids.insert(&*new.id);
                    ids.extend(others(new.effects.as_deref()));
                }
                Write::Deliver(deliver) => drop(tokens.insert(&deliver.token)),
                Write::Release(Release { run, .. }) | Write::RemoveGenerations(RemoveGenerations { run, .. }) => {
                    keys.insert(*run);
                }
                // With the watchers of the run: a run that was never due can have some.
                Write::Delete(Delete { run, .. }) => {
                    keys.insert(*run);
                    ended.insert(*run);
                }
                Write::AppendChunk(AppendChunk { run, into, .. }) => {
                    keys.insert(*run);
                    ids.extend(into.as_deref());
                }
                _ => {}
            },
        }
    }
    // A single statement that itself locks all that it concerns needs no other statement before it.
    let alone = segments.len() == 1 && ids.is_empty() && tokens.is_empty() && ended.is_empty();
    if alone || (keys.is_empty() && ids.is_empty() && tokens.is_empty()) {
        return Ok(());
    }
    let (keys, ended): (Vec<RunKey>, Vec<RunKey>) = (keys.into_iter().collect(), ended.into_iter().collect());
    let ids: Vec<Text<'_>> = ids.into_iter().map(Text).collect();
    let tokens: Vec<Text<'_>> = tokens.into_iter().map(Text).collect();
    session.query(LOCK, args![INT8_ARRAY: keys, TEXT_ARRAY: ids, TEXT_ARRAY: tokens, INT8_ARRAY: ended]).await?;
    Ok(())
}

async fn apply(work: &mut Work<'_, '_>, segment: &Segment<'_>, answers: &mut [Option<Answer>]) -> Result<()> {
    match segment {
        Segment::Creates(owner, runs) => {
            let new: Vec<&NewRun> = runs.iter().map(|(_, new)| *new).collect();
            let created = creates::create(work.session, work.ours, *owner, &new, false).await?;
            created_runs(work, runs, created, answers).await
        }
        Segment::Starts(runs) => {
            let new: Vec<&NewRun> = runs.iter().map(|(_, new)| *new).collect();
            let created = creates::start(work.session, work.ours, &new, false).await?;
            work.notes.due |= created.iter().any(|made| made.new);
            created_runs(work, runs, created, answers).await
        }
        Segment::Turns(turns) => {
            let sent: Vec<&Turn> = turns.iter().map(|(_, turn)| *turn).collect();
            let taken = turns::take(work.session, work.ours, &sent, true).await?;
            for ((place, turn), taken) in turns.iter().zip(taken) {
                let answer = match taken {
                    Taken::Written { awaited, followed, traced } => {
                        let notifies = traced && turn.row.is_some();
                        more(work, turn, awaited, followed, notifies).await?
                    }
                    refused => refused.answer(),
                };
                set(answers, *place, answer.into());
            }
            Ok(())
        }
        Segment::Messages(parts) => {
            let messages: Vec<(&str, &Message)> = parts.iter().map(|(_, run, message)| (*run, *message)).collect();
            let sent = messages::send(work.session, work.ours, &messages, Some(&mut work.notes)).await?;
            place(answers, parts.iter().map(|(place, ..)| *place), sent.into_iter().map(|(answer, _)| answer.into()));
            Ok(())
        }
        Segment::Single(place, write) => {
            let (new, made) = match write {
                Write::Create(new) => (new, creates::create_or_begin(work, new).await?),
                Write::Replace(replace) => (&replace.new, creates::replace(work, replace).await?),
                write => {
                    let answer = single(work, write).await?;
                    set(answers, *place, answer);
                    return Ok(());
                }
            };
            created_runs(work, &[(*place, new)], vec![made], answers).await
        }
    }
}

/// Writes what new runs have beside their rows, if this write has created them.
async fn created_runs(
    work: &mut Work<'_, '_>,
    runs: &[(usize, &NewRun)],
    made: Vec<Made>,
    answers: &mut [Option<Answer>],
) -> Result<()> {
    for ((place, new), made) in runs.iter().zip(made) {
        if let CreateAnswer::Created(key) = made.answer
            && made.new
        {
            if let Some(effects) = &new.effects {
                effects::affect(work, key, effects).await?;
                // Only the run itself can have opened a token for it.
                if let First::Turn { row, change, .. } = &new.first {
                    end(work, key, row, change).await?;
                }
            }
            streams::write(work.session, key, &new.chunks).await?;
        }
        set(answers, *place, made.answer.into());
    }
    Ok(())
}

/// Writes what a turn has beside its row, its change and its delivered messages.
async fn more(
    work: &mut Work<'_, '_>,
    turn: &Turn,
    awaited: bool,
    followed: bool,
    notifies: bool,
) -> Result<TurnAnswer> {
    let session = work.session;
    if !turn.unread.is_empty() {
        let unread: Vec<i64> = turn.unread.iter().map(|sequence| sequence.cast_signed()).collect();
        let sql = "UPDATE @inbox SET unread = true WHERE run = $1 AND sequence = ANY ($2)";
        session.query(sql, args![INT8: turn.run, INT8_ARRAY: unread]).await?;
    }
    for message in &turn.returned {
        messages::put(session, turn.run, message).await?;
    }
    if let Some(effects) = &turn.effects {
        effects::affect(work, turn.run, effects).await?;
    }
    // Settles before it writes: a stream that a failed attempt had closed is open again.
    streams::settle(session, turn).await?;
    streams::write(session, turn.run, &turn.chunks).await?;
    let ends = turn.change.as_ref().is_some_and(|change| turns::ends(change.status));
    if notifies || (ends && (awaited || followed)) || (followed && !turn.chunks.is_empty()) {
        work.notes.awaited.insert(turn.run);
    }
    work.notes.due |= turn.change.as_ref().is_some_and(RowChange::is_released);
    match (&turn.row, &turn.change) {
        (Some(row), Some(change)) if end(work, turn.run, row, change).await? => Ok(TurnAnswer::CommittedAndNotified),
        _ => Ok(TurnAnswer::Committed),
    }
}

/// If the run has ended, ends its tokens and notifies its watchers. Returns whether it had any.
async fn end(work: &mut Work<'_, '_>, run: RunKey, last: &JournalRow, change: &RowChange) -> Result<bool> {
    if !change.status.is_terminal() {
        return Ok(false);
    }
    let at = change.completed_at.unwrap_or_default();
    tokens::end(work, run, at).await?;
    effects::unwatch_all(work.session, run).await?;
    effects::tell_watchers(work, run, last, at).await
}

async fn single(work: &mut Work<'_, '_>, write: &Write) -> Result<Answer> {
    Ok(match write {
        // `apply` writes these.
        Write::Create(_) | Write::Replace(_) | Write::Turn(_) => return Err(unanswered_write()),
        Write::SendMessage(SendMessage { run, message, unstick }) => {
            work.send_message(run, message, *unstick).await?.into()
        }
        Write::Deliver(deliver) => tokens::deliver(work, deliver).await?.into(),
        Write::Release(Release { run, fence, inbox_seq }) => {
            claims::release(work, *run, *fence, *inbox_seq).await?.into()
        }
        Write::Claim(claim) => claims::claim(work.session, work.ours, claim).await?.into(),
        Write::AppendChunk(AppendChunk { run, owner, execution, into, chunk, most }) => {
            let writer = streams::Writer { run: *run, owner: *owner, execution };
            streams::append(work, &writer, into.as_deref(), chunk, *most).await?.into()
        }
        Write::Delete(Delete { run, most, deletion_message }) => {
            removal::delete(work, *run, *most, deletion_message).await?.into()
        }
        Write::Clean(Clean { expired, now, messages_before, runs, most }) => {
            removal::clean(work, expired, *now, *messages_before, *runs, *most).await?.into()
        }
        Write::RemoveGenerations(remove) => removal::remove_generations(work, remove).await?.into(),
        Write::ClaimNotices(claim) => notices::claim(work.session, work.ours, claim).await?.into(),
        Write::ReturnNotice(returned) => {
            notices::give_back(work.session, returned).await?;
            Answer::ReturnNotice
        }
        Write::Noticed(Noticed { sequence }) => {
            notices::noticed(work.session, *sequence).await?;
            Answer::Noticed
        }
        Write::Unstick(unstick) => {
            claims::unstick(work, unstick).await?;
            Answer::Unstick
        }
        Write::UnstickRun(UnstickRun { run }) => unstick_run(work, run).await?.into(),
        Write::Reopen(Reopen { run, below }) => creates::reopen(work, run, below).await?.into(),
    })
}

async fn unstick_run(work: &mut Work<'_, '_>, run: &str) -> Result<UnstickRunAnswer> {
    let sql = "SELECT key FROM @runs WHERE id = $1";
    let Some(row) = work.session.query_opt(sql, args![TEXT: Text(run)]).await? else {
        return Ok(UnstickRunAnswer::Unknown);
    };
    claims::unstick_one(work, super::read::get(&row, 0)?).await?;
    Ok(UnstickRunAnswer::Committed)
}

/// A bug of this library, not a fault of the database: it must never be taken for an answer.
fn unanswered_write() -> Fault {
    Fault::Error(Error::coded(Code::Store, "a write was left without an answer: a fault of this library"))
}
