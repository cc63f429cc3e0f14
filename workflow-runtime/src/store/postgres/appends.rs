//! Rows of verified runs, some of which change their run: one statement for all.

use std::time::SystemTime;

use rustc_hash::FxHashSet;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::columns::ChangeColumns;
use super::db::{Session, Text, args};
use super::fault::{Fault, Result};
use super::read::{get, time};
use crate::store::{JournalRow, RowChange, RunKey, Turn};

/// Appends all rows or none.
const APPEND: &str = "
INSERT INTO @journal (run, generation, idx, turn, format, checksum, body)
SELECT run, generation, idx, turn, format, checksum, body
FROM unnest((SELECT $1), $2, $3, $4, $5, $6, $7) AS t (run, generation, idx, turn, format, checksum, body)
WHERE EXISTS (SELECT 1 FROM @workers WHERE owner = $8 AND round <= $9 AND @server() = $10 FOR KEY SHARE)";

const APPEND_ONE: &str = "
INSERT INTO @journal (run, generation, idx, turn, format, checksum, body)
SELECT $1, $2, $3, $4, $5, $6, $7
WHERE EXISTS (SELECT 1 FROM @workers WHERE owner = $8 AND round <= $9 AND @server() = $10 FOR KEY SHARE)";

/// Appends the rows that change no run, all or none, and each row that does if the change concerns no other row and no other
/// process. Locks the runs in the order of their keys, so that two such statements cannot deadlock, and compares each run as it
/// is under its lock. The conditions are compared after the runs were looked up by their keys: the planner overestimates what they
/// exclude, and would scan the table of runs.
const CHANGE: &str = "
WITH mine AS MATERIALIZED (
    SELECT 1 FROM @workers WHERE owner = $8 AND round <= $9 AND @server() = $10 FOR KEY SHARE
), locked AS MATERIALIZED (
    SELECT key, owner, epoch, generation, tied OR awaited OR followed OR traced OR inbox_seq <> 0 AS concerns_others FROM @runs
    WHERE key = ANY ((SELECT $12)::bigint[]) ORDER BY key FOR NO KEY UPDATE
), taken AS MATERIALIZED (
    SELECT t.* FROM unnest((SELECT $12), $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)
        AS t (run, generation, epoch, status, wake_at, started_at, completed_at, stuck, refused_by, failing_since, error_class,
              error_text)
        JOIN locked ON locked.key = t.run AND locked.owner = $8 AND locked.epoch = t.epoch AND locked.generation = t.generation
    WHERE NOT concerns_others AND EXISTS (SELECT 1 FROM mine)
), changed AS MATERIALIZED (
    UPDATE @runs AS runs SET status = taken.status, wake_at = taken.wake_at,
        started_at = coalesce(runs.started_at, taken.started_at), completed_at = coalesce(runs.completed_at, taken.completed_at),
        stuck = taken.stuck, refused_by = taken.refused_by, failing_since = taken.failing_since,
        error_class = taken.error_class, error_text = taken.error_text
    FROM taken WHERE runs.key = taken.run
    RETURNING runs.key
), appended AS (
    INSERT INTO @journal (run, generation, idx, turn, format, checksum, body)
    SELECT run, generation, idx, turn, format, checksum, body
    FROM unnest((SELECT $1), $2, $3, $4, $5, $6, $7, $11) AS t (run, generation, idx, turn, format, checksum, body, changes)
    WHERE EXISTS (SELECT 1 FROM mine) AND (NOT changes OR run IN (SELECT key FROM changed))
)
SELECT EXISTS (SELECT 1 FROM mine), ARRAY(SELECT key FROM changed)";

const CHANGE_ONE: &str = "
WITH changed AS (
    UPDATE @runs SET status = $12, wake_at = $13, started_at = coalesce(started_at, $14),
        completed_at = coalesce(completed_at, $15), stuck = $16, refused_by = $17, failing_since = $18, error_class = $19,
        error_text = $20
    WHERE key = $1 AND owner = $8 AND epoch = $11 AND generation = $2 AND NOT (tied OR awaited OR followed OR traced)
        AND inbox_seq = 0
        AND EXISTS (SELECT 1 FROM @workers WHERE owner = $8 AND round <= $9 AND @server() = $10 FOR KEY SHARE)
    RETURNING key
)
INSERT INTO @journal (run, generation, idx, turn, format, checksum, body)
SELECT key, $2, $3, $4, $5, $6, $7 FROM changed";

/// Turns, with their places in a group.
pub(super) type Placed<'g> = Vec<(usize, &'g Turn)>;

/// Turns of verified runs that have rows, with the owner, round and server that they depend on.
pub(super) struct Rows<'g> {
    pub turns: Placed<'g>,
    pub owner: u64,
    pub round: i64,
    pub server: Option<SystemTime>,
    pub _appending: TaskTrackerToken,
}

/// Which rows are in the journal.
#[derive(Default)]
pub(super) struct Appended {
    /// Whether the rows that change no run are.
    pub rows: bool,
    /// The runs that are changed, whose rows are.
    pub changed: FxHashSet<RunKey>,
}

impl Appended {
    pub fn has(&self, turn: &Turn) -> bool {
        match turn.change {
            None => self.rows,
            Some(_) => self.changed.contains(&turn.run),
        }
    }
}

impl Rows<'_> {
    /// Appends the rows. A unique violation means that one of them was there already, and none is appended.
    pub async fn append(&self, session: &Session<'_>) -> Result<Appended> {
        let changes = self.turns.iter().any(|(_, turn)| turn.change.is_some());
        match &self.turns[..] {
            [] => Ok(Appended { rows: true, changed: FxHashSet::default() }),
            [(_, turn)] => self.append_one(session, turn).await,
            turns if changes => self.change_all(session, turns).await,
            turns => self.append_all(session, turns).await,
        }
    }

    async fn append_one(&self, session: &Session<'_>, turn: &Turn) -> Result<Appended> {
        let Some(row) = &turn.row else { return Ok(Appended::default()) };
        let number = row.turn.to_be_bytes();
        let (generation, index) = (turn.generation.cast_signed(), row.index.cast_signed());
        let Some(change) = &turn.change else {
            let appended = session.execute(APPEND_ONE, args![
                INT8: turn.run, INT8: generation, INT8: index, BYTEA: number.as_slice(), INT4: row.format.cast_signed(),
                INT4: row.checksum.cast_signed(), BYTEA: &*row.body,
                INT8: self.owner.cast_signed(), INT8: self.round, TIMESTAMPTZ: self.server,
            ]).await?;
            return Ok(Appended { rows: appended == 1, changed: FxHashSet::default() });
        };
        let RowChange { status, wake_at, started_at, completed_at, stuck, error, refused_by } = change;
        let changed = session.execute(CHANGE_ONE, args![
            INT8: turn.run, INT8: generation, INT8: index, BYTEA: number.as_slice(), INT4: row.format.cast_signed(),
            INT4: row.checksum.cast_signed(), BYTEA: &*row.body,
            INT8: self.owner.cast_signed(), INT8: self.round, TIMESTAMPTZ: self.server,
            INT8: turn.fence.epoch.cast_signed(), TEXT: status.as_str(), INT8: wake_at.map(time),
            INT8: started_at.map(u64::cast_signed), INT8: completed_at.map(u64::cast_signed),
            TEXT: stuck.as_deref().map(Text), TEXT: refused_by.as_deref().map(Text),
            INT8: error.as_ref().and_then(|error| error.failing_since).map(u64::cast_signed),
            TEXT: error.as_ref().map(|error| Text(&error.class)), TEXT: error.as_ref().map(|error| Text(&error.text)),
        ]).await?;
        let is_changed = changed == 1;
        Ok(Appended { rows: true, changed: is_changed.then_some(turn.run).into_iter().collect() })
    }

    async fn append_all(&self, session: &Session<'_>, turns: &[(usize, &Turn)]) -> Result<Appended> {
        let columns = Columns::of(turns);
        let number = session.execute(APPEND, args![
            INT8_ARRAY: columns.runs, INT8_ARRAY: columns.generations, INT8_ARRAY: columns.indexes,
            BYTEA_ARRAY: columns.numbers(), INT4_ARRAY: columns.formats, INT4_ARRAY: columns.checksums,
            BYTEA_ARRAY: columns.bodies, INT8: self.owner.cast_signed(), INT8: self.round, TIMESTAMPTZ: self.server,
        ]).await?;
        Ok(Appended { rows: usize::try_from(number) == Ok(turns.len()), changed: FxHashSet::default() })
    }

    async fn change_all(&self, session: &Session<'_>, turns: &[(usize, &Turn)]) -> Result<Appended> {
        let columns = Columns::of(turns);
        let changes: Vec<bool> = turns.iter().map(|(_, turn)| turn.change.is_some()).collect();
        let changed: Vec<&Turn> = turns.iter().map(|(_, turn)| *turn).filter(|turn| turn.change.is_some()).collect();
        let runs: Vec<RunKey> = changed.iter().map(|turn| turn.run).collect();
        let generations: Vec<i64> = changed.iter().map(|turn| turn.generation.cast_signed()).collect();
        let epochs: Vec<i64> = changed.iter().map(|turn| turn.fence.epoch.cast_signed()).collect();
        let values = ChangeColumns::of(changed.iter().map(|turn| turn.change.as_ref()));
        let answer = session.query_opt(CHANGE, args![
            INT8_ARRAY: columns.runs, INT8_ARRAY: columns.generations, INT8_ARRAY: columns.indexes,
            BYTEA_ARRAY: columns.numbers(), INT4_ARRAY: columns.formats, INT4_ARRAY: columns.checksums,
            BYTEA_ARRAY: columns.bodies, INT8: self.owner.cast_signed(), INT8: self.round, TIMESTAMPTZ: self.server,
            BOOL_ARRAY: changes, INT8_ARRAY: runs, INT8_ARRAY: generations, INT8_ARRAY: epochs,
            TEXT_ARRAY: values.statuses, INT8_ARRAY: values.wakes, INT8_ARRAY: values.starts, INT8_ARRAY: values.ends,
            TEXT_ARRAY: values.stuck, TEXT_ARRAY: values.refused, INT8_ARRAY: values.errors.failing_since,
            TEXT_ARRAY: values.errors.classes, TEXT_ARRAY: values.errors.texts,
        ]).await?;
        let Some(answer) = answer else { return Err(Fault::Damaged("a statement had no answer".to_owned())) };
        let changed: Vec<RunKey> = get(&answer, 1)?;
        Ok(Appended { rows: get(&answer, 0)?, changed: changed.into_iter().collect() })
    }
}

/// The columns of several rows.
struct Columns<'t> {
    runs: Vec<RunKey>,
    generations: Vec<i64>,
    indexes: Vec<i64>,
    numbers: Vec<[u8; 16]>,
    formats: Vec<i32>,
    checksums: Vec<i32>,
    bodies: Vec<&'t [u8]>,
}

impl<'t> Columns<'t> {
    fn of(turns: &[(usize, &'t Turn)]) -> Self {
        let with_rows = || turns.iter().filter_map(|(_, turn)| Some((*turn, turn.row.as_ref()?)));
        let rows = || with_rows().map(|(_, row): (_, &'t JournalRow)| row);
        Columns {
            runs: with_rows().map(|(turn, _)| turn.run).collect(),
            generations: with_rows().map(|(turn, _)| turn.generation.cast_signed()).collect(),
            indexes: rows().map(|row| row.index.cast_signed()).collect(),
            numbers: rows().map(|row| row.turn.to_be_bytes()).collect(),
            formats: rows().map(|row| row.format.cast_signed()).collect(),
            checksums: rows().map(|row| row.checksum.cast_signed()).collect(),
            bodies: rows().map(|row| &*row.body).collect(),
        }
    }

    fn numbers(&self) -> Vec<&[u8]> {
        self.numbers.iter().map(<[u8; 16]>::as_slice).collect()
    }
}
