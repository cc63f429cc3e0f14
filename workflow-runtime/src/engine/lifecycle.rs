//! Tells who has asked for it how runs have ended.
//!
//! That a run's end is to be told is recorded with the end, and taken back once it was told: so it is told at least once,
//! also if the process dies between the two.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::future::{BoxFuture, Either, select};
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::Notify;

use super::Inner;
use crate::error::{Code, Error, Result};
use crate::limits::{CALLBACK_TIMEOUT, NOTICES, NOTICES_CONCURRENT, TURN_RETRY_INTERVAL};
use crate::queue;
use crate::replay::panic_text;
use crate::run::RunInfo;
use crate::store::{Effects, Notice, Noticed, RowChange, Status};

type Callback = Arc<dyn Fn(RunInfo) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// What is called when a run comes to a status.
#[derive(Clone, Default)]
pub(super) struct Callbacks(Vec<(Status, Callback)>);

impl Callbacks {
    pub fn add<F, U>(&mut self, status: Status, callback: F)
    where
        F: Fn(RunInfo) -> U + Send + Sync + 'static,
        U: Future<Output = Result<()>> + Send + 'static,
    {
        self.0.push((status, Arc::new(move |run| Box::pin(callback(run)))));
    }

    fn statuses(&self) -> Vec<Status> {
        self.0.iter().map(|(status, _)| *status).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn of(&self, status: Status) -> impl Iterator<Item = &Callback> {
        self.0.iter().filter(move |(wanted, _)| *wanted == status).map(|(_, callback)| callback)
    }
}

#[derive(Default)]
pub(super) struct Notices(Notify);

impl Notices {
    /// There may be something to be told.
    pub fn hint(&self) {
        self.0.notify_one();
    }
}

impl Inner {
    /// Whether spans are told of runs that end.
    pub(super) fn traces(&self) -> bool {
        self.settings.telemetry.is_on()
    }

    /// Sees that the change is told, if somebody has asked for that.
    pub(super) fn notify(&self, effects: &mut Option<Box<Effects>>, change: Option<&RowChange>) {
        if let Some(RowChange { status, .. }) = change
            && (self.settings.callbacks.of(*status).next().is_some() || (self.traces() && status.is_terminal()))
        {
            effects.get_or_insert_default().notify = Some(*status);
        }
    }

    async fn tell(&self, notice: Notice) -> Result<()> {
        let Notice { sequence, status, run } = notice;
        let id = run.id.clone();
        // It may have come to another one since.
        let run = RunInfo { status, ..self.told(run) };
        // What executes a step is no run of the user's.
        let is_step = queue::parse_id(&run.workflow).is_some();
        if status.is_terminal() {
            self.export(&run).await?;
        }
        for callback in self.settings.callbacks.of(status).filter(|_| !is_step) {
            let told = std::pin::pin!(AssertUnwindSafe(async { callback(run.clone()).await }).catch_unwind());
            let told = match select(told, self.environment.sleep(CALLBACK_TIMEOUT)).await {
                Either::Left((told, _)) => told,
                Either::Right(_) => {
                    let text = format!("a function that is told of runs took longer than {CALLBACK_TIMEOUT:?}");
                    return Err(Error::coded(Code::Timeout, text).run(&id).help("let it spawn what takes long"));
                }
            };
            told.unwrap_or_else(|panic| {
                Err(Error::coded(Code::Panic, format!("it panicked: {}", panic_text(&*panic))))
            })
            .map_err(|error| error.run(&id))?;
        }
        self.batcher.send(Noticed { sequence }).await.map_err(|failed| failed.error)?;
        Ok(())
    }

    /// Tells all that is to be told. What cannot be told now holds up nothing else.
    async fn tell_all(&self) -> Result<()> {
        let mut statuses = self.settings.callbacks.statuses();
        if self.traces() {
            statuses.extend([Status::Completed, Status::Failed, Status::Cancelled]);
            statuses.sort_unstable();
            statuses.dedup();
        }
        let (mut after, mut failed) = (0, None);
        loop {
            let notices = self.store.notices(&statuses, after, NOTICES).await?;
            let Some(last) = notices.last() else { return failed.map_or(Ok(()), Err) };
            after = last.sequence;
            let mut told = stream::iter(notices).map(|notice| self.tell(notice)).buffer_unordered(NOTICES_CONCURRENT);
            while let Some(told) = told.next().await {
                failed = told.err().or(failed);
            }
        }
    }
}

/// Tells what is to be told, for as long as the engine is open.
pub(super) async fn run(engine: Arc<Inner>) {
    loop {
        let told = if engine.is_executing() { engine.tell_all().await } else { Ok(()) };
        let retry = match told {
            Ok(()) => None,
            Err(error) => {
                tracing::warn!(?error, "what became of a run could not be told; trying again");
                Some(engine.environment.sleep(TURN_RETRY_INTERVAL))
            }
        };
        tokio::select! {
            biased;
            () = engine.draining.cancelled() => return,
            () = async { retry.unwrap_or_else(|| Box::pin(std::future::pending())).await } => {}
            () = engine.notices.0.notified() => {}
        }
    }
}
