//! Tells who has asked for it how runs have ended.
//!
//! That a run's end is to be told is recorded with the end, and taken back once it was told: so it is told at least once,
//! also if the process dies between the two.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::Inner;
use crate::error::{Code, Error, Result};
use crate::limits::{NOTICES, TURN_RETRY_INTERVAL};
use crate::queue;
use crate::replay::panic_text;
use crate::run::RunInfo;
use crate::store::{Effects, RowChange, RunRow, Status, Write};

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
    /// Sees that the change is told, if somebody has asked for that.
    pub(super) fn notify(&self, effects: &mut Option<Box<Effects>>, change: Option<&RowChange>) {
        if change.is_some_and(|change| self.settings.callbacks.of(change.status).next().is_some()) {
            effects.get_or_insert_default().notify = true;
        }
    }

    async fn tell(&self, row: RunRow) -> Result<()> {
        let (key, id, status) = (row.key, row.id.clone(), row.status);
        let run = self.told(row);
        // What executes a step is no run of the user's.
        let is_step = queue::parse_id(&run.workflow).is_some();
        for callback in self.settings.callbacks.of(status).filter(|_| !is_step) {
            let told = AssertUnwindSafe(async { callback(run.clone()).await }).catch_unwind().await;
            told.unwrap_or_else(|panic| {
                Err(Error::coded(Code::Panic, format!("it panicked: {}", panic_text(&*panic))))
            })
            .map_err(|error| error.run(&id))?;
        }
        self.batcher.send(Write::Noticed { run: key }).await.map_err(|failed| failed.error)?;
        Ok(())
    }

    /// Tells all that is to be told: whether it came to anything.
    async fn tell_all(&self) -> Result<bool> {
        let rows = self.store.notices(NOTICES).await?;
        let some = !rows.is_empty();
        let mut failed = None;
        for row in rows {
            if let Err(error) = self.tell(row).await {
                failed = Some(error);
            }
        }
        failed.map_or(Ok(some), Err)
    }
}

/// Tells what is to be told, for as long as the engine is open.
pub(super) async fn run(engine: Arc<Inner>) {
    loop {
        let told = if engine.is_executing() { engine.tell_all().await } else { Ok(false) };
        match told {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(?error, "the end of a run could not be told; trying again");
                engine.notices.hint();
                engine.environment.sleep(TURN_RETRY_INTERVAL).await;
            }
        }
        tokio::select! {
            biased;
            () = engine.draining.cancelled() => return,
            () = engine.notices.0.notified() => {}
        }
    }
}
