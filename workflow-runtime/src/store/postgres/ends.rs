//! The ends of verified runs that concern no other row.

use rustc_hash::FxHashSet;
use tokio_postgres::error::SqlState;

use super::db::{Session, args};
use super::fault::Result;
use super::read::get;
use super::turns::{self, Errors};
use super::verified::Rows;
use crate::store::{RunKey, Turn};

/// Ends those of the runs that no process waits for, that have received no message and that have opened no token. Compares
/// the row as it is under its lock; the previous row of the journal is that of a verified run.
const END: &str = "
WITH ended AS (
    UPDATE @runs AS runs SET status = input.status, wake_at = NULL,
        started_at = coalesce(runs.started_at, input.started_at),
        completed_at = coalesce(runs.completed_at, input.completed_at), stuck = NULL, refused_by = NULL,
        failing_since = input.failing_since, error_class = input.error_class, error_text = input.error_text
    FROM unnest((SELECT $1), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        AS input (run, generation, epoch, idx, turn, format, checksum, body, status, started_at, completed_at, failing_since,
                  error_class, error_text)
    WHERE runs.key = input.run AND runs.owner = $15 AND runs.epoch = input.epoch AND runs.generation = input.generation
        AND runs.inbox_seq = 0 AND NOT (runs.tied OR runs.awaited OR runs.followed OR runs.traced) AND @server() = $16
    RETURNING input.run, input.generation, input.idx, input.turn, input.format, input.checksum, input.body
)
INSERT INTO @journal (run, generation, idx, turn, format, checksum, body)
SELECT run, generation, idx, turn, format, checksum, body FROM ended
RETURNING run";

/// Whether a turn is a row that ends its run, and nothing else.
pub(super) fn is_end(turn: &Turn) -> bool {
    let ends = turn.change.as_ref().is_some_and(|change| {
        change.status.is_terminal() && change.wake_at.is_none() && change.stuck.is_none() && change.refused_by.is_none()
    });
    ends && turn.row.is_some() && turn.delivered.is_empty() && turns::is_plain(turn)
}

/// Ends runs of one owner. Returns those that have ended; the others are unchanged.
pub(super) async fn end(session: &Session<'_>, ends: &Rows<'_>) -> Result<FxHashSet<RunKey>> {
    let all = || ends.turns.iter().filter_map(|(_, turn)| Some((turn, turn.row.as_ref()?, turn.change.as_ref()?)));
    let runs: Vec<RunKey> = all().map(|(turn, ..)| turn.run).collect();
    if runs.is_empty() {
        return Ok(FxHashSet::default());
    }
    let generations: Vec<i64> = all().map(|(turn, ..)| turn.generation.cast_signed()).collect();
    let epochs: Vec<i64> = all().map(|(turn, ..)| turn.fence.epoch.cast_signed()).collect();
    let indexes: Vec<i64> = all().map(|(_, row, _)| row.index.cast_signed()).collect();
    let numbers: Vec<[u8; 16]> = all().map(|(_, row, _)| row.turn.to_be_bytes()).collect();
    let numbers: Vec<&[u8]> = numbers.iter().map(<[u8; 16]>::as_slice).collect();
    let formats: Vec<i32> = all().map(|(_, row, _)| row.format.cast_signed()).collect();
    let checksums: Vec<i32> = all().map(|(_, row, _)| row.checksum.cast_signed()).collect();
    let bodies: Vec<&[u8]> = all().map(|(_, row, _)| &*row.body).collect();
    let statuses: Vec<&str> = all().map(|(.., change)| change.status.as_str()).collect();
    let starts: Vec<Option<i64>> = all().map(|(.., change)| change.started_at.map(u64::cast_signed)).collect();
    let times: Vec<Option<i64>> = all().map(|(.., change)| change.completed_at.map(u64::cast_signed)).collect();
    let errors = Errors::of(all().map(|(.., change)| change.error.as_ref()));
    let ended = session
        .query(
            END,
            args![
                INT8_ARRAY: runs, INT8_ARRAY: generations, INT8_ARRAY: epochs, INT8_ARRAY: indexes, BYTEA_ARRAY: numbers,
                INT4_ARRAY: formats, INT4_ARRAY: checksums, BYTEA_ARRAY: bodies, TEXT_ARRAY: statuses, INT8_ARRAY: starts,
                INT8_ARRAY: times, INT8_ARRAY: errors.failing_since, TEXT_ARRAY: errors.classes,
                TEXT_ARRAY: errors.texts, INT8: ends.owner.cast_signed(), TIMESTAMPTZ: ends.server,
            ],
        )
        .await;
    match ended {
        Ok(rows) => rows.iter().map(|row| get(row, 0)).collect(),
        // A row is there already, as after a commit whose answer was lost.
        Err(fault) if fault.state() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(FxHashSet::default()),
        Err(fault) => Err(fault),
    }
}
