//! Parts of a history: from any turn on, without reading what is before it.

use std::collections::VecDeque;

use crate::engine::Inner;
use crate::engine::pages::PageSize;
use crate::error::Result;
use crate::history::{HistoryReader, RunEvent};
use crate::limits::JOURNAL_FIRST_PAGE_ROWS;
use crate::replay::TurnRecord;
use crate::store::RunKey;

/// Turns that are read at once, since a reader may want only some; and where one is looked for.
const PAGE_ROWS_MAX: usize = 128;
const NEAR_ROWS: usize = 2;

/// The events of a turn.
pub(crate) struct Turn {
    /// The number of the turn in its generation, from 0.
    pub row: u64,
    pub events: Vec<RunEvent>,
}

/// A position in a generation of a run. Where the index of the first event is not known, the indexes of the events count from
/// any number.
pub(crate) struct Part {
    run: RunKey,
    generation: u64,
    row: u64,
    page: PageSize,
    reader: HistoryReader,
    turns: VecDeque<Turn>,
}

impl Part {
    /// The events of a generation from a turn on, whose first event has this index.
    pub fn new(run: RunKey, generation: u64, row: u64, index: u64) -> Self {
        let reader = HistoryReader::within(generation, index);
        Part {
            run,
            generation,
            row,
            page: PageSize::new(JOURNAL_FIRST_PAGE_ROWS, PAGE_ROWS_MAX),
            reader,
            turns: VecDeque::new(),
        }
    }

    /// Reads few turns at first: one is looked for that is near.
    pub fn near(self) -> Self {
        Part { page: PageSize::new(NEAR_ROWS, PAGE_ROWS_MAX), ..self }
    }
}

impl Inner {
    /// How many turns a generation has.
    pub(crate) async fn turns(&self, run: RunKey, generation: u64) -> Result<u64> {
        Ok(self.store.last(run, generation).await?.map_or(0, |last| last.index + 1))
    }

    /// The next turn of a part, if it is recorded and was not removed.
    pub(crate) async fn next_turn(&self, part: &mut Part) -> Result<Option<Turn>> {
        if part.turns.is_empty() {
            let rows = self.store.journal(part.run, part.generation, part.row, part.page.rows).await?;
            part.page.follow(&rows);
            for row in rows {
                if row.index != part.row {
                    break;
                }
                let turn = TurnRecord::decode(row.format, row.checksum, &row.body)?;
                let mut events = Vec::new();
                for delivery in &turn.deliveries {
                    part.reader.read(delivery, &mut events)?;
                }
                part.turns.push_back(Turn { row: row.index, events });
                part.row += 1;
            }
        }
        Ok(part.turns.pop_front())
    }
}
