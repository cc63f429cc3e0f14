//! Tokens: which run receives the payloads that are sent to them, and the payloads that are held.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::columns::time;
use super::deliveries;
use super::messages::receive;
use crate::store::tokens::{self, Decision, Found, Opening};
use crate::store::words::ended;
use crate::store::{
    About, Asked, Close, Continuation, Deliver, DeliverAnswer, Keep, Message, NEVER, Open, RunKey, TokenLabel,
    TokenRow, TokenState,
};

const FOUND: &str = concat!(
    "SELECT run, (SELECT status IN ",
    ended!(),
    " FROM runs WHERE key = tokens.run), op, state, once, asked FROM tokens WHERE token = ?1"
);

/// `CROSS JOIN` keeps the order of the tables: to return the tokens in their order, SQLite would read all tokens.
const OPEN_TOKENS: &str = concat!(
    "
WITH RECURSIVE tree (key, id) AS (
    SELECT key, id FROM runs WHERE key = ?1
    UNION SELECT runs.key, runs.id FROM tree CROSS JOIN runs ON runs.parent = tree.id
        AND runs.status NOT IN ",
    ended!(),
    "
)
SELECT tree.id, op, type_name, metadata, once, state, asked, step, token
FROM tree CROSS JOIN tokens ON tokens.run = tree.key AND state = 'open' ORDER BY token"
);

fn state(row: &Row<'_>, column: usize) -> Result<TokenState> {
    let word = row.get_ref(column)?.as_str()?;
    TokenState::parse(word)
        .ok_or_else(|| rusqlite::Error::InvalidColumnType(column, word.to_owned(), rusqlite::types::Type::Text))
}

fn found(connection: &Connection, token: &str) -> Result<Option<Found>> {
    connection
        .prepare_cached(FOUND)?
        .query_row((token,), |row| {
            let op: Option<i64> = row.get(2)?;
            Ok(Found {
                run: row.get(0)?,
                ended: row.get(1)?,
                op: op.map(i64::cast_unsigned),
                state: state(row, 3)?,
                once: row.get(4)?,
                asked: row.get(5)?,
            })
        })
        .optional()
}

pub(super) fn token(connection: &Connection, token: &str) -> Result<Option<TokenRow>> {
    connection
        .prepare_cached(
            "SELECT (SELECT id FROM runs WHERE key = tokens.run), op, type_name, metadata, once, state, asked, step
             FROM tokens WHERE token = ?1",
        )?
        .query_row((token,), view)
        .optional()
}

fn view(row: &Row<'_>) -> Result<TokenRow> {
    let op: Option<i64> = row.get(1)?;
    let step: Option<Arc<str>> = row.get(7)?;
    let asked = row.get::<_, Option<Arc<str>>>(6)?.map(|id| Asked { id, step });
    let label = TokenLabel { type_name: row.get(2)?, metadata: row.get(3)?, once: row.get(4)?, asked };
    Ok(TokenRow { run: row.get(0)?, op: op.map(i64::cast_unsigned), label, state: state(row, 5)? })
}

pub(super) fn open_tokens(connection: &Connection, run: RunKey) -> Result<Vec<(Arc<str>, TokenRow)>> {
    connection.prepare_cached(OPEN_TOKENS)?.query_map((run,), |row| Ok((row.get(8)?, view(row)?)))?.collect()
}

fn set(connection: &Connection, token: &str, run: Option<RunKey>, op: Option<u64>, label: &TokenLabel) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO tokens (token, run, op, type_name, metadata, once, asked, step, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'open')",
        )?
        .execute(params![
            token,
            run,
            op.map(u64::cast_signed),
            &*label.type_name,
            label.metadata.as_deref(),
            label.once,
            label.asked.as_ref().map(|asked| &*asked.id),
            label.asked.as_ref().and_then(|asked| asked.step.as_deref()),
        ])
        .map(drop)
}

pub(super) fn open(connection: &Connection, run: RunKey, opens: &[Open]) -> Result<()> {
    for open in opens {
        match tokens::open(run, open, found(connection, &open.token)?.as_ref()) {
            Opening::Left => {}
            Opening::Refused(owner) => {
                let about: Option<Arc<str>> = connection
                    .prepare_cached("SELECT id FROM runs WHERE key = ?1")?
                    .query_row((owner,), |row| row.get(0))
                    .optional()?;
                receive(connection, run, &open.refusal, about.map(About::Owner).as_ref())?;
            }
            Opening::Opened { again } => {
                if let (true, Some(scope), Some(asked)) = (again, &open.scope, &open.label.asked) {
                    deliveries::forget(connection, scope, &asked.id)?;
                }
                take(connection, run, open)?;
            }
        }
    }
    Ok(())
}

fn take(connection: &Connection, run: RunKey, open: &Open) -> Result<()> {
    let (token, now) = (&*open.token, open.refusal.arrived_at);
    set(connection, token, Some(run), open.op, &open.label)?;
    if !connection.prepare_cached("SELECT 1 FROM held WHERE token = ?1")?.exists((token,))? {
        return Ok(());
    }
    deliveries::delivered_to(connection, token, run, now)?;
    if let Some(op) = open.op {
        let given = hand_over(connection, token, run, Some(&About::Operation(op)), now)?;
        if given > 0 && open.label.once {
            taken(connection, token)?;
        }
        return Ok(());
    }
    // The payloads belong to the run now, and are held without a time limit.
    connection
        .prepare_cached("UPDATE held SET until = ?2, key = NULL WHERE token = ?1 AND until >= ?3")?
        .execute((token, NEVER.cast_signed(), time(now)))
        .map(drop)
}

fn taken(connection: &Connection, token: &str) -> Result<()> {
    connection.prepare_cached("UPDATE tokens SET state = 'taken' WHERE token = ?1")?.execute((token,)).map(drop)
}

/// Puts the payloads that are held for a token into a run's inbox; returns their number.
fn hand_over(connection: &Connection, token: &str, run: RunKey, about: Option<&About>, now: u64) -> Result<usize> {
    let held: Vec<(Message, u64)> = connection
        .prepare_cached(
            "SELECT arrived_at, format, checksum, body, until FROM held WHERE token = ?1 ORDER BY sequence",
        )?
        .query_map((token,), |row| {
            let body: Arc<[u8]> = row.get_ref(3)?.as_blob()?.into();
            let arrived_at = row.get::<_, i64>(0)?.cast_unsigned();
            let message = Message { dedupe: None, arrived_at, format: row.get(1)?, checksum: row.get(2)?, body };
            Ok((message, row.get::<_, i64>(4)?.cast_unsigned()))
        })?
        .collect::<Result<_>>()?;
    if held.is_empty() {
        return Ok(0);
    }
    connection.prepare_cached("DELETE FROM held WHERE token = ?1")?.execute((token,))?;
    let held: Vec<_> = held.iter().filter(|(_, until)| *until >= now).collect();
    held.iter().try_for_each(|(message, _)| receive(connection, run, message, about)).map(|()| held.len())
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

/// Closes the suspensions of a run, and clears the operations of its other open tokens. These hold the messages of the operations
/// that were not taken.
pub(super) fn hand_on(connection: &Connection, run: RunKey, continuation: &Continuation) -> Result<()> {
    connection
        .prepare_cached("UPDATE tokens SET state = 'disposed' WHERE run = ?1 AND state = 'open' AND once")?
        .execute((run,))?;
    let open: Vec<(String, i64)> = connection
        .prepare_cached("SELECT token, op FROM tokens WHERE run = ?1 AND state = 'open' AND op IS NOT NULL")?
        .query_map((run,), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_>>()?;
    for (token, op) in open {
        for (_, message) in continuation.payloads.iter().filter(|(sent_to, _)| **sent_to == *token) {
            hold(connection, &token, message, NEVER, 0, None)?;
        }
        let abouts = texts(&continuation.ops(&token, op.cast_unsigned()));
        let own = About::Operation(op.cast_unsigned()).to_text();
        connection
            .prepare_cached(
                "INSERT INTO held (token, arrived_at, format, checksum, body, until)
                 SELECT ?1, arrived_at, format, checksum, body, ?4 FROM inbox
                 WHERE run = ?2 AND about IN (SELECT value FROM json_each(?3)) AND (unread = 0 OR about <> ?5)
                    AND generation = (SELECT generation FROM runs WHERE key = ?2)
                 ORDER BY sequence",
            )?
            .execute((&token, run, &abouts, NEVER.cast_signed(), &own))?;
        connection
            .prepare_cached(
                "DELETE FROM inbox
                 WHERE run = ?1 AND about IN (SELECT value FROM json_each(?2)) AND (unread = 0 OR about <> ?3)
                    AND generation = (SELECT generation FROM runs WHERE key = ?1)",
            )?
            .execute((run, &abouts, &own))?;
        connection.prepare_cached("UPDATE tokens SET op = NULL WHERE token = ?1")?.execute((&token,))?;
    }
    for forward in &continuation.forwards {
        let (from, to) = (About::Operation(forward.op).to_text(), About::Operation(forward.to).to_text());
        connection
            .prepare_cached(
                "UPDATE inbox SET about = ?3, generation = generation + 1, unread = 0
                 WHERE run = ?1 AND about = ?2 AND generation = (SELECT generation FROM runs WHERE key = ?1)",
            )?
            .execute((run, from, to))?;
    }
    Ok(())
}

/// The `about` texts of operations as a JSON array; the texts need no escapes.
fn texts(ops: &[u64]) -> String {
    let texts: Vec<String> = ops.iter().map(|op| format!("\"{}\"", About::Operation(*op).to_text())).collect();
    format!("[{}]", texts.join(","))
}

/// Finishes the tokens of a run that has ended. Its inbox receives the payloads held for them, which only a
/// retried run reads.
pub(super) fn end(connection: &Connection, run: RunKey) -> Result<()> {
    let open: Vec<String> = connection
        .prepare_cached("SELECT token FROM tokens WHERE run = ?1 AND state = 'open'")?
        .query_map((run,), |row| row.get(0))?
        .collect::<Result<_>>()?;
    for token in open {
        hand_over(connection, &token, run, Some(&About::Token(token.as_str().into())), 0)?;
        connection.prepare_cached("UPDATE tokens SET state = 'finished' WHERE token = ?1")?.execute((token,))?;
    }
    Ok(())
}

pub(super) fn deliver(connection: &Connection, delivery: &Deliver) -> Result<DeliverAnswer> {
    let Deliver { token, message, key, keep, now, .. } = delivery;
    let there = found(connection, token)?;
    let before = deliveries::before(connection, delivery.scope(), key)?;
    match tokens::decide(delivery, there.as_ref(), before.as_ref()) {
        Decision::Answer(outcome) => return Ok(outcome),
        Decision::Deliver { run, op, takes } => {
            receive(connection, run, message, Some(&About::Operation(op)))?;
            if takes {
                taken(connection, token)?;
            }
            deliveries::record(connection, delivery, Some(run), None)?;
        }
        Decision::Keep { run, takes } => {
            hold(connection, token, message, NEVER, *now, None)?;
            if takes {
                taken(connection, token)?;
            }
            deliveries::record(connection, delivery, Some(run), None)?;
        }
        Decision::Hold { until } => {
            if there.is_none_or(|there| there.run.is_some()) {
                set(connection, token, None, None, &TokenLabel::default())?;
            }
            let follows = matches!(keep, Keep::FromEnd(_)).then_some(&**key);
            hold(connection, token, message, until, *now, follows)?;
            deliveries::record(connection, delivery, None, Some(until))?;
        }
    }
    Ok(DeliverAnswer::Committed)
}

/// Removes payloads that were held until now, and tokens without a run and payloads; returns the number of payloads.
pub(super) fn let_go(connection: &Connection, now: u64, most: usize) -> Result<usize> {
    let rows = i64::try_from(most).unwrap_or(i64::MAX);
    let late: Vec<(i64, String)> = connection
        .prepare_cached("SELECT sequence, token FROM held WHERE until < ?1 ORDER BY until LIMIT ?2")?
        .query_map((time(now), rows), |row| Ok((row.get(0)?, row.get(1)?)))?
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

/// Holds a payload; with the key of its delivery, if the record is kept until after the end of the run that receives it.
fn hold(
    connection: &Connection,
    token: &str,
    message: &Message,
    until: u64,
    now: u64,
    key: Option<&str>,
) -> Result<()> {
    connection.prepare_cached("DELETE FROM held WHERE token = ?1 AND until < ?2")?.execute((token, time(now)))?;
    connection
        .prepare_cached(
            "INSERT INTO held (token, key, arrived_at, format, checksum, body, until) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            token,
            key,
            message.arrived_at.cast_signed(),
            message.format,
            message.checksum,
            &*message.body,
            until.min(NEVER).cast_signed(),
        ])
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::schema;

    #[test]
    fn the_open_tokens_of_a_run_are_read_without_those_of_other_runs() {
        let connection = Connection::open_in_memory().expect("a database");
        connection.execute_batch(schema::TABLES).expect("the tables");
        for sql in schema::MIGRATIONS.missing(schema::LAYOUT) {
            connection.execute_batch(sql).expect("a migration");
        }
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {OPEN_TOKENS}")).expect("the statement");
        let plan: Vec<String> =
            statement.raw_query().mapped(|row| row.get(3)).collect::<Result<_>>().expect("the plan");
        let scanned = |line: &String| line.starts_with("SCAN") && line != "SCAN tree";
        assert!(!plan.iter().any(scanned), "{plan:#?}");
        for table in ["tokens", "runs"] {
            assert!(plan.iter().any(|line| line.starts_with(&format!("SEARCH {table} USING"))), "{plan:#?}");
        }
    }
}
