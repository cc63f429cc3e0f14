//! What the workers and their builds have. Whether a worker is alive is a matter of its lease: see
//! [`workers`](super::workers).

use tokio_postgres::Row;

use super::db::{Session, Text, args};
use super::fault::{Fault, Result};
use super::notes::Notes;
use super::read::{get, number, numbers, text, texts};
use super::schema;
use super::shared::Shared;
use crate::error::Error;
use crate::limits::DRAINED_KEPT;
use crate::store::{Deploy, DeploymentRow, NewWorker, WorkerRow};

/// Two workers that register at once publish and remove catalogues of each other.
const ALONE: &str = "SELECT pg_advisory_xact_lock(hashtext($1))";

const REGISTER: &str = "
UPDATE @workers SET deployment = $2, serves = $3 WHERE owner = $1 AND round < 9223372036854775807";

/// As in SQLite.
const PUBLISH: &str = "
INSERT INTO @catalogues AS catalogues (deployment, digest, body, published_at, activated_at)
VALUES ($1, $2, CASE WHEN EXISTS (SELECT 1 FROM @catalogues WHERE digest = $2 AND body IS NOT NULL AND deployment <> $1)
    THEN NULL ELSE $3 END, now(), coalesce(to_timestamp($5::bigint / 1000.0), now()))
ON CONFLICT (deployment) DO UPDATE SET digest = excluded.digest, published_at = excluded.published_at,
    body = CASE WHEN catalogues.digest = excluded.digest THEN catalogues.body ELSE excluded.body END,
    activated_at = CASE WHEN EXISTS (
        SELECT 1 FROM @workers WHERE deployment = $1 AND owner <> $4 AND expires_at > now() AND round < 9223372036854775807
    ) THEN catalogues.activated_at ELSE greatest(catalogues.activated_at, excluded.activated_at) END";

const HAS_IT: &str = "SELECT 1 FROM @catalogues WHERE deployment = $1 AND digest = $2";

/// As in SQLite.
const KEEP_COPY: &str = "
UPDATE @catalogues SET body = (SELECT body FROM @catalogues WHERE deployment = $1)
WHERE deployment = (
    SELECT min(other.deployment) FROM @catalogues AS other
    WHERE other.deployment <> $1 AND other.body IS NULL
        AND other.digest = (SELECT digest FROM @catalogues WHERE deployment = $1 AND body IS NOT NULL)
)";

const UNNEEDED: &str = "
SELECT deployment FROM @catalogues AS catalogues
WHERE NOT EXISTS (SELECT 1 FROM @workers AS workers WHERE workers.deployment = catalogues.deployment)
    AND NOT EXISTS (SELECT 1 FROM @runs AS runs WHERE runs.required_deployment = catalogues.deployment AND completed_at IS NULL)
    AND NOT promoted AND (NOT draining OR published_at < now() - $1::bigint * interval '1 millisecond')";

const REMOVE: &str = "DELETE FROM @catalogues WHERE deployment = $1";

const WORKERS: &str = "
SELECT owner, kind, deployment, host, pid, (extract(epoch FROM started_at) * 1000)::bigint,
    EXISTS (SELECT 1 FROM @catalogues AS catalogues WHERE catalogues.deployment = workers.deployment AND catalogues.draining), serves,
    expires_at > now() AND round < 9223372036854775807
FROM @workers AS workers ORDER BY started_at, owner";

const DEPLOYMENTS: &str = "
SELECT deployment, coalesce(body, (
        SELECT copy.body FROM @catalogues AS copy WHERE copy.digest = catalogues.digest AND copy.body IS NOT NULL LIMIT 1
    ), ''), (extract(epoch FROM published_at) * 1000)::bigint, (extract(epoch FROM activated_at) * 1000)::bigint, draining, promoted,
    (SELECT count(*) FROM @runs AS runs WHERE runs.required_deployment = catalogues.deployment AND completed_at IS NULL)
FROM @catalogues AS catalogues ORDER BY published_at, deployment";

pub(super) async fn register(shared: &Shared, worker: &NewWorker) -> Result<(), Error> {
    let explain = |fault| shared.db.explain(fault, "list this worker");
    let session = shared.db.connect().await.map_err(explain)?;
    match write(shared, &session, worker).await {
        Ok(()) => Ok(()),
        Err(fault) => {
            session.rollback().await;
            Err(explain(schema::explained(&shared.db, fault).await))
        }
    }
}

async fn write(shared: &Shared, session: &Session<'_>, worker: &NewWorker) -> Result<()> {
    let (owner, deployment) = (worker.owner.cast_signed(), Text(&worker.deployment));
    let digest = worker.digest.as_slice();
    session.begin().await?;
    schema::check_floor(session).await?;
    let name = format!("workflow catalogues {}", shared.db.options.schema);
    session.query(ALONE, args![TEXT: name]).await?;
    session.query(REGISTER, args![INT8: owner, TEXT: deployment, TEXT: Text(&worker.serves)]).await?;
    if session.query_opt(HAS_IT, args![TEXT: deployment, BYTEA: digest]).await?.is_none() {
        session.query(KEEP_COPY, args![TEXT: deployment]).await?;
    }
    let body = worker.catalogue.as_bytes();
    let since = worker.since.map(u64::cast_signed);
    session.query(PUBLISH, args![TEXT: deployment, BYTEA: digest, BYTEA: body, INT8: owner, INT8: since]).await?;
    let kept = DRAINED_KEPT.as_millis() as i64;
    for row in session.query(UNNEEDED, args![INT8: kept]).await? {
        let unneeded = text(&row, 0)?;
        session.query(KEEP_COPY, args![TEXT: Text(&unneeded)]).await?;
        session.query(REMOVE, args![TEXT: Text(&unneeded)]).await?;
    }
    session.commit().await
}

const DRAIN: &str = "UPDATE @catalogues SET draining = $2 WHERE deployment = $1";

const PROMOTE: &str = "
UPDATE @catalogues SET promoted = (deployment = $1) WHERE EXISTS (SELECT 1 FROM @catalogues WHERE deployment = $1)
    AND (promoted OR deployment = $1)";

const RELEASE: &str = "
UPDATE @runs SET required_deployment = NULL WHERE key IN (
    SELECT key FROM @runs WHERE required_deployment = $1 AND completed_at IS NULL ORDER BY key LIMIT $2 FOR NO KEY UPDATE
)";

const RELEASE_RUN: &str = "
UPDATE @runs SET required_deployment = NULL WHERE id = $1 AND required_deployment IS NOT NULL AND completed_at IS NULL";

/// Changes the deployments, and notifies the workers.
pub(super) async fn deploy(shared: &Shared, change: &Deploy) -> Result<u64, Error> {
    let explain = |fault| shared.db.explain(fault, "change the deployments");
    let session = shared.db.connect().await.map_err(explain)?;
    match change_in(shared, &session, change).await {
        Ok(changed) => Ok(changed),
        Err(fault) => {
            session.rollback().await;
            Err(explain(schema::explained(&shared.db, fault).await))
        }
    }
}

async fn change_in(shared: &Shared, session: &Session<'_>, change: &Deploy) -> Result<u64> {
    session.begin().await?;
    schema::check_floor(session).await?;
    let name = format!("workflow catalogues {}", shared.db.options.schema);
    session.query(ALONE, args![TEXT: name]).await?;
    let changed = match change {
        Deploy::Drain { deployment, on } => session.execute(DRAIN, args![TEXT: Text(deployment), BOOL: *on]).await?,
        Deploy::Promote { deployment } => session.execute(PROMOTE, args![TEXT: Text(deployment)]).await?,
        Deploy::Release { deployment, limit } => {
            let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
            session.execute(RELEASE, args![TEXT: Text(deployment), INT8: limit]).await?
        }
        // All workers execute.
        Deploy::Yield { .. } => 0,
        Deploy::ReleaseRun { run } => session.execute(RELEASE_RUN, args![TEXT: Text(run)]).await?,
    };
    let notes = Notes { due: true, ..Notes::default() };
    notes.send(session, &shared.tag, &[]).await?;
    session.commit().await?;
    Ok(changed)
}

pub(super) async fn workers(shared: &Shared) -> Result<Vec<WorkerRow>, Error> {
    shared.db.rows("read the workers", WORKERS, args![], worker_row).await
}

fn worker_row(row: &Row) -> Result<WorkerRow> {
    let is_alive = get(row, 8)?;
    Ok(WorkerRow {
        owner: number(row, 0)?,
        kind: text(row, 1)?,
        deployment: texts(row, 2)?,
        host: texts(row, 3)?,
        pid: get::<Option<i64>>(row, 4)?.and_then(|pid| u32::try_from(pid).ok()),
        started_at: number(row, 5)?,
        draining: get(row, 6)?,
        serves: texts(row, 7)?,
        is_alive,
        executes: is_alive,
        yields: false,
    })
}

pub(super) async fn deployments(shared: &Shared) -> Result<Vec<DeploymentRow>, Error> {
    shared.db.rows("read the catalogues", DEPLOYMENTS, args![], deployment_row).await
}

fn deployment_row(row: &Row) -> Result<DeploymentRow> {
    let body: &[u8] = get(row, 1)?;
    let body = std::str::from_utf8(body).map_err(|error| Fault::Damaged(format!("a catalogue: {error}")))?;
    Ok(DeploymentRow {
        id: text(row, 0)?,
        catalogue: body.into(),
        published_at: number(row, 2)?,
        activated_at: numbers(row, 3)?,
        draining: get(row, 4)?,
        promoted: get(row, 5)?,
        required_by: number(row, 6)?,
    })
}
