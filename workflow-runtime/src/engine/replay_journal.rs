//! Replays the journal of a run.

use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

use super::inner::Inner;
use super::parts::pages::Pages;
use super::parts::telemetry::Spans;
use crate::definition::WorkflowDefinition;
use crate::error::{Code, Error, Result};
use crate::limits::{EXPLAINED_RECORDED_MAX, JOURNAL_FIRST_PAGE_ROWS};
use crate::replay::{Command, Core, Delivery, Identity, TurnRecord};
use crate::store::JournalRow;

/// Why a replay failed.
pub(super) enum Replay {
    /// The journal could not be read this time.
    Store(Error),
    /// The run cannot continue with this build.
    Fault(Error),
}

/// Replays a journal, and updates the spans. Returns the core and the index of the next row.
pub(super) async fn replay(
    engine: &Inner,
    definition: &'static WorkflowDefinition,
    id: &Arc<str>,
    generation: u64,
    mut pages: Pages,
    spans: &mut Spans,
) -> Result<(Core, u64), Replay> {
    let identity = Identity { run: id.clone(), workflow: definition.source.id, generation };
    let mut core = Core::new(definition, identity, engine.host.clone());
    let mut next = 0;
    let mut page = pages.next(&*engine.store).await.map_err(Replay::Store)?;
    while let Some(rows) = page {
        // The next page is read while this one is replayed.
        let following = (!pages.have_ended()).then(|| {
            let (store, mut pages) = (engine.store.clone(), pages.clone());
            let read = async move { (pages.next(&*store).await, pages) };
            AbortOnDropHandle::new(engine.runtime.spawn(read))
        });
        for (part, rows) in rows.chunks(JOURNAL_FIRST_PAGE_ROWS).enumerate() {
            // A long journal must not block other tasks of the thread.
            if part > 0 {
                tokio::task::yield_now().await;
            }
            // The logs of the workflow are suppressed: they were written when it was first executed.
            tracing::dispatcher::with_default(&tracing::Dispatch::none(), || {
                for (at, row) in rows.iter().enumerate() {
                    let following = &rows[at + 1..];
                    replay_row(&mut core, spans, next, row, following).map_err(|error| Replay::Fault(error.run(id)))?;
                    next += 1;
                }
                Ok(())
            })?;
        }
        let Some(following) = following else { break };
        (page, pages) = match following.await {
            Ok((page, pages)) => (page.map_err(Replay::Store)?, pages),
            Err(error) => return Err(Replay::Store(error.into())),
        };
    }
    Ok((core, next))
}

fn replay_row(
    core: &mut Core,
    spans: &mut Spans,
    expected: u64,
    row: &JournalRow,
    following: &[JournalRow],
) -> Result<()> {
    let index = row.index;
    if index != expected {
        return Err(Error::coded(Code::Damaged, "a row of the run's journal is missing")
            .expected(format!("row {expected}"))
            .found(format!("row {index}"))
            .help("restore the database from a backup"));
    }
    let turn = TurnRecord::decode(row.format, row.checksum, &row.body)
        .map_err(|error| error.context(format!("row {index} of the run's journal cannot be read")))?;
    let mut deliveries = turn.deliveries.into_iter().enumerate();
    while let Some((event, delivery)) = deliveries.next() {
        spans.replayed(&delivery);
        core.replay(delivery, || commands(deliveries.by_ref().map(|(_, delivery)| delivery), following))
            .map_err(|error| error.because(format!("at event {event} of row {index} of its journal")))?;
    }
    Ok(())
}

/// The first commands of these deliveries and of the rows that follow them.
fn commands(deliveries: impl Iterator<Item = Delivery>, following: &[JournalRow]) -> Vec<Command> {
    let rows = following.iter().map_while(|row| TurnRecord::decode(row.format, row.checksum, &row.body).ok());
    let deliveries = deliveries.chain(rows.flat_map(|turn| turn.deliveries));
    deliveries.flat_map(|delivery| delivery.commands).take(EXPLAINED_RECORDED_MAX).collect()
}
