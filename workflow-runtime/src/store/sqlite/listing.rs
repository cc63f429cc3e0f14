//! Queries for runs.
//!
//! A filter maps to one or several ranges of an index, each in the order of creation; conditions that the index does not
//! cover are checked row by row. Without a workflow in the filter there is a range for each workflow: an index that starts
//! with the status would cost every run more than it would save the queries. A page thus costs as much as it contains,
//! unless the filter has a text in ids or a second attribute that few runs match.

use std::collections::BinaryHeap;

use rusqlite::types::Value;
use rusqlite::{Connection, Result, params_from_iter};

use super::read;
use crate::model::Status;
use crate::store::{Counts, Filter, Position, RunKey, RunRow};

/// A range of an index, with further conditions.
struct Range {
    sql: String,
    values: Vec<Value>,
    /// The columns with the position of a run in the range.
    at: &'static str,
    key: &'static str,
    /// The status of all of its runs, if they have one.
    status: Option<Status>,
}

impl Range {
    fn new(sql: &str, values: impl IntoIterator<Item = Value>, at: &'static str, key: &'static str) -> Self {
        Range { sql: sql.to_owned(), values: values.into_iter().collect(), at, key, status: None }
    }

    fn and(&mut self, sql: &str, values: impl IntoIterator<Item = Value>) {
        self.sql.push_str(" AND ");
        self.sql.push_str(sql);
        self.values.extend(values);
    }

    fn any(&mut self, column: &str, values: Vec<Value>) {
        let places = vec!["?"; values.len()].join(", ");
        self.and(&format!("{column} IN ({places})"), values);
    }

    /// The positions of the range. Positions of failing runs are not creation times, which are then checked row by row.
    fn positions(&mut self, filter: &Filter, after: Option<Position>) {
        let (at, key) = (self.at, self.key);
        let (before, run) = filter.end(after);
        let begin = if filter.failing { 0 } else { filter.begin() };
        self.and(&format!("{at} >= ? AND ({at}, {key}) < (?, ?)"), [begin, before, run].map(Value::from));
        if filter.failing {
            let times = [filter.begin(), filter.before()].map(Value::from);
            self.and("runs.created_at >= ? AND runs.created_at < ?", times);
        }
    }
}

fn text(text: &str) -> Value {
    Value::from(text.to_owned())
}

/// The ids of all workflows that have runs: skips from each to the next one, past all of its runs.
const WORKFLOWS: &str = "
WITH RECURSIVE there (workflow) AS (
    SELECT min(workflow) FROM runs
    UNION ALL
    SELECT (SELECT min(workflow) FROM runs WHERE workflow > there.workflow) FROM there WHERE there.workflow IS NOT NULL
)
SELECT workflow FROM there WHERE workflow IS NOT NULL";

/// The ranges that together contain the runs of a filter.
fn find_ranges(snapshot: &Connection, filter: &Filter, after: Option<Position>) -> Result<Vec<Range>> {
    let mut every = Vec::new();
    if filter.workflows.is_empty() && filter.attributes.is_empty() && filter.parent.is_none() && !filter.failing {
        let mut statement = snapshot.prepare_cached(WORKFLOWS)?;
        for workflow in statement.query_map((), |row| row.get(0))? {
            every.push(workflow?);
        }
    }
    Ok(ranges(filter, &every, after))
}

/// The same. The parameter `every` is needed only for a filter that names no workflow, no parent and no attribute, and
/// does not select failing runs.
fn ranges(filter: &Filter, every: &[String], after: Option<Position>) -> Vec<Range> {
    let (statuses, workflows) = (filter.each_status(), filter.each_workflow());
    let words = || statuses.iter().map(|status| text(status.as_str()));
    let mut ranges = Vec::new();
    let mut attributes = filter.attributes.iter();
    if filter.failing {
        ranges.push(Range::new(
            "FROM runs INDEXED BY runs_failing WHERE failing_since IS NOT NULL",
            [],
            "runs.failing_since",
            "runs.key",
        ));
    } else if let Some((key, value)) = attributes.next() {
        let sql =
            "FROM attributes AS found CROSS JOIN runs ON runs.key = found.run WHERE found.key = ? AND found.value = ?";
        ranges.push(Range::new(sql, [text(key), text(value)], "found.created_at", "found.run"));
    } else if let Some(parent) = &filter.parent {
        let sql = "FROM runs INDEXED BY runs_children WHERE parent = ?";
        ranges.push(Range::new(sql, [text(parent)], "runs.created_at", "runs.key"));
    } else {
        let sql = "FROM runs INDEXED BY runs_workflows WHERE workflow = ? AND status = ?";
        for workflow in workflows.iter().copied().chain(every.iter().map(String::as_str)) {
            let range = |status: &Status| Range {
                status: Some(*status),
                ..Range::new(sql, [text(workflow), text(status.as_str())], "runs.created_at", "runs.key")
            };
            ranges.extend(statuses.iter().map(range));
        }
    }
    let by_others = filter.failing || !filter.attributes.is_empty() || filter.parent.is_some();
    for range in &mut ranges {
        range.positions(filter, after);
        if by_others && !filter.statuses.is_empty() {
            range.any("status", words().collect());
        }
        if by_others && !workflows.is_empty() {
            range.any("workflow", workflows.iter().map(|workflow| text(workflow)).collect());
        }
        if let Some(parent) = filter.parent.as_ref().filter(|_| filter.failing || !filter.attributes.is_empty()) {
            range.and("parent = ?", [text(parent)]);
        }
        for (key, value) in attributes.clone() {
            let sql = "EXISTS (SELECT 1 FROM attributes WHERE run = runs.key AND attributes.key = ? AND value = ?)";
            range.and(sql, [text(key), text(value)]);
        }
        if let Some(part) = &filter.id_contains {
            range.and("instr(id, ?) > 0", [text(part)]);
        }
    }
    ranges
}

fn list_sql(sql: &str, at: &str, key: &str) -> String {
    format!("SELECT {at}, {key} {sql} ORDER BY {at} DESC, {key} DESC LIMIT ?")
}

fn count_sql(sql: &str) -> String {
    format!("SELECT status, count(*) FROM (SELECT status {sql} LIMIT ?) GROUP BY status")
}

/// Reads in one transaction: otherwise a run whose status changes meanwhile could be listed twice, or not at all.
pub(super) fn list(
    connection: &Connection,
    filter: &Filter,
    after: Option<Position>,
    limit: usize,
) -> Result<Vec<RunRow>> {
    let snapshot = connection.unchecked_transaction()?;
    let rows = i64::try_from(limit).unwrap_or(i64::MAX);
    let ranges = find_ranges(&snapshot, filter, after)?;
    let mut statements = Vec::with_capacity(ranges.len());
    for Range { sql, at, key, .. } in &ranges {
        statements.push(snapshot.prepare_cached(&list_sql(sql, at, key))?);
    }
    let mut merged = Vec::with_capacity(ranges.len());
    for (statement, Range { mut values, .. }) in statements.iter_mut().zip(ranges) {
        values.push(Value::from(rows));
        merged.push(statement.query(params_from_iter(values))?);
    }
    // The next run of each range: no range is read further than the list needs.
    let ranges = merged.len();
    let mut next: BinaryHeap<(i64, RunKey, usize)> = BinaryHeap::with_capacity(merged.len());
    let mut advance = |place: usize, next: &mut BinaryHeap<_>| -> Result<()> {
        if let Some(row) = merged[place].next()? {
            next.push((row.get(0)?, row.get(1)?, place));
        }
        Ok(())
    };
    (0..ranges).try_for_each(|place| advance(place, &mut next))?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some((_, key, place)) = next.pop()
    {
        found.extend(read::run_by_key(&snapshot, key)?);
        advance(place, &mut next)?;
    }
    Ok(found)
}

/// Reads in one transaction, as `list` does.
pub(super) fn counts(connection: &Connection, filter: &Filter, most: usize) -> Result<Counts> {
    let snapshot = connection.unchecked_transaction()?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut counts = Counts::new();
    for Range { sql, mut values, status, .. } in find_ranges(&snapshot, filter, None)? {
        let counted = status.and_then(|status| counts.get(&status)).map_or(0, |counted: &u64| counted.cast_signed());
        values.push(Value::from(most.saturating_sub(counted).max(0)));
        let mut statement = snapshot.prepare_cached(&count_sql(&sql))?;
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            if let Some(status) = Status::parse(row.get_ref(0)?.as_str()?) {
                *counts.entry(status).or_default() += row.get::<_, i64>(1)?.cast_unsigned();
            }
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::schema;

    /// The query plans determine the cost of a page among a million runs.
    #[test]
    fn every_filter_is_ranges_of_an_index_in_their_order() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(schema::TABLES).unwrap();
        check_plans(&connection);
        // Nor does it depend on the statistics that the database has of its rows.
        connection.execute_batch(ROWS).unwrap();
        check_plans(&connection);
    }

    const ROWS: &str = "
        INSERT INTO runs (id, workflow, parent, fingerprint, args_digest, token, created_at, completed_at, failing_since,
            generation, status, owner, epoch, inbox_seq, recoveries)
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
        SELECT 'run ' || i, 'w', 'p', 'f', x'00', x'00', i, i, CASE WHEN i % 2 THEN i END, 0, 'completed', 0, 0, 0, 0 FROM n;
        INSERT INTO attributes (run, key, value, created_at) SELECT key, 'a', 'b', created_at FROM runs;
        ANALYZE;";

    fn check_plans(connection: &Connection) {
        let every = Filter::default();
        let filters = [
            (every.clone(), "runs_workflows (workflow=? AND status=? AND created_at>? AND created_at<?)"),
            (
                Filter { workflows: vec!["w".into()], ..every.clone() },
                "runs_workflows (workflow=? AND status=? AND created_at>?",
            ),
            (Filter { parent: Some("p".into()), ..every.clone() }, "runs_children (parent=? AND created_at>?"),
            (
                Filter { attributes: vec![("a".into(), "b".into()), ("c".into(), "d".into())], ..every.clone() },
                "attributes_found (key=? AND value=? AND created_at>?",
            ),
            (Filter { id_contains: Some("x".into()), ..every.clone() }, "runs_workflows (workflow=? AND status=?"),
            (
                Filter { failing: true, parent: Some("p".into()), workflows: vec!["w".into()], ..every },
                "runs_failing (failing_since>? AND failing_since<?)",
            ),
        ];
        for (filter, index) in filters {
            for Range { sql, at, key, .. } in ranges(&filter, &["w".to_owned()], None) {
                for sql in [list_sql(&sql, at, key), count_sql(&sql)] {
                    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
                    let plan = statement.raw_query().mapped(|row| row.get(3)).collect::<Result<Vec<String>>>().unwrap();
                    assert!(plan.iter().any(|line| line.contains(index)), "{sql}\n{plan:#?}");
                    assert!(!plan.iter().any(|line| line.contains("SCAN runs")), "{sql}\n{plan:#?}");
                    let sorts = |line: &String| line.contains("ORDER BY");
                    assert!(!plan.iter().any(sorts), "{sql}\n{plan:#?}");
                }
            }
        }
    }
}
