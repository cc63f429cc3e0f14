//! A look at all runs that have not ended: how many there are, and what the newest of them wait for.
//!
//! All pages share a look, so that a hundred open pages cost one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use tokio::sync::Mutex;

use super::time::midnight;
use crate::engine::{Client, Surroundings};
use crate::error::{Code, Result};
use crate::limits::COUNTED_RUNS_MAX;
use crate::model::{Figure, RunError, RunInfo, Status, Waiting};
use crate::registry::queue;
use crate::steering::AnyRun;

/// The statuses of runs that have not ended.
pub(super) const UNFINISHED: [Status; 4] = [Status::Pending, Status::Running, Status::Suspended, Status::Stuck];
/// Only the newest are looked at, so that the answer comes in bounded time.
const RUNS_MAX: usize = 10_000;
const TIME_MAX: Duration = Duration::from_secs(1);
/// The time for a look that a page waits for, except for its first runs. If it does not suffice, the next look is taken at
/// once.
const FIRST_TIME_MAX: Duration = Duration::from_millis(40);
const FIRST_RUNS: usize = 50;
const PAGE: usize = 200;
/// The failing runs whose errors are grouped.
const FAILING: usize = 1_000;
/// How many journals are read at the same time.
const READS: usize = 16;
/// How long a look is used: this long, or so many times as long as it took.
const KEPT: Duration = Duration::from_millis(500);
const KEPT_TIMES: u32 = 4;
/// A page does not wait for a look that takes longer: it shows the last one, while the next one is taken, for so long.
const AWAITED: Duration = Duration::from_millis(50);
const STALE: Duration = Duration::from_secs(15);

/// A run and what is known of it.
#[derive(Clone)]
pub(super) struct Row {
    pub info: RunInfo,
    /// Why it does not move; empty if it moves, or if that could not be read in time.
    pub waiting: Vec<Waiting>,
    /// What the run waits for that it waits for, where that was read.
    pub other: Option<Waiting>,
    /// How many of its steps are executed, by the engine with this number. A step of a queue is executed by a run of its own.
    executes: (u64, u64),
}

impl Row {
    fn new(info: RunInfo, waiting: Vec<Waiting>) -> Self {
        Row { info, waiting, other: None, executes: (0, 0) }
    }

    /// The reason that a person should look at first.
    pub fn reason(&self) -> Option<&Waiting> {
        self.waiting.first()
    }

    /// The queue of the step that the run executes, if it executes one for another run.
    pub fn queue(&self) -> Option<&str> {
        queue::parse_id(&self.info.workflow).map(|(queue, _)| queue)
    }

    /// The error of a run that has failed, was cancelled, is stuck, or is failing.
    pub fn error(&self) -> Option<&RunError> {
        self.info.error.as_ref()
    }
}

#[derive(Default)]
pub(super) struct Survey {
    /// How many runs there are, by status: more than [`COUNTED_RUNS_MAX`] are not counted.
    pub counts: BTreeMap<Status, u64>,
    /// How many of them are failing, counted in the same way.
    failing_counts: BTreeMap<Status, u64>,
    /// How many runs have failed that were started today, counted in the same way.
    pub failed_today: u64,
    /// The newest of those that are failing.
    pub failing: Vec<RunInfo>,
    /// The runs that have not ended, latest first.
    pub rows: Vec<Row>,
    /// Whether these are all of them.
    pub is_complete: bool,
    /// Whether the time did not suffice.
    is_cut: bool,
}

impl Survey {
    /// How many of the newest runs that have not ended wait for a person.
    pub fn people(&self) -> u64 {
        let asks = |row: &&Row| row.waiting.iter().any(|waiting| matches!(waiting, Waiting::Suspended { .. }));
        self.rows.iter().filter(asks).count() as u64
    }

    pub fn count(&self, status: Status) -> u64 {
        self.counts.get(&status).copied().unwrap_or_default()
    }

    /// A figure of the runs that have not ended.
    pub fn figure(&self, figure: Figure) -> u64 {
        figure.count(&self.counts, &self.failing_counts)
    }

    /// How many steps of these runs an engine executes.
    pub fn executed_by(&self, owner: u64) -> u64 {
        self.rows.iter().filter(|row| row.executes.1 == owner).map(|row| row.executes.0).sum()
    }

    /// How many steps of these runs are executed for a queue.
    pub fn executed_for(&self, queue: &str) -> u64 {
        self.rows.iter().filter(|row| row.queue() == Some(queue)).map(|row| row.executes.0).sum()
    }
}

/// A look that is shared.
struct Taken {
    survey: Arc<Survey>,
    took: Duration,
    /// Until when it is good.
    until: Instant,
    /// Whether the next one is being taken.
    is_followed: bool,
}

/// The look that is shared.
#[derive(Default)]
pub(super) struct Surveys(Mutex<Option<Taken>>);

impl Surveys {
    /// The last look, if there was one and no request takes one.
    pub fn last(&self) -> Option<Arc<Survey>> {
        Some(self.0.try_lock().ok()?.as_ref()?.survey.clone())
    }

    /// The latest look, or a new one.
    pub async fn latest(self: &Arc<Self>, client: &Client) -> Result<Arc<Survey>> {
        // Requests that arrive during a survey wait for its result.
        let mut shared = self.0.lock().await;
        let now = Instant::now();
        match &mut *shared {
            Some(taken) if now < taken.until => return Ok(taken.survey.clone()),
            Some(taken) if (taken.took > AWAITED || taken.is_followed) && now < taken.until + STALE => {
                if !std::mem::replace(&mut taken.is_followed, true) {
                    tokio::spawn(follow(self.clone(), client.clone()));
                }
                return Ok(taken.survey.clone());
            }
            _ => {}
        }
        let mut taken = take(client, FIRST_TIME_MAX).await?;
        let survey = taken.survey.clone();
        taken.is_followed = survey.is_cut;
        if taken.is_followed {
            tokio::spawn(follow(self.clone(), client.clone()));
        }
        *shared = Some(taken);
        Ok(survey)
    }
}

async fn take(client: &Client, time_max: Duration) -> Result<Taken> {
    let began = Instant::now();
    let survey = Arc::new(look(client, time_max).await?);
    let took = began.elapsed();
    Ok(Taken { survey, took, until: Instant::now() + KEPT.max(took * KEPT_TIMES), is_followed: false })
}

/// Takes the next look. If that fails, the next request takes one, and reports the error.
async fn follow(surveys: Arc<Surveys>, client: Client) {
    let taken = take(&client, TIME_MAX).await.ok();
    *surveys.0.lock().await = taken;
}

/// Counts and reads at the same time.
async fn look(client: &Client, time_max: Duration) -> Result<Survey> {
    let failed_today = client.runs().status(Status::Failed).created_after(midnight(SystemTime::now()));
    let (counts, failing_counts, failed_today, failing, newest) = tokio::try_join!(
        client.runs().count_up_to(COUNTED_RUNS_MAX + 1),
        client.runs().failing().count_up_to(COUNTED_RUNS_MAX + 1),
        failed_today.count_up_to(COUNTED_RUNS_MAX + 1),
        client.runs().failing().limit(FAILING).into_future(),
        unfinished(client, time_max),
    )?;
    Ok(Survey { counts, failing_counts, failed_today: failed_today.values().sum(), failing: failing.runs, ..newest })
}

/// A survey of the newest runs that have not ended, without counts.
async fn unfinished(client: &Client, time_max: Duration) -> Result<Survey> {
    let began = Instant::now();
    let (mut survey, mut after) = (Survey::default(), None);
    loop {
        let query = UNFINISHED.into_iter().fold(client.runs(), |runs, status| runs.status(status));
        let query = match after {
            Some(after) => query.after(after),
            None => query,
        };
        let (runs, time) = if after.is_none() { (FIRST_RUNS, TIME_MAX) } else { (PAGE, time_max) };
        let page = query.limit(runs).await?;
        survey.rows.extend(explained(client, page.runs, began + time).await?);
        after = page.next;
        survey.is_complete = after.is_none();
        survey.is_cut = began.elapsed() > time_max;
        if after.is_none() || survey.rows.len() >= RUNS_MAX || survey.is_cut {
            return Ok(survey);
        }
    }
}

/// Finds out what runs wait for, until a time. After it, what their rows say has to do.
pub(super) async fn explained(client: &Client, runs: Vec<RunInfo>, deadline: Instant) -> Result<Vec<Row>> {
    let among = &Surroundings::default();
    let explain = |info: RunInfo| async move {
        if info.status.is_terminal() || Instant::now() > deadline {
            let waiting = info.reason.clone().into_iter().collect();
            return Ok(Some(Row::new(info, waiting)));
        }
        row(client, info, among).await
    };
    let rows: Vec<Result<Option<Row>>> = futures_util::stream::iter(runs).map(explain).buffered(READS).collect().await;
    rows.into_iter().filter_map(Result::transpose).collect()
}

/// What the run waits for that a run waits for first. It is not known if it cannot be read.
pub(super) async fn other(client: &Client, waiting: &[Waiting]) -> Option<Waiting> {
    let (Waiting::Child { run, status, .. } | Waiting::Run { run, status }) = waiting.first()? else { return None };
    status.filter(|status| !status.is_terminal() && *status != Status::Stuck)?;
    let handle: AnyRun = client.get_run(run);
    handle.waiting().await.ok()?.into_iter().next()
}

/// Adds what the runs wait for that the rows wait for, until a time.
pub(super) async fn with_others(client: &Client, rows: Vec<Row>, deadline: Instant) -> Vec<Row> {
    let add = |row: Row| async move {
        let is_late = Instant::now() > deadline;
        let other = if is_late { None } else { other(client, &row.waiting).await };
        Row { other, ..row }
    };
    futures_util::stream::iter(rows).map(add).buffered(READS).collect().await
}

/// `None` if the run was deleted since it was listed.
async fn row(client: &Client, info: RunInfo, among: &Surroundings) -> Result<Option<Row>> {
    match client.inner().reasons_among(&info.id, Some(among)).await {
        Ok((waiting, owner)) => {
            let executes = (waiting.iter().filter(|reason| reason.is_executed_here()).count() as u64, owner);
            Ok(Some(Row { executes, ..Row::new(info, waiting) }))
        }
        Err(error) if error.code() == Code::RunNotFound => Ok(None),
        // A journal that cannot be read does not hide the other runs.
        Err(error) => {
            tracing::warn!(run = info.id, %error, "the journal of a run could not be read");
            let waiting = info.reason.clone().into_iter().collect();
            Ok(Some(Row::new(info, waiting)))
        }
    }
}
