//! Checks whether this build can continue the runs of a store. It executes no step and writes nothing.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio_util::task::AbortOnDropHandle;

use super::assembly::host;
use super::inner::Inner;
use super::messages;
use super::parts::mailbox::What;
use super::parts::missing::not_found;
use super::parts::pages::Pages;
use super::parts::telemetry::Telemetry;
use super::replay_journal::{Replay, replay};
use crate::definition::Bodies;
use crate::error::{Code, Error, Result};
use crate::limits::{EXPLAINED_RECORDED_MAX, JOURNAL_FIRST_PAGE_ROWS, LONG_AFTER};
use crate::panics::panic_text;
use crate::registry::registry;
use crate::replay::{Core, Event, Identity, TurnRecord};
use crate::store::{Filter, JournalRow, Position, RunRow};

/// The result of the check of one run.
pub(crate) enum Verdict {
    /// This build continues the run, which has reached these patches, each with whether it takes the new branch.
    Compatible(Vec<(Cow<'static, str>, bool)>),
    /// The run ended, or began another generation, while it was checked.
    Moved,
    /// With this build the run would get stuck, or a step of it would fail.
    Incompatible(Error),
}

/// The recorded data of a run: what a replay of its generation needs.
pub(crate) struct Recorded {
    pub row: RunRow,
    pub turns: Vec<TurnRecord>,
    /// The events in the inbox, with the time of their arrival.
    pub inbox: Vec<(u64, Event)>,
}

impl Inner {
    /// A page of the rows that match a filter.
    pub(crate) async fn rows(&self, filter: &Filter, after: Option<Position>, limit: usize) -> Result<Vec<RunRow>> {
        self.store.list(filter, after, limit).await
    }

    /// Checks unfinished runs, at the same time.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(crate) async fn check_runs(self: &Arc<Self>, rows: Vec<RunRow>) -> Result<Vec<(RunRow, Verdict)>> {
        let runs = rows.iter().map(|row| (row.key, row.generation)).collect();
        let first: Vec<Option<Vec<JournalRow>>> = match self.store.journals(runs, JOURNAL_FIRST_PAGE_ROWS).await {
            Ok(first) => first.into_iter().map(Some).collect(),
            // Each run reads its own, to find the damaged one.
            Err(error) if error.code() == Code::Damaged => vec![None; rows.len()],
            Err(error) => return Err(error),
        };
        let checks = rows.into_iter().zip(first).map(|(row, first)| {
            let engine = self.clone();
            // A task each, so that the runs are replayed on all threads.
            let check = async move { engine.check_run(&row, first).await.map(|verdict| (row, verdict)) };
            AbortOnDropHandle::new(tokio::spawn(check))
        });
        let checks: Vec<_> = checks.collect();
        let mut checked = Vec::with_capacity(checks.len());
        for check in checks {
            checked.push(check.await??);
        }
        Ok(checked)
    }

    async fn check_run(&self, row: &RunRow, first: Option<Vec<JournalRow>>) -> Result<Verdict> {
        let checked = AssertUnwindSafe(self.try_to_check(row, first)).catch_unwind().await.unwrap_or_else(|panic| {
            let text = format!("the run's replay panicked: {}", panic_text(&*panic));
            Err(Replay::Fault(Error::coded(Code::Panic, text)))
        });
        let error = match checked {
            Ok(patches) => return Ok(Verdict::Compatible(patches)),
            Err(Replay::Fault(error)) => error,
            Err(Replay::Store(error)) if error.code() == Code::Damaged => error,
            Err(Replay::Store(error)) => return Err(error.run(&row.id)),
        };
        // A journal only grows while its generation lasts, so a run that has merely continued is still incompatible.
        Ok(match self.store.run(&row.id).await? {
            Some(now) if now.key == row.key && now.generation == row.generation && !now.status.is_terminal() => {
                Verdict::Incompatible(error.run(&row.id))
            }
            _ => Verdict::Moved,
        })
    }

    async fn try_to_check(
        &self,
        row: &RunRow,
        first: Option<Vec<JournalRow>>,
    ) -> Result<Vec<(Cow<'static, str>, bool)>, Replay> {
        let definition = registry().workflow(&row.workflow).map_err(Replay::Fault)?;
        if row.has_not_begun() {
            return Ok(Vec::new());
        }
        // A check exports no spans.
        let mut spans = Telemetry::default().spans(&row.id, row.generation, false);
        let pages = Pages::after(row.key, row.generation, first);
        let (mut core, _) = replay(self, definition, &row.id, row.generation, pages, &mut spans).await?;
        if core.has_ended() {
            return Ok(Vec::new());
        }
        let inbox = self.recorded_inbox(row).await?;
        // The logs of the workflow are suppressed, as in a replay.
        tracing::dispatcher::with_default(&tracing::Dispatch::none(), || core.check(inbox)).map_err(Replay::Fault)?;
        Ok(core.shared().patches())
    }

    /// The events in the inbox of a run that have not been read.
    async fn recorded_inbox(&self, row: &RunRow) -> Result<Vec<(u64, Event)>, Replay> {
        // No message had arrived when the row was read.
        if row.inbox_seq == 0 {
            return Ok(Vec::new());
        }
        let (_, messages) = self.store.inbox(row.key).await.map_err(Replay::Store)?;
        let mut events = Vec::new();
        for message in messages.into_iter().filter(|message| !message.unread) {
            let arrival = messages::open(message, row.generation).map_err(Replay::Fault)?;
            if let What::Message { event, .. } = arrival.what {
                events.push((arrival.at, event));
            }
        }
        Ok(events)
    }

    /// Reads what a replay of a run's current generation needs.
    pub(crate) async fn recorded(&self, id: &str) -> Result<Recorded> {
        let row = self.row(id).await?.ok_or_else(|| not_found(id))?;
        let mut turns = Vec::new();
        let mut pages = Pages::of(row.key, row.generation);
        while let Some(page) = pages.next(&*self.store).await? {
            for record in page {
                turns.push(TurnRecord::decode(record.format, record.checksum, &record.body).map_err(|error| {
                    error.context(format!("row {} of the run's journal cannot be read", record.index)).run(id)
                })?);
            }
        }
        let inbox = self.recorded_inbox(&row).await.map_err(|(Replay::Store(error) | Replay::Fault(error))| error)?;
        Ok(Recorded { row, turns, inbox })
    }
}

/// Replays recorded data of a run with this build, without a store.
///
/// # Errors
///
/// As [`Verdict::Incompatible`].
pub(crate) fn check_recorded(
    workflow: &str,
    id: &Arc<str>,
    generation: u64,
    turns: Vec<TurnRecord>,
    inbox: Vec<(u64, Event)>,
) -> Result<()> {
    let definition = registry().workflow(workflow)?;
    let identity = Identity { run: id.clone(), workflow: definition.source.id, generation };
    let mut core = Core::new(definition, identity, host(Arc::new(|| 0), Bodies::default(), LONG_AFTER));
    let mut deliveries = turns.into_iter().enumerate().flat_map(|(index, turn)| {
        turn.deliveries.into_iter().enumerate().map(move |(event, delivery)| (index, event, delivery))
    });
    let replay = || {
        while let Some((index, event, delivery)) = deliveries.next() {
            let later = || {
                let commands = deliveries.by_ref().flat_map(|(_, _, later)| later.commands);
                commands.take(EXPLAINED_RECORDED_MAX).collect()
            };
            core.replay(delivery, later)
                .map_err(|error| error.because(format!("at event {event} of row {index} of its journal")))?;
        }
        if core.has_ended() { Ok(()) } else { core.check(inbox) }
    };
    tracing::dispatcher::with_default(&tracing::Dispatch::none(), replay).map_err(|error: Error| error.run(id))
}
