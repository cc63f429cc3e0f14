//! Streams: chunks in their order, and the outcome of the attempts that have written them.

use std::sync::Arc;

use super::db::{Db, Session, Text, args};
use super::fault::Result;
use super::read::{self, get, number, numbers, text, texts};
use super::work::Work;
use crate::error::Error;
use crate::limits::CHUNK_PAGE_BYTES;
use crate::store::{AppendChunkAnswer, ChunkPage, ChunkRow, Execution, NewChunk, RunKey, Turn};

/// Whether an attempt is known not to have succeeded, which includes an attempt that was not settled before its run was
/// deleted. Without an attempt it is false.
macro_rules! discarded {
    ($execution:literal, $run:literal) => {
        concat!(
            "coalesce(NOT ",
            $execution,
            ".succeeded, ",
            $execution,
            ".epoch <> ",
            $run,
            ".epoch OR ",
            $execution,
            ".generation <> ",
            $run,
            ".generation OR ",
            $run,
            ".status IN @ended, ",
            $execution,
            ".key IS NOT NULL)"
        )
    };
}

/// An attempt that writes, and the engine that executes it.
pub(super) struct Writer<'a> {
    pub run: RunKey,
    pub owner: u64,
    pub execution: &'a Execution,
}

/// The caller has locked the run's row, so that chunks are appended to a stream one at a time.
const FIND: &str = concat!(
    "SELECT streams.key, length, closed AND NOT ",
    discarded!("closer", "closers"),
    ", streams.closer
     FROM @streams AS streams LEFT JOIN @executions AS closer ON closer.key = streams.closer
     LEFT JOIN @runs AS closers ON closers.key = closer.run
     WHERE streams.run = $1 AND name = $2"
);

const LOCK: &str = "
SELECT owner, epoch, generation, status, followed FROM @runs WHERE key = $1 FOR NO KEY UPDATE";

const TARGET: &str = "SELECT key, status, followed FROM @runs WHERE id = $1 FOR NO KEY UPDATE";

const EXECUTION: &str = "
SELECT max(CASE WHEN target = $6 THEN key END), coalesce(bool_or(succeeded IS NOT NULL), false) FROM @executions
WHERE run = $1 AND generation = $2 AND op = $3 AND attempt = $4 AND epoch = $5";

const INSERT_EXECUTION: &str = "
INSERT INTO @executions (run, generation, op, attempt, epoch, target, step) VALUES ($1, $2, $3, $4, $5, $6, $7)
RETURNING key";

const APPEND: &str = "
WITH appended AS (
    INSERT INTO @chunks (stream, idx, id, writer, value) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
    RETURNING stream
)
UPDATE @streams SET length = length + 1 WHERE key IN (SELECT stream FROM appended)";

const SETTLE: &str = "
UPDATE @executions AS executions SET succeeded = settled.succeeded
FROM unnest($4, $5, $6) AS settled (op, attempt, succeeded)
WHERE run = $1 AND generation = $2 AND epoch = $3 AND executions.op = settled.op
    AND executions.attempt = settled.attempt AND executions.succeeded IS NULL";

/// One statement, so that the state of the stream matches its chunks.
const PAGE: &str = concat!(
    "SELECT runs.status IN @ended, coalesce(length, 0),
        coalesce(closed AND NOT ",
    discarded!("closer", "closers"),
    ", false),
        chunks.idx, chunks.value, writer.generation, writer.op, writer.step, writer.attempt, writer.epoch, ",
    discarded!("writer", "writers"),
    ", chunks.id
     FROM @runs AS runs LEFT JOIN @streams AS streams ON streams.run = runs.key AND streams.name = $2
     LEFT JOIN @executions AS closer ON closer.key = streams.closer
     LEFT JOIN @runs AS closers ON closers.key = closer.run
     LEFT JOIN LATERAL (
         SELECT * FROM (
             SELECT page.*, octet_length(value) AS bytes, sum(octet_length(value)) OVER (ORDER BY idx) AS bytes_so_far
             FROM (SELECT * FROM @chunks WHERE stream = streams.key AND idx >= $3 ORDER BY idx LIMIT $4) AS page
         ) AS counted WHERE bytes_so_far <= $5 OR bytes_so_far = bytes
     ) AS chunks ON true
     LEFT JOIN @executions AS writer ON writer.key = chunks.writer
     LEFT JOIN @runs AS writers ON writers.key = writer.run
     WHERE runs.key = $1 ORDER BY chunks.idx"
);

/// A stream, as an append finds it.
struct Stream {
    key: i64,
    length: u64,
    /// Whether it is closed, except by an attempt that is known not to have succeeded.
    closed: bool,
    closer: Option<i64>,
}

async fn find(session: &Session<'_>, run: RunKey, name: &str) -> Result<Option<Stream>> {
    let row = session.query_opt(FIND, args![INT8: run, TEXT: Text(name)]).await?;
    row.map(|row| {
        Ok(Stream { key: get(&row, 0)?, length: number(&row, 1)?, closed: get(&row, 2)?, closer: get(&row, 3)? })
    })
    .transpose()
}

/// Finds an attempt that has written: its key, if it has written to a stream of `target`, and whether it was settled.
async fn attempt(
    session: &Session<'_>,
    run: RunKey,
    writer: &Execution,
    target: RunKey,
) -> Result<(Option<i64>, bool)> {
    let row = session
        .query_opt(
            EXECUTION,
            args![
                INT8: run, INT8: writer.generation.cast_signed(), INT8: writer.op.cast_signed(),
                INT8: i64::from(writer.attempt), INT8: writer.epoch.cast_signed(), INT8: target,
            ],
        )
        .await?;
    row.map_or(Ok((None, false)), |row| Ok((get(&row, 0)?, get(&row, 1)?)))
}

/// Appends a chunk that a step writes, or closes the stream.
pub(super) async fn append(
    work: &mut Work<'_, '_>,
    writer: &Writer<'_>,
    into: Option<&str>,
    chunk: &NewChunk,
    most: u64,
) -> Result<AppendChunkAnswer> {
    let (session, execution) = (work.session, writer.execution);
    let Some(row) = session.query_opt(LOCK, args![INT8: writer.run]).await? else {
        return Ok(AppendChunkAnswer::Fenced);
    };
    let fence = (number(&row, 0)?, number(&row, 1)?, number(&row, 2)?);
    let over = read::status(&row, 3)?.is_terminal();
    let (target, ended, followed) = match into {
        None => (writer.run, over, get(&row, 4)?),
        Some(id) => match session.query_opt(TARGET, args![TEXT: Text(id)]).await? {
            Some(row) => (get(&row, 0)?, read::status(&row, 1)?.is_terminal(), get(&row, 2)?),
            None => return Ok(AppendChunkAnswer::Fenced),
        },
    };
    let stream = find(session, target, &chunk.stream).await?;
    let (key, settled) = attempt(session, writer.run, execution, target).await?;
    if let Some(stream) = &stream
        && (has(session, stream.key, chunk.id).await?
            || (chunk.value.is_none() && key.is_some() && stream.closer == key))
    {
        return Ok(AppendChunkAnswer::Committed);
    }
    if ended || over {
        return Ok(AppendChunkAnswer::Finished);
    }
    if fence != (writer.owner, execution.epoch, execution.generation) || settled {
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
        None => insert_execution(session, writer.run, execution, target).await?,
    };
    put(session, target, stream, chunk, Some(key)).await?;
    if followed {
        work.notes.awaited.insert(target);
    }
    Ok(AppendChunkAnswer::Committed)
}

async fn has(session: &Session<'_>, stream: i64, id: u128) -> Result<bool> {
    Ok(session
        .query_opt(
            "SELECT 1 FROM @chunks WHERE stream = $1 AND id = $2",
            args![INT8: stream, BYTEA: id.to_be_bytes().as_slice()],
        )
        .await?
        .is_some())
}

/// The key that the database has given to an inserted row.
fn inserted(row: Option<tokio_postgres::Row>) -> Result<i64> {
    row.map_or_else(|| Err(super::fault::Fault::Damaged("an insert gave no row".to_owned())), |row| get(&row, 0))
}

async fn insert_execution(session: &Session<'_>, run: RunKey, writer: &Execution, target: RunKey) -> Result<i64> {
    inserted(
        session
            .query_opt(
                INSERT_EXECUTION,
                args![
                    INT8: run, INT8: writer.generation.cast_signed(), INT8: writer.op.cast_signed(),
                    INT8: i64::from(writer.attempt), INT8: writer.epoch.cast_signed(), INT8: target,
                    TEXT: Text(&writer.step),
                ],
            )
            .await?,
    )
}

/// Appends chunks that a workflow writes.
pub(super) async fn write(session: &Session<'_>, run: RunKey, chunks: &[NewChunk]) -> Result<()> {
    for chunk in chunks {
        let stream = find(session, run, &chunk.stream).await?;
        if !stream.as_ref().is_some_and(|stream| stream.closed) {
            put(session, run, stream, chunk, None).await?;
        }
    }
    Ok(())
}

/// Appends a chunk, or closes the stream.
async fn put(
    session: &Session<'_>,
    run: RunKey,
    stream: Option<Stream>,
    chunk: &NewChunk,
    writer: Option<i64>,
) -> Result<()> {
    let (key, length) = match stream {
        Some(stream) => (stream.key, stream.length),
        None => {
            let sql = "INSERT INTO @streams (run, name, length) VALUES ($1, $2, 0) RETURNING key";
            (inserted(session.query_opt(sql, args![INT8: run, TEXT: Text(&chunk.stream)]).await?)?, 0)
        }
    };
    match &chunk.value {
        None => {
            let sql = "UPDATE @streams SET closed = true, closer = $2 WHERE key = $1";
            session.query(sql, args![INT8: key, INT8: writer]).await?;
        }
        Some(value) => {
            let id = chunk.id.to_be_bytes();
            session
                .query(
                    APPEND,
                    args![
                        INT8: key, INT8: length.cast_signed(), BYTEA: id.as_slice(), INT8: writer, TEXT: Text(value),
                    ],
                )
                .await?;
        }
    }
    Ok(())
}

pub(super) async fn settle(session: &Session<'_>, turn: &Turn) -> Result<()> {
    if turn.settles.is_empty() {
        return Ok(());
    }
    let ops: Vec<i64> = turn.settles.iter().map(|settle| settle.op.cast_signed()).collect();
    let attempts: Vec<i64> = turn.settles.iter().map(|settle| i64::from(settle.attempt)).collect();
    let succeeded: Vec<bool> = turn.settles.iter().map(|settle| settle.succeeded).collect();
    session
        .query(
            SETTLE,
            args![
                INT8: turn.run, INT8: turn.generation.cast_signed(), INT8: turn.fence.epoch.cast_signed(),
                INT8_ARRAY: ops, INT8_ARRAY: attempts, BOOL_ARRAY: succeeded,
            ],
        )
        .await?;
    Ok(())
}

pub(super) async fn page(db: &Db, run: RunKey, name: &str, from: u64, limit: usize) -> Result<ChunkPage, Error> {
    let from = from.min(i64::MAX as u64).cast_signed();
    let mut page = ChunkPage { gone: true, ..ChunkPage::default() };
    let rows = db
        .rows(
            "read a stream",
            PAGE,
            args![
                INT8: run, TEXT: Text(name), INT8: from, INT8: read::rows(limit), INT8: CHUNK_PAGE_BYTES as i64,
            ],
            |row| {
                page.gone = false;
                (page.length, page.ended) = (number(row, 1)?, get(row, 0)? || get(row, 2)?);
                numbers(row, 3)?.map(|index| chunk_row(row, index)).transpose()
            },
        )
        .await?;
    page.rows = rows.into_iter().flatten().collect();
    Ok(page)
}

fn chunk_row(row: &tokio_postgres::Row, index: u64) -> Result<ChunkRow> {
    let writer = match numbers(row, 5)? {
        None => None,
        Some(generation) => Some(Execution {
            generation,
            op: number(row, 6)?,
            step: texts(row, 7)?.unwrap_or_default(),
            attempt: u32::try_from(number(row, 8)?).unwrap_or(u32::MAX),
            epoch: number(row, 9)?,
        }),
    };
    let discarded = writer.is_some() && get(row, 10)?;
    Ok(ChunkRow { index, id: read::id(row, 11)?, value: text(row, 4)?, writer, discarded })
}

pub(super) async fn names(db: &Db, run: RunKey) -> Result<Vec<Arc<str>>, Error> {
    let sql = "SELECT name FROM @streams WHERE run = $1 ORDER BY key";
    db.rows("read streams", sql, args![INT8: run], |row| text(row, 0)).await
}
