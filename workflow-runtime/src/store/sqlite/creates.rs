//! The row of a new run.

use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, Result, Statement, params};

use super::batches::Inserts;
use super::columns::{failing_since, time};
use super::read;
use super::writes::key_of;
use crate::store::{CreateAnswer, First, NewRun, RowChange, RunKey, Status};

/// Ignores a run whose id exists, and one whose owner is not the engine that executes: the column `owner` refuses `NULL`.
const CREATE: &str = "
INSERT OR IGNORE INTO runs (id, workflow, fingerprint, args_digest, token, created_at, depth, required_deployment,
    generation, status, owner, epoch, wake_at, inbox_seq, recoveries, started_at, completed_at, stuck, failing_since,
    error_class, error_text)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,
    0, ?9, CASE ?10 WHEN 0 THEN 0 ELSE (SELECT owner FROM meta WHERE owner = ?10) END, ?11, ?12, ?13, 0, ?14, ?15, ?16, ?17,
    ?18, ?19)";

/// The runs of [`CREATE`] that an engine executes, with their keys.
static CREATE_HERE: LazyLock<Inserts> = LazyLock::new(|| {
    let begin = "
INSERT OR IGNORE INTO runs (key, id, workflow, fingerprint, args_digest, token, created_at, depth, required_deployment,
    status, owner, wake_at, started_at, completed_at, stuck, failing_since, error_class, error_text, generation, epoch,
    inbox_seq, recoveries)";
    let owner = "(SELECT owner FROM meta WHERE owner = ?)";
    Inserts::new(begin, &format!("(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {owner}, ?, ?, ?, ?, ?, ?, ?, 0, 1, 0, 0)"))
});

/// The parameters of a row of [`CREATE_HERE`].
const PARAMETERS: usize = 18;

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

/// A run whose first turn an engine has executed, with the key that it gets.
struct Here<'w> {
    key: RunKey,
    new: &'w NewRun,
    owner: u64,
    change: &'w RowChange,
}

impl<'w> Here<'w> {
    fn of(key: RunKey, new: &'w NewRun) -> Option<Self> {
        match &new.first {
            First::Turn { owner, change, .. } => Some(Here { key, new, owner: *owner, change }),
            _ => None,
        }
    }

    fn bind(&self, statement: &mut Statement<'_>, before: usize) -> Result<()> {
        let Here { key, new, owner, change } = self;
        let error = change.error.as_ref();
        statement.raw_bind_parameter(before + 1, key)?;
        statement.raw_bind_parameter(before + 2, &*new.id)?;
        statement.raw_bind_parameter(before + 3, &*new.workflow)?;
        statement.raw_bind_parameter(before + 4, &*new.fingerprint)?;
        statement.raw_bind_parameter(before + 5, new.args_digest)?;
        statement.raw_bind_parameter(before + 6, new.token.to_be_bytes())?;
        statement.raw_bind_parameter(before + 7, new.created_at.cast_signed())?;
        statement.raw_bind_parameter(before + 8, new.depth)?;
        statement.raw_bind_parameter(before + 9, new.required_deployment.as_deref())?;
        statement.raw_bind_parameter(before + 10, change.status.as_str())?;
        statement.raw_bind_parameter(before + 11, owner.cast_signed())?;
        statement.raw_bind_parameter(before + 12, change.wake_at.map(time))?;
        statement.raw_bind_parameter(before + 13, change.started_at.map(u64::cast_signed))?;
        statement.raw_bind_parameter(before + 14, change.completed_at.map(u64::cast_signed))?;
        statement.raw_bind_parameter(before + 15, change.stuck.as_deref())?;
        statement.raw_bind_parameter(before + 16, failing_since(change))?;
        statement.raw_bind_parameter(before + 17, error.map(|error| &*error.class))?;
        statement.raw_bind_parameter(before + 18, error.map(|error| &*error.text))
    }
}

/// Inserts the rows of runs whose first turn an engine has executed. Returns their keys: `None` if the id exists, or if the
/// owner is not the engine that executes.
pub(super) fn insert_runs(connection: &Connection, new: &[&NewRun]) -> Result<Vec<Option<RunKey>>> {
    let [_, ..] = new else { return Ok(Vec::new()) };
    // Numbered as `AUTOINCREMENT` would number them: no key is ever reused.
    let latest = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'runs'), 0)";
    let latest: RunKey = connection.prepare_cached(latest)?.query_row((), |row| row.get(0))?;
    let here: Vec<_> = new.iter().zip(latest + 1..).filter_map(|(new, key)| Here::of(key, new)).collect();
    let mut keys = Vec::with_capacity(here.len());
    CREATE_HERE.each_part(connection, &here, |statement, part| {
        for (here, number) in part.iter().zip(0..) {
            here.bind(statement, number * PARAMETERS)?;
        }
        let are_all_new = statement.raw_execute()? == part.len();
        for here in part {
            let is_new = are_all_new || key_of(connection, &here.new.id)? == Some(here.key);
            keys.push(is_new.then_some(here.key));
        }
        Ok(())
    })?;
    Ok(keys)
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
