//! Reads rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, Error, OptionalExtension, Result, Row};

use super::messages;
use crate::model::Status;
use crate::store::{Fence, InboxRow, JournalRow, RowError, RunKey, RunRow};

/// The stored `recoveries` count only if the journal has not grown since they were last incremented.
macro_rules! select_run {
    ($condition:literal) => {
        concat!(
            "SELECT key, id, workflow, fingerprint, args_digest, generation, status, owner, epoch, wake_at, inbox_seq,
                 CASE WHEN recoveries = 0 THEN 0
                      WHEN recovered_at IS (
                          SELECT position FROM journal WHERE run = runs.key AND generation = runs.generation
                          ORDER BY idx DESC LIMIT 1
                      ) THEN recoveries
                      ELSE 0 END,
                 created_at, started_at, completed_at, stuck, parent,
                 coalesce(first_generation, 0), coalesce(first_event, 0), coalesce(continuations, 0), depth,
                 refused_by, required_deployment, failing_since, error_class, error_text
             FROM runs WHERE ",
            $condition
        )
    };
}

pub(super) const CONTINUED: &str =
    select_run!("continuations >= ?1 AND (continuations, key) > (?1, ?2) ORDER BY continuations, key LIMIT ?3");

pub(super) fn run(connection: &Connection, id: &str) -> Result<Option<RunRow>> {
    connection.prepare_cached(select_run!("id = ?1"))?.query_row((id,), run_row).optional()
}

pub(super) fn run_by_key(connection: &Connection, key: RunKey) -> Result<Option<RunRow>> {
    connection.prepare_cached(select_run!("key = ?1"))?.query_row((key,), run_row).optional()
}

/// The runs that have continued as new at least `least` times since the first generation that is kept.
pub(super) fn continued(
    connection: &Connection,
    least: u64,
    after: Option<(u64, RunKey)>,
    limit: usize,
) -> Result<Vec<RunRow>> {
    let (least, behind) = after.unwrap_or((least.max(1), RunKey::MIN));
    let least = i64::try_from(least).unwrap_or(i64::MAX);
    connection
        .prepare_cached(CONTINUED)?
        .query_map((least, behind, i64::try_from(limit).unwrap_or(i64::MAX)), run_row)?
        .collect()
}

fn run_row(row: &Row<'_>) -> Result<RunRow> {
    let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let time = |column| row.get::<_, Option<i64>>(column).map(|time| time.map(i64::cast_unsigned));
    let status = row.get_ref(6)?.as_str()?;
    let status = Status::parse(status).ok_or_else(|| {
        Error::FromSqlConversionFailure(
            6,
            Type::Text,
            Box::new(FromSqlError::Other(format!("status {status:?}").into())),
        )
    })?;
    Ok(RunRow {
        key: row.get(0)?,
        id: row.get(1)?,
        workflow: row.get(2)?,
        fingerprint: row.get(3)?,
        args_digest: row.get(4)?,
        generation: number(5)?,
        status,
        fence: Fence { owner: number(7)?, epoch: number(8)? },
        wake_at: time(9)?,
        inbox_seq: number(10)?,
        recoveries: row.get(11)?,
        created_at: number(12)?,
        started_at: time(13)?,
        completed_at: time(14)?,
        stuck: row.get(15)?,
        parent: row.get(16)?,
        first_generation: number(17)?,
        first_event: number(18)?,
        continuations: number(19)?,
        depth: row.get(20)?,
        refused_by: row.get(21)?,
        required_deployment: row.get(22)?,
        error: row_error(row)?,
    })
}

fn row_error(row: &Row<'_>) -> Result<Option<RowError>> {
    let Some(class) = row.get(24)? else { return Ok(None) };
    let failing_since: Option<i64> = row.get(23)?;
    Ok(Some(RowError { failing_since: failing_since.map(i64::cast_unsigned), class, text: row.get(25)? }))
}

pub(super) fn journal(
    connection: &Connection,
    run: RunKey,
    generation: u64,
    from: u64,
    limit: usize,
) -> Result<Vec<JournalRow>> {
    connection
        .prepare_cached(
            "SELECT idx, turn, format, checksum, body FROM journal
             WHERE run = ?1 AND generation = ?2 AND idx >= ?3 ORDER BY idx LIMIT ?4",
        )?
        .query_map(
            (
                run,
                generation.cast_signed(),
                from.min(i64::MAX as u64).cast_signed(),
                i64::try_from(limit).unwrap_or(i64::MAX),
            ),
            journal_row,
        )?
        .collect()
}

pub(super) fn last(connection: &Connection, run: RunKey, generation: u64) -> Result<Option<JournalRow>> {
    connection
        .prepare_cached(
            "SELECT idx, turn, format, checksum, body FROM journal
             WHERE run = ?1 AND generation = ?2 ORDER BY idx DESC LIMIT 1",
        )?
        .query_row((run, generation.cast_signed()), journal_row)
        .optional()
}

fn journal_row(row: &Row<'_>) -> Result<JournalRow> {
    Ok(JournalRow {
        index: row.get::<_, i64>(0)?.cast_unsigned(),
        turn: u128::from_be_bytes(row.get(1)?),
        format: row.get(2)?,
        checksum: row.get(3)?,
        body: body(row, 4)?,
    })
}

/// Reads in one transaction, so that the messages match `inbox_seq`.
pub(super) fn inbox(connection: &Connection, run: RunKey) -> Result<(u64, Vec<InboxRow>)> {
    let snapshot = connection.unchecked_transaction()?;
    let inbox_seq = snapshot
        .prepare_cached("SELECT inbox_seq FROM runs WHERE key = ?1")?
        .query_row((run,), |row| row.get::<_, i64>(0))
        .optional()?;
    let messages = snapshot
        .prepare_cached(
            "SELECT sequence, arrived_at, format, checksum, body, about, unread, generation FROM inbox
             WHERE run = ?1 ORDER BY sequence",
        )?
        .query_map((run,), |row| {
            Ok(InboxRow {
                sequence: row.get::<_, i64>(0)?.cast_unsigned(),
                arrived_at: row.get::<_, i64>(1)?.cast_unsigned(),
                format: row.get(2)?,
                checksum: row.get(3)?,
                body: body(row, 4)?,
                about: messages::about(row, 5)?,
                unread: row.get(6)?,
                generation: row.get::<_, i64>(7)?.cast_unsigned(),
            })
        })?
        .collect::<Result<_>>()?;
    Ok((inbox_seq.unwrap_or_default().cast_unsigned(), messages))
}

/// The runs of an engine with inbox messages after this sequence, and the last sequence.
pub(super) fn news(connection: &Connection, owner: u64, after: i64) -> Result<(Vec<RunKey>, i64)> {
    let mut statement = connection.prepare_cached(
        "SELECT inbox.sequence, inbox.run, runs.owner = ?2 FROM inbox JOIN runs ON runs.key = inbox.run
         WHERE inbox.sequence > ?1 ORDER BY inbox.sequence",
    )?;
    let mut messages = statement.query((after, owner.cast_signed()))?;
    let (mut news, mut last) = (BTreeSet::new(), after);
    while let Some(message) = messages.next()? {
        last = message.get(0)?;
        if message.get(2)? {
            news.insert(message.get(1)?);
        }
    }
    Ok((news.into_iter().collect(), last))
}

fn body(row: &Row<'_>, column: usize) -> Result<Arc<[u8]>> {
    Ok(row.get_ref(column)?.as_blob()?.into())
}
