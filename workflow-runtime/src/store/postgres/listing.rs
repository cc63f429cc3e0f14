//! Lists and counts runs by a filter.
//!
//! A filter selects one or several ranges of an index, each of which is in the order of creation; conditions that the index
//! does not cover are checked row by row. If no workflow is named there is a range for each. So the cost of a page depends
//! on its content, unless the filter has a part of an id or a second attribute that few runs have. All statements take the
//! same values: `$1` statuses, `$2` workflows or nothing, `$3` the parent or nothing, `$4` a part of the id or nothing, `$5`
//! and `$6` attributes, `$7` the earliest creation time, `$8` and `$9` the end of the positions, `$10` how many runs of a list, or of each range of a count, `$11` the end of
//! the creation times.

use tokio_postgres::types::{ToSql, Type};

use super::db::{Db, Text, args};
use super::read::{self, number, run_columns, run_row};
use crate::error::Error;
use crate::store::{Counts, Filter, Position, RunRow};

/// The conditions that are checked in the rows of the runs, with the attributes from this place on.
macro_rules! conditions {
    () => {
        conditions!("2")
    };
    ($from:literal) => {
        concat!(
            "($4 IS NULL OR position($4 in runs.id) > 0) AND (cardinality($5) < ",
            $from,
            " OR NOT EXISTS (
            SELECT 1 FROM unnest($5[",
            $from,
            ":], $6[",
            $from,
            ":]) AS other (key, value) WHERE NOT EXISTS (
                SELECT 1 FROM @attributes AS has WHERE has.run = runs.key AND has.key = other.key AND has.value = other.value
            )
        ))"
        )
    };
}

macro_rules! created {
    ($table:literal, $key:literal) => {
        concat!($table, ".created_at >= $7 AND (", $table, ".created_at, ", $table, ".", $key, ") < ($8, $9)")
    };
}

/// The conditions that an index without the status does not cover.
macro_rules! statuses_and_workflows {
    () => {
        "runs.status = ANY ($1) AND ($2 IS NULL OR runs.workflow = ANY ($2))"
    };
}

/// Only columns of the index, so that the rows themselves are not read.
macro_rules! by_workflow {
    () => {
        concat!(
            "@runs AS runs WHERE runs.workflow = wanted.workflow AND runs.status = wanted.status AND ",
            created!("runs", "key")
        )
    };
}

macro_rules! by_workflow_and_id {
    () => {
        concat!(by_workflow!(), " AND position($4 in runs.id) > 0")
    };
}

macro_rules! by_parent {
    () => {
        concat!(
            "@runs AS runs WHERE runs.parent = $3 AND ",
            created!("runs", "key"),
            " AND ",
            statuses_and_workflows!(),
            " AND ",
            conditions!()
        )
    };
}

macro_rules! by_attribute {
    () => {
        concat!(
            "@attributes AS found JOIN @runs AS runs ON runs.key = found.run
             WHERE found.key = $5[1] AND found.value = $6[1] AND ",
            created!("found", "run"),
            " AND ",
            statuses_and_workflows!(),
            " AND ($3 IS NULL OR runs.parent = $3) AND ",
            conditions!()
        )
    };
}

macro_rules! failing {
    () => {
        concat!(
            "@runs AS runs WHERE runs.failing_since IS NOT NULL AND (runs.failing_since, runs.key) < ($8, $9)
             AND runs.created_at >= $7 AND runs.created_at < $11 AND ",
            statuses_and_workflows!(),
            " AND ($3 IS NULL OR runs.parent = $3) AND ",
            conditions!("1")
        )
    };
}

/// The workflows that have runs. Skips from each to the next one, without scanning its runs.
macro_rules! every_workflow {
    () => {
        "(WITH RECURSIVE hop (workflow) AS (
            (SELECT workflow FROM @runs ORDER BY workflow LIMIT 1)
            UNION ALL
            SELECT (SELECT workflow FROM @runs AS runs WHERE runs.workflow > hop.workflow ORDER BY workflow LIMIT 1)
            FROM hop WHERE hop.workflow IS NOT NULL
        ) SELECT workflow FROM hop WHERE workflow IS NOT NULL) AS there"
    };
}

/// Each wanted status of each existing workflow.
macro_rules! wanted {
    () => {
        ", unnest($1) AS wanted_status (status),
        LATERAL (VALUES (there.workflow, wanted_status.status)) AS wanted (workflow, status)"
    };
}

/// The latest runs of several ranges.
macro_rules! list_ranges {
    ($workflows:expr, $range:expr) => {
        concat!(
            "SELECT ",
            run_columns!(),
            " FROM (
                SELECT at, found_key FROM ",
            $workflows,
            wanted!(),
            ", LATERAL (
                    SELECT runs.created_at AS at, runs.key AS found_key FROM ",
            $range,
            "
                    ORDER BY runs.created_at DESC, runs.key DESC LIMIT $10
                ) AS range ORDER BY at DESC, found_key DESC LIMIT $10
            ) AS found JOIN @runs AS runs ON runs.key = found_key ORDER BY at DESC, found_key DESC"
        )
    };
}

const LIST_ALL: &str = list_ranges!(every_workflow!(), by_workflow!());

const LIST_BY_WORKFLOW: &str = list_ranges!("unnest($2) AS there (workflow)", by_workflow!());

const LIST_ALL_BY_ID: &str = list_ranges!(every_workflow!(), by_workflow_and_id!());

const LIST_BY_WORKFLOW_AND_ID: &str = list_ranges!("unnest($2) AS there (workflow)", by_workflow_and_id!());

const LIST_BY_PARENT: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM ",
    by_parent!(),
    " ORDER BY runs.created_at DESC, runs.key DESC LIMIT $10"
);

const LIST_BY_ATTRIBUTE: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM ",
    by_attribute!(),
    " ORDER BY found.created_at DESC, found.run DESC LIMIT $10"
);

const LIST_FAILING: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM ",
    failing!(),
    " ORDER BY runs.failing_since DESC, runs.key DESC LIMIT $10"
);

/// The ranges of each status, counted one after the other up to the limit: a join with the rows of the runs would scan all of
/// these. The order makes the server read the index: for a few rows in any order it may scan the table.
macro_rules! count_ranges {
    ($workflows:expr, $range:expr) => {
        concat!(
            "SELECT wanted_status.status, (
                SELECT count(*) FROM (
                    SELECT FROM ",
            $workflows,
            ", LATERAL (VALUES (there.workflow, wanted_status.status)) AS wanted (workflow, status), LATERAL (SELECT FROM ",
            $range,
            " ORDER BY runs.created_at DESC, runs.key DESC LIMIT $10) AS range LIMIT $10
                ) AS few
            ) FROM unnest($1) AS wanted_status (status)"
        )
    };
}

macro_rules! count_range {
    ($range:expr, $order:literal) => {
        concat!(
            "SELECT status, count(*) FROM (SELECT runs.status FROM ",
            $range,
            " ORDER BY ",
            $order,
            " LIMIT $10) AS few GROUP BY status"
        )
    };
}

const COUNT_ALL: &str = count_ranges!(every_workflow!(), by_workflow!());

const COUNT_BY_WORKFLOW: &str = count_ranges!("unnest($2) AS there (workflow)", by_workflow!());

const COUNT_ALL_BY_ID: &str = count_ranges!(every_workflow!(), by_workflow_and_id!());

const COUNT_BY_WORKFLOW_AND_ID: &str = count_ranges!("unnest($2) AS there (workflow)", by_workflow_and_id!());

const COUNT_BY_PARENT: &str = count_range!(by_parent!(), "runs.created_at DESC, runs.key DESC");

const COUNT_BY_ATTRIBUTE: &str = count_range!(by_attribute!(), "found.created_at DESC, found.run DESC");

const COUNT_FAILING: &str = count_range!(failing!(), "runs.failing_since DESC, runs.key DESC");

/// Chooses the statement for a filter: by the index that leaves the fewest rows to check.
fn choose(filter: &Filter, statements: [&'static str; 5], by_id: [&'static str; 2]) -> &'static str {
    let ([all, by_workflow, by_parent, by_attribute, failing], [all_by_id, by_workflow_and_id]) = (statements, by_id);
    if filter.failing {
        failing
    } else if !filter.attributes.is_empty() {
        by_attribute
    } else if filter.parent.is_some() {
        by_parent
    } else {
        match (filter.workflows.is_empty(), filter.id_contains.is_some()) {
            (true, false) => all,
            (true, true) => all_by_id,
            (false, false) => by_workflow,
            (false, true) => by_workflow_and_id,
        }
    }
}

/// The values that all statements take.
struct Values<'f> {
    statuses: Vec<&'static str>,
    workflows: Option<Vec<Text<'f>>>,
    parent: Option<Text<'f>>,
    id_contains: Option<Text<'f>>,
    keys: Vec<Text<'f>>,
    values: Vec<Text<'f>>,
    begin: i64,
    end: (i64, i64),
    limit: i64,
    before: i64,
}

impl<'f> Values<'f> {
    fn of(filter: &'f Filter, after: Option<Position>, limit: usize) -> Self {
        let workflows = filter.each_workflow();
        let texts = || workflows.iter().map(|workflow| Text(workflow)).collect();
        Values {
            statuses: filter.each_status().into_iter().map(|status| status.as_str()).collect(),
            workflows: (!workflows.is_empty()).then(texts),
            parent: filter.parent.as_deref().map(Text),
            id_contains: filter.id_contains.as_deref().map(Text),
            keys: filter.attributes.iter().map(|(key, _)| Text(key)).collect(),
            values: filter.attributes.iter().map(|(_, value)| Text(value)).collect(),
            begin: filter.begin(),
            end: filter.end(after),
            limit: read::rows(limit),
            before: filter.before(),
        }
    }

    fn args(&self) -> [(&(dyn ToSql + Sync), Type); 11] {
        let args = args![
            TEXT_ARRAY: self.statuses, TEXT_ARRAY: self.workflows, TEXT: self.parent, TEXT: self.id_contains,
            TEXT_ARRAY: self.keys, TEXT_ARRAY: self.values, INT8: self.begin, INT8: self.end.0, INT8: self.end.1,
            INT8: self.limit, INT8: self.before,
        ];
        std::array::from_fn(|place| args[place].clone())
    }
}

pub(super) async fn list(
    db: &Db,
    filter: &Filter,
    after: Option<Position>,
    limit: usize,
) -> Result<Vec<RunRow>, Error> {
    let by_id = [LIST_ALL_BY_ID, LIST_BY_WORKFLOW_AND_ID];
    let others = [LIST_ALL, LIST_BY_WORKFLOW, LIST_BY_PARENT, LIST_BY_ATTRIBUTE, LIST_FAILING];
    let sql = choose(filter, others, by_id);
    db.rows("list runs", sql, &Values::of(filter, after, limit).args(), run_row).await
}

pub(super) async fn counts(db: &Db, filter: &Filter, most: usize) -> Result<Counts, Error> {
    let by_id = [COUNT_ALL_BY_ID, COUNT_BY_WORKFLOW_AND_ID];
    let others = [COUNT_ALL, COUNT_BY_WORKFLOW, COUNT_BY_PARENT, COUNT_BY_ATTRIBUTE, COUNT_FAILING];
    let sql = choose(filter, others, by_id);
    let count = |row: &_| Ok((read::status(row, 0)?, number(row, 1)?));
    let counts = db.rows("count runs", sql, &Values::of(filter, None, most).args(), count).await?;
    Ok(counts.into_iter().filter(|(_, runs)| *runs > 0).collect())
}
