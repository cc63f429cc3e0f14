//! The counts of each hour.

use super::db::{Db, Session, args};
use super::fault::Result;
use super::read::{get, number};
use crate::error::Error;
use crate::store::{Figure, HourCount, RecordCounts};

const RECORD: &str = "
INSERT INTO @counts (hour, figure, runs) SELECT $1, figure, runs FROM unnest($2, $3) AS counted (figure, runs)
ON CONFLICT DO NOTHING";

const REMOVE: &str = "DELETE FROM @counts WHERE hour < $1";

const READ: &str = "SELECT hour, figure, runs FROM @counts WHERE hour >= $1 ORDER BY hour";

/// Each of several workers records an hour in the same order of figures, so that none waits for another in a circle.
pub(super) async fn record(session: &Session<'_>, record: &RecordCounts) -> Result<()> {
    let figures: Vec<&str> = record.counts.iter().map(|(figure, _)| figure.as_str()).collect();
    let runs: Vec<i64> = record.counts.iter().map(|(_, runs)| runs.cast_signed()).collect();
    let hour = record.hour.cast_signed();
    session.query(RECORD, args![INT8: hour, TEXT_ARRAY: figures, INT8_ARRAY: runs]).await?;
    session.query(REMOVE, args![INT8: record.kept_from.cast_signed()]).await.map(drop)
}

/// Leaves out figures that only later builds know.
pub(super) async fn read(db: &Db, from: u64) -> Result<Vec<HourCount>, Error> {
    let count = |row: &_| {
        let figure = Figure::parse(get(row, 1)?);
        let (hour, runs) = (number(row, 0)?, number(row, 2)?);
        Ok(figure.map(|figure| HourCount { hour, figure, runs }))
    };
    let counts = db.rows("read counts", READ, args![INT8: from.cast_signed()], count).await?;
    Ok(counts.into_iter().flatten().collect())
}
