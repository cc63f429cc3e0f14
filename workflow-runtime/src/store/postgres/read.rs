//! Reads rows of the tables.

use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::db::{Db, Plain, Session, Text, args};
use super::fault::{Fault, Result};
use crate::error::Error;
use crate::model::Status;
use crate::store::{About, Fence, InboxRow, JournalRow, NEVER, RowError, RunKey, RunRow};

/// The columns to select for a run. `recoveries` counts only while the journal has not grown since it was last raised.
macro_rules! run_columns {
    () => {
        "runs.key, runs.id, workflow, fingerprint, args_digest, runs.generation, status, owner, epoch, wake_at, inbox_seq,
         CASE WHEN recoveries = 0 THEN 0
              WHEN recovered_generation = runs.generation AND recovered_idx = coalesce((
                  SELECT max(idx) FROM @journal AS journal WHERE run = runs.key AND journal.generation = runs.generation
              ), -1) THEN recoveries
              ELSE 0 END,
         runs.created_at, started_at, completed_at, stuck, parent,
         coalesce(first_generation, 0), coalesce(first_event, 0), coalesce(continuations, 0), depth,
         refused_by, required_deployment, failing_since, error_class, error_text"
    };
}
pub(super) use run_columns;

const RUN: &str = concat!("SELECT ", run_columns!(), " FROM @runs AS runs WHERE id = $1");

const CONTINUED: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM @runs AS runs WHERE continuations IS NOT NULL AND (continuations, key) > ($1, $2)
     ORDER BY continuations, key LIMIT $3"
);

const JOURNAL: &str = "
SELECT idx, turn, format, checksum, body FROM @journal
WHERE run = $1 AND generation = $2 AND idx >= $3 ORDER BY idx LIMIT $4";

/// The limit is for each journal.
const JOURNALS: &str = "
SELECT idx, turn, format, checksum, body, place FROM unnest((SELECT $1), $2) WITH ORDINALITY AS t (run, generation, place),
LATERAL (
    SELECT idx, turn, format, checksum, body FROM @journal AS journal
    WHERE journal.run = t.run AND journal.generation = t.generation ORDER BY idx LIMIT $3
) AS rows ORDER BY place, idx";

const LAST: &str = "
SELECT idx, turn, format, checksum, body FROM @journal
WHERE run = $1 AND generation = $2 ORDER BY idx DESC LIMIT 1";

/// One statement, so that `inbox_seq` and the messages are of the same moment.
const INBOX: &str = "
SELECT inbox_seq, sequence, arrived_at, format, checksum, body, about, unread, inbox.generation
FROM @runs AS runs LEFT JOIN @inbox AS inbox ON inbox.run = runs.key WHERE runs.key = $1 ORDER BY sequence";

/// Reads a column, or returns the error in it.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T> {
    row.try_get(column).map_err(|error| {
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        let name = row.columns().get(column).map_or("?", |column| column.name());
        Fault::Damaged(format!("the column {name}: {cause}"))
    })
}

pub(super) fn number(row: &Row, column: usize) -> Result<u64> {
    get(row, column).map(i64::cast_unsigned)
}

pub(super) fn numbers(row: &Row, column: usize) -> Result<Option<u64>> {
    get::<Option<i64>>(row, column).map(|number| number.map(i64::cast_unsigned))
}

pub(super) fn small(row: &Row, column: usize) -> Result<u32> {
    get(row, column).map(i32::cast_unsigned)
}

pub(super) fn text(row: &Row, column: usize) -> Result<Arc<str>> {
    get::<Plain>(row, column).map(|text| text.0)
}

pub(super) fn texts(row: &Row, column: usize) -> Result<Option<Arc<str>>> {
    get::<Option<Plain>>(row, column).map(|text| text.map(|text| text.0))
}

pub(super) fn body(row: &Row, column: usize) -> Result<Arc<[u8]>> {
    get::<&[u8]>(row, column).map(Arc::from)
}

pub(super) fn id(row: &Row, column: usize) -> Result<u128> {
    let bytes: &[u8] = get(row, column)?;
    let bytes = bytes.try_into().map_err(|_| Fault::Damaged(format!("a number of {} bytes", bytes.len())))?;
    Ok(u128::from_be_bytes(bytes))
}

pub(super) fn status(row: &Row, column: usize) -> Result<Status> {
    let word: &str = get(row, column)?;
    Status::parse(word).ok_or_else(|| Fault::Damaged(format!("a run has the status {word:?}")))
}

pub(super) fn run_row(row: &Row) -> Result<RunRow> {
    let digest: &[u8] = get(row, 4)?;
    Ok(RunRow {
        key: get(row, 0)?,
        id: text(row, 1)?,
        workflow: text(row, 2)?,
        fingerprint: text(row, 3)?,
        args_digest: digest
            .try_into()
            .map_err(|_| Fault::Damaged(format!("a digest of arguments has {} bytes", digest.len())))?,
        generation: number(row, 5)?,
        status: status(row, 6)?,
        fence: Fence { owner: number(row, 7)?, epoch: number(row, 8)? },
        wake_at: numbers(row, 9)?,
        inbox_seq: number(row, 10)?,
        recoveries: small(row, 11)?,
        created_at: number(row, 12)?,
        started_at: numbers(row, 13)?,
        completed_at: numbers(row, 14)?,
        stuck: texts(row, 15)?,
        parent: texts(row, 16)?,
        first_generation: number(row, 17)?,
        first_event: number(row, 18)?,
        continuations: number(row, 19)?,
        depth: small(row, 20)?,
        refused_by: texts(row, 21)?,
        required_deployment: texts(row, 22)?,
        error: row_error(row)?,
    })
}

fn row_error(row: &Row) -> Result<Option<RowError>> {
    let Some(class) = texts(row, 24)? else { return Ok(None) };
    Ok(Some(RowError { failing_since: numbers(row, 23)?, class, text: texts(row, 25)?.unwrap_or_default() }))
}

fn journal_row(row: &Row) -> Result<JournalRow> {
    Ok(JournalRow {
        index: number(row, 0)?,
        turn: id(row, 1)?,
        format: small(row, 2)?,
        checksum: small(row, 3)?,
        body: body(row, 4)?,
    })
}

fn inbox_row(row: &Row) -> Result<InboxRow> {
    let about = texts(row, 6)?;
    let about =
        about.map(|text| About::parse(&text).ok_or_else(|| Fault::Damaged(format!("a message is about {text:?}"))));
    Ok(InboxRow {
        sequence: number(row, 1)?,
        arrived_at: number(row, 2)?,
        format: small(row, 3)?,
        checksum: small(row, 4)?,
        body: body(row, 5)?,
        about: about.transpose()?,
        unread: get(row, 7)?,
        generation: number(row, 8)?,
    })
}

impl Db {
    /// Reads rows, and converts each with `row`.
    pub async fn rows<T>(
        &self,
        what: &str,
        sql: &'static str,
        args: &[super::db::Arg<'_>],
        row: impl FnMut(&Row) -> Result<T>,
    ) -> Result<Vec<T>, Error> {
        let rows = self.read(what, sql, args).await?;
        rows.iter().map(row).collect::<Result<_>>().map_err(|fault| self.explain(fault, what))
    }
}

pub(super) async fn run(db: &Db, id: &str) -> Result<Option<RunRow>, Error> {
    Ok(db.rows("read a run", RUN, args![TEXT: Text(id)], run_row).await?.pop())
}

/// Returns runs that have continued as new at least `least` times since the first generation that is kept.
pub(super) async fn continued(
    db: &Db,
    least: u64,
    after: Option<(u64, RunKey)>,
    limit: usize,
) -> Result<Vec<RunRow>, Error> {
    let (least, behind) = after.unwrap_or((least.max(1), RunKey::MIN));
    let least = i64::try_from(least).unwrap_or(i64::MAX);
    db.rows("read runs", CONTINUED, args![INT8: least, INT8: behind, INT8: rows(limit)], run_row).await
}

/// Reads a run inside a transaction.
pub(super) async fn run_in(session: &Session<'_>, id: &str) -> Result<Option<RunRow>> {
    session.query_opt(RUN, args![TEXT: Text(id)]).await?.as_ref().map(run_row).transpose()
}

pub(super) async fn journal(
    db: &Db,
    run: RunKey,
    generation: u64,
    from: u64,
    limit: usize,
) -> Result<Vec<JournalRow>, Error> {
    let (generation, from) = (generation.cast_signed(), from.min(i64::MAX as u64).cast_signed());
    db.rows("read a journal", JOURNAL, args![INT8: run, INT8: generation, INT8: from, INT8: rows(limit)], journal_row)
        .await
}

pub(super) async fn journals(db: &Db, runs: &[(RunKey, u64)], limit: usize) -> Result<Vec<Vec<JournalRow>>, Error> {
    let (keys, generations): (Vec<RunKey>, Vec<i64>) =
        runs.iter().map(|(run, generation)| (*run, generation.cast_signed())).unzip();
    let mut journals = vec![Vec::new(); runs.len()];
    let limit = rows(limit);
    let args = args![INT8_ARRAY: keys, INT8_ARRAY: generations, INT8: limit];
    let read = db.rows("read journals", JOURNALS, args, |row| Ok((number(row, 5)?, journal_row(row)?))).await?;
    for (place, row) in read {
        if let Some(journal) = usize::try_from(place - 1).ok().and_then(|place| journals.get_mut(place)) {
            journal.push(row);
        }
    }
    Ok(journals)
}

pub(super) async fn last(db: &Db, run: RunKey, generation: u64) -> Result<Option<JournalRow>, Error> {
    Ok(db.rows("read a journal", LAST, args![INT8: run, INT8: generation.cast_signed()], journal_row).await?.pop())
}

pub(super) async fn last_in(session: &Session<'_>, run: RunKey, generation: u64) -> Result<Option<JournalRow>> {
    session
        .query_opt(LAST, args![INT8: run, INT8: generation.cast_signed()])
        .await?
        .as_ref()
        .map(journal_row)
        .transpose()
}

pub(super) async fn inbox(db: &Db, run: RunKey) -> Result<(u64, Vec<InboxRow>), Error> {
    let mut inbox_seq = 0;
    let messages = db
        .rows("read an inbox", INBOX, args![INT8: run], |row| {
            inbox_seq = number(row, 0)?;
            numbers(row, 1)?.map(|_| inbox_row(row)).transpose()
        })
        .await?;
    Ok((inbox_seq, messages.into_iter().flatten().collect()))
}

/// A number of rows, in the type of the database.
pub(super) fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A time as it is stored, in milliseconds since 1970.
pub(super) fn time(time: u64) -> i64 {
    time.min(NEVER).cast_signed()
}
