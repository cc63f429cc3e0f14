//! Groups of writes: how they become statements and transactions.
//!
//! A group is cut into [segments](Segment): writes of one kind to different runs, each of which is one statement. A group
//! that is a single such statement is sent as it is. New runs and turns of other runs are such statements in one pipelined
//! transaction. Any other group is a transaction that first locks all runs that it concerns, in the order of their keys.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::appends::Appended;
use super::creates::Made;
use super::db::{Db, Session, Text, args};
use super::fault::{Fault, Result};
use super::locks::lock;
use super::notes::Notes;
use super::segments::{Segment, segments};
use super::turns::{self, Sent, Taken};
use super::work::{Ours, Work};
use super::{claims, counts, creates, effects, messages, notices, removal, reopens, schema, streams, tokens};
use crate::error::{Code, Error};
use crate::failpoint::hit;
use crate::store::{
    Answer, AppendChunk, Claim, Clean, CreateAnswer, Delete, Failed, First, JournalRow, Message, NewRun, Noticed,
    Release, Reopen, RowChange, RunKey, SendMessage, Turn, TurnAnswer, UnstickRun, UnstickRunAnswer, Write,
};

/// How often, at most, a transaction is sent that the database rolls back because of other transactions.
const ATTEMPTS: u32 = 8;

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
        let mut answers: Vec<Option<Answer>> = vec![None; group.len()];
        let undone = match once(db, ours, group, &mut answers).await {
            Ok(()) => match answers.iter().cloned().collect() {
                Some(answers) => return Ok(answers),
                None => Undone { fault: unanswered_write(), in_doubt: true },
            },
            Err(undone) => undone,
        };
        let places = 0..if undone.in_doubt { 0 } else { group.len() };
        let committed: Vec<(usize, Answer)> =
            places.zip(answers).filter_map(|(place, answer)| Some((place, answer?))).collect();
        if undone.in_doubt || !committed.is_empty() || !undone.fault.is_transient() || attempt == ATTEMPTS {
            // Whether the database rejected the statement, and did not report a failure of itself or of the connection.
            let refused = undone.fault.state().is_some() && !undone.fault.is_outage();
            let error = db.explain(schema::explained(db, undone.fault).await, "commit");
            return Err(Failed { error, in_doubt: undone.in_doubt, refused, committed });
        }
        tracing::debug!(attempt, fault = ?undone.fault, "the database has rolled a commit back; trying again");
        tokio::time::sleep(Duration::from_millis(u64::from(attempt * attempt))).await;
        attempt += 1;
    }
}

/// Sets the answers of the writes that were committed, also if others were not.
async fn once(db: &Db, ours: &Ours, group: &[Write], answers: &mut [Option<Answer>]) -> Result<(), Undone> {
    if group.iter().any(|write| matches!(write, Write::Claim(Claim { again: true, .. }))) {
        ours.verified.end_round();
    }
    let session = db.connect().await.map_err(Undone::certain)?;
    let refreshed = db.clock.refresh(&session).await;
    refreshed.map_err(|fault| Undone { in_doubt: false, ..unanswered(&session, fault) })?;
    // Outside a transaction, which could be rolled back.
    let settled = ours.verified.settle(&session, &ours.owners).await;
    settled.map_err(|fault| Undone { in_doubt: false, ..unanswered(&session, fault) })?;
    hit("a group is about to be sent");
    let segments = segments(group);
    let is_plain = segments.iter().all(|segment| segment.is_plain(db.options.skip_locked));
    match &segments[..] {
        [Segment::Turns(turns)] if is_plain => plain_rows(&session, ours, &segments, None, turns, answers).await?,
        [Segment::Creates(owner, runs), Segment::Turns(turns)]
        | [Segment::Turns(turns), Segment::Creates(owner, runs)]
            if is_plain =>
        {
            plain_rows(&session, ours, &segments, Some((*owner, runs)), turns, answers).await?;
        }
        [segment] if is_plain => {
            let sent = Box::pin(alone(&session, ours, segment, answers)).await;
            sent.map_err(|fault| unanswered(&session, fault))?;
        }
        segments => Box::pin(transaction(&session, ours, segments, answers)).await?,
    }
    hit("a group is committed");
    Ok(())
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

/// Sends new runs and turns as pipelined statements: one for the new runs, one for the rows of verified runs, and one for the
/// other turns. Two or three of them are one transaction, which is sent with them and so costs one sync and no round trip.
async fn plain_rows(
    session: &Session<'_>,
    ours: &Ours,
    segments: &[Segment<'_>],
    creates: Option<(u64, &[(usize, &NewRun)])>,
    turns: &[(usize, &Turn)],
    answers: &mut [Option<Answer>],
) -> Result<(), Undone> {
    let (rows, others) = ours.verified.part(turns);
    let (owner, runs) = creates.unwrap_or_default();
    let new: Vec<&NewRun> = runs.iter().map(|(_, new)| *new).collect();
    let sent: Vec<&Turn> = others.iter().map(|(_, turn)| *turn).collect();
    let is_several = [new.is_empty(), rows.turns.is_empty(), sent.is_empty()].iter().filter(|none| !**none).count() > 1;
    let sent_as = if is_several { Sent::Pipelined } else { Sent::Alone };
    let begin = async {
        match is_several {
            true => session.begin().await,
            false => Ok(()),
        }
    };
    let create = async {
        match &new[..] {
            [] => Ok(Vec::new()),
            new => Box::pin(creates::create(session, ours, owner, new, true)).await,
        }
    };
    let take = async {
        match &sent[..] {
            [] => Ok(Vec::new()),
            sent => Box::pin(turns::take(session, ours, sent, sent_as)).await,
        }
    };
    let commit = async {
        match is_several {
            true => session.commit().await,
            false => Ok(()),
        }
    };
    let (begun, made, appended, taken, committed) =
        tokio::join!(biased; begin, create, ours.verified.append(session, &rows), take, commit);
    let appended = match appended {
        Err(fault) if !is_several && fault.state() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(Appended::default()),
        appended => appended,
    };
    // If no statement has failed, the commit has not rolled back: it reports success in both cases.
    let (made, appended, taken) = match (begun, made, appended, taken, committed) {
        (Ok(()), Ok(made), Ok(appended), Ok(taken), Ok(())) => (made, appended, taken),
        (begun, made, appended, taken, committed) => {
            let faults = [begun.err(), made.err(), appended.err(), taken.err(), committed.err()].into_iter().flatten();
            // A fault with an unknown outcome is the fault of the group.
            let fault = faults.min_by_key(Fault::nothing_done).unwrap_or_else(unanswered_write);
            let undone = unanswered(session, fault);
            if undone.in_doubt || undone.fault.spoils() || !is_several {
                return Err(undone);
            }
            // The statements are rolled back. Those of a transaction that locks first accept rows that are there already.
            ours.verified.forget_all();
            return Box::pin(transaction(session, ours, segments, answers)).await;
        }
    };
    place(answers, runs.iter().map(|(place, _)| *place), made.into_iter().map(|made| made.answer.into()));
    let mut left = Vec::new();
    for (place, turn) in rows.turns {
        match appended.has(turn) {
            true => set(answers, place, TurnAnswer::Committed.into()),
            false => left.push((place, turn)),
        }
    }
    for (turn, taken) in others.into_iter().zip(taken) {
        match taken {
            Taken::Tied => left.push(turn),
            taken => set(answers, turn.0, taken.answer().into()),
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    hit("a part of a group is committed");
    Box::pin(transaction(session, ours, &[Segment::Turns(left)], answers)).await
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
    ours.verified.leave(segments.iter().flat_map(Segment::left));
    // Given only once the transaction is committed.
    let mut given: Vec<Option<Answer>> = vec![None; answers.len()];
    let (begun, known, locked) =
        tokio::join!(biased; session.begin(), known(session, segments), lock(session, segments));
    let worked = async {
        begun?;
        known?;
        locked?;
        let mut work = Work { session, ours, notes: Notes::default() };
        for segment in segments {
            apply(&mut work, segment, &mut given).await?;
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
    })?;
    for (slot, given) in answers.iter_mut().zip(given).filter(|(_, given)| given.is_some()) {
        *slot = given;
    }
    Ok(())
}

/// Checks that this build may use the tables. Turns need no check: a migration takes all runs from their workers.
async fn known(session: &Session<'_>, segments: &[Segment<'_>]) -> Result<()> {
    match segments.iter().all(|segment| matches!(segment, Segment::Turns(_))) {
        true => Ok(()),
        false => schema::check_floor(session).await,
    }
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
            let taken = turns::take(work.session, work.ours, &sent, Sent::Inside).await?;
            for ((place, turn), taken) in turns.iter().zip(taken) {
                let answer = match taken {
                    Taken::Written { awaited, followed, traced, .. } => {
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
    if notifies || (turns::is_end(turn) && (awaited || followed)) || (followed && !turn.chunks.is_empty()) {
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
        Write::RecordCounts(record) => {
            counts::record(work.session, record).await?;
            Answer::RecordCounts
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
        Write::Reopen(Reopen { run, below }) => reopens::reopen(work, run, below).await?.into(),
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
