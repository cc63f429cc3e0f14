//! The counts of each hour.

use rusqlite::{Connection, Result};

use crate::store::{Figure, HourCount, RecordCounts};

const RECORD: &str = "INSERT INTO counts (hour, figure, runs) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";

const REMOVE: &str = "DELETE FROM counts WHERE hour < ?1";

const READ: &str = "SELECT hour, figure, runs FROM counts WHERE hour >= ?1 ORDER BY hour";

pub(super) fn record(connection: &Connection, record: &RecordCounts) -> Result<()> {
    let mut insert = connection.prepare_cached(RECORD)?;
    for (figure, runs) in &record.counts {
        insert.execute((record.hour.cast_signed(), figure.as_str(), runs.cast_signed()))?;
    }
    connection.prepare_cached(REMOVE)?.execute((record.kept_from.cast_signed(),)).map(drop)
}

/// Leaves out figures that only later builds know.
pub(super) fn read(connection: &Connection, from: u64) -> Result<Vec<HourCount>> {
    let mut statement = connection.prepare_cached(READ)?;
    let mut rows = statement.query((from.cast_signed(),))?;
    let mut counts = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(figure) = Figure::parse(row.get_ref(1)?.as_str()?) {
            let [hour, runs] = [row.get(0)?, row.get(2)?].map(i64::cast_unsigned);
            counts.push(HourCount { hour, figure, runs });
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::schema;

    #[test]
    fn no_statement_scans_the_table() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(schema::COUNTS).unwrap();
        for sql in [REMOVE, READ] {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let plan: Vec<String> = statement.raw_query().mapped(|row| row.get(3)).collect::<Result<_>>().unwrap();
            let walks = |line: &String| line.starts_with("SCAN") || line.contains("TEMP B-TREE");
            assert!(!plan.iter().any(walks), "{sql}\n{plan:#?}");
        }
    }
}
