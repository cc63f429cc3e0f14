//! Simple writes that follow each other in a group: their rows are inserted many to a statement, since to begin a statement
//! costs as much as to insert a row.
//!
//! A simple write changes nothing but the rows of its own run, and no two of a batch concern the same run: the order of their
//! statements makes no difference.

use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, Result, Statement};

use super::creates::{insert_runs, not_created};
use super::heads::Head;
use super::writes::Group;
use crate::failpoint::hit;
use crate::store::{Answer, CreateAnswer, Fence, First, JournalRow, NewRun, RunKey, Turn, Write};

/// The most writes of a batch.
const BATCH_MAX: usize = 64;

/// The numbers of rows for which there is a statement.
const ROWS: [usize; 3] = [16, 4, 1];

/// Statements that insert many rows. None of them can fail half way, because of a constraint or of the type of a parameter: SQLite
/// would copy each page that such a statement changes, and most copies into a temporary file.
pub(super) struct Inserts([String; ROWS.len()]);

impl Inserts {
    /// `begin` is the statement without its rows, each of which is `row`.
    pub(super) fn new(begin: &str, row: &str) -> Self {
        Inserts(ROWS.map(|rows| format!("{begin} VALUES {}", vec![row; rows].join(", "))))
    }

    /// Inserts all rows: calls `insert` with a statement for each part, and the rows of that part.
    pub(super) fn each_part<T>(
        &self,
        connection: &Connection,
        mut rows: &[T],
        mut insert: impl FnMut(&mut Statement<'_>, &[T]) -> Result<()>,
    ) -> Result<()> {
        for (sql, size) in self.0.iter().zip(ROWS) {
            if rows.len() < size {
                continue;
            }
            let mut statement = connection.prepare_cached(sql)?;
            while let Some((part, rest)) = rows.split_at_checked(size) {
                insert(&mut statement, part)?;
                rows = rest;
            }
        }
        Ok(())
    }
}

static APPENDS: LazyLock<Inserts> = LazyLock::new(|| {
    let begin = "INSERT OR IGNORE INTO journal (run, generation, idx, turn, format, checksum, body)";
    Inserts::new(begin, "(?, ?, ?, ?, ?, ?, ?)")
});

/// A row at the cached head of its run, and whether it was appended.
struct NewRow<'w> {
    /// The number of its write in the batch.
    of: usize,
    run: RunKey,
    head: Head,
    row: &'w JournalRow,
    is_appended: bool,
}

impl NewRow<'_> {
    fn bind(&self, statement: &mut Statement<'_>, before: usize) -> Result<()> {
        let NewRow { run, head, row, .. } = self;
        statement.raw_bind_parameter(before + 1, run)?;
        statement.raw_bind_parameter(before + 2, head.generation.cast_signed())?;
        statement.raw_bind_parameter(before + 3, head.next.cast_signed())?;
        statement.raw_bind_parameter(before + 4, row.turn.to_be_bytes())?;
        statement.raw_bind_parameter(before + 5, row.format)?;
        statement.raw_bind_parameter(before + 6, row.checksum)?;
        statement.raw_bind_parameter(before + 7, &*row.body)
    }

    /// Whether the row is one of those that were added after the row `last` of the table.
    fn is_after(&self, connection: &Connection, last: i64) -> Result<bool> {
        let sql = "SELECT rowid > ?4 FROM journal WHERE run = ?1 AND generation = ?2 AND idx = ?3";
        let (generation, index) = (self.head.generation.cast_signed(), self.head.next.cast_signed());
        let found = connection.prepare_cached(sql)?.query_row((self.run, generation, index, last), |row| row.get(0));
        found.optional().map(Option::unwrap_or_default)
    }
}

/// Appends the rows. The index of the table still refuses a second row at the same index.
fn append(connection: &Connection, rows: &mut [NewRow<'_>]) -> Result<()> {
    let mut refused = Vec::new();
    let mut from = 0;
    APPENDS.each_part(connection, rows, |statement, part| {
        for (number, row) in part.iter().enumerate() {
            row.bind(statement, number * 7)?;
        }
        let appended = statement.raw_execute()?;
        if appended < part.len() {
            let last = connection.last_insert_rowid() - i64::try_from(appended).unwrap_or_default();
            for (number, row) in part.iter().enumerate() {
                if appended == 0 || !row.is_after(connection, last)? {
                    refused.push(from + number);
                }
            }
        }
        from += part.len();
        Ok(())
    })?;
    rows.iter_mut().for_each(|row| row.is_appended = true);
    for number in refused {
        if let Some(row) = rows.get_mut(number) {
            row.is_appended = false;
        }
    }
    Ok(())
}

/// A run whose first turn changes no other rows.
fn simple_create(write: &Write) -> Option<(&NewRun, u64, &JournalRow)> {
    match write {
        Write::Create(new) if new.effects.is_none() && new.chunks.is_empty() => match &new.first {
            First::Turn { owner, row, .. } if row.index == 0 => Some((new, *owner, row)),
            _ => None,
        },
        _ => None,
    }
}

/// A turn that appends a row, and changes no rows of other runs.
fn simple_turn(write: &Write) -> Option<(&Turn, Head, &JournalRow)> {
    match write {
        Write::Turn(turn)
            if turn.effects.is_none()
                && turn.returned.is_empty()
                && turn.chunks.is_empty()
                && turn.settles.is_empty() =>
        {
            let row = turn.row.as_ref()?;
            Some((turn, Head { fence: turn.fence, generation: turn.generation, next: row.index }, row))
        }
        _ => None,
    }
}

impl Group<'_> {
    /// Applies the writes of the group.
    pub(super) fn apply_all(&mut self, group: &[Write]) -> Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(group.len());
        let mut rest = group;
        while let [first, ..] = rest {
            let (batch, others) = rest.split_at(self.batch_len(rest).max(1));
            if batch.len() == 1 {
                answers.push(self.apply(first)?);
                hit("sqlite: after a write, before the commit");
            } else {
                self.apply_batch(batch, &mut answers)?;
            }
            rest = others;
        }
        Ok(answers)
    }

    /// How many simple writes are next, of different runs; a turn of a run whose head is not cached is not simple.
    fn batch_len(&self, writes: &[Write]) -> usize {
        let mut turns = Vec::new();
        let is_next = |write: &&Write| match simple_turn(write) {
            Some((turn, head, _)) if self.heads.is_at(turn.run, head) && !turns.contains(&turn.run) => {
                turns.push(turn.run);
                true
            }
            Some(_) => false,
            None => simple_create(write).is_some(),
        };
        writes.iter().take(BATCH_MAX).take_while(is_next).count()
    }

    fn apply_batch(&mut self, batch: &[Write], answers: &mut Vec<Answer>) -> Result<()> {
        let new: Vec<_> = batch.iter().filter_map(simple_create).map(|(new, ..)| new).collect();
        let mut created = insert_runs(self.connection, &new)?.into_iter();
        let mut rows = Vec::with_capacity(batch.len());
        for (write, of) in batch.iter().zip(0..) {
            if let Some((turn, head, row)) = simple_turn(write) {
                rows.push(NewRow { of, run: turn.run, head, row, is_appended: false });
            } else if let Some((_, owner, row)) = simple_create(write)
                && let Some(run) = created.next().flatten()
            {
                let head = Head { fence: Fence { owner, epoch: 1 }, generation: 0, next: 0 };
                rows.push(NewRow { of, run, head, row, is_appended: false });
            }
        }
        append(self.connection, &mut rows)?;
        let mut rows = rows.into_iter().peekable();
        for (write, of) in batch.iter().zip(0..) {
            let row = rows.next_if(|row| row.of == of);
            let answer = match (write, row) {
                (Write::Turn(turn), Some(row)) if row.is_appended => self.turn_appended(turn, row.head)?.into(),
                (Write::Turn(turn), Some(row)) => self.turn_not_appended(turn, row.row)?.into(),
                (Write::Create(new), Some(row)) => {
                    if let First::Turn { change, .. } = &new.first {
                        self.heads.appended(row.run, row.head, Some(change));
                    }
                    CreateAnswer::Created(row.run).into()
                }
                (Write::Create(new), None) => not_created(self.connection, new)?.into(),
                (write, _) => self.apply(write)?,
            };
            answers.push(answer);
            hit("sqlite: after a write, before the commit");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::creates::CREATE_HERE;
    use crate::store::sqlite::heads::Heads;
    use crate::store::sqlite::{Synchronous, claims, open};
    use crate::store::{RowChange, Status, TurnAnswer};

    const OWNER: u64 = 7;

    fn row(index: u64, turn: u128) -> JournalRow {
        JournalRow { index, turn, format: 1, checksum: 0, body: Vec::new().into() }
    }

    fn create(id: &str, token: u128, owner: u64) -> Write {
        let change = RowChange {
            status: Status::Running,
            wake_at: Some(0),
            started_at: Some(1),
            completed_at: None,
            stuck: None,
            error: None,
            refused_by: None,
        };
        Write::Create(NewRun {
            id: id.into(),
            workflow: "w".into(),
            fingerprint: "f".into(),
            args_digest: [0; 32],
            created_at: 1,
            token,
            required_deployment: None,
            depth: 0,
            effects: None,
            chunks: Vec::new(),
            first: First::Turn { owner, row: row(0, token), change },
        })
    }

    fn turn(run: RunKey, index: u64, turn: u128) -> Write {
        Write::Turn(Turn {
            run,
            generation: 0,
            fence: Fence { owner: OWNER, epoch: 1 },
            row: Some(row(index, turn)),
            change: None,
            effects: None,
            delivered: Vec::new(),
            unread: Vec::new(),
            returned: Vec::new(),
            chunks: Vec::new(),
            settles: Vec::new(),
        })
    }

    /// A database whose executing engine is [`OWNER`].
    fn database(directory: &tempfile::TempDir) -> Connection {
        let opening = open::Opening::new(Synchronous::Full, std::time::Duration::ZERO);
        let (_, connection) = open::open(&directory.path().join("runs.db"), opening).unwrap();
        claims::adopt(&connection, OWNER).unwrap();
        connection
    }

    fn created(answer: &Answer) -> Option<RunKey> {
        match answer {
            Answer::Create(CreateAnswer::Created(key)) => Some(*key),
            _ => None,
        }
    }

    #[test]
    fn each_write_of_a_batch_has_the_answer_that_it_has_alone() {
        let directory = tempfile::TempDir::new().unwrap();
        let (connection, mut heads) = (database(&directory), Heads::default());
        let mut group = Group::new(&connection, &mut heads).unwrap();
        let mut writes: Vec<_> = (0..70).map(|n| create(&format!("run {n}"), n, OWNER)).collect();
        writes[1] = create("run 0", 1_000, OWNER);
        writes[2] = create("run 0", 0, OWNER);
        writes[3] = create("run 3", 3, OWNER + 1);
        writes[4] = create("run 4", 4, OWNER + 1);
        writes[5] = create("run 4", 5, OWNER);
        let answers = group.apply_all(&writes).unwrap();
        let keys: Vec<_> = answers.iter().filter_map(created).collect();
        assert!(matches!(&answers[1], Answer::Create(CreateAnswer::Exists(row)) if *row.id == *"run 0"));
        assert_eq!(created(&answers[2]), created(&answers[0]), "the same start, sent again");
        assert_eq!(answers[3], Answer::Create(CreateAnswer::Fenced));
        assert!(created(&answers[4]).is_none() && created(&answers[5]).is_some(), "the second one is inserted");
        assert_eq!(keys.len(), 67);

        let sql = "SELECT count(*) FROM journal JOIN runs ON key = run WHERE turn = token";
        let rows: u32 = connection.query_row(sql, (), |row| row.get(0)).unwrap();
        assert_eq!(rows, 66, "each run has its first row");

        let after: Vec<_> = keys[2..].iter().map(|key| turn(*key, 1, 5)).collect();
        let answers = group.apply_all(&after).unwrap();
        assert!(answers.iter().all(|answer| *answer == Answer::Turn(TurnAnswer::Committed)));
        // Two turns of one run take effect in their order.
        let both = [turn(keys[5], 2, 6), turn(keys[6], 2, 6), turn(keys[5], 3, 7)];
        let answers = group.apply_all(&both).unwrap();
        assert!(answers.iter().all(|answer| *answer == Answer::Turn(TurnAnswer::Committed)));
        let rows: u32 = connection.query_row("SELECT count(*) FROM journal", (), |row| row.get(0)).unwrap();
        assert_eq!(rows, 66 + 65 + 3);
    }

    #[test]
    fn sqlite_copies_no_pages_for_the_statements_of_many_rows() {
        let directory = tempfile::TempDir::new().unwrap();
        let connection = database(&directory);
        for sql in APPENDS.0.iter().chain(&CREATE_HERE.0) {
            let mut explained = connection.prepare(&format!("EXPLAIN {sql}")).unwrap();
            let program = explained.raw_query().mapped(|row| Ok((row.get("opcode")?, row.get("p1")?)));
            let program: Vec<(String, i64)> = program.collect::<Result<_>>().unwrap();
            let fails = |(code, p1): &(String, i64)| *code == "MustBeInt" || (*code == "Halt" && *p1 != 0);
            assert!(!program.iter().any(fails), "{sql}\n{program:?}");
        }
    }

    #[test]
    fn a_row_whose_place_is_taken_refuses_its_own_write_only() {
        let directory = tempfile::TempDir::new().unwrap();
        let (connection, mut heads) = (database(&directory), Heads::default());
        let writes: Vec<_> = (0..6).map(|n| create(&format!("run {n}"), n, OWNER)).collect();
        let answers = Group::new(&connection, &mut heads).unwrap().apply_all(&writes).unwrap();
        let keys: Vec<_> = answers.iter().filter_map(created).collect();
        // The cache lacks rows that are there.
        for (key, there) in [(keys[1], 8), (keys[4], 5)] {
            let sql = "INSERT INTO journal (run, generation, idx, turn, format, checksum, body)
                VALUES (?1, 0, 1, ?2, 1, 0, x'')";
            connection.execute(sql, (key, u128::to_be_bytes(there))).unwrap();
        }
        let turns: Vec<_> = keys.iter().map(|key| turn(*key, 1, 5)).collect();
        let answers = Group::new(&connection, &mut heads).unwrap().apply_all(&turns).unwrap();
        for (number, answer) in answers.iter().enumerate() {
            let expected = if number == 1 { TurnAnswer::Fenced } else { TurnAnswer::Committed };
            assert_eq!(*answer, Answer::Turn(expected), "write {number}");
        }
        let head = |key| Head { fence: Fence { owner: OWNER, epoch: 1 }, generation: 0, next: key };
        assert!(heads.is_at(keys[0], head(2)));
        assert!(!heads.is_at(keys[1], head(2)) && !heads.is_at(keys[4], head(2)), "their heads are read again");
    }
}
