//! Removal of runs: their own rows at once, their remaining rows in portions.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Result, Row};

use super::columns::time;
use super::messages::receive;
use crate::limits::{FREE_PAGES_KEPT, FREE_PAGES_PER_CLEANING};
use crate::model::Status;
use crate::store::words::ended;
use crate::store::{About, Budget, Ended, Expired, Message, RemoveGenerations, RunKey};

/// Excludes the runs with pending notices.
const EXPIRED: &str = "
SELECT key FROM runs WHERE status = ?1 AND completed_at IS NOT NULL AND (completed_at, key) <= (?2, ?3)
    AND NOT EXISTS (SELECT 1 FROM notices WHERE notices.run = runs.key)
ORDER BY completed_at, key LIMIT ?4";

const ENDED_BEFORE: &str = "
SELECT completed_at, key FROM runs WHERE status = ?1 AND completed_at IS NOT NULL
ORDER BY completed_at DESC, key DESC LIMIT 1 OFFSET ?2";

/// The rows of a run that are removed at once, which are few: notices, attributes, open tokens, watchers, ..
const REMOVE: [&str; 9] = [
    "INSERT OR REPLACE INTO remains (run) VALUES (?1)",
    "DELETE FROM held WHERE token IN (SELECT token FROM tokens WHERE run = ?1 AND state = 'open')",
    "DELETE FROM tokens WHERE run = ?1 AND state = 'open'",
    "DELETE FROM watchers WHERE run = ?1",
    "DELETE FROM watchers WHERE watcher = ?1",
    "DELETE FROM notices WHERE run = ?1",
    "DELETE FROM states WHERE run = ?1",
    "DELETE FROM attributes WHERE run = ?1",
    "DELETE FROM runs WHERE key = ?1",
];

/// The remaining rows: queries for rows with their sizes, and statements that delete such a row. Chunks precede their
/// streams, and streams precede the attempts that have written to them.
const REMAINS: [(&str, &str); 7] = [
    (
        "SELECT position, length(body) FROM journal WHERE run = ?1 LIMIT ?2",
        "DELETE FROM journal WHERE position = ?1 AND run = ?2",
    ),
    (
        "SELECT sequence, length(body) FROM inbox WHERE run = ?1 LIMIT ?2",
        "DELETE FROM inbox WHERE sequence = ?1 AND run = ?2",
    ),
    ("SELECT key, 0 FROM dedupe WHERE run = ?1 LIMIT ?2", "DELETE FROM dedupe WHERE key = ?1 AND run = ?2"),
    ("SELECT token, 0 FROM tokens WHERE run = ?1 LIMIT ?2", "DELETE FROM tokens WHERE token = ?1 AND run = ?2"),
    (
        "SELECT position, octet_length(value) FROM streams CROSS JOIN chunks ON stream = streams.key
         WHERE run = ?1 LIMIT ?2",
        "DELETE FROM chunks WHERE position = ?1 AND EXISTS (SELECT 1 FROM streams WHERE key = stream AND run = ?2)",
    ),
    ("SELECT key, 0 FROM streams WHERE run = ?1 LIMIT ?2", "DELETE FROM streams WHERE key = ?1 AND run = ?2"),
    (
        "SELECT key, 0 FROM executions WHERE target = ?1 LIMIT ?2",
        "DELETE FROM executions WHERE key = ?1 AND target = ?2",
    ),
];

/// The remaining rows of removed generations, as in [`REMAINS`].
const OLD_ROWS: &str = "
SELECT position, length(body) FROM journal WHERE run = ?1 AND generation < ?3 LIMIT ?2";

const REMOVE_GENERATIONS: &str = "
UPDATE runs SET first_generation = ?3, first_event = ?4, continuations = nullif(max(coalesce(continuations, 0) - ?5, 0), 0)
WHERE key = ?1 AND coalesce(first_generation, 0) = ?2 AND generation >= ?3";

/// Whether a run can be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It has ended, or was created and was never due.
    Ended,
    Unended,
}

/// `None` if there is no such run.
pub(super) fn progress(connection: &Connection, run: RunKey) -> Result<Option<Progress>> {
    connection
        .prepare_cached(concat!(
            "SELECT status IN ",
            ended!(),
            " OR (status = 'pending' AND wake_at IS NULL) FROM runs WHERE key = ?1"
        ))?
        .query_row((run,), |row| Ok(if row.get(0)? { Progress::Ended } else { Progress::Unended }))
        .optional()
}

/// Notifies the operations that wait for the end of a run that it was deleted.
pub(super) fn send_deletion(connection: &Connection, run: RunKey, deletion_message: &Message) -> Result<()> {
    let watchers: Vec<(RunKey, i64)> = connection
        .prepare_cached("SELECT watcher, op FROM watchers WHERE run = ?1")?
        .query_map((run,), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_>>()?;
    watchers.into_iter().try_for_each(|(watcher, op)| {
        receive(connection, watcher, deletion_message, Some(&About::Ended(op.cast_unsigned())))
    })
}

/// Removes a run that can be deleted, with all rows that its id leads to. [`clear`] removes the remaining rows.
pub(super) fn remove(connection: &Connection, run: RunKey) -> Result<()> {
    REMOVE.iter().try_for_each(|sql| connection.prepare_cached(sql)?.execute((run,)).map(drop))
}

/// Changes the first generation whose journal is kept in the run's row; returns false if it was not the expected one.
pub(super) fn remove_generations(connection: &Connection, remove: &RemoveGenerations) -> Result<bool> {
    let until = remove.until.cast_signed();
    let changed = connection.prepare_cached(REMOVE_GENERATIONS)?.execute((
        remove.run,
        remove.from.cast_signed(),
        until,
        remove.first_event.cast_signed(),
        remove.continuations.cast_signed(),
    ))?;
    if changed > 0 {
        connection
            .prepare_cached("INSERT OR REPLACE INTO remains (run, before) VALUES (?1, ?2)")?
            .execute((remove.run, until))?;
    }
    Ok(changed > 0)
}

/// Removes the remaining rows of a removed run, or its journals `before` a generation. Returns the rest of the budget,
/// which is spent if more rows may remain.
pub(super) fn clear(connection: &Connection, run: RunKey, before: Option<u64>, most: Budget) -> Result<Budget> {
    let mut left = most;
    let old_rows = [(OLD_ROWS, REMAINS[0].1)];
    for (rows, remove) in if before.is_some() { &old_rows[..] } else { &REMAINS[..] } {
        if left.is_spent() {
            return Ok(left);
        }
        let limit = i64::try_from(left.rows).unwrap_or(i64::MAX);
        let mut found = connection.prepare_cached(rows)?;
        let part = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let found: Vec<(Value, i64)> = match before {
            Some(before) => found.query_map((run, limit, before.cast_signed()), part)?.collect::<Result<_>>()?,
            None => found.query_map((run, limit), part)?.collect::<Result<_>>()?,
        };
        let mut statement = connection.prepare_cached(remove)?;
        for (row, bytes) in found {
            if left.is_spent() {
                return Ok(left);
            }
            statement.execute((row, run))?;
            left = left.less(1, usize::try_from(bytes).unwrap_or(usize::MAX));
        }
    }
    if !left.is_spent() {
        connection.prepare_cached("DELETE FROM remains WHERE run = ?1")?.execute((run,))?;
    }
    Ok(left)
}

/// Removes the remaining rows of removed runs; returns whether all are removed.
pub(super) fn clear_all(connection: &Connection, most: Budget) -> Result<bool> {
    let mut left = most;
    loop {
        let next: Option<(RunKey, Option<i64>)> = connection
            .prepare_cached("SELECT run, before FROM remains ORDER BY run LIMIT 1")?
            .query_row((), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((run, before)) = next else { return Ok(true) };
        left = clear(connection, run, before.map(i64::cast_unsigned), left)?;
        if left.is_spent() {
            return Ok(false);
        }
    }
}

/// The runs whose retention has passed, of each status those first that ended first.
pub(super) fn expired(connection: &Connection, expired: &[Expired], limit: usize) -> Result<Vec<RunKey>> {
    let mut found = Vec::new();
    for Expired { status, until } in expired {
        let rows = i64::try_from(limit - found.len()).unwrap_or(i64::MAX);
        let until = (time(until.at), until.run);
        let runs = connection
            .prepare_cached(EXPIRED)?
            .query_map((status.as_str(), until.0, until.1, rows), |row| row.get(0))?
            .collect::<Result<Vec<RunKey>>>()?;
        found.extend(runs);
    }
    Ok(found)
}

pub(super) fn ended_before(connection: &Connection, status: Status, most: u64) -> Result<Option<Ended>> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let ended = |row: &Row<'_>| Ok(Ended { at: row.get::<_, i64>(0)?.cast_unsigned(), run: row.get(1)? });
    connection.prepare_cached(ENDED_BEFORE)?.query_row((status.as_str(), most), ended).optional()
}

/// Returns free pages to the file system, in portions, if the file has many. Returns whether no excess remains. A file that
/// was created without `auto_vacuum` never shrinks.
pub(super) fn shrink(connection: &Connection) -> Result<bool> {
    let number = |pragma: &str| connection.prepare_cached(pragma)?.query_row((), |row| row.get::<_, i64>(0));
    let kept = FREE_PAGES_KEPT.max(number("PRAGMA page_count")? / 4);
    let excess = number("PRAGMA freelist_count")? - kept;
    if excess <= 0 || number("PRAGMA auto_vacuum")? != INCREMENTAL {
        return Ok(true);
    }
    let pages = excess.min(FREE_PAGES_PER_CLEANING);
    let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    // Each step frees one page.
    let mut steps = vacuum.query(())?;
    while steps.next()?.is_some() {}
    Ok(excess <= pages)
}

/// The value of `PRAGMA auto_vacuum` for a file that can shrink.
const INCREMENTAL: i64 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::{read, schema};

    /// The query plans determine the cost of a removal among a million runs.
    #[test]
    fn no_statement_scans_rows_that_it_keeps() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(schema::TABLES).unwrap();
        let remains = REMAINS.iter().flat_map(|(rows, remove)| [*rows, *remove]);
        let generations = [OLD_ROWS, REMOVE_GENERATIONS, read::CONTINUED];
        for sql in [EXPIRED, ENDED_BEFORE].into_iter().chain(generations).chain(REMOVE).chain(remains) {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let plan: Vec<String> = statement.raw_query().mapped(|row| row.get(3)).collect::<Result<_>>().unwrap();
            let walks = |line: &String| line.starts_with("SCAN") || line.contains("TEMP B-TREE");
            assert!(!plan.iter().any(walks), "{sql}\n{plan:#?}");
        }
    }
}
