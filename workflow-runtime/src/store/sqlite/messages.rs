//! Inbox messages, and how the store puts them into an inbox.

use std::borrow::Cow;

use rusqlite::{Connection, Result, Row, params};

use crate::store::{About, Message, RunKey};

const PUT: &str = "
INSERT INTO inbox (run, arrived_at, format, checksum, body, about, generation)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, (SELECT generation FROM runs WHERE key = ?1))";

const POSTED: &str = "
UPDATE runs SET inbox_seq = inbox_seq + 1,
    wake_at = CASE WHEN wake_at IS NOT NULL THEN 0 END
WHERE key = ?1";

/// Puts a message into a run's inbox without waking the run; returns whether it is new.
pub(super) fn put(connection: &Connection, run: RunKey, message: &Message, about: Option<&About>) -> Result<bool> {
    if let Some(dedupe) = &message.dedupe {
        let new = connection
            .prepare_cached("INSERT INTO dedupe (run, key, at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?
            .execute((run, &dedupe.key, dedupe.known_from(message).cast_signed()))?;
        if new == 0 {
            return Ok(false);
        }
    }
    let at = message.arrived_at.cast_signed();
    let about = about.map(About::to_text);
    connection.prepare_cached(PUT)?.execute(params![
        run,
        at,
        message.format,
        message.checksum,
        &*message.body,
        about
    ])?;
    Ok(true)
}

/// Puts a message into a run's inbox, if it is new, and makes the run due.
pub(super) fn receive(connection: &Connection, run: RunKey, message: &Message, about: Option<&About>) -> Result<()> {
    if put(connection, run, message, about)? {
        connection.prepare_cached(POSTED)?.execute((run,))?;
    }
    Ok(())
}

pub(super) fn remove(connection: &Connection, run: RunKey, sequence: u64) -> Result<()> {
    let mut remove = connection.prepare_cached("DELETE FROM inbox WHERE sequence = ?1 AND run = ?2")?;
    remove.execute((sequence.cast_signed(), run)).map(drop)
}

/// Whether the run has already received a message with this dedupe key.
pub(super) fn is_known(connection: &Connection, run: RunKey, message: &Message) -> Result<bool> {
    let Some(dedupe) = &message.dedupe else { return Ok(false) };
    connection.prepare_cached("SELECT 1 FROM dedupe WHERE run = ?1 AND key = ?2")?.exists((run, &dedupe.key))
}

pub(super) fn about(row: &Row<'_>, column: usize) -> Result<Option<About>> {
    let Some(text) = row.get::<_, Option<Cow<'_, str>>>(column)? else { return Ok(None) };
    let damaged = || rusqlite::Error::InvalidColumnType(column, text.clone().into_owned(), rusqlite::types::Type::Text);
    About::parse(&text).map(Some).ok_or_else(damaged)
}
