//! Turns of any number of different runs, in one statement.

use std::collections::HashMap;

use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::columns::ChangeColumns;
use super::db::{Arg, Session, args};
use super::fault::Result;
use super::place::Place;
use super::read::{get, id};
use super::work::Ours;
use crate::model::Status;
use crate::store::{RowChange, RunKey, Turn, TurnAnswer};

/// A statement that appends to journals. A row rarely exists already, as after a commit whose answer was lost, and handling
/// that costs a sixth of the statement: `strict` does not handle it, and fails.
struct Strict {
    strict: &'static str,
    lenient: &'static str,
}

/// How the statement is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is a transaction by itself.
    Alone,
    /// In one pipeline with the begin and the commit of its transaction. If it fails, the transaction is rolled back: nothing
    /// may be sent instead, which would be executed behind the commit.
    Pipelined,
    /// In a transaction that is committed later. No statement may fail there.
    Inside,
}

impl Strict {
    async fn query(&self, session: &Session<'_>, columns: &[Arg<'_>], sent: Sent) -> Result<Vec<Row>> {
        if sent != Sent::Inside {
            match session.query(self.strict, columns).await {
                Err(fault) if sent == Sent::Alone && fault.state() == Some(&SqlState::UNIQUE_VIOLATION) => {}
                decided => return decided,
            }
        }
        session.query(self.lenient, columns).await
    }
}

/// The planner underestimates the size of the parts: it would join two of them row by row, but hashes one that is the
/// operand of `IN`. A scalar subquery checks that the previous row exists, so that it is looked up for each turn: for
/// an `EXISTS` the planner may choose a join, or a hash of the whole journal.
///
/// Locks the rows in the order of their keys, so that two such statements cannot deadlock. Compares the row as it is
/// under the lock. The previous row of the journal was written under the same fence, and if a turn is sent again, the
/// next statement looks up the row at its index. The end of a run that is `tied` concerns more rows: `$17` states
/// whether the turn is written nevertheless.
macro_rules! turns {
    ($conflict:literal) => {
        concat!(
            "
WITH input AS (
    SELECT * FROM unnest((SELECT $1), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $20, $21, $22, $23)
        AS t (run, generation, owner, epoch, idx, turn, format, checksum, body, status, wake_at, started_at, completed_at, stuck,
              refused_by, failing_since, error_class, error_text)
), locked AS MATERIALIZED (
    SELECT key, owner, epoch, generation, tied, awaited, followed, traced, inbox_seq FROM @runs
    WHERE key = ANY ((SELECT $1)::bigint[]) ORDER BY key FOR NO KEY UPDATE
), held AS MATERIALIZED (
    SELECT input.*, awaited, followed, traced, tied OR awaited OR followed OR traced OR inbox_seq <> 0 AS concerns_others,
        coalesce(input.status IN @ended, false) AS terminal,
        coalesce(input.status IN @ended OR input.status = 'stuck', false) AS ends, tied
    FROM input JOIN locked ON locked.key = input.run AND locked.owner = input.owner AND locked.epoch = input.epoch
        AND locked.generation = input.generation
), appended AS (
    INSERT INTO @journal (run, generation, idx, turn, format, checksum, body)
    SELECT run, generation, idx, turn, format, checksum, body FROM held
    WHERE idx IS NOT NULL AND ($17 OR NOT (terminal AND tied)) AND (idx = 0 OR (
        SELECT true FROM @journal AS before
        WHERE before.run = held.run AND before.generation = held.generation AND before.idx = held.idx - 1
    ))
    ",
            $conflict,
            "
    RETURNING run
), taken AS MATERIALIZED (
    SELECT run, status, wake_at, started_at, completed_at, stuck, refused_by, failing_since, error_class, error_text, ends,
        awaited, followed, traced FROM held
    WHERE ($17 OR NOT (terminal AND tied)) AND (idx IS NULL OR run IN (SELECT run FROM appended))
), changed AS (
    UPDATE @runs AS runs SET status = taken.status, wake_at = taken.wake_at,
        started_at = coalesce(runs.started_at, taken.started_at),
        completed_at = coalesce(runs.completed_at, taken.completed_at), stuck = taken.stuck, refused_by = taken.refused_by,
        owner = CASE WHEN taken.refused_by IS NOT NULL AND taken.wake_at IS NOT NULL THEN 0 ELSE runs.owner END,
        failing_since = taken.failing_since, error_class = taken.error_class, error_text = taken.error_text,
        awaited = runs.awaited AND NOT taken.ends, followed = runs.followed AND NOT taken.ends,
        traced = runs.traced AND NOT taken.ends
    FROM taken WHERE runs.key = taken.run AND taken.status IS NOT NULL
), deleted AS (
    DELETE FROM @inbox AS inbox USING unnest((SELECT $15), $16) AS delivered (run, sequence)
    WHERE inbox.sequence = delivered.sequence AND inbox.run = delivered.run
        AND delivered.run IN (SELECT run FROM taken)
), left_over AS (
    UPDATE @inbox SET holder = 0
    WHERE run IN (SELECT run FROM taken WHERE ends) AND holder <> 0 AND sequence <> ALL ($16)
), notified AS (
    SELECT pg_notify($18, CASE WHEN count(*) > 300 THEN $19 || ' *' ELSE $19 || string_agg(' a' || run, '') END)::text AS notified
    FROM taken WHERE ((ends AND (awaited OR followed)) OR traced) AND NOT $17 HAVING count(*) > 0
)
SELECT run, run IN (SELECT run FROM taken), terminal AND tied, awaited, followed, traced, @server(), concerns_others,
    (SELECT notified FROM notified)
FROM held"
        )
    };
}

const TURNS: Strict = Strict { strict: turns!(""), lenient: turns!("ON CONFLICT DO NOTHING") };

const THERE: &str = "
SELECT run, journal.turn FROM @journal AS journal JOIN unnest((SELECT $1), $2, $3) AS t (run, generation, idx)
    USING (run, generation, idx)";

/// The outcome of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is written. The flags state whether another process waits for the run's end, its chunks or its rows, and whether a
    /// change of the run [concerns others](Place::concerns_others).
    Written { awaited: bool, followed: bool, traced: bool, concerns_others: bool },
    /// It ends a run that is tied, and is not written.
    Tied,
    /// It was written before.
    Before,
    /// It is refused.
    Refused,
}

impl Taken {
    pub fn answer(self) -> TurnAnswer {
        match self {
            Taken::Written { .. } | Taken::Before => TurnAnswer::Committed,
            Taken::Tied | Taken::Refused => TurnAnswer::Fenced,
        }
    }
}

/// Whether a turn consists of its row, its change and its delivered messages. A change without a row does not qualify: if it
/// was executed late, it could not be distinguished from a later one. Nor does a change that releases the run: other workers
/// are notified.
pub(super) fn is_plain(turn: &Turn) -> bool {
    (turn.row.is_some() || turn.change.is_none())
        && !turn.change.as_ref().is_some_and(RowChange::is_released)
        && turn.effects.is_none()
        && turn.unread.is_empty()
        && turn.returned.is_empty()
        && turn.chunks.is_empty()
        && turn.settles.is_empty()
}

/// Whether a turn has a row, and neither a change nor delivered messages.
pub(super) fn is_row(turn: &Turn) -> bool {
    turn.row.is_some() && turn.change.is_none() && turn.delivered.is_empty()
}

/// Whether the run has ended with a turn for the callers that wait for it.
pub(super) fn is_end(turn: &Turn) -> bool {
    turn.change.as_ref().is_some_and(|change| ends(change.status))
}

/// Takes the plain part of turns of different runs, and looks each run up. [Inside](Sent::Inside) a transaction also takes
/// turns that end tied runs, and notifies no process; the caller then does the rest.
pub(super) async fn take(session: &Session<'_>, ours: &Ours, turns: &[&Turn], sent: Sent) -> Result<Vec<Taken>> {
    let tied = sent == Sent::Inside;
    let looked_up = ours.verified.changes();
    let runs: Vec<RunKey> = turns.iter().map(|turn| turn.run).collect();
    let generations: Vec<i64> = turns.iter().map(|turn| turn.generation.cast_signed()).collect();
    let owners: Vec<i64> = turns.iter().map(|turn| turn.fence.owner.cast_signed()).collect();
    let epochs: Vec<i64> = turns.iter().map(|turn| turn.fence.epoch.cast_signed()).collect();
    let rows = || turns.iter().map(|turn| turn.row.as_ref());
    let changes = ChangeColumns::of(turns.iter().map(|turn| turn.change.as_ref()));
    let indexes: Vec<Option<i64>> = rows().map(|row| Some(row?.index.cast_signed())).collect();
    let numbers: Vec<Option<[u8; 16]>> = rows().map(|row| Some(row?.turn.to_be_bytes())).collect();
    let numbers: Vec<Option<&[u8]>> = numbers.iter().map(|number| number.as_ref().map(<[u8; 16]>::as_slice)).collect();
    let formats: Vec<Option<i32>> = rows().map(|row| Some(row?.format.cast_signed())).collect();
    let checksums: Vec<Option<i32>> = rows().map(|row| Some(row?.checksum.cast_signed())).collect();
    let bodies: Vec<Option<&[u8]>> = rows().map(|row| Some(&*row?.body)).collect();
    let mut outcomes: HashMap<RunKey, Taken> = HashMap::with_capacity(turns.len());
    let delivered: Vec<(RunKey, i64)> = turns
        .iter()
        .flat_map(|turn| turn.delivered.iter().map(|sequence| (turn.run, sequence.cast_signed())))
        .collect();
    let (messages_of, messages): (Vec<RunKey>, Vec<i64>) = delivered.into_iter().unzip();
    let taken = TURNS
        .query(
            session,
            args![
                INT8_ARRAY: runs, INT8_ARRAY: generations, INT8_ARRAY: owners, INT8_ARRAY: epochs, INT8_ARRAY: indexes,
                BYTEA_ARRAY: numbers, INT4_ARRAY: formats, INT4_ARRAY: checksums, BYTEA_ARRAY: bodies,
                TEXT_ARRAY: changes.statuses, INT8_ARRAY: changes.wakes, INT8_ARRAY: changes.starts, INT8_ARRAY: changes.ends,
                TEXT_ARRAY: changes.stuck,
                INT8_ARRAY: messages_of, INT8_ARRAY: messages, BOOL: tied,
                TEXT: session.db.options.schema, TEXT: &*ours.tag, TEXT_ARRAY: changes.refused,
                INT8_ARRAY: changes.errors.failing_since, TEXT_ARRAY: changes.errors.classes, TEXT_ARRAY: changes.errors.texts,
            ],
            sent,
        )
        .await?;
    for row in &taken {
        let outcome = match (get(row, 1)?, get(row, 2)?) {
            (true, _) => Taken::Written {
                awaited: get(row, 3)?,
                followed: get(row, 4)?,
                traced: get(row, 5)?,
                concerns_others: get(row, 7)?,
            },
            (false, true) if !tied => Taken::Tied,
            (false, _) => Taken::Refused,
        };
        outcomes.insert(get(row, 0)?, outcome);
    }
    // Inside a transaction the turns may still be rolled back.
    if let (Some(row), false) = (taken.first(), tied) {
        let verified =
            turns.iter().filter(|turn| !self::is_end(turn)).filter_map(|turn| match outcomes.get(&turn.run) {
                Some(Taken::Written { traced: false, concerns_others, .. }) => Place::after(turn, *concerns_others),
                _ => None,
            });
        ours.verified.verify(looked_up, get(row, 6)?, verified);
    }
    settled(session, turns, outcomes).await
}

/// The outcome of each turn, after a check whether the turns that were not written now had been written before.
async fn settled(session: &Session<'_>, turns: &[&Turn], mut outcomes: HashMap<RunKey, Taken>) -> Result<Vec<Taken>> {
    let refused: Vec<&Turn> = turns
        .iter()
        .copied()
        .filter(|turn| turn.row.is_some() && !matches!(outcomes.get(&turn.run), Some(Taken::Written { .. })))
        .collect();
    if !refused.is_empty() {
        before(session, &refused, &mut outcomes).await?;
    }
    Ok(turns.iter().map(|turn| outcomes.get(&turn.run).copied().unwrap_or(Taken::Refused)).collect())
}

/// Finds turns that were written before.
async fn before(session: &Session<'_>, turns: &[&Turn], outcomes: &mut HashMap<RunKey, Taken>) -> Result<()> {
    let runs: Vec<RunKey> = turns.iter().map(|turn| turn.run).collect();
    let generations: Vec<i64> = turns.iter().map(|turn| turn.generation.cast_signed()).collect();
    let index = |turn: &&Turn| turn.row.as_ref().map(|row| row.index.cast_signed());
    let indexes: Vec<Option<i64>> = turns.iter().map(index).collect();
    let there = session.query(THERE, args![INT8_ARRAY: runs, INT8_ARRAY: generations, INT8_ARRAY: indexes]).await?;
    for row in &there {
        let (run, number): (RunKey, u128) = (get(row, 0)?, id(row, 1)?);
        let sent = turns.iter().find(|turn| turn.run == run).and_then(|turn| turn.row.as_ref());
        let same = sent.is_some_and(|sent| sent.turn == number);
        outcomes.insert(run, if same { Taken::Before } else { Taken::Refused });
    }
    Ok(())
}

/// Whether a run with this status has ended for the callers that wait for it.
pub(super) fn ends(status: Status) -> bool {
    status.is_terminal() || status == Status::Stuck
}
