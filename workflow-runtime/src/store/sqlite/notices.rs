//! Notices of runs that reached a status, for callbacks.

use rusqlite::{Connection, Result};

use super::columns::time;
use super::read;
use crate::limits::{NOTICE_CLAIM_MS, NOTICE_KEPT_MS};
use crate::model::Status;
use crate::store::{ClaimNotices, ClaimNoticesAnswer, Notice, ReturnNotice, RunKey};

const FREE: &str = "
SELECT until, sequence FROM notices WHERE status = ?1 AND until <= ?2 ORDER BY until, sequence LIMIT ?3";

/// The notices of a claim whose answer was lost.
const CLAIMED: &str =
    "SELECT until, sequence FROM notices WHERE holder = ?1 AND holder <> 0 AND until = ?2 ORDER BY sequence";

const CLAIM: &str = "
UPDATE notices SET holder = ?2, until = ?3, tries = tries + 1 WHERE sequence = ?1 RETURNING run, status, tries";

const RETURN: &str = "UPDATE notices SET holder = 0, until = ?3 WHERE sequence = ?1 AND holder = ?2";

/// Frees notices: they can be claimed from the time of their last claim on.
const FREE_ALL: &str = "
UPDATE notices SET holder = 0, until = max(until - ?2, 0) WHERE holder <> 0 AND holder <> ?1";

const DROP: &str = "
DELETE FROM notices WHERE sequence IN (SELECT sequence FROM notices WHERE status = ?1 AND until < ?2 LIMIT ?3)";

pub(super) fn note(connection: &Connection, run: RunKey, status: Status, at: u64) -> Result<()> {
    connection
        .prepare_cached("INSERT INTO notices (run, status, holder, until, tries) VALUES (?1, ?2, 0, ?3, 0)")?
        .execute((run, status.as_str(), time(at)))
        .map(drop)
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn notices(connection: &Connection, statuses: &[Status], after: u64, limit: usize) -> Result<Vec<Notice>> {
    let mut found = Vec::new();
    for status in statuses {
        let rows: Vec<(i64, RunKey, u32)> = connection
            .prepare_cached(
                "SELECT sequence, run, tries FROM notices WHERE status = ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3",
            )?
            .query_map((status.as_str(), after.cast_signed(), rows(limit)), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<Result<_>>()?;
        found.extend(rows.into_iter().map(|(sequence, run, tries)| (sequence, *status, run, tries)));
    }
    found.sort_unstable_by_key(|(sequence, ..)| *sequence);
    found.truncate(limit);
    found.into_iter().filter_map(|found| notice(connection, found).transpose()).collect()
}

fn notice(
    connection: &Connection,
    (sequence, status, run, tries): (i64, Status, RunKey, u32),
) -> Result<Option<Notice>> {
    let run = read::run_by_key(connection, run)?;
    Ok(run.map(|run| Notice { sequence: sequence.cast_unsigned(), status, tries, run }))
}

pub(super) fn claim(connection: &Connection, claim: &ClaimNotices) -> Result<ClaimNoticesAnswer> {
    let ClaimNotices { owner, now, statuses, limit } = claim;
    let (owner, until) = (owner.cast_signed(), time(now.saturating_add(NOTICE_CLAIM_MS)));
    if !connection.prepare_cached("SELECT 1 FROM meta WHERE owner = ?1")?.exists((owner,))? {
        return Ok(ClaimNoticesAnswer::Fenced);
    }
    let pair = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let mut free: Vec<(i64, i64)> =
        connection.prepare_cached(CLAIMED)?.query_map((owner, until), pair)?.collect::<Result<_>>()?;
    for status in statuses.iter() {
        let mut statement = connection.prepare_cached(FREE)?;
        for found in statement.query_map((status.as_str(), time(*now), rows(*limit)), pair)? {
            free.push(found?);
        }
    }
    free.sort_unstable();
    free.truncate(*limit);
    let mut claimed = Vec::with_capacity(free.len());
    for (_, sequence) in free {
        let found = connection.prepare_cached(CLAIM)?.query_row((sequence, owner, until), |row| {
            Ok((row.get(0)?, Status::parse(row.get_ref(1)?.as_str()?), row.get(2)?))
        })?;
        if let (run, Some(status), tries) = found {
            claimed.extend(notice(connection, (sequence, status, run, tries))?);
        }
    }
    Ok(ClaimNoticesAnswer::Claimed(claimed))
}

pub(super) fn give_back(connection: &Connection, returned: &ReturnNotice) -> Result<()> {
    let ReturnNotice { sequence, owner, until } = returned;
    connection.prepare_cached(RETURN)?.execute((sequence.cast_signed(), owner.cast_signed(), time(*until))).map(drop)
}

/// Frees the notices that another engine has claimed.
pub(super) fn free_all(connection: &Connection, owner: u64) -> Result<()> {
    connection.prepare_cached(FREE_ALL)?.execute((owner.cast_signed(), NOTICE_CLAIM_MS.cast_signed())).map(drop)
}

pub(super) fn noticed(connection: &Connection, sequence: u64) -> Result<()> {
    connection.prepare_cached("DELETE FROM notices WHERE sequence = ?1")?.execute((sequence.cast_signed(),)).map(drop)
}

/// Drops notices that no engine has claimed for too long; returns their number.
pub(super) fn drop_old(connection: &Connection, now: u64, limit: usize) -> Result<usize> {
    let kept_since = time(now.saturating_sub(NOTICE_KEPT_MS));
    let mut dropped = 0;
    for status in [Status::Completed, Status::Failed, Status::Cancelled, Status::Stuck] {
        let limit = rows(limit - dropped);
        dropped += connection.prepare_cached(DROP)?.execute((status.as_str(), kept_since, limit))?;
    }
    crate::store::log_dropped_notices(dropped);
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::schema;

    #[test]
    fn no_statement_scans_all_notices() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(schema::TABLES).unwrap();
        for sql in [FREE, CLAIMED, CLAIM, RETURN, FREE_ALL, DROP] {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let plan: Vec<String> = statement.raw_query().mapped(|row| row.get(3)).collect::<Result<_>>().unwrap();
            // The index contains only claimed notices.
            let walks = |line: &String| {
                (line.starts_with("SCAN") && !line.contains("notices_held"))
                    || line.contains("TEMP B-TREE FOR ORDER BY")
            };
            assert!(!plan.iter().any(walks), "{sql}\n{plan:#?}");
        }
    }
}
