//! The effects of each write on the rows.
//!
//! The first statement of a write carries its conditions; if it refuses the write, nothing has changed. A refusal thus needs
//! no savepoint in its group, and a turn of one row, the usual outcome of a step, is a single statement.

use rusqlite::{CachedStatement, Connection, OptionalExtension, Result, params};

use super::columns::{failing_since, time};
use super::creates::{begin, insert_run, not_created};
use super::heads::{Head, Heads};
use super::messages::{self, receive};
use super::{claims, counts, deliveries, effects, notices, removal, streams, tokens};
use crate::store::{
    About, Answer, AppendChunk, Budget, Child, ClaimAnswer, Clean, CleanAnswer, CreateAnswer, Delete, DeleteAnswer,
    Effects, Expired, Fence, First, JournalRow, Message, NewRun, NextGeneration, Noticed, Release, ReleaseAnswer,
    RemoveGenerations, RemoveGenerationsAnswer, Reopen, ReopenAnswer, Replace, RowChange, RunKey, SendMessage,
    SendMessageAnswer, Turn, TurnAnswer, UnstickRun, UnstickRunAnswer, Write,
};

/// `NULL` in the column `run`, which is then refused and ignored, represents a fence that does not match or a gap. A
/// `SELECT` with the same conditions as its source would read the table that it writes, and SQLite would then copy each
/// row through a temporary table.
const APPEND_CHECKED: &str = "
INSERT OR IGNORE INTO journal (run, generation, idx, turn, format, checksum, body) VALUES (
    (SELECT key FROM runs WHERE key = ?1 AND owner = ?8 AND epoch = ?9 AND generation = ?2
     AND (?3 = 0 OR EXISTS (SELECT 1 FROM journal WHERE run = ?1 AND generation = ?2 AND idx = ?3 - 1))),
    ?2, ?3, ?4, ?5, ?6, ?7)";

/// Appends a row to a run whose head is cached. The index of the table still refuses a second row at the same index.
const APPEND: &str = "
INSERT OR IGNORE INTO journal (run, generation, idx, turn, format, checksum, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

const CHANGE: &str = "
UPDATE runs SET status = ?5, wake_at = ?6, started_at = coalesce(started_at, ?7),
    completed_at = coalesce(completed_at, ?8), stuck = ?9, refused_by = ?10,
    owner = CASE WHEN ?10 IS NOT NULL AND ?6 IS NOT NULL THEN 0 ELSE owner END,
    failing_since = ?11, error_class = ?12, error_text = ?13
WHERE key = ?1 AND owner = ?2 AND epoch = ?3 AND generation = ?4";

const HOLDS: &str = "SELECT 1 FROM runs WHERE key = ?1 AND owner = ?2 AND epoch = ?3 AND generation = ?4";

const REOPEN: &str = "
UPDATE runs SET generation = generation + 1, status = 'running', owner = 0, wake_at = 0, completed_at = NULL, stuck = NULL,
    failing_since = NULL, error_class = NULL, error_text = NULL, recoveries = 0, recovered_at = NULL
WHERE key = ?1";

/// Whether the end of a run concerns other rows than its own. Usually it does not, and one statement costs less than the four
/// that would find nothing.
const IS_TIED: &str = "
SELECT EXISTS (SELECT 1 FROM tokens WHERE run = ?1) OR EXISTS (SELECT 1 FROM deliveries WHERE run = ?1)
    OR EXISTS (SELECT 1 FROM watchers WHERE run = ?1) OR EXISTS (SELECT 1 FROM watchers WHERE watcher = ?1)";

/// The operations keep their numbers, so unread messages move to the next generation. Messages that arrived too late for the
/// ended generation, such as a cancel, do not.
const LEAVE_MESSAGES: &str = "
UPDATE inbox SET generation = CASE WHEN unread = 1 AND generation = ?2 THEN generation + 1 ELSE generation END, unread = 1
WHERE run = ?1";

const CAN_GO_ON: &str = "SELECT 1 FROM runs WHERE key = ?1 AND generation = ?2 AND status IN ('failed', 'cancelled')";

/// An engine can take the first turn of the new run only if it is the engine that executes.
const CAN_BE_REPLACED: &str = "
SELECT 1 FROM runs WHERE key = ?1 AND id = ?2 AND status IN ('failed', 'cancelled')
    AND (?3 IS NULL OR EXISTS (SELECT 1 FROM meta WHERE owner = ?3))";

/// A group of writes, inside its transaction.
pub(super) struct Group<'c> {
    pub(super) connection: &'c Connection,
    pub(super) heads: &'c mut Heads,
    /// The statement of [`APPEND`]: to look it up in the cache for each row would take a tenth of the time of the append.
    append: CachedStatement<'c>,
}

impl<'c> Group<'c> {
    pub(super) fn new(connection: &'c Connection, heads: &'c mut Heads) -> Result<Self> {
        Ok(Group { connection, heads, append: connection.prepare_cached(APPEND)? })
    }

    pub(super) fn apply(&mut self, write: &Write) -> Result<Answer> {
        Ok(match write {
            Write::Create(new) => self.create(new)?.into(),
            Write::Turn(turn) => self.turn(turn)?.into(),
            Write::SendMessage(SendMessage { run, message, unstick }) => {
                self.send_message(run, message, *unstick)?.into()
            }
            Write::Deliver(deliver) => tokens::deliver(self.connection, deliver)?.into(),
            Write::Release(Release { run, fence, inbox_seq }) => {
                self.heads.forget(*run);
                release(self.connection, *run, *fence, *inbox_seq)?.into()
            }
            Write::Claim(claim) => {
                let claimed = claims::claim(self.connection, claim)?;
                if let ClaimAnswer::Claimed(rows) = &claimed {
                    rows.iter().for_each(|row| self.heads.forget(row.key));
                }
                claimed.into()
            }
            Write::AppendChunk(AppendChunk { run, owner, execution, into, chunk, most }) => {
                let writer = streams::Writer { run: *run, owner: *owner, execution };
                streams::append(self.connection, &writer, into.as_deref(), chunk, *most)?.into()
            }
            Write::Delete(Delete { run, most, deletion_message }) => self.delete(*run, *most, deletion_message)?.into(),
            Write::Clean(Clean { expired, now, messages_before, runs, most }) => {
                self.clean(expired, *now, *messages_before, *runs, *most)?.into()
            }
            Write::RecordCounts(record) => {
                counts::record(self.connection, record)?;
                Answer::RecordCounts
            }
            Write::RemoveGenerations(remove) => self.remove_generations(remove)?.into(),
            Write::ClaimNotices(claim) => notices::claim(self.connection, claim)?.into(),
            Write::ReturnNotice(returned) => {
                notices::give_back(self.connection, returned)?;
                Answer::ReturnNotice
            }
            Write::Noticed(Noticed { sequence }) => {
                notices::noticed(self.connection, *sequence)?;
                Answer::Noticed
            }
            Write::UnstickRun(UnstickRun { run }) => self.unstick_run(run)?.into(),
            Write::Reopen(Reopen { run, below }) => self.reopen(run, below)?.into(),
            Write::Replace(Replace { run, most, new }) => self.replace(*run, *most, new)?.into(),
            Write::Unstick(unstick) => {
                self.heads.clear();
                claims::unstick(self.connection, unstick)?;
                Answer::Unstick
            }
        })
    }

    fn unstick_run(&mut self, run: &str) -> Result<UnstickRunAnswer> {
        let Some(key) = key_of(self.connection, run)? else { return Ok(UnstickRunAnswer::Unknown) };
        self.heads.forget(key);
        claims::unstick_one(self.connection, key)?;
        Ok(UnstickRunAnswer::Committed)
    }

    fn create(&mut self, new: &NewRun) -> Result<CreateAnswer> {
        let key = match &new.first {
            First::Begin(_) => begin(self.connection, new)?,
            _ => (insert_run(self.connection, new)? > 0).then(|| self.connection.last_insert_rowid()),
        };
        let Some(key) = key else { return not_created(self.connection, new) };
        match &new.first {
            First::Turn { owner, row, change } => {
                let head = Head { fence: Fence { owner: *owner, epoch: 1 }, generation: 0, next: 0 };
                self.append_at_head(key, head, row)?;
                self.heads.appended(key, head, Some(change));
            }
            First::Message(message) => {
                messages::put(self.connection, key, message, None)?;
            }
            First::Later => {}
            First::Begin(message) => receive(self.connection, key, message, None)?,
            First::Journal { rows, messages } => {
                let head = Head { fence: Fence { owner: 0, epoch: 0 }, generation: 0, next: 0 };
                rows.iter()
                    .try_for_each(|row| self.append_at_head(key, Head { next: row.index, ..head }, row).map(drop))?;
                messages.iter().try_for_each(|message| receive(self.connection, key, message, None))?;
            }
        }
        if let Some(effects) = &new.effects {
            self.affect(key, effects)?;
            // A new run without effects has opened no tokens and no watches, so its end changes no other rows.
            if let First::Turn { row, change, .. } = &new.first
                && change.status.is_terminal()
            {
                self.end(key, row, change)?;
            }
        }
        streams::write(self.connection, key, &new.chunks)?;
        Ok(CreateAnswer::Created(key))
    }

    fn replace(&mut self, run: RunKey, most: Budget, new: &NewRun) -> Result<CreateAnswer> {
        let owner = match &new.first {
            First::Turn { owner, row, .. } if row.index == 0 => Some(owner.cast_signed()),
            First::Turn { .. } | First::Begin(_) => return self.create(new),
            First::Message(_) | First::Later | First::Journal { .. } => None,
        };
        if self.connection.prepare_cached(CAN_BE_REPLACED)?.exists((run, &*new.id, owner))? {
            self.remove(run, most)?;
        }
        self.create(new)
    }

    fn reopen(&mut self, run: &NextGeneration, below: &[NextGeneration]) -> Result<ReopenAnswer> {
        if !self.connection.prepare_cached("SELECT 1 FROM runs WHERE key = ?1")?.exists((run.run,))? {
            return Ok(ReopenAnswer::Unknown);
        }
        for message in &run.messages {
            if messages::is_known(self.connection, run.run, message)? {
                return Ok(ReopenAnswer::Committed);
            }
        }
        if !self.can_go_on(run)? {
            return Ok(ReopenAnswer::Fenced);
        }
        for next in below {
            if !self.can_go_on(next)? {
                return Ok(ReopenAnswer::Changed);
            }
        }
        below.iter().chain([run]).try_for_each(|next| self.go_on(next))?;
        Ok(ReopenAnswer::Committed)
    }

    fn can_go_on(&self, next: &NextGeneration) -> Result<bool> {
        self.connection.prepare_cached(CAN_GO_ON)?.exists((next.run, next.generation.cast_signed()))
    }

    fn go_on(&mut self, next: &NextGeneration) -> Result<()> {
        let NextGeneration { run, generation, rows, messages, payloads, replaced, .. } = next;
        replaced.iter().try_for_each(|sequence| messages::remove(self.connection, *run, *sequence))?;
        self.connection.prepare_cached(REOPEN)?.execute((run,))?;
        self.connection.prepare_cached(LEAVE_MESSAGES)?.execute((run, generation.cast_signed()))?;
        effects::set_again(self.connection, next)?;
        self.heads.forget(*run);
        let head = Head { fence: Fence { owner: 0, epoch: 0 }, generation: generation + 1, next: 0 };
        for row in rows {
            self.append_at_head(*run, Head { next: row.index, ..head }, row)?;
        }
        messages.iter().try_for_each(|message| receive(self.connection, *run, message, None))?;
        payloads
            .iter()
            .try_for_each(|(op, message)| receive(self.connection, *run, message, Some(&About::Operation(*op))))
    }

    fn turn(&mut self, turn: &Turn) -> Result<TurnAnswer> {
        if let Some(row) = &turn.row {
            let head = Head { fence: turn.fence, generation: turn.generation, next: row.index };
            let appended = match self.heads.is_at(turn.run, head) {
                true => self.append_at_head(turn.run, head, row)?,
                false => append_checked(self.connection, turn.run, head, row)?,
            };
            return match appended {
                0 => self.turn_not_appended(turn, row),
                _ => self.turn_appended(turn, head),
            };
        }
        self.after_row(turn)
    }

    /// The answer to a turn whose row was not appended.
    pub(super) fn turn_not_appended(&mut self, turn: &Turn, row: &JournalRow) -> Result<TurnAnswer> {
        self.heads.forget(turn.run);
        not_appended(self.connection, turn, row)
    }

    /// Applies a turn whose row was appended at this head.
    pub(super) fn turn_appended(&mut self, turn: &Turn, head: Head) -> Result<TurnAnswer> {
        self.heads.appended(turn.run, head, turn.change.as_ref());
        self.after_row(turn)
    }

    /// Applies a turn, except for its row.
    fn after_row(&mut self, turn: &Turn) -> Result<TurnAnswer> {
        if let Some(change) = &turn.change {
            if change.is_released() {
                self.heads.forget(turn.run);
            }
            if apply_change(self.connection, turn, change)? == 0 {
                return Ok(TurnAnswer::Fenced);
            }
        } else if turn.row.is_none() && !holds(self.connection, turn)? {
            return Ok(TurnAnswer::Fenced);
        }
        turn.delivered.iter().try_for_each(|sequence| messages::remove(self.connection, turn.run, *sequence))?;
        for sequence in &turn.unread {
            self.connection
                .prepare_cached("UPDATE inbox SET unread = 1 WHERE sequence = ?1 AND run = ?2")?
                .execute((sequence.cast_signed(), turn.run))?;
        }
        for message in &turn.returned {
            messages::put(self.connection, turn.run, message, None)?;
        }
        if let Some(effects) = &turn.effects {
            self.affect(turn.run, effects)?;
        }
        // First settles the attempts: a stream that a failed step has closed is open again.
        streams::settle(self.connection, turn)?;
        streams::write(self.connection, turn.run, &turn.chunks)?;
        if let (Some(row), Some(change)) = (&turn.row, &turn.change)
            && change.status.is_terminal()
            && self.end(turn.run, row, change)?
        {
            return Ok(TurnAnswer::CommittedAndNotified);
        }
        Ok(TurnAnswer::Committed)
    }

    fn affect(&mut self, run: RunKey, effects: &Effects) -> Result<()> {
        tokens::close(self.connection, run, &effects.closes)?;
        tokens::open(self.connection, run, &effects.opens)?;
        for child in &effects.children {
            self.start_child(run, child)?;
        }
        for watch in &effects.watches {
            effects::watch(self.connection, run, watch)?;
        }
        for (watched, op) in &effects.unwatches {
            effects::unwatch(self.connection, run, watched, *op)?;
        }
        for message in &effects.messages {
            if effects::is_unfinished(self.connection, message)? {
                self.send_message(&message.run, &message.message, message.unstick)?;
            }
        }
        effects::set(self.connection, run, effects)?;
        if let Some(continuation) = &effects.continuation {
            self.heads.forget(run);
            effects::continue_as_new(self.connection, run, continuation)?;
        }
        Ok(())
    }

    fn start_child(&mut self, run: RunKey, child: &Child) -> Result<()> {
        let existed = child.attach.is_some() && key_of(self.connection, &child.new.id)?.is_some();
        let answer = self.create(&child.new)?;
        let is_own = match &answer {
            CreateAnswer::Exists(there) => effects::is_parent(self.connection, run, there)?,
            _ => false,
        };
        let answer = match answer {
            CreateAnswer::Created(key) if !existed => {
                effects::adopt(self.connection, run, key, child.op)?;
                child.confirmation.as_ref()
            }
            answer if child.takes(&answer, |_| is_own) => {
                child.watch().map_or(Ok(()), |watch| effects::watch(self.connection, run, &watch))?;
                child.confirmation.as_ref()
            }
            _ => Some(&child.refusal),
        };
        answer.map_or(Ok(()), |answer| receive(self.connection, run, answer, None))
    }

    /// Ends a run: finishes its tokens and notifies its watchers. Returns whether it has any watchers.
    fn end(&self, run: RunKey, last: &JournalRow, change: &RowChange) -> Result<bool> {
        if !self.connection.prepare_cached(IS_TIED)?.query_row((run,), |row| row.get(0))? {
            return Ok(false);
        }
        let at = change.completed_at.unwrap_or_default();
        tokens::end(self.connection, run)?;
        deliveries::end(self.connection, run, at)?;
        effects::unwatch_all(self.connection, run)?;
        effects::tell_watchers(self.connection, run, last, at)
    }

    fn send_message(&mut self, id: &str, message: &Message, unstick: bool) -> Result<SendMessageAnswer> {
        let key: Option<RunKey> = self
            .connection
            .prepare_cached("SELECT key FROM runs WHERE id = ?1")?
            .query_row((id,), |row| row.get(0))
            .optional()?;
        let Some(key) = key else { return Ok(SendMessageAnswer::Unknown) };
        receive(self.connection, key, message, None)?;
        if unstick {
            self.heads.forget(key);
            claims::unstick_one(self.connection, key)?;
        }
        Ok(SendMessageAnswer::Committed)
    }

    fn delete(&mut self, run: RunKey, most: Budget, deletion_message: &Message) -> Result<DeleteAnswer> {
        match removal::progress(self.connection, run)? {
            None => Ok(DeleteAnswer::Unknown),
            Some(removal::Progress::Unended) => Ok(DeleteAnswer::Unended),
            Some(removal::Progress::Ended) => {
                removal::send_deletion(self.connection, run, deletion_message)?;
                self.remove(run, most)?;
                Ok(DeleteAnswer::Committed)
            }
        }
    }

    fn remove(&mut self, run: RunKey, most: Budget) -> Result<()> {
        self.heads.forget(run);
        removal::remove(self.connection, run)?;
        removal::clear(self.connection, run, None, most).map(drop)
    }

    fn remove_generations(&self, remove: &RemoveGenerations) -> Result<RemoveGenerationsAnswer> {
        if !removal::remove_generations(self.connection, remove)? {
            return Ok(RemoveGenerationsAnswer::Unknown);
        }
        removal::clear(self.connection, remove.run, Some(remove.until), remove.most)?;
        Ok(RemoveGenerationsAnswer::Committed)
    }

    fn clean(
        &mut self,
        expired: &[Expired],
        now: u64,
        messages_before: u64,
        runs: usize,
        most: Budget,
    ) -> Result<CleanAnswer> {
        let dropped = notices::drop_old(self.connection, now, most.rows)?;
        let expired = removal::expired(self.connection, expired, runs)?;
        for run in &expired {
            self.heads.forget(*run);
            removal::remove(self.connection, *run)?;
        }
        let mut left = most.less(tokens::let_go(self.connection, now, most.rows)?, 0);
        left = left.less(deliveries::clean(self.connection, now, left.rows)?, 0);
        left = left.less(deliveries::clean_messages(self.connection, messages_before, left.rows)?, 0);
        let is_clear = !most.was_spent(left) && removal::clear_all(self.connection, left)?;
        let is_small = removal::shrink(self.connection)?;
        let more = !is_clear || !is_small || expired.len() >= runs || most.was_spent(most.less(dropped, 0));
        Ok(CleanAnswer { more })
    }

    fn append_at_head(&mut self, run: RunKey, head: Head, row: &JournalRow) -> Result<usize> {
        self.append.execute(params![
            run,
            head.generation.cast_signed(),
            head.next.cast_signed(),
            row.turn.to_be_bytes(),
            row.format,
            row.checksum,
            &*row.body,
        ])
    }
}

pub(super) fn key_of(connection: &Connection, run: &str) -> Result<Option<RunKey>> {
    connection.prepare_cached("SELECT key FROM runs WHERE id = ?1")?.query_row((run,), |row| row.get(0)).optional()
}

/// The number of appended rows: 0 or 1.
fn append_checked(connection: &Connection, run: RunKey, head: Head, row: &JournalRow) -> Result<usize> {
    connection.prepare_cached(APPEND_CHECKED)?.execute(params![
        run,
        head.generation.cast_signed(),
        head.next.cast_signed(),
        row.turn.to_be_bytes(),
        row.format,
        row.checksum,
        &*row.body,
        head.fence.owner.cast_signed(),
        head.fence.epoch.cast_signed(),
    ])
}

fn not_appended(connection: &Connection, turn: &Turn, row: &JournalRow) -> Result<TurnAnswer> {
    let there = connection
        .prepare_cached("SELECT turn FROM journal WHERE run = ?1 AND generation = ?2 AND idx = ?3")?
        .query_row((turn.run, turn.generation.cast_signed(), row.index.cast_signed()), |row| row.get::<_, [u8; 16]>(0))
        .optional()?;
    Ok(match there == Some(row.turn.to_be_bytes()) {
        true => TurnAnswer::Committed,
        false => TurnAnswer::Fenced,
    })
}

fn apply_change(connection: &Connection, turn: &Turn, change: &RowChange) -> Result<usize> {
    connection.prepare_cached(CHANGE)?.execute(params![
        turn.run,
        turn.fence.owner.cast_signed(),
        turn.fence.epoch.cast_signed(),
        turn.generation.cast_signed(),
        change.status.as_str(),
        change.wake_at.map(time),
        change.started_at.map(u64::cast_signed),
        change.completed_at.map(u64::cast_signed),
        change.stuck.as_deref(),
        change.refused_by.as_deref(),
        failing_since(change),
        change.error.as_ref().map(|error| &*error.class),
        change.error.as_ref().map(|error| &*error.text),
    ])
}

fn holds(connection: &Connection, turn: &Turn) -> Result<bool> {
    connection.prepare_cached(HOLDS)?.exists((
        turn.run,
        turn.fence.owner.cast_signed(),
        turn.fence.epoch.cast_signed(),
        turn.generation.cast_signed(),
    ))
}

fn release(connection: &Connection, run: RunKey, fence: Fence, inbox_seq: u64) -> Result<ReleaseAnswer> {
    let (owner, epoch) = (fence.owner.cast_signed(), fence.epoch.cast_signed());
    let released = connection
        .prepare_cached("UPDATE runs SET owner = 0 WHERE key = ?1 AND owner = ?2 AND epoch = ?3 AND inbox_seq = ?4")?
        .execute((run, owner, epoch, inbox_seq.cast_signed()))?;
    if released == 1 {
        return Ok(ReleaseAnswer::Committed);
    }
    let ours = connection
        .prepare_cached("SELECT 1 FROM runs WHERE key = ?1 AND owner = ?2 AND epoch = ?3")?
        .exists((run, owner, epoch))?;
    Ok(if ours { ReleaseAnswer::Unread } else { ReleaseAnswer::Fenced })
}
