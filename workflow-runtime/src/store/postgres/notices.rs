//! Notices of runs that have reached a status, for callbacks.

use super::db::{Db, Session, args};
use super::fault::Result;
use super::read::time;
use super::read::{self, get, number, run_columns, run_row};
use super::work::Ours;
use crate::error::Error;
use crate::limits::{NOTICE_CLAIM_MS, NOTICE_KEPT_MS};
use crate::model::Status;
use crate::store::{ClaimNotices, ClaimNoticesAnswer, Notice, ReturnNotice, RunKey};

const NOTE: &str = "INSERT INTO @notices (run, status, holder, until, tries) VALUES ($1, $2, 0, $3, 0)";

const NOTICES: &str = concat!(
    "SELECT ",
    run_columns!(),
    ", noticed, noticed_status, tries FROM (
         SELECT sequence AS noticed, run AS noticed_run, status AS noticed_status, tries FROM @notices
         WHERE status = ANY ($1) AND sequence > $2 ORDER BY sequence LIMIT $3
     ) AS notices JOIN @runs AS runs ON runs.key = noticed_run ORDER BY noticed"
);

/// For each status, considers twice as many free notices as are wanted, since other workers may be claiming some of them.
/// Also returns what this same claim took before, if its answer was lost. Locks the worker's row, so that no other worker
/// presumes it dead meanwhile, as a claim of runs does.
macro_rules! claim {
    ($lock:literal) => {
        concat!(
            "
WITH alive AS MATERIALIZED (
    SELECT 1 AS here FROM @workers WHERE owner = $1 AND expires_at > now() AND round <= $5 FOR NO KEY UPDATE
), candidates AS MATERIALIZED (
    SELECT sequence FROM unnest($3) AS wanted (status), LATERAL (
        SELECT sequence FROM @notices AS notices WHERE notices.status = wanted.status AND until <= $2
        ORDER BY until, sequence LIMIT $4 * 2
    ) AS free
    UNION SELECT sequence FROM @notices WHERE holder = $1 AND holder <> 0 AND until = $2 + $6
), taken AS MATERIALIZED (
    SELECT notices.sequence FROM alive, @notices AS notices
    WHERE notices.sequence IN (SELECT sequence FROM candidates) AND (until <= $2 OR (holder = $1 AND until = $2 + $6))
    ",
            $lock,
            "
), claimed AS (
    UPDATE @notices AS notices SET holder = $1, until = $2 + $6, tries = tries + 1
    FROM taken WHERE notices.sequence = taken.sequence
    RETURNING notices.sequence AS noticed, notices.run AS noticed_run, notices.status AS noticed_status, notices.tries
)
SELECT ",
            run_columns!(),
            ", noticed, noticed_status, tries
FROM alive LEFT JOIN claimed ON true LEFT JOIN @runs AS runs ON runs.key = noticed_run ORDER BY noticed"
        )
    };
}

const CLAIM: &str = claim!("ORDER BY until, notices.sequence LIMIT $4 FOR NO KEY UPDATE OF notices SKIP LOCKED");

/// Locks in one fixed order, as every statement that waits for locks does.
const CLAIM_WAITING: &str = claim!("ORDER BY notices.sequence LIMIT $4 FOR NO KEY UPDATE OF notices");

const RETURN: &str = "UPDATE @notices SET holder = 0, until = $3 WHERE sequence = $1 AND holder = $2";

/// Frees notices: they can be claimed from the time of their last claim on.
const FREE_ALL: &str = "
UPDATE @notices SET holder = 0, until = greatest(until - $2, 0) WHERE holder = ANY ($1) AND holder <> 0";

const DROP: &str = "
DELETE FROM @notices WHERE sequence IN (
    SELECT sequence FROM @notices WHERE status = ANY ($1) AND until < $2 ORDER BY sequence LIMIT $3
) AND until < $2";

pub(super) async fn note(session: &Session<'_>, run: RunKey, status: Status, at: u64) -> Result<()> {
    session.query(NOTE, args![INT8: run, TEXT: status.as_str(), INT8: time(at)]).await?;
    Ok(())
}

fn notice(row: &tokio_postgres::Row) -> Result<Notice> {
    let column = row.len() - 3;
    let tries: i32 = get(row, column + 2)?;
    Ok(Notice {
        sequence: number(row, column)?,
        status: read::status(row, column + 1)?,
        tries: tries.cast_unsigned(),
        run: run_row(row)?,
    })
}

fn words(statuses: &[Status]) -> Vec<&'static str> {
    statuses.iter().map(|status| status.as_str()).collect()
}

pub(super) async fn notices(db: &Db, statuses: &[Status], after: u64, limit: usize) -> Result<Vec<Notice>, Error> {
    let (statuses, after) = (words(statuses), after.cast_signed());
    db.rows("read notices", NOTICES, args![TEXT_ARRAY: statuses, INT8: after, INT8: read::rows(limit)], notice).await
}

pub(super) async fn claim(session: &Session<'_>, ours: &Ours, claim: &ClaimNotices) -> Result<ClaimNoticesAnswer> {
    let ClaimNotices { owner, now, statuses, limit } = claim;
    let sql = if session.db.options.skip_locked { CLAIM } else { CLAIM_WAITING };
    let mut rows = session
        .query(sql, args![
            INT8: owner.cast_signed(), INT8: time(*now), TEXT_ARRAY: words(statuses), INT8: read::rows(*limit).min(1 << 32),
            INT8: ours.verified.round(), INT8: NOTICE_CLAIM_MS.cast_signed(),
        ])
        .await?;
    if rows.is_empty() {
        return Ok(ClaimNoticesAnswer::Fenced);
    }
    // Drops the row that represents a claim without notices.
    rows.retain(|row| !matches!(get::<Option<RunKey>>(row, 0), Ok(None)));
    Ok(ClaimNoticesAnswer::Claimed(rows.iter().map(notice).collect::<Result<_>>()?))
}

pub(super) async fn give_back(session: &Session<'_>, returned: &ReturnNotice) -> Result<()> {
    let ReturnNotice { sequence, owner, until } = returned;
    let (sequence, owner) = (sequence.cast_signed(), owner.cast_signed());
    session.query(RETURN, args![INT8: sequence, INT8: owner, INT8: time(*until)]).await.map(drop)
}

/// Frees the notices that were claimed by workers whose leases have expired.
pub(super) async fn free_all(session: &Session<'_>, owners: &[i64]) -> Result<()> {
    session.query(FREE_ALL, args![INT8_ARRAY: owners, INT8: NOTICE_CLAIM_MS.cast_signed()]).await.map(drop)
}

pub(super) async fn noticed(session: &Session<'_>, sequence: u64) -> Result<()> {
    session.query("DELETE FROM @notices WHERE sequence = $1", args![INT8: sequence.cast_signed()]).await.map(drop)
}

/// Drops notices that have stayed unclaimed for too long. Returns how many.
pub(super) async fn drop_old(session: &Session<'_>, now: u64, limit: usize) -> Result<usize> {
    let statuses = words(&[Status::Completed, Status::Failed, Status::Cancelled, Status::Stuck]);
    let kept_since = time(now.saturating_sub(NOTICE_KEPT_MS));
    let dropped = session.execute(DROP, args![TEXT_ARRAY: statuses, INT8: kept_since, INT8: read::rows(limit)]).await?;
    let dropped = usize::try_from(dropped).unwrap_or(usize::MAX);
    crate::store::log_dropped_notices(dropped);
    Ok(dropped)
}
