//! A run's turn: deliver, poll, commit, act.

mod act;
mod draft;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use self::act::act;
pub(super) use self::act::activate;
use self::draft::{Draft, deliver, keep_undelivered, reject};
use super::commit::{commit, journal_row};
use super::inner::Inner;
use super::park;
use super::parts::active_run::{ActiveRun, DriverState, NeedsDriver};
use super::parts::finished::Finished;
use super::parts::mailbox::Arrival;
use super::parts::pages::Pages;
use super::parts::row_error;
use super::parts::telemetry::Spans;
use super::parts::waiters::{Done, Known};
use super::replay_journal::{Replay, replay};
use super::{effects, eviction};
use crate::error::{Code, Error};
use crate::limits::EVENTS_PER_TURN_MAX;
use crate::model::Status;
use crate::panics::panic_text;
use crate::replay::{End, Event, TurnRecord};
use crate::store::{self, JournalRow, NEVER, RowChange, Turn};

impl Inner {
    /// Adds arrivals to the mailbox of a run, and starts a driver if none runs.
    pub(super) fn add_arrivals(self: &Arc<Self>, live: &Arc<ActiveRun>, arrivals: impl IntoIterator<Item = Arrival>) {
        self.drive_if(live, live.add(arrivals));
    }

    /// Starts a driver of the run if it needs one.
    pub(super) fn drive_if(self: &Arc<Self>, live: &Arc<ActiveRun>, NeedsDriver(needed): NeedsDriver) {
        if needed {
            self.drivers.spawn_on(drive(self.clone(), live.clone()), &self.runtime);
        }
    }
}

/// Executes turns until the mailbox is empty.
async fn drive(engine: Arc<Inner>, live: Arc<ActiveRun>) {
    while let Some((mut driver, arrivals)) = live.take(EVENTS_PER_TURN_MAX) {
        let stays = AssertUnwindSafe(turn(&engine, &live, &mut driver, arrivals)).catch_unwind().await;
        if matches!(stays, Ok(true)) {
            live.put(driver);
        } else {
            let panic = stays.err();
            live.close();
            engine.forget(&live, &driver);
            // Only after `forget`, or a claim would find the run still in memory.
            live.let_go();
            let end = driver.end.take();
            if let Some(panic) = panic {
                // The panicked turn is not committed, and its inbox messages are still stored.
                let text = format!("the run's turn panicked: {}", panic_text(&*panic));
                let error = Error::coded(Code::Panic, text);
                let parks = park::park(&engine, live.key, live.generation, live.fence, &live.id, error);
                // What is rare is boxed, here and in `turn`: each run that executes has a task of the size of this future.
                Box::pin(parks).await;
            } else if driver.status == Status::Stuck {
                Box::pin(park::end_if_cancelled(&engine, live.key, live.generation, live.fence, &live.id)).await;
            }
            drop(driver);
            engine.waiters.wake(&live.id, Done::Left(end));
        }
    }
}

/// A turn that is ready to be committed, and what is done after its commit.
struct Prepared {
    /// `None` if the turn changes nothing in the store.
    turn: Option<Turn>,
    /// What is recorded, if its spans are followed.
    followed: Option<Box<TurnRecord>>,
    /// Whether the run begins, or is reopened.
    begins: bool,
    /// How the workflow ended.
    end: Option<End>,
    /// Whether the run leaves memory: it has ended, or cannot continue.
    is_over: bool,
    /// The last waiter that was registered before the end was sent to the store.
    last_waiter: u64,
    /// Whether the run may leave memory since it waits.
    is_idle: bool,
    /// Steps whose next attempt is due.
    due: Vec<u64>,
}

/// Executes one turn. Returns whether the run stays in memory.
async fn turn(
    engine: &Arc<Inner>,
    live: &Arc<ActiveRun>,
    driver: &mut DriverState,
    arrivals: VecDeque<Arrival>,
) -> bool {
    // A function of its own: what it needs is not part of the driver's task during the commit.
    let Prepared { turn, followed, begins, end, is_over, last_waiter, is_idle, due } =
        prepare(engine, live, driver, arrivals).await;
    // By reference: a moved turn would have a second place in the task.
    if let Some(turn) = &turn {
        let Some(notified) = commit(engine, &live.id, turn).await else { return false };
        // Before any waiter is woken: the run's own span is exported after the spans of its parts.
        if let Some(record) = followed {
            driver.spans.recorded(&record, end.is_some());
        }
        if begins {
            engine.metrics.started(live.definition.source.id);
        }
        committed(engine, live, driver, turn, notified);
    }
    if is_over {
        let status = driver.status;
        engine.metrics.ended(live.definition.source.id, status);
        tracing::debug!(run = %live.id, workflow = live.definition.source.id, %status, "the run has ended its last turn");
        driver.end = end.and_then(Finished::of).map(|end| Known { end, last: last_waiter });
        engine.export_end(&live.id, live.generation, status);
        return false;
    }
    if is_idle
        && due.is_empty()
        && !eviction::wakes_soon(engine, driver)
        && Box::pin(eviction::evict(engine, live)).await
    {
        if driver.core.shared().awaits_runs() {
            engine.warn_of_cycle(&live.id);
        }
        return false;
    }
    act(engine, live, driver, due);
    eviction::doze(engine, live, driver);
    true
}

/// Delivers the arrivals, and encodes the turn.
async fn prepare(
    engine: &Arc<Inner>,
    live: &Arc<ActiveRun>,
    driver: &mut DriverState,
    arrivals: VecDeque<Arrival>,
) -> Prepared {
    let mut draft = deliver(engine, live, driver, arrivals);
    // The futures of both rare cases own the draft, which is thus not a part of the driver's task.
    if asks_the_store(engine, &draft) {
        draft = Box::pin(asked(engine, live, draft)).await;
    }
    let (row, effects) = match encode(engine, driver.next_index, &draft) {
        Ok(encoded) => encoded,
        Err(error) => {
            reject(engine, &mut draft, error);
            (None, None)
        }
    };
    match draft.fault.is_some() {
        false => prepared(engine, live, driver, draft, (row, effects), None),
        true => Box::pin(refused(engine, live, driver, draft, (row, effects))).await,
    }
}

/// Whether the draft needs a read of the store before it is encoded.
fn asks_the_store(engine: &Inner, draft: &Draft) -> bool {
    is_verified(engine, draft) || !draft.effects.children.is_empty() || draft.effects.continued.is_some()
}

fn is_verified(engine: &Inner, draft: &Draft) -> bool {
    engine.settings.replay_every_turn && draft.fault.is_none() && !draft.record.deliveries.is_empty()
}

/// The draft after the reads that it needs.
async fn asked(engine: &Arc<Inner>, live: &Arc<ActiveRun>, mut draft: Draft) -> Draft {
    if is_verified(engine, &draft) {
        verify(engine, live, &mut draft).await;
    }
    if !draft.effects.children.is_empty() {
        engine.find_children(&mut draft.effects.children).await;
    }
    if draft.effects.continued.is_some() {
        engine.find_latest(live.definition, &mut draft.effects.continued).await;
    }
    draft
}

/// The turn of a run that cannot continue.
async fn refused(
    engine: &Arc<Inner>,
    live: &Arc<ActiveRun>,
    driver: &mut DriverState,
    mut draft: Draft,
    encoded: (Option<JournalRow>, Option<Box<store::Effects>>),
) -> Prepared {
    keep_undelivered(engine, live, driver, &mut draft);
    let change = match &draft.fault {
        Some(fault) => Some(engine.refuse(&live.id, fault.clone().run(&live.id), encoded.0.is_some()).await),
        None => None,
    };
    prepared(engine, live, driver, draft, encoded, change)
}

/// The turn, and what is done after its commit. `refusal` is the change of a run that cannot continue.
fn prepared(
    engine: &Inner,
    live: &ActiveRun,
    driver: &mut DriverState,
    mut draft: Draft,
    (row, mut effects): (Option<JournalRow>, Option<Box<store::Effects>>),
    refusal: Option<RowChange>,
) -> Prepared {
    let end = draft.record.deliveries.last_mut().and_then(|delivery| delivery.end.take());
    let is_over = end.is_some() || draft.fault.is_some();
    let last_waiter = if is_over { engine.waiters.latest() } else { 0 };
    let change = refusal.or_else(|| row_change(driver, end.as_ref()));
    engine.notify(&mut effects, change.as_ref().filter(|_| is_over));
    let is_idle = draft.idle && row.is_none() && draft.delivered.is_empty();
    let is_sent = row.is_some()
        || change.is_some()
        || !draft.delivered.is_empty()
        || !draft.unread.is_empty()
        || !draft.settles.is_empty();
    let turn = is_sent.then(|| {
        driver.next_index += u64::from(row.is_some());
        Turn {
            run: live.key,
            generation: live.generation,
            fence: live.fence,
            row,
            change,
            effects,
            delivered: draft.delivered,
            unread: draft.unread,
            returned: draft.returned,
            chunks: draft.chunks.into_iter().map(|chunk| engine.new_chunk(chunk)).collect(),
            settles: draft.settles,
        }
    });
    let begins = begins(&draft.record, live.generation);
    let followed = driver.spans.are_followed().then(|| Box::new(draft.record));
    Prepared { turn, followed, begins, end, is_over, last_waiter, is_idle, due: draft.due }
}

/// Reports a turn that is committed.
fn committed(engine: &Inner, live: &ActiveRun, driver: &mut DriverState, turn: &Turn, notified: bool) {
    if effects::may_have_news(turn.effects.as_deref()) || notified {
        engine.news.sent();
    }
    if turn.effects.as_ref().is_some_and(|effects| effects.notify.is_some()) {
        engine.notices.notify_one();
    }
    if !turn.chunks.is_empty() {
        engine.waiters.wake(&live.id, Done::Chunk);
    } else if (turn.row.is_some() || turn.change.is_some()) && engine.waiters.any_tails() {
        engine.waiters.wake(&live.id, Done::Row);
    }
    if let Some(change) = &turn.change {
        (driver.status, driver.wake_at, driver.error) = (change.status, change.wake_at, change.error.clone());
        driver.is_refused = false;
    }
}

/// Whether the run began in this turn, or was reopened after its end.
fn begins(record: &TurnRecord, generation: u64) -> bool {
    record.deliveries.iter().any(|delivery| match delivery.event {
        Event::Started { .. } => generation == 0,
        Event::Reopened { .. } => true,
        _ => false,
    })
}

/// The journal's row, if any event was delivered, and the effects of the turn.
fn encode(
    engine: &Inner,
    index: u64,
    draft: &Draft,
) -> Result<(Option<JournalRow>, Option<Box<store::Effects>>), Error> {
    let recorded = !draft.record.deliveries.is_empty();
    let row = recorded.then(|| journal_row(engine, index, &draft.record)).transpose()?;
    Ok((row, engine.effects(&draft.effects)?))
}

/// The change of the run's row by the turn, if there is one.
fn row_change(driver: &DriverState, end: Option<&End>) -> Option<RowChange> {
    let first = driver.next_index == 0;
    let change = row_after(driver.core.shared(), end, first);
    let same = !first
        && !driver.is_refused
        && end.is_none()
        && (change.status, change.wake_at) == (driver.status, driver.wake_at)
        && row_error::is_same(change.error.as_ref(), driver.error.as_ref());
    (!same).then_some(change)
}

/// The run's row after a turn.
pub(super) fn row_after(run: &crate::replay::Shared, end: Option<&End>, first: bool) -> RowChange {
    // The time of the event, so that a run does not begin before its creation, and does not end before its beginning.
    let now = run.now();
    let (status, wake_at) = match end {
        Some(End::Completed(_)) => (Status::Completed, None),
        Some(End::Failed(_)) => (Status::Failed, None),
        Some(End::Cancelled(_)) => (Status::Cancelled, None),
        Some(End::Continued(_)) => (Status::Running, Some(0)),
        None if run.has_steps() => (Status::Running, run.wake_at().or(Some(NEVER))),
        None => (Status::Suspended, run.wake_at().or(Some(NEVER))),
    };
    RowChange {
        status,
        wake_at,
        started_at: first.then_some(now),
        completed_at: status.is_terminal().then_some(now),
        stuck: None,
        error: end.map_or_else(|| row_error::of_run(run), row_error::of_end),
        refused_by: None,
    }
}

/// Replays the stored run and then this turn; if the replay differs, the turn becomes a fault only.
async fn verify(engine: &Arc<Inner>, live: &ActiveRun, draft: &mut Draft) {
    let mut spans = Spans::default();
    let pages = Pages::of(live.key, live.generation);
    let replayed = match replay(engine, live.definition, &live.id, live.generation, pages, &mut spans).await {
        Ok((mut core, _)) => replay_again(&mut core, &draft.record),
        Err(Replay::Fault(error)) => Err(error),
        Err(Replay::Store(_)) => Ok(()),
    };
    if let Err(fault) = replayed {
        reject(engine, draft, fault);
    }
}

/// Replays a turn that is not committed yet.
pub(super) fn replay_again(core: &mut crate::replay::Core, record: &TurnRecord) -> Result<(), Error> {
    tracing::dispatcher::with_default(&tracing::Dispatch::none(), || {
        record.deliveries.iter().try_for_each(|delivery| core.replay(delivery.clone(), Vec::new))
    })
    .map_err(|error| {
        error.context("`replay_every_turn()` replayed this turn, and the replay differs").help(
            "something differs between two executions of the workflow: the order of a hash map, a clock, a static, a \
             file; move it into a #[step]",
        )
    })
}
