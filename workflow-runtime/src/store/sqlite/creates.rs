//! The row of a new run.

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::columns::{failing_since, time};
use super::read;
use crate::store::{CreateAnswer, First, NewRun, RunKey};

const CREATE_WITH_TURN: &str = "
INSERT OR IGNORE INTO runs (id, workflow, fingerprint, args_digest, token, created_at,
    generation, status, owner, epoch, wake_at, inbox_seq, recoveries, started_at, completed_at, stuck, depth,
    required_deployment, failing_since, error_class, error_text)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, (SELECT owner FROM meta WHERE owner = ?12), 1, ?8, 0, 0, ?9, ?10, ?11, ?13, ?14,
    ?15, ?16, ?17)";

const CREATE_FOR_OTHERS: &str = "
INSERT INTO runs (id, workflow, fingerprint, args_digest, token, created_at,
    generation, status, owner, epoch, wake_at, inbox_seq, recoveries, depth, required_deployment)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 'pending', 0, 0, ?7, ?8, 0, ?9, ?10)
ON CONFLICT (id) DO NOTHING";

const CREATE_WITH_JOURNAL: &str = "
INSERT INTO runs (id, workflow, fingerprint, args_digest, token, created_at,
    generation, status, owner, epoch, wake_at, inbox_seq, recoveries, started_at, depth,
    required_deployment)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 'running', 0, 0, 0, 0, 0, ?6, ?7, ?8)
ON CONFLICT (id) DO NOTHING";

const BEGIN: &str = "
UPDATE runs SET fingerprint = ?2, args_digest = ?3, token = ?4, required_deployment = ?5, wake_at = 0
WHERE id = ?1 AND status = 'pending' AND wake_at IS NULL RETURNING key";

/// The number of inserted rows: 0 if the id exists, or if the owner is not the engine that executes.
pub(super) fn insert_run(connection: &Connection, new: &NewRun) -> Result<usize> {
    let (id, workflow, fingerprint) = (&*new.id, &*new.workflow, &*new.fingerprint);
    let (digest, token, created_at) = (new.args_digest, new.token.to_be_bytes(), new.created_at.cast_signed());
    match &new.first {
        First::Turn { row, .. } if row.index != 0 => Ok(0),
        First::Turn { owner, change, .. } => connection.prepare_cached(CREATE_WITH_TURN)?.execute(params![
            id,
            workflow,
            fingerprint,
            digest,
            token,
            created_at,
            change.status.as_str(),
            change.wake_at.map(time),
            change.started_at.map(u64::cast_signed),
            change.completed_at.map(u64::cast_signed),
            change.stuck.as_deref(),
            owner.cast_signed(),
            new.depth,
            new.required_deployment.as_deref(),
            failing_since(change),
            change.error.as_ref().map(|error| &*error.class),
            change.error.as_ref().map(|error| &*error.text),
        ]),
        First::Message(_) | First::Later => {
            let (wake_at, messages) = if matches!(new.first, First::Later) { (None, 0) } else { (Some(0), 1) };
            connection.prepare_cached(CREATE_FOR_OTHERS)?.execute(params![
                id,
                workflow,
                fingerprint,
                digest,
                token,
                created_at,
                wake_at,
                messages,
                new.depth,
                new.required_deployment.as_deref(),
            ])
        }
        First::Journal { .. } => connection.prepare_cached(CREATE_WITH_JOURNAL)?.execute(params![
            id,
            workflow,
            fingerprint,
            digest,
            token,
            created_at,
            new.depth,
            new.required_deployment.as_deref(),
        ]),
        First::Begin(_) => Ok(0),
    }
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
