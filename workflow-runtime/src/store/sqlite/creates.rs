//! The row of a new run.

use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, Result, Statement, params};

use super::batches::Inserts;
use super::columns::{failing_since, time};
use super::read;
use crate::store::{CreateAnswer, First, NewRun, RowChange, RunKey, Status};

/// The columns of a new run, in the order in which [`InsertedRun`] binds them.
const COLUMNS: &str = "id, workflow, fingerprint, args_digest, token, created_at, depth, required_deployment, status, epoch,
    wake_at, inbox_seq, started_at, completed_at, stuck, failing_since, error_class, error_text, owner, generation, recoveries";

/// Ignores a run whose id exists, and one whose owner is not the engine that executes: the column `owner` refuses `NULL`.
static CREATE: LazyLock<String> = LazyLock::new(|| {
    let owner = "CASE ?19 WHEN 0 THEN 0 ELSE (SELECT owner FROM meta WHERE owner = ?19) END";
    format!(
        "INSERT OR IGNORE INTO runs ({COLUMNS})
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {owner}, 0, 0)"
    )
});

/// The runs of [`CREATE`] that an engine executes. The table numbers them: with the keys as parameters, the statement could fail
/// half way.
pub(super) static CREATE_HERE: LazyLock<Inserts> = LazyLock::new(|| {
    let owner = "(SELECT owner FROM meta WHERE owner = ?)";
    Inserts::new(
        &format!("INSERT OR IGNORE INTO runs ({COLUMNS})"),
        &format!("(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {owner}, 0, 0)"),
    )
});

/// The run that a start has inserted behind a key. Another start may have inserted one with its id.
const INSERTED: &str = "SELECT key FROM runs WHERE id = ?1 AND token = ?2 AND key > ?3";

/// The parameters of a row of [`CREATE_HERE`].
const PARAMETERS: usize = 19;

const BEGIN: &str = "
UPDATE runs SET fingerprint = ?2, args_digest = ?3, token = ?4, required_deployment = ?5, wake_at = 0
WHERE id = ?1 AND status = 'pending' AND wake_at IS NULL RETURNING key";

/// The row of a new run.
struct InsertedRun<'w> {
    new: &'w NewRun,
    status: Status,
    /// The engine that executes the run, and its epoch; 0 if any engine can claim it.
    owner: u64,
    epoch: u64,
    wake_at: Option<i64>,
    messages: u64,
    started_at: Option<u64>,
    change: Option<&'w RowChange>,
}

impl<'w> InsertedRun<'w> {
    /// The row of a run that is created by `new`.
    fn of(new: &'w NewRun) -> Option<Self> {
        let row = |status, wake_at| InsertedRun {
            new,
            status,
            owner: 0,
            epoch: 0,
            wake_at,
            messages: 0,
            started_at: None,
            change: None,
        };
        match &new.first {
            First::Turn { row: first, .. } if first.index != 0 => None,
            First::Begin(_) => None,
            First::Turn { owner, change, .. } => Some(InsertedRun {
                owner: *owner,
                epoch: 1,
                started_at: change.started_at,
                change: Some(change),
                ..row(change.status, change.wake_at.map(time))
            }),
            First::Message(_) => Some(InsertedRun { messages: 1, ..row(Status::Pending, Some(0)) }),
            First::Later => Some(row(Status::Pending, None)),
            First::Journal { .. } => {
                Some(InsertedRun { started_at: Some(new.created_at), ..row(Status::Running, Some(0)) })
            }
        }
    }

    /// Binds the columns in the order of [`COLUMNS`], after `before` other parameters.
    fn bind(&self, statement: &mut Statement<'_>, before: usize) -> Result<()> {
        let InsertedRun { new, status, owner, epoch, wake_at, messages, started_at, change } = self;
        let error = change.and_then(|change| change.error.as_ref());
        statement.raw_bind_parameter(before + 1, &*new.id)?;
        statement.raw_bind_parameter(before + 2, &*new.workflow)?;
        statement.raw_bind_parameter(before + 3, &*new.fingerprint)?;
        statement.raw_bind_parameter(before + 4, new.args_digest)?;
        statement.raw_bind_parameter(before + 5, new.token.to_be_bytes())?;
        statement.raw_bind_parameter(before + 6, new.created_at.cast_signed())?;
        statement.raw_bind_parameter(before + 7, new.depth)?;
        statement.raw_bind_parameter(before + 8, new.required_deployment.as_deref())?;
        statement.raw_bind_parameter(before + 9, status.as_str())?;
        statement.raw_bind_parameter(before + 10, epoch.cast_signed())?;
        statement.raw_bind_parameter(before + 11, wake_at)?;
        statement.raw_bind_parameter(before + 12, messages.cast_signed())?;
        statement.raw_bind_parameter(before + 13, started_at.map(u64::cast_signed))?;
        statement
            .raw_bind_parameter(before + 14, change.and_then(|change| change.completed_at).map(u64::cast_signed))?;
        statement.raw_bind_parameter(before + 15, change.and_then(|change| change.stuck.as_deref()))?;
        statement.raw_bind_parameter(before + 16, change.and_then(failing_since))?;
        statement.raw_bind_parameter(before + 17, error.map(|error| &*error.class))?;
        statement.raw_bind_parameter(before + 18, error.map(|error| &*error.text))?;
        statement.raw_bind_parameter(before + 19, owner.cast_signed())
    }
}

/// The number of inserted rows: 0 if the id exists, or if the owner is not the engine that executes.
pub(super) fn insert_run(connection: &Connection, new: &NewRun) -> Result<usize> {
    let Some(row) = InsertedRun::of(new) else { return Ok(0) };
    let mut statement = connection.prepare_cached(&CREATE)?;
    row.bind(&mut statement, 0)?;
    statement.raw_execute()
}

/// Inserts the rows of runs whose first turn an engine has executed. Returns their keys: `None` if the id exists, or if the
/// owner is not the engine that executes.
pub(super) fn insert_runs(connection: &Connection, new: &[&NewRun]) -> Result<Vec<Option<RunKey>>> {
    let [_, ..] = new else { return Ok(Vec::new()) };
    let latest = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'runs'), 0)";
    let latest: RunKey = connection.prepare_cached(latest)?.query_row((), |row| row.get(0))?;
    let here: Vec<_> = new.iter().filter_map(|new| InsertedRun::of(new)).filter(|row| row.epoch == 1).collect();
    let mut keys = Vec::with_capacity(here.len());
    CREATE_HERE.each_part(connection, &here, |statement, part| {
        for (row, number) in part.iter().zip(0..) {
            row.bind(statement, number * PARAMETERS)?;
        }
        if statement.raw_execute()? == part.len() {
            // `AUTOINCREMENT` numbers the rows of a statement one after the other.
            let (last, rows) = (connection.last_insert_rowid(), RunKey::try_from(part.len()).unwrap_or_default());
            keys.extend((last - rows + 1..=last).map(Some));
        } else {
            let mut inserted = connection.prepare_cached(INSERTED)?;
            for row in part {
                let values = (&*row.new.id, row.new.token.to_be_bytes(), latest);
                let key: Option<RunKey> = inserted.query_row(values, |row| row.get(0)).optional()?;
                // Of a start that is in the group twice, the first one has inserted the run.
                keys.push(key.filter(|key| !keys.contains(&Some(*key))));
            }
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
