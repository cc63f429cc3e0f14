//! Removal of runs: their own rows at once, the rows that they leave behind in portions.

use super::db::{Db, Session, Text, args};
use super::fault::Result;
use super::read::{self, get, number, time};
use super::work::Work;
use super::{deliveries, notices, tokens};
use crate::error::Error;
use crate::model::Status;
use crate::store::{
    About, Budget, CleanAnswer, DeleteAnswer, Ended, Expired, Message, RemoveGenerations, RemoveGenerationsAnswer,
    RunKey,
};

const RUN_STATE: &str = "
SELECT status IN @ended OR (status = 'pending' AND wake_at IS NULL), awaited OR followed
FROM @runs WHERE key = $1 FOR UPDATE";

/// Keeps runs with a pending end notice. Skips a run that another transaction has locked until the next cleaning.
const EXPIRED: &str = "
SELECT key FROM @runs AS runs WHERE status = $1 AND completed_at IS NOT NULL AND (completed_at, key) <= ($2, $3)
    AND NOT EXISTS (SELECT 1 FROM @notices AS notices WHERE notices.run = runs.key)
ORDER BY completed_at, key LIMIT $4 FOR UPDATE OF runs SKIP LOCKED";

const EXPIRED_WAITING: &str = "
SELECT key FROM @runs AS runs WHERE status = $1 AND completed_at IS NOT NULL AND (completed_at, key) <= ($2, $3)
    AND NOT EXISTS (SELECT 1 FROM @notices AS notices WHERE notices.run = runs.key)
ORDER BY completed_at, key LIMIT $4";

const LOCK: &str = "SELECT key FROM @runs WHERE key = ANY ($1) ORDER BY key FOR UPDATE";

const ENDED_BEFORE: &str = "
SELECT completed_at, key FROM @runs WHERE status = $1 AND completed_at IS NOT NULL
ORDER BY completed_at DESC, key DESC LIMIT 1 OFFSET $2";

/// Only one worker cleans at a time.
const ALONE: &str = "SELECT pg_try_advisory_xact_lock(hashtext($1))";

/// Deletes the rows of runs, which are locked, and the few rows that belong to them: open tokens, held payloads, watchers,
/// notices, states and attributes. Records the runs in `remains`, for the removal of the other rows.
const REMOVE: &str = "
WITH tokens AS (
    DELETE FROM @tokens WHERE run = ANY ($1) AND state = 'open' RETURNING token
), held AS (
    DELETE FROM @held WHERE token IN (SELECT token FROM tokens)
), watched AS (
    DELETE FROM @watchers WHERE run = ANY ($1)
), watching AS (
    DELETE FROM @watchers WHERE watcher = ANY ($1) AND run <> ALL ($1)
), notices AS (
    DELETE FROM @notices WHERE run = ANY ($1)
), states AS (
    DELETE FROM @states WHERE run = ANY ($1)
), attributes AS (
    DELETE FROM @attributes WHERE run = ANY ($1)
), runs AS (
    DELETE FROM @runs WHERE key = ANY ($1) RETURNING key
)
INSERT INTO @remains (run) SELECT key FROM runs ON CONFLICT (run) DO UPDATE SET before = NULL";

const REMAINS: &str = "SELECT run FROM @remains WHERE before IS NULL ORDER BY run LIMIT $1";

const OLD: &str = "SELECT run, before FROM @remains WHERE before IS NOT NULL ORDER BY run LIMIT 1";

const REMOVE_GENERATIONS: &str = "
WITH kept AS (
    UPDATE @runs SET first_generation = $3, first_event = $4,
        continuations = nullif(greatest(coalesce(continuations, 0) - $5, 0), 0)
    WHERE key = $1 AND coalesce(first_generation, 0) = $2 AND generation >= $3 RETURNING key
)
INSERT INTO @remains (run, before) SELECT key, $3 FROM kept
ON CONFLICT (run) DO UPDATE SET before = excluded.before RETURNING run";

/// Removes rows of deleted runs, which no other write touches: at most `$2` rows, and no further row once `$3` bytes are
/// reached. Returns their number and their total size.
macro_rules! remove {
    ($table:literal, $bytes:literal, $condition:literal) => {
        concat!(
            "WITH gone AS (
                DELETE FROM ",
            $table,
            " WHERE ctid = ANY (ARRAY(
                    SELECT place FROM (
                        SELECT place, sum(bytes) OVER (ROWS UNBOUNDED PRECEDING) - bytes AS before FROM (
                            SELECT ctid AS place, ",
            $bytes,
            "::bigint AS bytes FROM ",
            $table,
            " WHERE ",
            $condition,
            " LIMIT $2
                        ) AS part
                    ) AS counted WHERE before < $3
                )) RETURNING ",
            $bytes,
            "::bigint AS bytes
            ) SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM gone"
        )
    };
}

/// Chunks are removed before their streams, and streams before the attempts that have written to them.
const CLEAR: [&str; 7] = [
    remove!("@journal", "pg_column_size(body)", "run = ANY ($1)"),
    remove!("@inbox", "pg_column_size(body)", "run = ANY ($1)"),
    remove!("@dedupe", "0", "run = ANY ($1)"),
    remove!("@tokens", "0", "run = ANY ($1)"),
    remove!("@chunks", "pg_column_size(value)", "stream IN (SELECT key FROM @streams WHERE run = ANY ($1))"),
    remove!("@streams", "0", "run = ANY ($1)"),
    remove!("@executions", "0", "target = ANY ($1)"),
];

/// Removes the journal rows of removed generations.
const CLEAR_OLD: &str = remove!("@journal", "pg_column_size(body)", "run = $1 AND generation < $4");

/// Deletes a run.
pub(super) async fn delete(
    work: &mut Work<'_, '_>,
    run: RunKey,
    most: Budget,
    deletion_message: &Message,
) -> Result<DeleteAnswer> {
    let Some(row) = work.session.query_opt(RUN_STATE, args![INT8: run]).await? else {
        return Ok(DeleteAnswer::Unknown);
    };
    if !get::<bool>(&row, 0)? {
        return Ok(DeleteAnswer::Unended);
    }
    if get(&row, 1)? {
        work.notes.awaited.insert(run);
    }
    let watchers = work
        .session
        .query("SELECT watcher, op FROM @watchers WHERE run = $1 ORDER BY watcher", args![INT8: run])
        .await?;
    for row in watchers {
        work.receive(get(&row, 0)?, deletion_message, Some(&About::Ended(number(&row, 1)?))).await?;
    }
    remove(work.session, &[run]).await?;
    clear(work.session, &[run], most).await?;
    Ok(DeleteAnswer::Committed)
}

/// Removes runs that may be deleted and are locked, with everything that can be looked up by their ids. The caller must then
/// [clear](clear) the rows that they leave behind.
pub(super) async fn remove(session: &Session<'_>, runs: &[RunKey]) -> Result<()> {
    session.query(REMOVE, args![INT8_ARRAY: runs]).await.map(drop)
}

/// Removes the remaining rows of deleted runs. Returns the unused budget, which is spent if more rows may remain.
pub(super) async fn clear(session: &Session<'_>, runs: &[RunKey], most: Budget) -> Result<Budget> {
    let mut left = most;
    for sql in CLEAR {
        if left.is_spent() {
            return Ok(left);
        }
        let bytes = i64::try_from(left.bytes).unwrap_or(i64::MAX);
        let gone = session.query_opt(sql, args![INT8_ARRAY: runs, INT8: read::rows(left.rows), INT8: bytes]).await?;
        if let Some(gone) = gone {
            let (rows, bytes) = (number(&gone, 0)?, number(&gone, 1)?);
            left = left.less(usize::try_from(rows).unwrap_or(usize::MAX), usize::try_from(bytes).unwrap_or(usize::MAX));
        }
    }
    if !left.is_spent() {
        session.query("DELETE FROM @remains WHERE run = ANY ($1)", args![INT8_ARRAY: runs]).await?;
    }
    Ok(left)
}

/// Removes the journals of the oldest generations of a run.
pub(super) async fn remove_generations(
    work: &mut Work<'_, '_>,
    remove: &RemoveGenerations,
) -> Result<RemoveGenerationsAnswer> {
    let RemoveGenerations { run, from, until, first_event, continuations, most } = remove;
    let [from, until, first_event, continuations] =
        [from, until, first_event, continuations].map(|number| number.cast_signed());
    let args = args![INT8: *run, INT8: from, INT8: until, INT8: first_event, INT8: continuations];
    if work.session.query_opt(REMOVE_GENERATIONS, args).await?.is_none() {
        return Ok(RemoveGenerationsAnswer::Unknown);
    }
    clear_old(work.session, *run, until, *most).await?;
    Ok(RemoveGenerationsAnswer::Committed)
}

/// Removes a run's journals before a generation. Returns the unused budget, which is spent if more rows may remain.
async fn clear_old(session: &Session<'_>, run: RunKey, before: i64, most: Budget) -> Result<Budget> {
    if most.is_spent() {
        return Ok(most);
    }
    let (rows, bytes) = (read::rows(most.rows), i64::try_from(most.bytes).unwrap_or(i64::MAX));
    let mut left = most;
    let args = args![INT8: run, INT8: rows, INT8: bytes, INT8: before];
    if let Some(gone) = session.query_opt(CLEAR_OLD, args).await? {
        let (rows, bytes) = (number(&gone, 0)?, number(&gone, 1)?);
        left = left.less(usize::try_from(rows).unwrap_or(usize::MAX), usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    if !left.is_spent() {
        // The run may have been deleted meanwhile, and then more rows remain.
        let sql = "DELETE FROM @remains WHERE run = $1 AND before = $2";
        session.query(sql, args![INT8: run, INT8: before]).await?;
    }
    Ok(left)
}

/// Removes one portion of the rows whose retention is over.
pub(super) async fn clean(
    work: &mut Work<'_, '_>,
    expired: &[Expired],
    now: u64,
    messages_before: u64,
    runs: usize,
    most: Budget,
) -> Result<CleanAnswer> {
    let session = work.session;
    let name = format!("workflow cleaning {}", session.db.options.schema);
    let alone = session.query_opt(ALONE, args![TEXT: Text(&name)]).await?;
    if !alone.map_or(Ok(false), |row| get(&row, 0))? {
        return Ok(CleanAnswer { more: false });
    }
    let dropped = notices::drop_old(session, now, most.rows).await?;
    let gone = find_expired(session, expired, runs).await?;
    if !gone.is_empty() {
        remove(session, &gone).await?;
    }
    let mut left = most.less(tokens::let_go(session, now, most.rows).await?, 0);
    left = left.less(deliveries::clean(session, now, left.rows).await?, 0);
    left = left.less(deliveries::clean_messages(session, messages_before, left.rows).await?, 0);
    if most.was_spent(left) {
        return Ok(CleanAnswer { more: true });
    }
    while let Some(old) = session.query_opt(OLD, args![]).await? {
        left = clear_old(session, get(&old, 0)?, get(&old, 1)?, left).await?;
        if left.is_spent() {
            return Ok(CleanAnswer { more: true });
        }
    }
    loop {
        let next = session.query(REMAINS, args![INT8: read::rows(runs.max(1))]).await?;
        if next.is_empty() {
            return Ok(CleanAnswer { more: gone.len() >= runs || most.was_spent(most.less(dropped, 0)) });
        }
        let next: Vec<RunKey> = next.iter().map(|row| get(row, 0)).collect::<Result<_>>()?;
        left = clear(session, &next, left).await?;
        if left.is_spent() {
            return Ok(CleanAnswer { more: true });
        }
    }
}

/// Finds and locks runs whose retention is over: of each status, those that ended first.
async fn find_expired(session: &Session<'_>, expired: &[Expired], limit: usize) -> Result<Vec<RunKey>> {
    let sql = if session.db.options.skip_locked { EXPIRED } else { EXPIRED_WAITING };
    let mut found: Vec<RunKey> = Vec::new();
    for Expired { status, until } in expired {
        let rows = read::rows(limit - found.len());
        let expired =
            session.query(sql, args![TEXT: status.as_str(), INT8: time(until.at), INT8: until.run, INT8: rows]).await?;
        for row in expired {
            found.push(get(&row, 0)?);
        }
    }
    if session.db.options.skip_locked || found.is_empty() {
        return Ok(found);
    }
    session.query(LOCK, args![INT8_ARRAY: found]).await?.iter().map(|row| get(row, 0)).collect()
}

pub(super) async fn ended_before(db: &Db, status: Status, most: u64) -> Result<Option<Ended>, Error> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let ended = |row: &_| Ok(Ended { at: number(row, 0)?, run: get(row, 1)? });
    let found = db.rows("read runs", ENDED_BEFORE, args![TEXT: status.as_str(), INT8: most], ended).await?;
    Ok(found.into_iter().next())
}
