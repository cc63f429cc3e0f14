//! Tokens: who takes the payloads that are sent to them, and what is held until somebody does.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::letters::{is_known, receive};
use crate::store::{About, Close, DeliverAnswer, Letter, NEVER, Open, RunKey, TokenLabel, TokenRow, TokenState};

/// What settles where a letter goes.
struct Owner {
    run: Option<RunKey>,
    op: Option<u64>,
    state: TokenState,
    once: bool,
}

fn state(row: &Row<'_>, column: usize) -> Result<TokenState> {
    let word = row.get_ref(column)?.as_str()?;
    TokenState::parse(word)
        .ok_or_else(|| rusqlite::Error::InvalidColumnType(column, word.to_owned(), rusqlite::types::Type::Text))
}

fn owner(connection: &Connection, token: &str) -> Result<Option<Owner>> {
    connection
        .prepare_cached("SELECT run, op, state, once FROM tokens WHERE token = ?1")?
        .query_row((token,), |row| {
            let op: Option<i64> = row.get(1)?;
            Ok(Owner { run: row.get(0)?, op: op.map(i64::cast_unsigned), state: state(row, 2)?, once: row.get(3)? })
        })
        .optional()
}

pub(super) fn token(connection: &Connection, token: &str) -> Result<Option<TokenRow>> {
    connection
        .prepare_cached(
            "SELECT (SELECT id FROM runs WHERE key = tokens.run), op, type_name, metadata, once, state FROM tokens
             WHERE token = ?1",
        )?
        .query_row((token,), view)
        .optional()
}

fn view(row: &Row<'_>) -> Result<TokenRow> {
    let op: Option<i64> = row.get(1)?;
    let label = TokenLabel { type_name: row.get(2)?, metadata: row.get(3)?, once: row.get(4)? };
    Ok(TokenRow { run: row.get(0)?, op: op.map(i64::cast_unsigned), label, state: state(row, 5)? })
}

pub(super) fn open_tokens(connection: &Connection, run: RunKey) -> Result<Vec<(Arc<str>, TokenRow)>> {
    connection
        .prepare_cached(
            "SELECT (SELECT id FROM runs WHERE key = tokens.run), op, type_name, metadata, once, state, token FROM tokens
             WHERE state = 'open' AND run IN (SELECT ?1
                UNION ALL SELECT key FROM runs WHERE parent = (SELECT id FROM runs WHERE key = ?1)) ORDER BY token",
        )?
        .query_map((run,), |row| Ok((row.get(6)?, view(row)?)))?
        .collect()
}

fn set(connection: &Connection, token: &str, run: Option<RunKey>, op: Option<u64>, label: &TokenLabel) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO tokens (token, run, op, type_name, metadata, once, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'open')",
        )?
        .execute(params![
            token,
            run,
            op.map(u64::cast_signed),
            &*label.type_name,
            label.metadata.as_deref(),
            label.once
        ])
        .map(drop)
}

pub(super) fn open(connection: &Connection, run: RunKey, opens: &[Open]) -> Result<()> {
    for open in opens {
        let there = owner(connection, &open.token)?.filter(|there| there.state == TokenState::Open);
        let theirs = there.and_then(|there| there.run.filter(|owner| *owner != run || there.op.is_some()));
        if let Some(theirs) = theirs {
            if open.op.is_none() {
                continue;
            }
            let about: Option<Arc<str>> = connection
                .prepare_cached("SELECT id FROM runs WHERE key = ?1")?
                .query_row((theirs,), |row| row.get(0))
                .optional()?;
            receive(connection, run, &open.refusal, about.map(About::Owner).as_ref())?;
            continue;
        }
        set(connection, &open.token, Some(run), open.op, &open.label)?;
        if open.op.is_none() {
            // They have come to their run, and wait for it as long as it takes.
            connection.prepare_cached("UPDATE held SET until = ?2 WHERE token = ?1 AND until >= ?3")?.execute((
                &*open.token,
                NEVER.cast_signed(),
                open.refusal.arrived_at.min(NEVER).cast_signed(),
            ))?;
        }
        if let Some(op) = open.op {
            let given = hand_over(connection, &open.token, run, Some(&About::Operation(op)), open.refusal.arrived_at)?;
            if given > 0 && open.label.once {
                dispose(connection, &open.token)?;
            }
        }
    }
    Ok(())
}

fn dispose(connection: &Connection, token: &str) -> Result<()> {
    connection.prepare_cached("UPDATE tokens SET state = 'disposed' WHERE token = ?1")?.execute((token,)).map(drop)
}

/// Puts what is held for a token into a run's inbox: how many letters.
fn hand_over(connection: &Connection, token: &str, run: RunKey, about: Option<&About>, now: u64) -> Result<usize> {
    let held: Vec<(Letter, u64)> = connection
        .prepare_cached(
            "SELECT dedupe, arrived_at, format, checksum, body, until FROM held WHERE token = ?1 ORDER BY sequence",
        )?
        .query_map((token,), |row| {
            let body: Arc<[u8]> = row.get_ref(4)?.as_blob()?.into();
            let arrived_at = row.get::<_, i64>(1)?.cast_unsigned();
            let letter = Letter { dedupe: row.get(0)?, arrived_at, format: row.get(2)?, checksum: row.get(3)?, body };
            Ok((letter, row.get::<_, i64>(5)?.cast_unsigned()))
        })?
        .collect::<Result<_>>()?;
    if held.is_empty() {
        return Ok(0);
    }
    connection.prepare_cached("DELETE FROM held WHERE token = ?1")?.execute((token,))?;
    let held: Vec<_> = held.iter().filter(|(_, until)| *until >= now).collect();
    held.iter().try_for_each(|(letter, _)| receive(connection, run, letter, about)).map(|()| held.len())
}

pub(super) fn close(connection: &Connection, run: RunKey, closes: &[Close]) -> Result<()> {
    for close in closes {
        connection
            .prepare_cached(
                "UPDATE tokens SET state = 'disposed' WHERE token = ?1 AND run = ?2 AND op = ?3 AND state = 'open'",
            )?
            .execute((&*close.token, run, close.op.cast_signed()))?;
    }
    Ok(())
}

/// Takes the operations from a run's open tokens; what came for these and was not taken is held.
pub(super) fn hand_on(connection: &Connection, run: RunKey, payloads: &[(Arc<str>, Letter)]) -> Result<()> {
    let open: Vec<(String, i64)> = connection
        .prepare_cached("SELECT token, op FROM tokens WHERE run = ?1 AND state = 'open' AND op IS NOT NULL")?
        .query_map((run,), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_>>()?;
    for (token, op) in open {
        for (_, letter) in payloads.iter().filter(|(sent_to, _)| **sent_to == *token) {
            hold(connection, &token, letter, NEVER, 0)?;
        }
        let about = About::Operation(op.cast_unsigned()).to_text();
        // Their keys are known to the run already.
        connection
            .prepare_cached(
                "INSERT INTO held (token, dedupe, arrived_at, format, checksum, body, until)
                 SELECT ?1, NULL, arrived_at, format, checksum, body, ?4 FROM inbox
                 WHERE run = ?2 AND about = ?3 AND unread = 0 AND generation = (SELECT generation FROM runs WHERE key = ?2)
                 ORDER BY sequence",
            )?
            .execute((&token, run, &about, NEVER.cast_signed()))?;
        connection
            .prepare_cached(
                "DELETE FROM inbox
                 WHERE run = ?1 AND about = ?2 AND unread = 0 AND generation = (SELECT generation FROM runs WHERE key = ?1)",
            )?
            .execute((run, &about))?;
        connection.prepare_cached("UPDATE tokens SET op = NULL WHERE token = ?1")?.execute((&token,))?;
    }
    Ok(())
}

/// Ends the tokens of a run that has ended. What was held for it is its own, unread.
pub(super) fn end(connection: &Connection, run: RunKey) -> Result<()> {
    let open: Vec<String> = connection
        .prepare_cached("SELECT token FROM tokens WHERE run = ?1 AND state = 'open'")?
        .query_map((run,), |row| row.get(0))?
        .collect::<Result<_>>()?;
    for token in open {
        hand_over(connection, &token, run, None, 0)?;
        connection.prepare_cached("UPDATE tokens SET state = 'finished' WHERE token = ?1")?.execute((token,))?;
    }
    Ok(())
}

pub(super) fn deliver(
    connection: &Connection,
    token: &str,
    letter: &Letter,
    hold_until: Option<u64>,
    now: u64,
) -> Result<DeliverAnswer> {
    let there = owner(connection, token)?;
    match &there {
        Some(Owner { state: TokenState::Open, run: Some(run), op, once }) => {
            match op {
                Some(op) => receive(connection, *run, letter, Some(&About::Operation(*op)))?,
                None if is_known(connection, *run, letter)? => return Ok(DeliverAnswer::Committed),
                None => hold(connection, token, letter, NEVER, now)?,
            }
            if *once {
                dispose(connection, token)?;
            }
            return Ok(DeliverAnswer::Committed);
        }
        Some(Owner { state: TokenState::Disposed, run: Some(run), once: true, .. }) => {
            let known = is_known(connection, *run, letter)? || is_held(connection, token, letter)?;
            return Ok(if known { DeliverAnswer::Committed } else { DeliverAnswer::Disposed });
        }
        Some(Owner { state: TokenState::Disposed, .. }) if hold_until.is_none() => return Ok(DeliverAnswer::Disposed),
        Some(Owner { state: TokenState::Finished, .. }) if hold_until.is_none() => return Ok(DeliverAnswer::Finished),
        _ => {}
    }
    let Some(until) = hold_until else { return Ok(DeliverAnswer::Unknown) };
    if !there.is_some_and(|there| there.state == TokenState::Open) {
        set(connection, token, None, None, &TokenLabel::default())?;
    }
    hold(connection, token, letter, until, now)?;
    Ok(DeliverAnswer::Committed)
}

fn is_held(connection: &Connection, token: &str, letter: &Letter) -> Result<bool> {
    let Some(key) = &letter.dedupe else { return Ok(false) };
    connection.prepare_cached("SELECT 1 FROM held WHERE token = ?1 AND dedupe = ?2")?.exists((token, key))
}

/// Removes payloads that were held until now, and the tokens that nobody has any more: how many rows, about.
pub(super) fn let_go(connection: &Connection, now: u64, most: usize) -> Result<usize> {
    let rows = i64::try_from(most).unwrap_or(i64::MAX);
    let late: Vec<(i64, String)> = connection
        .prepare_cached("SELECT sequence, token FROM held WHERE until < ?1 ORDER BY until LIMIT ?2")?
        .query_map((now.min(NEVER).cast_signed(), rows), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_>>()?;
    for (sequence, token) in &late {
        connection.prepare_cached("DELETE FROM held WHERE sequence = ?1")?.execute((sequence,))?;
        connection
            .prepare_cached(
                "DELETE FROM tokens WHERE token = ?1 AND run IS NULL
                 AND NOT EXISTS (SELECT 1 FROM held WHERE held.token = tokens.token)",
            )?
            .execute((token,))?;
    }
    Ok(late.len())
}

/// Keeps a letter, unless one with its key is kept already.
fn hold(connection: &Connection, token: &str, letter: &Letter, until: u64, now: u64) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM held WHERE token = ?1 AND until < ?2")?
        .execute((token, now.min(NEVER).cast_signed()))?;
    connection
        .prepare_cached(
            "INSERT INTO held (token, dedupe, arrived_at, format, checksum, body, until)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
             WHERE ?2 IS NULL OR NOT EXISTS (SELECT 1 FROM held WHERE token = ?1 AND dedupe = ?2)",
        )?
        .execute(params![
            token,
            letter.dedupe,
            letter.arrived_at.cast_signed(),
            letter.format,
            letter.checksum,
            &*letter.body,
            until.min(NEVER).cast_signed(),
        ])
        .map(drop)
}
