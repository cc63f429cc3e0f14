//! Claims and releases of runs, and what is due.

use super::db::{Db, Session, Text, args};
use super::fault::Result;
use super::read::time;
use super::read::{get, numbers, run_columns, run_row, texts};
use super::work::{Ours, Work};
use crate::error::Error;
use crate::store::{Claim, ClaimAnswer, Claimable, Fence, Refused, ReleaseAnswer, RunKey, RunRow, Unstick};

const HELD: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM @runs AS runs WHERE owner = $1 AND wake_at IS NOT NULL ORDER BY runs.key"
);

/// Takes the longest overdue run of each workflow, then the next one of each. Considers twice as many candidates per
/// workflow as are wanted, so that a claim still finds enough behind the rows that a concurrent claim has locked. The
/// expressions are those of the index `runs_due`: each combination of their values is one range of it. Locks
/// only the runs that it takes, and the worker's row, so that no other worker presumes it dead meanwhile. A living worker
/// always gets a row, which is empty if nothing was claimed.
macro_rules! claim {
    ($lock:literal) => {
        concat!(
            "
WITH alive AS MATERIALIZED (
    SELECT 1 AS here FROM @workers WHERE owner = $1 AND expires_at > now() AND round <= $5 FOR NO KEY UPDATE
), candidates AS MATERIALIZED (
    SELECT found.key, found.place FROM unnest($3) AS wanted (workflow), LATERAL (
        SELECT key, row_number() OVER (ORDER BY wake_at, key) AS place FROM (VALUES (0::bigint), (-1::bigint)) AS free (owner),
            unnest(CASE WHEN EXISTS (SELECT 1 FROM @catalogues WHERE deployment = $6 AND draining) THEN ARRAY[$6::text]
                ELSE ARRAY['', $6] END) AS required (deployment),
            unnest(CASE required.deployment WHEN '' THEN $7 ELSE $7 || $8 END) AS refused (by),
            LATERAL (
                SELECT key, wake_at FROM @runs AS runs
                WHERE runs.owner = free.owner AND runs.workflow = wanted.workflow
                    AND coalesce(required_deployment, '') = required.deployment AND coalesce(refused_by, '') = refused.by
                    AND wake_at <= $2
                ORDER BY wake_at LIMIT $4 * 2
            ) AS due
    ) AS found
), taken AS MATERIALIZED (
    SELECT runs.key, runs.owner, runs.generation FROM alive, candidates JOIN @runs AS runs ON runs.key = candidates.key
    WHERE runs.owner IN (0, -1) AND runs.wake_at <= $2 AND coalesce(runs.required_deployment, '') IN ('', $6)
        AND (coalesce(runs.refused_by, '') = ANY ($7) OR runs.required_deployment IS NOT NULL AND runs.refused_by = ANY ($8))
    ",
            $lock,
            "
), grown AS MATERIALIZED (
    SELECT key, owner, coalesce((
        SELECT max(idx) FROM @journal AS journal WHERE run = taken.key AND journal.generation = taken.generation
    ), -1) AS idx FROM taken
), claimed AS (
    UPDATE @runs AS runs SET owner = $1, epoch = epoch + 1,
        recoveries = CASE WHEN grown.owner = 0 THEN recoveries
            WHEN recovered_generation = generation AND recovered_idx = grown.idx THEN recoveries + 1 ELSE 1 END,
        recovered_generation = CASE WHEN grown.owner = 0 THEN recovered_generation ELSE generation END,
        recovered_idx = CASE WHEN grown.owner = 0 THEN recovered_idx ELSE grown.idx END
    FROM grown WHERE runs.key = grown.key
    RETURNING runs.*
)
SELECT ",
            run_columns!(),
            " FROM alive LEFT JOIN claimed AS runs ON true ORDER BY wake_at, runs.key"
        )
    };
}

const CLAIM: &str = claim!("ORDER BY place, wake_at, runs.key LIMIT $4 FOR NO KEY UPDATE OF runs SKIP LOCKED");

/// Locks in the order of the keys, as every statement that waits for locks does.
const CLAIM_WAITING: &str = claim!(
    "AND runs.key IN (SELECT key FROM candidates ORDER BY place, key LIMIT $4) ORDER BY runs.key FOR NO KEY UPDATE OF runs"
);

const UNSTICK: &str = "
UPDATE @runs SET status = 'running', wake_at = 0, owner = 0, stuck = NULL, recoveries = 0, recovered_generation = NULL,
    recovered_idx = NULL
WHERE key IN (
    SELECT key FROM @runs WHERE refused_by = ANY ($1) AND workflow = ANY ($2) AND wake_at IS NULL AND status = 'stuck'
        AND coalesce(required_deployment, '') IN ('', $3)
    ORDER BY key FOR NO KEY UPDATE
) RETURNING key";

const UNSTICK_ONE: &str = "
UPDATE @runs SET status = 'running', wake_at = 0, owner = 0, stuck = NULL, refused_by = NULL, recoveries = 0,
    recovered_generation = NULL, recovered_idx = NULL
WHERE key = $1 AND status = 'stuck' RETURNING key";

const RELEASE: &str = "
WITH held AS MATERIALIZED (
    SELECT key, inbox_seq FROM @runs WHERE key = $1 AND owner = $2 AND epoch = $3 FOR NO KEY UPDATE
), released AS (
    UPDATE @runs AS runs SET owner = 0 FROM held WHERE runs.key = held.key AND held.inbox_seq = $4 RETURNING runs.wake_at
)
SELECT (SELECT count(*) FROM held) = 1, (SELECT count(*) FROM released) = 1, (SELECT wake_at FROM released)";

/// Skips from each workflow with parked runs to the next one, and from each refusers and workflow of refused runs to the next
/// ones, without scanning their runs.
const CLAIMABLE: &str = "
WITH RECURSIVE parked (owner, workflow) AS (
    SELECT free.owner, (
        SELECT workflow FROM @runs AS runs WHERE runs.owner = free.owner AND wake_at IS NOT NULL ORDER BY workflow LIMIT 1
    ) FROM (VALUES (0::bigint), (-1::bigint)) AS free (owner)
    UNION ALL
    SELECT parked.owner, (
        SELECT workflow FROM @runs AS runs
        WHERE runs.owner = parked.owner AND runs.workflow > parked.workflow AND wake_at IS NOT NULL ORDER BY workflow LIMIT 1
    ) FROM parked WHERE parked.workflow IS NOT NULL
), refused (by, workflow) AS (
    (SELECT refused_by, workflow FROM @runs WHERE refused_by IS NOT NULL ORDER BY refused_by, workflow LIMIT 1)
    UNION ALL
    SELECT next.refused_by, next.workflow FROM refused, LATERAL (
        SELECT runs.refused_by, runs.workflow FROM @runs AS runs
        WHERE runs.refused_by IS NOT NULL AND (runs.refused_by, runs.workflow) > (refused.by, refused.workflow)
        ORDER BY runs.refused_by, runs.workflow LIMIT 1
    ) AS next
)
SELECT workflow, wake_at, NULL AS by, false FROM parked, (
    SELECT '' AS deployment WHERE NOT EXISTS (SELECT 1 FROM @catalogues WHERE deployment = $1 AND draining)
    UNION ALL SELECT $1::text
) AS required, LATERAL (
    SELECT wake_at FROM @runs AS runs
    WHERE runs.owner = parked.owner AND runs.workflow = parked.workflow
        AND coalesce(required_deployment, '') = required.deployment AND coalesce(refused_by, '') = '' AND wake_at IS NOT NULL
    ORDER BY wake_at LIMIT 1
) AS earliest
UNION ALL
SELECT workflow, NULL, by, EXISTS (
    SELECT 1 FROM @runs AS runs
    WHERE runs.refused_by = refused.by AND runs.workflow = refused.workflow AND runs.wake_at IS NULL
) FROM refused
UNION ALL
SELECT NULL, NULL, NULL, true FROM @catalogues WHERE deployment = $1 AND draining";

pub(super) async fn claim(session: &Session<'_>, ours: &Ours, claim: &Claim) -> Result<ClaimAnswer> {
    let Claim { now, workflows, deployment, refused, refused_bound, .. } = claim;
    let owner = claim.owner.cast_signed();
    let mut claimed = Vec::new();
    // A claim whose answer was lost belongs to an earlier round: it has completed, or it has no effect.
    if claim.again {
        claimed.extend(readable(&session.query(HELD, args![INT8: owner]).await?));
    }
    let sql = if session.db.options.skip_locked { CLAIM } else { CLAIM_WAITING };
    let workflows: Vec<Text<'_>> = workflows.iter().map(|workflow| Text(workflow)).collect();
    let limit = i64::try_from(claim.limit).unwrap_or(i64::MAX).min(1 << 32);
    let deployment = Text(deployment);
    let refused: Vec<Text<'_>> = std::iter::once(Text("")).chain(refused.iter().map(|by| Text(by))).collect();
    let refused_bound: Vec<Text<'_>> = refused_bound.iter().map(|by| Text(by)).collect();
    let mut rows = session
        .query(
            sql,
            args![
                INT8: owner, INT8: time(*now), TEXT_ARRAY: workflows, INT8: limit, INT8: ours.verified.round(),
                TEXT: deployment, TEXT_ARRAY: refused, TEXT_ARRAY: refused_bound,
            ],
        )
        .await?;
    if rows.is_empty() {
        return Ok(ClaimAnswer::Fenced);
    }
    rows.retain(|row| !matches!(get::<Option<RunKey>>(row, 0), Ok(None)));
    claimed.extend(readable(&rows));
    Ok(ClaimAnswer::Claimed(claimed))
}

/// Reads the runs that were claimed. A run whose row is damaged stays claimed and is left out of the answer: so it does not
/// become due again and again, and does not block the claims of other runs.
fn readable(rows: &[tokio_postgres::Row]) -> Vec<RunRow> {
    let readable = |row| match run_row(row) {
        Ok(run) => Some(run),
        Err(fault) => {
            tracing::error!(key = ?get::<RunKey>(row, 0).ok(), ?fault, "could not read the row of a run; the run is skipped");
            None
        }
    };
    rows.iter().filter_map(readable).collect()
}

pub(super) async fn unstick(work: &mut Work<'_, '_>, unstick: &Unstick) -> Result<()> {
    let refused: Vec<Text<'_>> = unstick.refused.iter().map(|by| Text(by)).collect();
    let workflows: Vec<Text<'_>> = unstick.workflows.iter().map(|workflow| Text(workflow)).collect();
    let deployment = Text(&unstick.deployment);
    let freed =
        work.session.query(UNSTICK, args![TEXT_ARRAY: refused, TEXT_ARRAY: workflows, TEXT: deployment]).await?;
    work.notes.due |= !freed.is_empty();
    Ok(())
}

pub(super) async fn unstick_one(work: &mut Work<'_, '_>, run: RunKey) -> Result<()> {
    let freed = work.session.query(UNSTICK_ONE, args![INT8: run]).await?;
    work.notes.due |= !freed.is_empty();
    Ok(())
}

pub(super) async fn release(
    work: &mut Work<'_, '_>,
    run: RunKey,
    fence: Fence,
    inbox_seq: u64,
) -> Result<ReleaseAnswer> {
    let row = work.session.query_opt(RELEASE, args![
        INT8: run, INT8: fence.owner.cast_signed(), INT8: fence.epoch.cast_signed(), INT8: inbox_seq.cast_signed(),
    ]).await?;
    let (held, released) = match &row {
        Some(row) => (get(row, 0)?, get(row, 1)?),
        None => (false, false),
    };
    if released && let Some(row) = &row {
        work.notes.due |= numbers(row, 2)?.is_some_and(|at| at < crate::store::NEVER);
    }
    Ok(match (held, released) {
        (_, true) => ReleaseAnswer::Committed,
        (true, false) => ReleaseAnswer::Unread,
        (false, false) => ReleaseAnswer::Fenced,
    })
}

pub(super) async fn claimable(db: &Db, deployment: &str) -> Result<Claimable, Error> {
    let row = |row: &_| Ok((texts(row, 0)?, numbers(row, 1)?, texts(row, 2)?, get(row, 3)?));
    let mut claimable = Claimable::default();
    for (workflow, at, by, stuck) in db.rows("read what is due", CLAIMABLE, args![TEXT: Text(deployment)], row).await? {
        let Some(workflow) = workflow else {
            claimable.draining = true;
            continue;
        };
        if let Some(by) = by {
            claimable.refused.push(Refused { by, workflow, stuck });
        } else if let Some(at) = at {
            let earliest = claimable.due.entry(workflow).or_insert(at);
            *earliest = at.min(*earliest);
        }
    }
    Ok(claimable)
}
