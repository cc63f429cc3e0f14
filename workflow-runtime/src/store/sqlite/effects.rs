//! The effects of turns beside their runs' journals and rows.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result};

use super::messages::receive;
use super::{notices, read, tokens};
use crate::model::Status;
use crate::store::{
    About, Attributes, Continuation, Effects, JournalRow, Message, NextGeneration, Outgoing, RunKey, RunRow, Watch,
};

/// Makes a run the child of another run.
pub(super) fn adopt(connection: &Connection, parent: RunKey, child: RunKey, op: Option<u64>) -> Result<()> {
    connection
        .prepare_cached("UPDATE runs SET parent = (SELECT id FROM runs WHERE key = ?2) WHERE key = ?1")?
        .execute((child, parent))?;
    op.map_or(Ok(()), |op| add_watcher(connection, child, parent, op))
}

/// Whether a run is a child of another run.
pub(super) fn is_parent(connection: &Connection, parent: RunKey, child: &RunRow) -> Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM runs WHERE key = ?1 AND id = ?2")?
        .exists((parent, child.parent.as_deref()))
}

fn add_watcher(connection: &Connection, run: RunKey, watcher: RunKey, op: u64) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO watchers (run, watcher, generation, op)
             VALUES (?1, ?2, (SELECT generation FROM runs WHERE key = ?2), ?3)",
        )?
        .execute((run, watcher, op.cast_signed()))
        .map(drop)
}

/// If `token` is set, only a run with this token counts.
fn status(connection: &Connection, id: &str, token: Option<u128>) -> Result<Option<(RunKey, u64, bool)>> {
    connection
        .prepare_cached("SELECT key, generation, status FROM runs WHERE id = ?1 AND token = coalesce(?2, token)")?
        .query_row((id, token.map(u128::to_be_bytes)), |row| {
            let over = Status::parse(row.get_ref(2)?.as_str()?).is_some_and(Status::is_terminal);
            Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned(), over))
        })
        .optional()
}

pub(super) fn is_unfinished(connection: &Connection, message: &Outgoing) -> Result<bool> {
    Ok(status(connection, &message.run, message.token)?.is_some_and(|(_, _, over)| !over))
}

pub(super) fn watch(connection: &Connection, run: RunKey, watch: &Watch) -> Result<()> {
    match status(connection, &watch.run, watch.token)? {
        None => receive(connection, run, &watch.refusal, None),
        Some((key, _, false)) => add_watcher(connection, key, run, watch.op),
        Some((key, generation, true)) => match read::last(connection, key, generation)? {
            Some(last) => send_end(connection, run, watch.op, &last, watch.refusal.arrived_at),
            None => Ok(()),
        },
    }
}

fn send_end(connection: &Connection, run: RunKey, op: u64, last: &JournalRow, at: u64) -> Result<()> {
    let (format, checksum, body) = (last.format, last.checksum, Arc::clone(&last.body));
    let message = Message { dedupe: None, arrived_at: at, format, checksum, body };
    receive(connection, run, &message, Some(&About::Ended(op)))
}

/// Sends the end of a run to the operations that wait for it; returns whether there are any.
pub(super) fn tell_watchers(connection: &Connection, run: RunKey, last: &JournalRow, at: u64) -> Result<bool> {
    let watchers: Vec<(RunKey, i64)> = connection
        .prepare_cached("SELECT watcher, op FROM watchers WHERE run = ?1")?
        .query_map((run,), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_>>()?;
    if watchers.is_empty() {
        return Ok(false);
    }
    connection.prepare_cached("DELETE FROM watchers WHERE run = ?1")?.execute((run,))?;
    for (watcher, op) in watchers {
        send_end(connection, watcher, op.cast_unsigned(), last, at)?;
    }
    Ok(true)
}

/// Begins the next generation of a run.
pub(super) fn continue_as_new(connection: &Connection, run: RunKey, continuation: &Continuation) -> Result<()> {
    tokens::hand_on(connection, run, continuation)?;
    unwatch_all(connection, run)?;
    let binding = continuation.binding.change();
    connection
        .prepare_cached(
            "UPDATE runs SET generation = generation + 1, continuations = coalesce(continuations, 0) + 1, owner = 0,
                 recoveries = 0, recovered_at = NULL,
                 required_deployment = CASE WHEN ?2 THEN ?3 ELSE required_deployment END
             WHERE key = ?1",
        )?
        .execute((run, binding.is_some(), binding.flatten().map(|deployment| &**deployment)))?;
    receive(connection, run, &continuation.start, None)
}

/// Sets the state and the attributes of a run, and adds the notice of its status.
pub(super) fn set(connection: &Connection, run: RunKey, effects: &Effects) -> Result<()> {
    if let Some(state) = &effects.state {
        set_state(connection, run, state)?;
    }
    if let Some((status, at)) = effects.notify {
        notices::note(connection, run, status, at)?;
    }
    set_attributes(connection, run, &effects.attributes)
}

/// Sets the state and the attributes of a run that is retried.
pub(super) fn set_again(connection: &Connection, next: &NextGeneration) -> Result<()> {
    match &next.state {
        Some(state) => set_state(connection, next.run, state)?,
        None => connection.prepare_cached("DELETE FROM states WHERE run = ?1")?.execute((next.run,)).map(drop)?,
    }
    set_attributes(connection, next.run, &next.attributes)
}

fn set_state(connection: &Connection, run: RunKey, state: &str) -> Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO states (run, state) VALUES (?1, ?2)")?
        .execute((run, state))
        .map(drop)
}

fn set_attributes(connection: &Connection, run: RunKey, attributes: &[(Arc<str>, Option<Arc<str>>)]) -> Result<()> {
    for (key, value) in attributes {
        match value {
            Some(value) => connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO attributes (run, key, value, created_at)
                     VALUES (?1, ?2, ?3, (SELECT created_at FROM runs WHERE key = ?1))",
                )?
                .execute((run, &**key, &**value))?,
            None => connection
                .prepare_cached("DELETE FROM attributes WHERE run = ?1 AND key = ?2")?
                .execute((run, &**key))?,
        };
    }
    Ok(())
}

pub(super) fn state(connection: &Connection, run: &str) -> Result<Option<Arc<str>>> {
    connection
        .prepare_cached("SELECT state FROM states WHERE run = (SELECT key FROM runs WHERE id = ?1)")?
        .query_row((run,), |row| row.get(0))
        .optional()
}

pub(super) fn attributes(connection: &Connection, run: &str) -> Result<Attributes> {
    connection
        .prepare_cached(
            "SELECT key, value FROM attributes WHERE run = (SELECT key FROM runs WHERE id = ?1) ORDER BY key",
        )?
        .query_map((run,), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// Removes the watch of an operation on a run.
pub(super) fn unwatch(connection: &Connection, watcher: RunKey, run: &str, op: u64) -> Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM watchers WHERE run = (SELECT key FROM runs WHERE id = ?1) AND watcher = ?2
             AND generation = (SELECT generation FROM runs WHERE key = ?2) AND op = ?3",
        )?
        .execute((run, watcher, op.cast_signed()))
        .map(drop)
}

/// Removes all watches of a run that has ended or that continues as a new generation.
pub(super) fn unwatch_all(connection: &Connection, watcher: RunKey) -> Result<()> {
    connection.prepare_cached("DELETE FROM watchers WHERE watcher = ?1")?.execute((watcher,)).map(drop)
}

pub(super) fn children(connection: &Connection, run: &str) -> Result<Vec<Arc<str>>> {
    connection
        .prepare_cached("SELECT id FROM runs WHERE parent = ?1 ORDER BY key")?
        .query_map((run,), |row| row.get(0))?
        .collect()
}
