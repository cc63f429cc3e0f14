//! Gives up a run that this build cannot continue, or ends it if it was cancelled.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::commit::{commit, journal_row};
use super::inner::Inner;
use super::parts::mailbox::What;
use super::parts::pages::Pages;
use super::parts::row_error;
use super::parts::waiters::Done;
use super::{effects, messages};
use crate::error::{Code, Error, Result};
use crate::model::Status;
use crate::replay::{Commands, Delivery, End, Event, Outstanding, TurnRecord, outstanding, owes_rollback};
use crate::store::{Effects, Fence, JournalRow, RowChange, RunKey, Turn};

/// Gives up a run that is not in memory and that this build cannot continue, or ends it if it was cancelled.
pub(super) async fn park(engine: &Arc<Inner>, run: RunKey, generation: u64, fence: Fence, id: &Arc<str>, error: Error) {
    if end_if_cancelled(engine, run, generation, fence, id).await {
        return;
    }
    let change = engine.refuse(id, error, false).await;
    let refused = Last { row: None, change, effects: None, delivered: Vec::new() };
    end(engine, id, refused.turn(run, generation, fence)).await;
    end_if_cancelled(engine, run, generation, fence, id).await;
}

/// Ends a run that cannot continue if it was cancelled, and returns whether it was. Also called after the run was parked:
/// a cancel that arrived just before that made no run due.
pub(super) async fn end_if_cancelled(
    engine: &Arc<Inner>,
    run: RunKey,
    generation: u64,
    fence: Fence,
    id: &Arc<str>,
) -> bool {
    match cancelled(engine, run, generation).await {
        Ok(Some(last)) => {
            end(engine, id, last.turn(run, generation, fence)).await;
            true
        }
        Ok(None) => false,
        Err(error) => {
            tracing::warn!(run = %id, ?error, "it could not be looked up whether the run is cancelled");
            false
        }
    }
}

/// Commits the turn after which a run that is not in memory is refused or has ended.
async fn end(engine: &Arc<Inner>, id: &Arc<str>, turn: Turn) {
    let mut turn = turn;
    let generation = turn.generation;
    engine.notify(&mut turn.effects, turn.change.as_ref());
    let may_have_news = effects::may_have_news(turn.effects.as_deref());
    let status = turn.change.as_ref().map(|change| change.status);
    let committed = commit(engine, id, &turn).await;
    if committed.is_some_and(|notified| notified || may_have_news) {
        engine.news.sent();
    }
    if let Some(status) = status.filter(|_| committed.is_some()) {
        engine.export_end(id, generation, status);
        engine.count_end(id, status).await;
    }
    engine.waiters.wake(id, Done::Left(None));
    engine.notices.notify_one();
}

/// The last turn of a run that is not in memory.
struct Last {
    row: Option<JournalRow>,
    change: RowChange,
    effects: Option<Box<Effects>>,
    delivered: Vec<u64>,
}

impl Last {
    fn turn(self, run: RunKey, generation: u64, fence: Fence) -> Turn {
        let Last { row, change, effects, delivered } = self;
        Turn {
            run,
            generation,
            fence,
            row,
            change: Some(change),
            effects,
            delivered,
            unread: Vec::new(),
            returned: Vec::new(),
            chunks: Vec::new(),
            settles: Vec::new(),
        }
    }
}

/// Reads the journal without running the workflow: the open operations, and the steps that may have to be rolled back.
pub(super) async fn open_operations(
    engine: &Inner,
    run: RunKey,
    generation: u64,
) -> Result<(BTreeMap<u64, Outstanding>, BTreeMap<u64, bool>)> {
    let (mut open, mut owed) = (BTreeMap::new(), BTreeMap::new());
    let mut pages = Pages::of(run, generation);
    while let Some(rows) = pages.next(&*engine.store).await? {
        for row in &rows {
            match TurnRecord::decode(row.format, row.checksum, &row.body) {
                Ok(turn) => {
                    outstanding(&mut open, &turn);
                    owes_rollback(&mut owed, &turn);
                }
                // Another build can read the row, and may have to roll back its steps.
                Err(error) if error.code() == Code::NewerFormat => return Err(error),
                Err(_) => {}
            }
        }
    }
    Ok((open, owed))
}

/// The last turn of a run that cannot be replayed, if the run was cancelled.
async fn cancelled(engine: &Inner, run: RunKey, generation: u64) -> Result<Option<Last>> {
    let (_, messages) = engine.store.inbox(run).await?;
    let (mut cancel, mut reopened) = (None, None);
    for message in messages.into_iter().filter_map(|message| messages::open(message, generation).ok()) {
        match message.what {
            What::Message { sequence, event: Event::Cancel { reason } } if cancel.is_none() => {
                cancel = Some((message.at, sequence, reason));
            }
            What::Message { event: Event::Reopened { reopening, .. }, .. } => reopened = Some(reopening),
            _ => {}
        }
    }
    let Some((at, sequence, reason)) = cancel else { return Ok(None) };
    let index = engine.store.last(run, generation).await?.map_or(0, |last| last.index + 1);
    let (open, mut owed) = open_operations(engine, run, generation).await?;
    if let Some(reopening) = reopened {
        reopening.disarm(&mut owed);
    }
    if !owed.is_empty() {
        // Ending the run would skip its rollbacks: it waits for a build that can execute them.
        return Ok(None);
    }
    let now = engine.clock.now();
    let children = open.into_values().filter_map(|open| open.child);
    let messages = children.map(|child| engine.cancel_message(&child, now)).collect::<Result<Vec<_>>>()?;
    let effects = (!messages.is_empty()).then(|| Box::new(Effects { messages, ..Effects::default() }));
    let end = End::Cancelled(reason.clone());
    let error = row_error::of_end(&end);
    let end = Some(end);
    let delivery = Delivery {
        at,
        event: Event::Cancel { reason },
        commands: Commands::new(),
        unwinds: None,
        undoes: Vec::new(),
        end,
    };
    let row = journal_row(engine, index, &delivery.into())?;
    let change = RowChange {
        status: Status::Cancelled,
        wake_at: None,
        started_at: None,
        completed_at: Some(now),
        stuck: None,
        error,
        refused_by: None,
    };
    Ok(Some(Last { row: Some(row), change, effects, delivered: vec![sequence] }))
}
