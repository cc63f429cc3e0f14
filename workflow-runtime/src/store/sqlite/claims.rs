//! Claims of runs: orphans, due runs, and the engine that executes.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result};

use super::columns::time;
use super::{fault, notices, read};
use crate::environment::{Environment, System};
use crate::host;
use crate::store::{Claim, ClaimAnswer, Claimable, DEAD, Refused, RunKey, RunRow, Unstick};

/// The owners whose runs can be claimed.
const FREE: [i64; 2] = [0, DEAD.cast_signed()];

/// Visits the live runs of dead engines only: two ranges of the index, around 0 and -1 ([`FREE`]). `wake_at` becomes 0 if
/// messages are pending: they had set it to 0 when they arrived, but a later turn of the dead engine may have changed it.
const ADOPT: [&str; 2] = [
    "UPDATE runs SET owner = -1, wake_at = CASE WHEN EXISTS (SELECT 1 FROM inbox WHERE run = runs.key AND unread = 0) THEN 0 ELSE wake_at END
     WHERE wake_at IS NOT NULL AND owner < -1 AND owner <> ?1",
    "UPDATE runs SET owner = -1, wake_at = CASE WHEN EXISTS (SELECT 1 FROM inbox WHERE run = runs.key AND unread = 0) THEN 0 ELSE wake_at END
     WHERE wake_at IS NOT NULL AND owner > 0 AND owner <> ?1",
];

/// The expressions are those of the index.
const DUE: &str = "
SELECT wake_at, key FROM runs
WHERE owner = ?1 AND workflow = ?2 AND coalesce(required_deployment, '') = ?3 AND coalesce(refused_by, '') = ?4 AND wake_at <= ?5
ORDER BY wake_at LIMIT ?6";

const HELD: &str = "SELECT key FROM runs WHERE owner = ?1 AND wake_at IS NOT NULL";

const CLAIM: &str = "
UPDATE runs SET owner = ?2, epoch = epoch + 1 WHERE key = ?1 AND owner = 0";

/// The assignments read the values of the row before the update.
const CLAIM_ORPHAN: &str = "
UPDATE runs SET
    recoveries = CASE WHEN recovered_at IS (
        SELECT position FROM journal WHERE run = runs.key AND generation = runs.generation ORDER BY idx DESC LIMIT 1
    ) THEN recoveries + 1 ELSE 1 END,
    recovered_at = (
        SELECT position FROM journal WHERE run = runs.key AND generation = runs.generation ORDER BY idx DESC LIMIT 1
    ),
    owner = ?2,
    epoch = epoch + 1
WHERE key = ?1";

const UNSTICK: &str = "
UPDATE runs SET status = 'running', wake_at = 0, owner = 0, stuck = NULL, recoveries = 0, recovered_at = NULL
WHERE refused_by = ?1 AND workflow = ?2 AND wake_at IS NULL AND status = 'stuck'
    AND coalesce(required_deployment, '') IN ('', ?3)";

const UNSTICK_ONE: &str = "
UPDATE runs SET status = 'running', wake_at = 0, owner = 0, stuck = NULL, refused_by = NULL, recoveries = 0, recovered_at = NULL
WHERE key = ?1 AND status = 'stuck'";

/// Skips from each workflow with parked runs to the next workflow, past all runs between them.
const PARKED_WORKFLOWS: &str = "
WITH RECURSIVE parked (workflow) AS (
    SELECT min(workflow) FROM runs WHERE owner = ?1 AND wake_at IS NOT NULL
    UNION ALL
    SELECT (SELECT min(workflow) FROM runs WHERE owner = ?1 AND workflow > parked.workflow AND wake_at IS NOT NULL)
    FROM parked WHERE parked.workflow IS NOT NULL
)
SELECT workflow, wake_at FROM (
    SELECT workflow, (
        SELECT min(wake_at) FROM runs
        WHERE owner = ?1 AND workflow = parked.workflow AND coalesce(required_deployment, '') = ?2
            AND coalesce(refused_by, '') = '' AND wake_at IS NOT NULL
    ) AS wake_at FROM parked
) WHERE wake_at IS NOT NULL";

/// The next refusers and workflow of refused runs after these.
const NEXT_REFUSED: &str = "
SELECT refused_by, workflow FROM runs WHERE refused_by IS NOT NULL AND (refused_by, workflow) > (?1, ?2)
ORDER BY refused_by, workflow LIMIT 1";

const IS_STUCK: &str = "SELECT 1 FROM runs WHERE refused_by = ?1 AND workflow = ?2 AND wake_at IS NULL";

pub(super) fn adopt(connection: &Connection, owner: u64) -> Result<()> {
    // The engine that executed before has ended.
    let former = "DELETE FROM workers WHERE owner = (SELECT owner FROM meta) AND owner <> ?1";
    connection.prepare_cached(former)?.execute((owner.cast_signed(),))?;
    connection.prepare_cached("UPDATE meta SET owner = ?1")?.execute((owner.cast_signed(),))?;
    let insert = "INSERT INTO workers (owner, kind, host, pid, started_at) VALUES (?1, 'engine', ?2, ?3, ?4)
        ON CONFLICT (owner) DO NOTHING";
    connection.prepare_cached(insert)?.execute((
        owner.cast_signed(),
        host::name(),
        std::process::id(),
        System.now().cast_signed(),
    ))?;
    for sql in ADOPT {
        connection.prepare_cached(sql)?.execute((owner.cast_signed(),))?;
    }
    notices::free_all(connection, owner)
}

/// Costs four index look-ups for each workflow of the engine, plus four for each of the refusers, plus the claimed runs: it does
/// not visit runs that are owned, not due, of other workflows, pinned to other deployments or refused by others, however
/// many there are.
pub(super) fn claim(connection: &Connection, claim: &Claim) -> Result<ClaimAnswer> {
    let Claim { owner, again, .. } = *claim;
    let executes = connection.prepare_cached("SELECT 1 FROM meta WHERE owner = ?1")?.exists((owner.cast_signed(),))?;
    if !executes {
        return Ok(ClaimAnswer::Fenced);
    }
    let mut claimed = Vec::new();
    if again {
        let held: Vec<RunKey> = connection
            .prepare_cached(HELD)?
            .query_map((owner.cast_signed(),), |row| row.get(0))?
            .collect::<Result<_>>()?;
        for key in held {
            claimed.extend(readable(connection, key)?);
        }
    }
    for key in due(connection, claim)? {
        if connection.prepare_cached(CLAIM)?.execute((key, owner.cast_signed()))? == 0 {
            connection.prepare_cached(CLAIM_ORPHAN)?.execute((key, owner.cast_signed()))?;
        }
        claimed.extend(readable(connection, key)?);
    }
    Ok(ClaimAnswer::Claimed(claimed))
}

/// Reads a claimed run. A run whose row is damaged stays claimed and is omitted from the answer: this way it does not
/// become due again and again, and does not block the claims of other runs.
fn readable(connection: &Connection, key: RunKey) -> Result<Option<RunRow>> {
    match read::run_by_key(connection, key) {
        Err(fault) if fault::is_damage(&fault) => {
            tracing::error!(key, error = %fault, "could not read the row of a run; the run is skipped");
            Ok(None)
        }
        other => other,
    }
}

/// The due runs: the longest overdue of each workflow, then the next of each.
fn due(connection: &Connection, claim: &Claim) -> Result<Vec<RunKey>> {
    let Claim { now, workflows, deployment, refused, refused_bound, limit, .. } = claim;
    let (now, limit) = (time(*now), *limit);
    let rows = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut due: Vec<(usize, i64, RunKey)> = Vec::new();
    let mut statement = connection.prepare_cached(DUE)?;
    let required = required(connection, deployment)?;
    let refusers = |required: &str| {
        let bound = if required.is_empty() { &[][..] } else { refused_bound };
        std::iter::once("").chain(refused.iter().chain(bound).map(|by| &**by))
    };
    for workflow in workflows.iter() {
        let mut runs: Vec<(i64, RunKey)> = Vec::new();
        for holder in FREE {
            for required in &required {
                for by in refusers(required) {
                    let found = statement
                        .query_map((holder, workflow, required, by, now, rows), |row| Ok((row.get(0)?, row.get(1)?)))?;
                    for run in found {
                        runs.push(run?);
                    }
                }
            }
        }
        runs.sort_unstable();
        due.extend(runs.into_iter().enumerate().map(|(place, (wake_at, key))| (place, wake_at, key)));
    }
    due.sort_unstable();
    due.dedup_by_key(|(.., key)| *key);
    due.truncate(limit);
    Ok(due.into_iter().map(|(.., key)| key).collect())
}

pub(super) fn unstick(connection: &Connection, unstick: &Unstick) -> Result<()> {
    let mut statement = connection.prepare_cached(UNSTICK)?;
    for by in unstick.refused.iter() {
        for workflow in unstick.workflows.iter() {
            statement.execute((&**by, workflow, &*unstick.deployment))?;
        }
    }
    Ok(())
}

pub(super) fn unstick_one(connection: &Connection, run: RunKey) -> Result<()> {
    connection.prepare_cached(UNSTICK_ONE)?.execute((run,)).map(drop)
}

fn is_draining(connection: &Connection, deployment: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM catalogues WHERE deployment = ?1 AND draining = 1";
    connection.prepare_cached(sql)?.exists((deployment,))
}

/// What the runs require that a deployment claims.
fn required<'d>(connection: &Connection, deployment: &'d str) -> Result<Vec<&'d str>> {
    Ok(if is_draining(connection, deployment)? { vec![deployment] } else { vec!["", deployment] })
}

pub(super) fn claimable(connection: &Connection, deployment: &str) -> Result<Claimable> {
    let (required, draining) = (required(connection, deployment)?, is_draining(connection, deployment)?);
    let mut due = BTreeMap::new();
    let mut statement = connection.prepare_cached(PARKED_WORKFLOWS)?;
    for holder in FREE {
        for required in &required {
            let mut rows = statement.query((holder, required))?;
            while let Some(row) = rows.next()? {
                let at = row.get::<_, i64>(1)?.cast_unsigned();
                due.entry(row.get(0)?).and_modify(|earliest: &mut u64| *earliest = at.min(*earliest)).or_insert(at);
            }
        }
    }
    let yields = connection
        .prepare_cached("SELECT 1 FROM workers WHERE owner = (SELECT owner FROM meta) AND draining = 1")?
        .exists(())?;
    Ok(Claimable { due, draining, yields, refused: refused(connection)? })
}

/// Skips from each refusers and workflow to the next ones, past all runs between them.
fn refused(connection: &Connection) -> Result<Vec<Refused>> {
    let (mut next, mut is_stuck) = (connection.prepare_cached(NEXT_REFUSED)?, connection.prepare_cached(IS_STUCK)?);
    let mut refused: Vec<Refused> = Vec::new();
    loop {
        let (by, workflow) = refused.last().map_or(("", ""), |last| (&*last.by, &*last.workflow));
        let found: Option<(Arc<str>, Arc<str>)> =
            next.query_row((by, workflow), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((by, workflow)) = found else { return Ok(refused) };
        let stuck = is_stuck.exists((&*by, &*workflow))?;
        refused.push(Refused { by, workflow, stuck });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::schema;

    /// The query plans determine the cost with a million parked or live runs.
    #[test]
    fn nothing_walks_through_the_runs() {
        let connection = Connection::open_in_memory().unwrap();
        for sql in schema::MIGRATIONS.missing(0) {
            connection.execute_batch(sql).unwrap();
        }
        let plan = |sql: &str| -> Vec<String> {
            connection
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                .unwrap()
                .raw_query()
                .mapped(|row| row.get(3))
                .collect::<Result<_>>()
                .unwrap()
        };
        for sql in [
            ADOPT[0],
            ADOPT[1],
            DUE,
            HELD,
            CLAIM,
            CLAIM_ORPHAN,
            UNSTICK,
            UNSTICK_ONE,
            PARKED_WORKFLOWS,
            NEXT_REFUSED,
            IS_STUCK,
        ] {
            let plan = plan(sql);
            for line in &plan {
                let walks =
                    line.starts_with("SCAN runs") || line.starts_with("SCAN journal") || line.contains("TEMP B-TREE");
                assert!(!walks, "{sql}\n{plan:#?}");
            }
        }
        // Runs that are pinned to other deployments, or that other builds have refused, are no part of the range.
        let range = "INDEX runs_due (owner=? AND workflow=? AND <expr>=? AND <expr>=? AND wake_at<?)";
        let due = plan(DUE);
        assert!(due.len() == 1 && due[0].starts_with("SEARCH runs") && due[0].ends_with(range), "{due:#?}");
        let stuck = plan(UNSTICK);
        assert!(
            stuck.iter().any(|line| line.contains("runs_refused (refused_by=? AND workflow=? AND wake_at=?)")),
            "{stuck:#?}"
        );
    }
}
