//! The pages in which journals are read: few rows first, then as many as fit into the memory that a page may use.

use crate::error::Result;
use crate::limits::{JOURNAL_FIRST_PAGE_ROWS, JOURNAL_PAGE_BYTES, JOURNAL_PAGE_ROWS};
use crate::store::{JournalRow, RunKey, Store};

/// How many rows the next page has.
#[derive(Clone)]
pub struct PageSize {
    pub rows: usize,
    most: usize,
}

impl PageSize {
    pub fn new(first: usize, most: usize) -> Self {
        PageSize { rows: first, most }
    }

    /// Estimates the rows of the next page from the size of these.
    pub fn follow(&mut self, rows: &[JournalRow]) {
        let bytes: usize = rows.iter().map(|row| row.body.len()).sum();
        self.rows = (JOURNAL_PAGE_BYTES * rows.len().max(1) / bytes.max(1)).clamp(1, self.most);
    }
}

impl Default for PageSize {
    fn default() -> Self {
        PageSize::new(JOURNAL_FIRST_PAGE_ROWS, JOURNAL_PAGE_ROWS)
    }
}

/// The pages of the journal of one generation.
#[derive(Clone)]
pub struct Pages {
    run: RunKey,
    generation: u64,
    next: u64,
    size: PageSize,
    ended: bool,
    /// The first page, if it was read before.
    first: Option<Vec<JournalRow>>,
}

impl Pages {
    pub fn of(run: RunKey, generation: u64) -> Self {
        Pages::after(run, generation, None)
    }

    /// The same; the first page may have been read, with [`JOURNAL_FIRST_PAGE_ROWS`].
    pub fn after(run: RunKey, generation: u64, first: Option<Vec<JournalRow>>) -> Self {
        Pages { run, generation, next: 0, size: PageSize::default(), ended: false, first }
    }

    /// Whether the last page was read.
    pub fn have_ended(&self) -> bool {
        self.ended
    }

    /// Reads the next page; `None` after the last row.
    pub async fn next(&mut self, store: &dyn Store) -> Result<Option<Vec<JournalRow>>> {
        if self.ended {
            return Ok(None);
        }
        let rows = match self.first.take() {
            Some(rows) => rows,
            None => store.journal(self.run, self.generation, self.next, self.size.rows).await?,
        };
        self.ended = rows.len() < self.size.rows;
        self.size.follow(&rows);
        let Some(last) = rows.last() else { return Ok(None) };
        self.next = last.index + 1;
        Ok(Some(rows))
    }
}
