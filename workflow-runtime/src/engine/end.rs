//! The end of a run, as its waiters receive it.

use std::sync::Arc;

use super::parts::finished::{Finished, awaits_itself};
use super::parts::missing::not_found;
use super::parts::stuck::Stuck;
use super::wait::{Awaited, Look, Seen};
use super::{inner::Inner, scope};
use crate::error::{Code, Error, Result};
use crate::model::Status;
use crate::replay::End;
use crate::store::{Follow, RunRow};

/// Waits for the end of a run.
struct TheEnd<'a>(&'a Arc<str>);

impl Awaited for TheEnd<'_> {
    type Value = Finished;

    const WHAT: Follow = Follow::End;
    const CLOSED: (&'static str, &'static str) = (
        "the engine was shut down before the run had ended",
        "the run is unfinished, and the next engine continues it; wait for it there by its id",
    );

    fn run(&self) -> &Arc<str> {
        self.0
    }

    async fn look(&mut self, engine: &Inner, seen: Seen) -> Result<Look<Finished>> {
        if let Some(end) = seen.end {
            return Ok(Look::Found(end));
        }
        // The wake will pass the end: no need to read the store.
        if seen.is_here {
            return Ok(Look::Nothing { run: None, may_vanish: false });
        }
        let row = engine.row(self.0).await?.ok_or_else(|| not_found(self.0))?;
        match row.status {
            Status::Completed | Status::Failed | Status::Cancelled => engine.finished(&row).await.map(Look::Found),
            Status::Stuck => Err(Stuck::error(&row)),
            Status::Pending | Status::Running | Status::Suspended => {
                Ok(Look::Nothing { run: Some(row.key), may_vanish: row.has_not_begun() })
            }
        }
    }
}

impl Inner {
    /// Waits until the run has ended or is stuck.
    pub(crate) async fn wait(&self, id: &Arc<str>) -> Result<Finished> {
        if scope::is_of_run(id) {
            return Err(awaits_itself(id));
        }
        self.until(TheEnd(id)).await
    }

    /// The end of a run, if it has ended; the error that it is stuck by, if it is; else `None`. Does not wait.
    #[cfg(any(feature = "cli", feature = "web"))]
    pub(crate) async fn end_so_far(&self, id: &str) -> Result<Option<Result<Finished>>> {
        let row = self.row(id).await?.ok_or_else(|| not_found(id))?;
        match row.status {
            Status::Completed | Status::Failed | Status::Cancelled => {
                self.finished(&row).await.map(|end| Some(Ok(end)))
            }
            Status::Stuck => Ok(Some(Err(Stuck::error(&row)))),
            Status::Pending | Status::Running | Status::Suspended => Ok(None),
        }
    }

    async fn finished(&self, row: &RunRow) -> Result<Finished> {
        let damaged = |error: Error| error.context("the run has ended, and its result cannot be read").run(&row.id);
        let last = self.store.last(row.key, row.generation).await.map_err(damaged)?;
        let Some(last) = last else {
            // The run may have been deleted meanwhile.
            if self.row(&row.id).await?.is_none_or(|now| now.key != row.key) {
                return Err(not_found(&row.id));
            }
            return Err(damaged(Error::coded(Code::Damaged, "its journal is empty")));
        };
        let end = End::of(last.format, last.checksum, &last.body).map_err(damaged)?;
        Finished::of(end).ok_or_else(|| damaged(Error::coded(Code::Damaged, "its journal ends before its end")))
    }
}
