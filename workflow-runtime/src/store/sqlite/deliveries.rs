//! Records of deliveries, which outlive the runs that received them.

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::columns::time;
use crate::store::tokens::Before;
use crate::store::words::ended;
use crate::store::{Deliver, DeliveryRow, Keep, NEVER, RunKey};

const RECORD: &str = "
INSERT OR REPLACE INTO deliveries (token, key, digest, at, until, keep, run) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

const BEFORE: &str = concat!(
    "
SELECT digest, at, until, EXISTS (
    SELECT 1 FROM runs WHERE runs.key = deliveries.run AND status NOT IN ",
    ended!(),
    "
) FROM deliveries WHERE token = ?1 AND key = ?2"
);

/// Prolongs the record of a run that cleaning found alive.
const PROLONG: &str = "UPDATE deliveries SET until = ?3 + keep WHERE token = ?1 AND key = ?2";

const LATE: &str = concat!(
    "
SELECT token, key, EXISTS (
    SELECT 1 FROM runs WHERE runs.key = deliveries.run AND status NOT IN ",
    ended!(),
    "
) FROM deliveries WHERE until < ?1 ORDER BY until LIMIT ?2"
);

const END: &str = "UPDATE deliveries SET until = max(at, ?2) + keep WHERE run = ?1";

const DELIVERED_TO: &str = "
UPDATE deliveries SET run = ?2, until = ?3 + keep
WHERE token = ?1 AND key IN (SELECT held.key FROM held WHERE held.token = ?1 AND held.key IS NOT NULL AND held.until >= ?3)";

pub(super) fn before(connection: &Connection, token: &str, key: &str) -> Result<Option<Before>> {
    connection
        .prepare_cached(BEFORE)?
        .query_row((token, key), |row| {
            let (at, until): (i64, i64) = (row.get(1)?, row.get(2)?);
            let (at, until) = (at.cast_unsigned(), until.cast_unsigned());
            Ok(Before { digest: row.get(0)?, at, until, is_live: row.get(3)? })
        })
        .optional()
}

pub(super) fn delivery(connection: &Connection, token: &str, key: &str, now: u64) -> Result<Option<DeliveryRow>> {
    let before = before(connection, token, key)?.filter(|before| before.is_known(now));
    Ok(before.map(|before| DeliveryRow { digest: before.digest, at: before.at }))
}

pub(super) fn record(
    connection: &Connection,
    delivery: &Deliver,
    run: Option<RunKey>,
    held_until: Option<u64>,
) -> Result<()> {
    let at = delivery.now;
    let (keep, run, until) = match delivery.keep {
        Keep::FromDelivery(keep) => (keep, None, at.saturating_add(keep)),
        Keep::FromEnd(keep) => (keep, run, held_until.unwrap_or(at.saturating_add(keep))),
    };
    connection
        .prepare_cached(RECORD)?
        .execute(params![
            &**delivery.scope(),
            &*delivery.key,
            delivery.digest,
            time(at),
            time(until),
            keep.min(NEVER >> 1).cast_signed(),
            run
        ])
        .map(drop)
}

pub(super) fn forget(connection: &Connection, token: &str, key: &str) -> Result<()> {
    let sql = "DELETE FROM deliveries WHERE token = ?1 AND key = ?2";
    connection.prepare_cached(sql)?.execute((token, key)).map(drop)
}

/// A run has taken the payloads that were held for a token.
pub(super) fn delivered_to(connection: &Connection, token: &str, run: RunKey, now: u64) -> Result<()> {
    connection.prepare_cached(DELIVERED_TO)?.execute((token, run, time(now))).map(drop)
}

/// The run has ended: the records of its deliveries expire from now on.
pub(super) fn end(connection: &Connection, run: RunKey, at: u64) -> Result<()> {
    connection.prepare_cached(END)?.execute((run, time(at))).map(drop)
}

/// Removes expired records; returns the number of examined rows.
pub(super) fn clean(connection: &Connection, now: u64, most: usize) -> Result<usize> {
    let rows = i64::try_from(most).unwrap_or(i64::MAX);
    let late: Vec<(String, String, bool)> = connection
        .prepare_cached(LATE)?
        .query_map((time(now), rows), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_>>()?;
    for (token, key, is_live) in &late {
        match is_live {
            true => connection.prepare_cached(PROLONG)?.execute((token, key, time(now))).map(drop)?,
            false => forget(connection, token, key)?,
        }
    }
    Ok(late.len())
}

/// Removes expired dedupe keys of messages; returns their number.
pub(super) fn clean_messages(connection: &Connection, before: u64, most: usize) -> Result<usize> {
    let rows = i64::try_from(most).unwrap_or(i64::MAX);
    let late: Vec<(RunKey, String)> = connection
        .prepare_cached("SELECT run, key FROM dedupe WHERE at < ?1 ORDER BY at LIMIT ?2")?
        .query_map((time(before), rows), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_>>()?;
    for (run, key) in &late {
        connection.prepare_cached("DELETE FROM dedupe WHERE run = ?1 AND key = ?2")?.execute((run, key))?;
    }
    Ok(late.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::schema;

    /// The query plans determine the cost of cleaning among a million rows, and of the end of a run.
    #[test]
    fn no_statement_scans_rows_that_it_keeps() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(schema::TABLES).unwrap();
        for sql in [BEFORE, PROLONG, LATE, END, DELIVERED_TO] {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let plan: Vec<String> = statement.raw_query().mapped(|row| row.get(3)).collect::<Result<_>>().unwrap();
            let walks = |line: &String| line.starts_with("SCAN") || line.contains("TEMP B-TREE");
            assert!(!plan.iter().any(walks), "{sql}\n{plan:#?}");
        }
    }
}
