//! Streams: ordered chunks, and the outcome of the attempts that wrote them.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use crate::limits::CHUNK_PAGE_BYTES;
use crate::model::Status;
use crate::store::words::ended;
use crate::store::{AppendChunkAnswer, ChunkPage, ChunkRow, Execution, NewChunk, RunKey, Turn};

/// The state of a stream before an append.
struct Stream {
    key: i64,
    length: u64,
    /// Whether it is closed, by the workflow or by an attempt that is not known to have failed.
    closed: bool,
    closer: Option<i64>,
}

/// Whether an attempt did not succeed, including one that was not settled before its run was deleted. False if there is no
/// attempt.
const DISCARDED: &str = concat!(
    "coalesce(executions.succeeded = 0, executions.epoch != writers.epoch
    OR executions.generation != writers.generation OR writers.status IN ",
    ended!(),
    ", executions.key IS NOT NULL)"
);

/// An attempt that writes, and its engine.
pub(super) struct Writer<'a> {
    pub run: RunKey,
    pub owner: u64,
    pub execution: &'a Execution,
}

fn find(connection: &Connection, run: RunKey, name: &str) -> Result<Option<Stream>> {
    connection
        .prepare_cached(&format!(
            "SELECT streams.key, length, closed AND NOT {DISCARDED}, closer
             FROM streams LEFT JOIN executions ON executions.key = closer
             LEFT JOIN runs AS writers ON writers.key = executions.run
             WHERE streams.run = ?1 AND name = ?2"
        ))?
        .query_row((run, name), |row| {
            let length = row.get::<_, i64>(1)?.cast_unsigned();
            Ok(Stream { key: row.get(0)?, length, closed: row.get(2)?, closer: row.get(3)? })
        })
        .optional()
}

/// An attempt that has written: its key, if it has written to a stream of this run, and whether it was settled.
fn execution(
    connection: &Connection,
    run: RunKey,
    execution: &Execution,
    target: RunKey,
) -> Result<(Option<i64>, bool)> {
    connection
        .prepare_cached(
            "SELECT max(CASE WHEN target = ?6 THEN key END), coalesce(max(succeeded IS NOT NULL), 0) FROM executions
             WHERE run = ?1 AND generation = ?2 AND op = ?3 AND attempt = ?4 AND epoch = ?5",
        )?
        .query_row(
            (
                run,
                execution.generation.cast_signed(),
                execution.op.cast_signed(),
                execution.attempt,
                execution.epoch.cast_signed(),
                target,
            ),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
}

/// Appends a chunk of a step.
pub(super) fn append(
    connection: &Connection,
    writer: &Writer<'_>,
    into: Option<&str>,
    chunk: &NewChunk,
    most: u64,
) -> Result<AppendChunkAnswer> {
    let target = match into {
        None => Some((writer.run, false)),
        Some(run) => target(connection, run)?,
    };
    let Some((target, ended)) = target else { return Ok(AppendChunkAnswer::Fenced) };
    let stream = find(connection, target, &chunk.stream)?;
    let (key, settled) = execution(connection, writer.run, writer.execution, target)?;
    if let Some(stream) = &stream
        && (has(connection, stream.key, chunk.id)? || (chunk.value.is_none() && key.is_some() && stream.closer == key))
    {
        return Ok(AppendChunkAnswer::Committed);
    }
    if ended {
        return Ok(AppendChunkAnswer::Finished);
    }
    if let Some(refused) = refuse(connection, writer)? {
        return Ok(refused);
    }
    if settled {
        return Ok(AppendChunkAnswer::Fenced);
    }
    if let Some(stream) = &stream {
        if stream.closed {
            return Ok(AppendChunkAnswer::Closed);
        }
        if chunk.value.is_some() && stream.length >= most {
            return Ok(AppendChunkAnswer::Full);
        }
    }
    let key = match key {
        Some(key) => key,
        None => insert_execution(connection, writer.run, writer.execution, target)?,
    };
    put(connection, target, stream, chunk, Some(key))?;
    Ok(AppendChunkAnswer::Committed)
}

/// The run with this id, and whether it has ended.
fn target(connection: &Connection, run: &str) -> Result<Option<(RunKey, bool)>> {
    connection
        .prepare_cached("SELECT key, status FROM runs WHERE id = ?1")?
        .query_row((run,), |row| {
            Ok((row.get(0)?, Status::parse(row.get_ref(1)?.as_str()?).is_some_and(Status::is_terminal)))
        })
        .optional()
}

fn has(connection: &Connection, stream: i64, id: u128) -> Result<bool> {
    connection.prepare_cached("SELECT 1 FROM chunks WHERE stream = ?1 AND id = ?2")?.exists((stream, id.to_be_bytes()))
}

/// The answer if the fence does not allow the write; `None` if it does.
fn refuse(connection: &Connection, writer: &Writer<'_>) -> Result<Option<AppendChunkAnswer>> {
    let row = connection
        .prepare_cached("SELECT owner, epoch, generation, status FROM runs WHERE key = ?1")?
        .query_row((writer.run,), |row| {
            let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
            let ended = Status::parse(row.get_ref(3)?.as_str()?).is_some_and(Status::is_terminal);
            Ok((number(0)?, number(1)?, number(2)?, ended))
        })
        .optional()?;
    Ok(match row {
        Some((.., true)) => Some(AppendChunkAnswer::Finished),
        Some((holder, epoch, generation, false))
            if (holder, epoch, generation) == (writer.owner, writer.execution.epoch, writer.execution.generation) =>
        {
            None
        }
        _ => Some(AppendChunkAnswer::Fenced),
    })
}

fn insert_execution(connection: &Connection, run: RunKey, writer: &Execution, target: RunKey) -> Result<i64> {
    connection
        .prepare_cached(
            "INSERT INTO executions (run, generation, op, attempt, epoch, target, step)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            run,
            writer.generation.cast_signed(),
            writer.op.cast_signed(),
            writer.attempt,
            writer.epoch.cast_signed(),
            target,
            &*writer.step,
        ])?;
    Ok(connection.last_insert_rowid())
}

/// Appends the chunks of a workflow.
pub(super) fn write(connection: &Connection, run: RunKey, chunks: &[NewChunk]) -> Result<()> {
    for chunk in chunks {
        let stream = find(connection, run, &chunk.stream)?;
        if !stream.as_ref().is_some_and(|stream| stream.closed) {
            put(connection, run, stream, chunk, None)?;
        }
    }
    Ok(())
}

/// Appends a chunk, or closes the stream.
fn put(
    connection: &Connection,
    run: RunKey,
    stream: Option<Stream>,
    chunk: &NewChunk,
    writer: Option<i64>,
) -> Result<()> {
    let (key, length) = match stream {
        Some(stream) => (stream.key, stream.length),
        None => {
            connection
                .prepare_cached("INSERT INTO streams (run, name, length) VALUES (?1, ?2, 0)")?
                .execute((run, &*chunk.stream))?;
            (connection.last_insert_rowid(), 0)
        }
    };
    let Some(value) = &chunk.value else {
        connection
            .prepare_cached("UPDATE streams SET closed = 1, closer = ?2 WHERE key = ?1")?
            .execute((key, writer))?;
        return Ok(());
    };
    let appended = connection
        .prepare_cached("INSERT OR IGNORE INTO chunks (stream, idx, id, writer, value) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![key, length.cast_signed(), chunk.id.to_be_bytes(), writer, &**value])?;
    if appended == 1 {
        connection.prepare_cached("UPDATE streams SET length = length + 1 WHERE key = ?1")?.execute((key,))?;
    }
    Ok(())
}

pub(super) fn settle(connection: &Connection, turn: &Turn) -> Result<()> {
    for settle in &turn.settles {
        connection
            .prepare_cached(
                "UPDATE executions SET succeeded = ?6
                 WHERE run = ?1 AND generation = ?2 AND op = ?3 AND attempt = ?4 AND epoch = ?5 AND succeeded IS NULL",
            )?
            .execute(params![
                turn.run,
                turn.generation.cast_signed(),
                settle.op.cast_signed(),
                settle.attempt,
                turn.fence.epoch.cast_signed(),
                settle.succeeded,
            ])?;
    }
    Ok(())
}

/// Reads in one transaction, so that the state of the stream and its chunks are consistent.
pub(super) fn page(connection: &Connection, run: RunKey, name: &str, from: u64, limit: usize) -> Result<ChunkPage> {
    let snapshot = connection.unchecked_transaction()?;
    let status: Option<String> = snapshot
        .prepare_cached("SELECT status FROM runs WHERE key = ?1")?
        .query_row((run,), |row| row.get(0))
        .optional()?;
    let Some(status) = status else { return Ok(ChunkPage { gone: true, ..ChunkPage::default() }) };
    let over = Status::parse(&status).is_some_and(Status::is_terminal);
    let Some(stream) = find(&snapshot, run, name)? else {
        return Ok(ChunkPage { ended: over, ..ChunkPage::default() });
    };
    let mut page = ChunkPage { rows: Vec::new(), length: stream.length, ended: over || stream.closed, gone: false };
    let mut statement = snapshot.prepare_cached(&format!(
        "SELECT idx, value, executions.generation, op, step, attempt, executions.epoch, {DISCARDED}, chunks.id
         FROM chunks LEFT JOIN executions ON executions.key = writer
         LEFT JOIN runs AS writers ON writers.key = executions.run
         WHERE stream = ?1 AND idx >= ?2 ORDER BY idx LIMIT ?3"
    ))?;
    let from = from.min(i64::MAX as u64).cast_signed();
    let mut rows = statement.query((stream.key, from, i64::try_from(limit).unwrap_or(i64::MAX)))?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let chunk = chunk_row(row)?;
        bytes += chunk.value.len();
        if bytes > CHUNK_PAGE_BYTES && !page.rows.is_empty() {
            break;
        }
        page.rows.push(chunk);
    }
    Ok(page)
}

fn chunk_row(row: &Row<'_>) -> Result<ChunkRow> {
    let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let writer = match row.get::<_, Option<i64>>(2)? {
        None => None,
        Some(generation) => Some(Execution {
            generation: generation.cast_unsigned(),
            op: number(3)?,
            step: row.get(4)?,
            attempt: row.get(5)?,
            epoch: number(6)?,
        }),
    };
    let discarded = writer.is_some() && row.get(7)?;
    let id = u128::from_be_bytes(row.get(8)?);
    Ok(ChunkRow { index: number(0)?, id, value: row.get(1)?, writer, discarded })
}

pub(super) fn names(connection: &Connection, run: RunKey) -> Result<Vec<Arc<str>>> {
    connection
        .prepare_cached("SELECT name FROM streams WHERE run = ?1 ORDER BY key")?
        .query_map((run,), |row| row.get(0))?
        .collect()
}
