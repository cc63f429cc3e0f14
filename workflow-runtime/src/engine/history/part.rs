//! Parts of a history: from any turn on, without reading what is before it.

use std::collections::VecDeque;

use super::super::inner::Inner;
use crate::engine::parts::pages::PageSize;
use crate::error::Result;
use crate::history::{HistoryReader, RunEvent};
use crate::keys::{self, KeyBase};
use crate::limits::JOURNAL_FIRST_PAGE_ROWS;
use crate::replay::{Command, Event, TurnRecord};
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

    /// The idempotency key of a step, from the journal of its generation. `None` if there is no such step, or if the journal
    /// does not say it: for a step that a fork has inherited.
    pub(crate) async fn step_key(&self, id: &str, run: RunKey, generation: u64, op: u64) -> Result<Option<String>> {
        let (mut row, mut base, mut before) = (0, None, None);
        loop {
            let rows = self.store.journal(run, generation, row, PAGE_ROWS_MAX).await?;
            let Some(last) = rows.last() else { break };
            row = last.index + 1;
            for row in &rows {
                for delivery in TurnRecord::decode(row.format, row.checksum, &row.body)?.deliveries {
                    if let Event::Reopened { reopening, .. } = &delivery.event {
                        if before.is_some() {
                            // The steps of a run that was retried keep the keys of the generation that began it.
                            let KeyBase { generation, .. } = reopening.base;
                            let kept = KeyBase { generation, unwindings: 0 };
                            return Ok(reopening.source.is_none().then(|| keys::operation(id, kept, op)));
                        }
                        base = Some(reopening.base);
                    }
                    for command in &delivery.commands {
                        match command {
                            Command::Step { op: this, key, .. } if *this == op => match key.or(base) {
                                Some(base) => return Ok(Some(keys::operation(id, base, op))),
                                None => before = Some(()),
                            },
                            _ => {}
                        }
                    }
                }
            }
        }
        Ok(before.map(|()| keys::operation(id, KeyBase { generation, unwindings: 0 }, op)))
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
