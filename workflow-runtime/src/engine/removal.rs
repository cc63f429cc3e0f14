//! Deleting runs, and removing what is not kept any longer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Inner;
use super::batcher::misanswered;
use super::letters::milliseconds;
use super::queries::not_found;
use super::wait::Done;
use crate::error::{Code, Error, Result};
use crate::limits::{CLEANING_INTERVAL, CLEANING_PAUSE, CLEANING_RUNS, RESEND_KEYS_KEPT};
use crate::replay::{Delivery, Encoded, End, Event, TurnRecord};
use crate::store::{
    Clean, CleanAnswer, Delete, DeleteAnswer, Ended, Expired, Letter, NEVER, Portion, Request, RunKey, Write,
};
use crate::text::excerpt;

/// What is told to who waits for a run that was deleted before it was started.
const FAREWELL: &str = "it was deleted before it was started";

pub(super) const CLEANING: Portion = Portion { rows: 5_000, bytes: 16 << 20 };

const DELETE_AGAIN: &str = "delete it again; if it was deleted, that fails with `Code::RunNotFound`";

#[derive(Default)]
pub(super) struct Cleaning(Notify);

impl Inner {
    /// Deletes a run.
    pub(crate) async fn delete(&self, id: &Arc<str>) -> Result<()> {
        self.check_open()?;
        let row = self.row(id).await?.ok_or_else(|| not_found(id))?;
        let delete = Delete { run: row.key, most: CLEANING, farewell: self.farewell()? };
        match self
            .batcher
            .send(delete)
            .await
            .map_err(|failed| failed.explain("the run", "deleted", DELETE_AGAIN).run(id))?
        {
            DeleteAnswer::Committed => {
                self.has_deleted(id);
                Ok(())
            }
            DeleteAnswer::Unended => Err(Error::coded(
                Code::NotEnded,
                format!("the run `{}` has not ended, and only its end can be deleted", excerpt(id)),
            )
            .run(id)
            .expected("completed, failed, cancelled, or never started")
            .found(row.status)
            .help("cancel it before, with `run.cancel(\"why\").await`")),
            DeleteAnswer::Unknown => Err(not_found(id)),
        }
    }

    /// A run with this id is gone.
    pub(super) fn has_deleted(&self, id: &Arc<str>) {
        self.waiters.wake(id, Done::Left(None));
        // Somebody may have been told, here or elsewhere; and it may have left something.
        self.news.posted();
        self.cleaning.0.notify_one();
    }

    /// As the last row of the journal of a run that has none.
    fn farewell(&self) -> Result<Letter> {
        let at = self.clock.now();
        let (event, end) = (Event::Cancel { reason: FAREWELL.into() }, Some(End::Cancelled(FAREWELL.into())));
        let delivery = Delivery { at, event, commands: Vec::new(), unwinds: None, undoes: Vec::new(), end };
        let Encoded { format, checksum, body } = TurnRecord { deliveries: vec![delivery] }.encode()?;
        Ok(Letter { dedupe: None, arrived_at: at, format, checksum, body: body.into() })
    }

    /// Up to which run those of each status are not kept any longer.
    async fn expired(&self, now: u64) -> Result<Vec<Expired>> {
        let mut until = BTreeMap::new();
        for rule in self.settings.retention.rules() {
            let age = rule.age.and_then(|age| now.checked_sub(u64::try_from(age.as_millis()).ok()?));
            let by_age = age.map(|at| Ended { at, run: RunKey::MAX });
            let by_number = match rule.most {
                Some(most) => self.store.ended_before(rule.status, most).await?,
                None => None,
            };
            if let Some(place) = by_age.max(by_number) {
                until.insert(rule.status, place);
            }
        }
        Ok(until.into_iter().map(|(status, until)| Expired { status, until }).collect())
    }

    /// Removes all that is not kept any longer.
    async fn clean(&self) -> Result<()> {
        let now = self.clock.now().min(NEVER);
        let expired = self.expired(now).await?;
        loop {
            let letters_before = now.saturating_sub(milliseconds(RESEND_KEYS_KEPT));
            let expired = expired.clone();
            let clean = Clean { expired, now, letters_before, runs: CLEANING_RUNS, most: CLEANING };
            // Where commits do not wait for one another it is not to be in a group with those of the runs.
            let CleanAnswer { more } = if self.store.blocks() {
                self.batcher.send(clean).await.map_err(|failed| failed.error)?
            } else {
                let answers = self.store.commit(&[Write::Clean(clean)]).await.map_err(|failed| failed.error)?;
                answers.into_iter().next().and_then(Clean::answer).ok_or_else(|| misanswered().error)?
            };
            if !more || self.draining.is_cancelled() {
                return Ok(());
            }
            self.environment.sleep(CLEANING_PAUSE).await;
        }
    }

    /// Several workers are not to come at the same moment again and again.
    fn until_next_cleaning(&self) -> Duration {
        let share = (self.random.number() % 1_000) as u32;
        let interval = self.clock.interval(CLEANING_INTERVAL);
        interval / 2 + interval * share / 1_000
    }
}

/// Removes what is not kept any longer, for as long as the engine is open.
pub(super) async fn run(engine: Arc<Inner>) {
    let mut at_once = !engine.settings.retention.is_empty();
    loop {
        if !at_once {
            tokio::select! {
                biased;
                () = engine.draining.cancelled() => return,
                () = engine.cleaning.0.notified() => {}
                () = engine.environment.sleep(engine.until_next_cleaning()) => {}
            }
        }
        at_once = false;
        if !engine.is_executing() {
            continue;
        }
        tokio::select! {
            biased;
            () = engine.draining.cancelled() => return,
            cleaned = engine.clean() => {
                if let Err(error) = cleaned {
                    tracing::warn!(?error, "what is not kept any longer could not be removed; trying again later");
                }
            }
        }
    }
}
