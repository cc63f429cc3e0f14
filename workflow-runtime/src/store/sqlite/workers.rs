//! The workers of a file: its rows, and one lock file for each live worker, which the operating system releases when its
//! process dies. So an idle worker writes nothing.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use rusqlite::{Connection, Result};

use super::identity::beside;
use super::ownership::Lock;
use super::readers::blocking;
use super::writer::Writer;
use super::{access, lock};
use crate::error::{Code, Error};
use crate::host;
use crate::limits::DRAINED_KEPT;
use crate::store::{Deploy, DeploymentRow, NewWorker, Registration, WorkerRow};

const WORKERS: &str = "
SELECT owner, kind, deployment, host, pid, started_at,
    EXISTS (SELECT 1 FROM catalogues WHERE catalogues.deployment = workers.deployment AND catalogues.draining = 1), serves, owner = (SELECT owner FROM meta),
    workers.draining FROM workers
ORDER BY started_at, owner";

const REGISTER: &str = "
INSERT INTO workers (owner, kind, deployment, host, pid, started_at, serves) VALUES (?1, 'engine', ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (owner) DO UPDATE SET deployment = excluded.deployment, serves = excluded.serves";

/// A catalogue that another deployment has is not stored again.
const PUBLISH: &str = "
INSERT INTO catalogues (deployment, digest, body, published_at, activated_at)
VALUES (?1, ?2, CASE WHEN EXISTS (SELECT 1 FROM catalogues WHERE digest = ?2 AND body IS NOT NULL AND deployment <> ?1)
    THEN NULL ELSE ?3 END, ?4, ?6)
ON CONFLICT (deployment) DO UPDATE SET digest = excluded.digest, published_at = excluded.published_at,
    body = CASE WHEN digest = excluded.digest THEN body ELSE excluded.body END,
    activated_at = CASE WHEN ?5 THEN activated_at ELSE max(coalesce(activated_at, 0), excluded.activated_at) END";

/// The copy for a deployment whose catalogue was stored with another deployment that publishes another catalogue now, or is
/// removed: `?1` is that deployment.
const KEEP_COPY: &str = "
UPDATE catalogues SET body = (SELECT body FROM catalogues WHERE deployment = ?1)
WHERE deployment = (
    SELECT min(other.deployment) FROM catalogues AS other
    WHERE other.deployment <> ?1 AND other.body IS NULL
        AND other.digest = (SELECT digest FROM catalogues WHERE deployment = ?1 AND body IS NOT NULL)
)";

/// The deployments without workers that no unfinished run is bound to, at a time `?1` before which they were drained.
const UNNEEDED: &str = "
SELECT deployment FROM catalogues WHERE deployment NOT IN (SELECT deployment FROM workers WHERE deployment IS NOT NULL)
    AND NOT EXISTS (SELECT 1 FROM runs WHERE required_deployment = catalogues.deployment AND completed_at IS NULL)
    AND promoted = 0 AND (draining = 0 OR published_at < ?1)";

const DEPLOYMENTS: &str = "
SELECT deployment, coalesce(body, (SELECT body FROM catalogues AS copy WHERE copy.digest = catalogues.digest AND body IS NOT NULL), ''),
    published_at, activated_at, draining, promoted,
    (SELECT count(*) FROM runs WHERE required_deployment = catalogues.deployment AND completed_at IS NULL)
FROM catalogues ORDER BY published_at, deployment";

/// The directory of the lock files.
pub(super) fn directory(database: &Path) -> PathBuf {
    beside(database, ".workers")
}

fn lock_file(directory: &Path, owner: u64) -> PathBuf {
    directory.join(format!("{owner:016x}.lock"))
}

/// Whether the worker's process exists. A shared lock, so that two processes that check at once do not meet.
fn is_alive(directory: &Path, owner: u64) -> bool {
    let Ok(file) = File::open(lock_file(directory, owner)) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// A worker that is registered: its lock file is locked.
pub(super) struct Registered {
    writer: Arc<Mutex<Writer>>,
    path: PathBuf,
    owner: u64,
    _lock: Lock,
}

impl Registration for Registered {
    fn leave(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let leave = move || {
                if let Err(error) = lock(&self.writer).leave(self.owner) {
                    tracing::debug!(?error, "this worker could not be removed from the list; the next one removes it");
                }
                let _ = fs::remove_file(&self.path);
            };
            let _ = blocking(leave).await;
        })
    }
}

/// Registers a worker. Blocks on the disk.
pub(super) fn register(writer: &Arc<Mutex<Writer>>, directory: &Path, worker: &NewWorker) -> Result<Registered, Error> {
    let failed = |error: std::io::Error| {
        Error::coded(Code::Store, format!("could not create the directory {}", directory.display())).because(error)
    };
    access::create_directories(directory).map_err(failed)?;
    let path = lock_file(directory, worker.owner);
    let held = Lock::take(&path)?.ok_or_else(|| {
        Error::coded(Code::Store, format!("the lock file {} is locked by another worker", path.display()))
    })?;
    lock(writer).register(directory, worker)?;
    Ok(Registered { writer: writer.clone(), path, owner: worker.owner, _lock: held })
}

/// Writes the rows of a worker, and removes those of dead workers and the catalogues that nobody needs.
pub(super) fn write(connection: &Connection, directory: &Path, worker: &NewWorker) -> Result<()> {
    let others: Vec<(i64, Option<String>)> = connection
        .prepare_cached("SELECT owner, deployment FROM workers WHERE owner <> ?1")?
        .query_map((worker.owner.cast_signed(),), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_>>()?;
    let mut was_active = false;
    for (owner, deployment) in others {
        if is_alive(directory, owner.cast_unsigned()) {
            was_active |= deployment.as_deref() == Some(&*worker.deployment);
        } else {
            remove(connection, owner.cast_unsigned())?;
            let _ = fs::remove_file(lock_file(directory, owner.cast_unsigned()));
        }
    }
    let NewWorker { owner, deployment, serves, catalogue, digest, now, since } = worker;
    let (owner, now) = (owner.cast_signed(), now.cast_signed());
    let since = since.map_or(now, u64::cast_signed);
    connection.prepare_cached(REGISTER)?.execute((
        owner,
        &**deployment,
        host::name(),
        std::process::id(),
        now,
        &**serves,
    ))?;
    let has_it = "SELECT 1 FROM catalogues WHERE deployment = ?1 AND digest = ?2";
    if !connection.prepare_cached(has_it)?.exists((&**deployment, digest))? {
        connection.prepare_cached(KEEP_COPY)?.execute((&**deployment,))?;
    }
    connection.prepare_cached(PUBLISH)?.execute((
        &**deployment,
        digest,
        catalogue.as_bytes(),
        now,
        was_active,
        since,
    ))?;
    let before = now.saturating_sub(DRAINED_KEPT.as_millis() as i64);
    let unneeded: Vec<String> =
        connection.prepare_cached(UNNEEDED)?.query_map((before,), |row| row.get(0))?.collect::<Result<_>>()?;
    for deployment in unneeded {
        connection.prepare_cached(KEEP_COPY)?.execute((&deployment,))?;
        connection.prepare_cached("DELETE FROM catalogues WHERE deployment = ?1")?.execute((&deployment,))?;
    }
    Ok(())
}

/// Changes the deployments: as [`Store::deploy`](crate::store::Store::deploy).
pub(super) fn deploy(connection: &Connection, change: &Deploy) -> Result<u64> {
    let changed = match change {
        Deploy::Drain { deployment, on } => connection
            .prepare_cached("UPDATE catalogues SET draining = ?2 WHERE deployment = ?1")?
            .execute((&**deployment, on))?,
        Deploy::Promote { deployment } => {
            let known = connection
                .prepare_cached("SELECT 1 FROM catalogues WHERE deployment = ?1")?
                .exists((&**deployment,))?;
            if known {
                connection
                    .prepare_cached("UPDATE catalogues SET promoted = (deployment = ?1)")?
                    .execute((&**deployment,))?;
            }
            usize::from(known)
        }
        Deploy::Release { deployment, limit } => connection
            .prepare_cached(
                "UPDATE runs SET required_deployment = NULL WHERE key IN (
                     SELECT key FROM runs WHERE required_deployment = ?1 AND completed_at IS NULL LIMIT ?2
                 )",
            )?
            .execute((&**deployment, i64::try_from(*limit).unwrap_or(i64::MAX)))?,
        // The column has nothing to do with the draining of deployments.
        Deploy::Yield { asked } => connection
            .prepare_cached("UPDATE workers SET draining = ?1 WHERE owner = (SELECT owner FROM meta)")?
            .execute((asked,))?,
        Deploy::ReleaseRun { run } => connection
            .prepare_cached(
                "UPDATE runs SET required_deployment = NULL
                 WHERE id = ?1 AND required_deployment IS NOT NULL AND completed_at IS NULL",
            )?
            .execute((&**run,))?,
    };
    Ok(changed as u64)
}

/// Removes the row of a worker.
pub(super) fn remove(connection: &Connection, owner: u64) -> Result<()> {
    connection.prepare_cached("DELETE FROM workers WHERE owner = ?1")?.execute((owner.cast_signed(),)).map(drop)
}

pub(super) fn workers(connection: &Connection, directory: &Path) -> Result<Vec<WorkerRow>> {
    let row = |row: &rusqlite::Row<'_>| {
        let owner = row.get::<_, i64>(0)?.cast_unsigned();
        let is_alive = is_alive(directory, owner);
        Ok(WorkerRow {
            owner,
            kind: row.get(1)?,
            deployment: row.get(2)?,
            host: row.get(3)?,
            pid: row.get(4)?,
            started_at: row.get::<_, i64>(5)?.cast_unsigned(),
            draining: row.get(6)?,
            serves: row.get(7)?,
            is_alive,
            executes: is_alive && row.get(8)?,
            yields: row.get(9)?,
        })
    };
    connection.prepare_cached(WORKERS)?.query_map((), row)?.collect()
}

pub(super) fn deployments(connection: &Connection) -> Result<Vec<DeploymentRow>> {
    let row = |row: &rusqlite::Row<'_>| {
        Ok(DeploymentRow {
            id: row.get(0)?,
            catalogue: String::from_utf8_lossy(row.get_ref(1)?.as_bytes()?).into(),
            published_at: row.get::<_, i64>(2)?.cast_unsigned(),
            activated_at: row.get::<_, Option<i64>>(3)?.map(i64::cast_unsigned),
            draining: row.get(4)?,
            promoted: row.get(5)?,
            required_by: row.get::<_, i64>(6)?.cast_unsigned(),
        })
    };
    connection.prepare_cached(DEPLOYMENTS)?.query_map((), row)?.collect()
}
