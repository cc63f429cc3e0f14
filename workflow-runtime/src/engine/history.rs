//! Reads the history of a run: its past events, and new events as they are recorded.

#[cfg(feature = "web")]
pub(crate) mod part;

use std::collections::VecDeque;
use std::sync::Arc;

use super::inner::Inner;
use super::parts::missing::{events_removed, not_found};
use super::parts::pages::PageSize;
use super::wait::{Awaited, Look, Seen};
use crate::error::{Code, Error, Result};
use crate::history::{HistoryReader, RunEvent};
use crate::model::Trace;
use crate::replay::{Event, TurnRecord};
use crate::store::{Follow, RunKey, RunRow};

/// A position in the history of a run.
pub(crate) struct Place {
    run: Arc<str>,
    key: RunKey,
    generation: u64,
    /// The next row of the journal.
    row: u64,
    page: PageSize,
    reader: HistoryReader,
    /// Events that were read and not taken yet.
    events: VecDeque<RunEvent>,
    /// The trace of the run, from its first event.
    trace: Option<Trace>,
}

impl Place {
    /// The trace that the run belongs to, once its first event was read.
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// Whether a reader can begin at this event: the events before the first kept one were removed.
    pub fn check(&self, event: u64) -> Result<()> {
        match self.reader.next() {
            first if event < first => Err(events_removed(&self.run, event, first)),
            _ => Ok(()),
        }
    }

    /// The index of the next event to read.
    pub fn next(&self) -> u64 {
        self.reader.next()
    }

    /// Moves to the next generation, or to the first kept one if the reader has read all events that were removed.
    fn go_on(&mut self, row: &RunRow) -> Result<()> {
        self.generation = match row.first_generation > self.generation {
            true if self.reader.next() < row.first_event => {
                return Err(events_removed(&self.run, self.reader.next(), row.first_event));
            }
            true => row.first_generation,
            false => self.generation + 1,
        };
        self.row = 0;
        self.reader.begin_generation(self.generation);
        Ok(())
    }
}

/// The result of a read of the next event.
pub(crate) enum Next {
    Event(RunEvent),
    /// Not recorded yet.
    Nothing {
        /// Whether the run was started.
        has_begun: bool,
    },
    /// The history has ended.
    End,
}

/// Waits for the next event of a run; `None` at its end.
struct NextEvent<'a>(&'a mut Place);

impl Awaited for NextEvent<'_> {
    type Value = Option<RunEvent>;

    const WHAT: Follow = Follow::Journal;
    const CLOSED: (&'static str, &'static str) = (
        "the engine was shut down before the run had ended",
        "continue reading from the same index with another engine",
    );

    fn run(&self) -> &Arc<str> {
        &self.0.run
    }

    async fn look(&mut self, engine: &Inner, _: Seen) -> Result<Look<Option<RunEvent>>> {
        Ok(match engine.next_event(self.0).await? {
            Next::Event(event) => Look::Found(Some(event)),
            Next::End => Look::Found(None),
            Next::Nothing { has_begun } => Look::Nothing { run: Some(self.0.key), may_vanish: !has_begun },
        })
    }
}

impl Inner {
    /// The beginning of a run's history, as far as it was kept.
    pub(crate) async fn history(&self, run: &Arc<str>) -> Result<Place> {
        let row = self.row(run).await?.ok_or_else(|| not_found(run))?;
        Ok(Place {
            run: run.clone(),
            key: row.key,
            generation: row.first_generation,
            row: 0,
            page: PageSize::default(),
            reader: HistoryReader::new(&row),
            events: VecDeque::new(),
            trace: None,
        })
    }

    /// The next event, if it is recorded.
    pub(crate) async fn next_event(&self, place: &mut Place) -> Result<Next> {
        loop {
            if let Some(event) = place.events.pop_front() {
                return Ok(Next::Event(event));
            }
            let run = place.run.clone();
            self.read_history(place).await.map_err(|error| error.run(&run).context("its history cannot be read"))?;
            if !place.events.is_empty() {
                continue;
            }
            // The row is read before the end of the journal is looked up again.
            let row = self.row(&run).await?.ok_or_else(|| not_found(&run))?;
            self.read_history(place).await.map_err(|error| error.run(&run).context("its history cannot be read"))?;
            if !place.events.is_empty() {
                continue;
            }
            if row.generation > place.generation {
                // The missing rows may have been removed: if so, the row that is read now shows it.
                place.go_on(&self.row(&run).await?.ok_or_else(|| not_found(&run))?)?;
                continue;
            }
            return Ok(match row.status.is_terminal() {
                true => Next::End,
                false => Next::Nothing { has_begun: !row.has_not_begun() },
            });
        }
    }

    async fn read_history(&self, place: &mut Place) -> Result<()> {
        let rows = self.store.journal(place.key, place.generation, place.row, place.page.rows).await?;
        place.page.follow(&rows);
        for row in rows {
            if row.index != place.row {
                let run = self.row(&place.run).await?.ok_or_else(|| not_found(&place.run))?;
                return match run.first_generation > place.generation {
                    true => place.go_on(&run),
                    false => Err(Error::coded(Code::Damaged, format!("row {} of the journal is missing", place.row))),
                };
            }
            let turn = TurnRecord::decode(row.format, row.checksum, &row.body)?;
            for delivery in &turn.deliveries {
                if let Event::Started { carried: Some(carried), .. } = &delivery.event
                    && place.trace.is_none()
                {
                    place.trace = carried.inherited.as_ref().and_then(|inherited| inherited.trace.clone());
                }
                place.reader.read(delivery, &mut place.events)?;
            }
            place.row = row.index + 1;
        }
        Ok(())
    }

    /// Waits for the next event; `None` at the end.
    pub(crate) async fn following_event(&self, place: &mut Place) -> Result<Option<RunEvent>> {
        self.until(NextEvent(place)).await
    }
}
