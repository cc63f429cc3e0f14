//! The row of a new run.

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::columns::{failing_since, time};
use super::read;
use crate::store::{CreateAnswer, First, NewRun, RunKey, Status};

/// Ignores a run whose id exists, and one whose owner is not the engine that executes: the column `owner` refuses `NULL`.
const CREATE: &str = "
INSERT OR IGNORE INTO runs (id, workflow, fingerprint, args_digest, token, created_at, depth, required_deployment,
    generation, status, owner, epoch, wake_at, inbox_seq, recoveries, started_at, completed_at, stuck, failing_since,
    error_class, error_text)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,
    0, ?9, CASE ?10 WHEN 0 THEN 0 ELSE (SELECT owner FROM meta WHERE owner = ?10) END, ?11, ?12, ?13, 0, ?14, ?15, ?16, ?17,
    ?18, ?19)";

const BEGIN: &str = "
UPDATE runs SET fingerprint = ?2, args_digest = ?3, token = ?4, required_deployment = ?5, wake_at = 0
WHERE id = ?1 AND status = 'pending' AND wake_at IS NULL RETURNING key";

/// The number of inserted rows: 0 if the id exists, or if the owner is not the engine that executes.
pub(super) fn insert_run(connection: &Connection, new: &NewRun) -> Result<usize> {
    let created_at = new.created_at.cast_signed();
    let (pending, due) = (Status::Pending.as_str(), Some(0));
    let (status, owner, epoch, wake_at, messages, started_at, change) = match &new.first {
        First::Turn { row, .. } if row.index != 0 => return Ok(0),
        First::Begin(_) => return Ok(0),
        First::Turn { owner, change, .. } => {
            let started_at = change.started_at.map(u64::cast_signed);
            (change.status.as_str(), owner.cast_signed(), 1, change.wake_at.map(time), 0, started_at, Some(change))
        }
        First::Message(_) => (pending, 0, 0, due, 1, None, None),
        First::Later => (pending, 0, 0, None, 0, None, None),
        First::Journal { .. } => (Status::Running.as_str(), 0, 0, due, 0, Some(created_at), None),
    };
    let error = change.and_then(|change| change.error.as_ref());
    connection.prepare_cached(CREATE)?.execute(params![
        &*new.id,
        &*new.workflow,
        &*new.fingerprint,
        new.args_digest,
        new.token.to_be_bytes(),
        created_at,
        new.depth,
        new.required_deployment.as_deref(),
        status,
        owner,
        epoch,
        wake_at,
        messages,
        started_at,
        change.and_then(|change| change.completed_at).map(u64::cast_signed),
        change.and_then(|change| change.stuck.as_deref()),
        change.and_then(failing_since),
        error.map(|error| &*error.class),
        error.map(|error| &*error.text),
    ])
}

/// Makes a run due that was created with [`First::Later`].
pub(super) fn begin(connection: &Connection, new: &NewRun) -> Result<Option<RunKey>> {
    connection
        .prepare_cached(BEGIN)?
        .query_row(
            params![
                &*new.id,
                &*new.fingerprint,
                new.args_digest,
                new.token.to_be_bytes(),
                new.required_deployment.as_deref(),
            ],
            |row| row.get(0),
        )
        .optional()
}

/// The answer where no row was inserted.
pub(super) fn not_created(connection: &Connection, new: &NewRun) -> Result<CreateAnswer> {
    let token = connection
        .prepare_cached("SELECT key, token FROM runs WHERE id = ?1")?
        .query_row((&*new.id,), |row| Ok((row.get::<_, RunKey>(0)?, row.get::<_, [u8; 16]>(1)?)))
        .optional()?;
    Ok(match token {
        Some((key, token)) if token == new.token.to_be_bytes() => CreateAnswer::Created(key),
        _ => match read::run(connection, &new.id)? {
            Some(row) => CreateAnswer::Exists(Box::new(row)),
            None if matches!(new.first, First::Begin(_)) => CreateAnswer::Unknown,
            None => CreateAnswer::Fenced,
        },
    })
}
