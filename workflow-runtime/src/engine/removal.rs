//! Deletes runs, and removes data whose retention has passed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::inner::Inner;
use super::messages::milliseconds;
use super::parts::batcher::misanswered;
use super::parts::missing::not_found;
use super::parts::pages::Pages;
use super::parts::waiters::Done;
use crate::error::{Code, Error, Result};
use crate::history::HistoryReader;
use crate::limits::{CLEANING_INTERVAL, CLEANING_PAUSE, CLEANING_RUNS, RESEND_KEYS_KEPT};
use crate::replay::{Commands, Delivery, Encoded, End, Event, TurnRecord};
use crate::store::{
    Budget, Clean, CleanAnswer, Delete, DeleteAnswer, Ended, Expired, Message, NEVER, RemoveGenerations,
    RemoveGenerationsAnswer, Request, RunKey, RunRow,
};
use crate::text::excerpt;

/// The reason that waiters get for a run that was deleted before it was started.
const DELETION_REASON: &str = "it was deleted before it was started";

pub(super) const CLEANING: Budget = Budget { rows: 5_000, bytes: 16 << 20 };

const DELETE_AGAIN: &str = "delete it again; if it was deleted, that fails with `Code::RunNotFound`";

impl Inner {
    /// Deletes a run.
    pub(crate) async fn delete(&self, id: &Arc<str>) -> Result<()> {
        self.check_open()?;
        let row = self.row(id).await?.ok_or_else(|| not_found(id))?;
        let delete = Delete { run: row.key, most: CLEANING, deletion_message: self.deletion_message()? };
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

    /// Called after a run with this id was deleted.
    pub(super) fn has_deleted(&self, id: &Arc<str>) {
        self.waiters.wake(id, Done::Left(None));
        // The delete may have sent messages to waiting runs, here or elsewhere, and may have left rows to remove.
        self.news.sent();
        self.cleaning.notify_one();
    }

    /// The last journal row for watchers of a run that has no journal.
    fn deletion_message(&self) -> Result<Message> {
        let at = self.clock.now();
        let (event, end) =
            (Event::Cancel { reason: DELETION_REASON.into() }, Some(End::Cancelled(DELETION_REASON.into())));
        let delivery = Delivery { at, event, commands: Commands::new(), unwinds: None, undoes: Vec::new(), end };
        let Encoded { format, checksum, body } = TurnRecord::from(delivery).encode()?;
        Ok(Message { dedupe: None, arrived_at: at, format, checksum, body })
    }

    /// For each status, the last ended run whose retention has passed.
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

    /// Removes all data whose retention has passed.
    async fn clean(&self) -> Result<()> {
        if let Some(kept) = self.settings.retention.kept_generations() {
            self.clean_generations(kept).await?;
        }
        let now = self.clock.now().min(NEVER);
        let expired = self.expired(now).await?;
        loop {
            let messages_before = now.saturating_sub(milliseconds(RESEND_KEYS_KEPT));
            let expired = expired.clone();
            let clean = Clean { expired, now, messages_before, runs: CLEANING_RUNS, most: CLEANING };
            let CleanAnswer { more } = self.commit_apart(clean).await?;
            if !more || self.draining.is_cancelled() {
                return Ok(());
            }
            self.environment.sleep(CLEANING_PAUSE).await;
        }
    }

    /// If commits do not wait for one another, a write of the cleaning must not share a group with writes of runs.
    pub(super) async fn commit_apart<R: Request>(&self, request: R) -> Result<R::Answer> {
        if self.store.blocks() {
            return self.batcher.send(request).await.map_err(|failed| failed.error);
        }
        let answers = self.store.commit(&[request.into()]).await.map_err(|failed| failed.error)?;
        answers.into_iter().next().and_then(R::answer).ok_or_else(|| misanswered().error)
    }

    /// Removes the journals of old generations of all runs, except for the `kept` latest.
    async fn clean_generations(&self, kept: u64) -> Result<()> {
        let mut after = None;
        loop {
            let rows = self.store.continued(kept, after, CLEANING_RUNS).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some((last.continuations, last.key));
            for row in &rows {
                match self.clean_generations_of(row, kept).await {
                    Err(error) if [Code::Damaged, Code::NewerFormat].contains(&error.code()) => {
                        tracing::warn!(
                            run = &*row.id,
                            ?error,
                            "the old generations of a run cannot be read, and are kept"
                        );
                    }
                    done => done?,
                }
                if self.draining.is_cancelled() {
                    return Ok(());
                }
            }
        }
    }

    /// Removes the journals of the oldest generations of a run, in parts.
    async fn clean_generations_of(&self, row: &RunRow, kept: u64) -> Result<()> {
        let mut row = row.clone();
        while row.continuations >= kept && !self.draining.is_cancelled() {
            let Some(remove) = self.oldest_generations(&row, row.continuations - kept + 1).await? else {
                return Ok(());
            };
            (row.first_generation, row.first_event) = (remove.until, remove.first_event);
            row.continuations -= remove.continuations;
            if self.commit_apart(remove).await? == RemoveGenerationsAnswer::Unknown {
                return Ok(());
            }
            self.environment.sleep(CLEANING_PAUSE).await;
        }
        Ok(())
    }

    /// The oldest generations of a run, up to so many that continued as new, or fewer if they are large. A generation that
    /// was retried is kept as long as the generation that continues it.
    async fn oldest_generations(&self, row: &RunRow, continuations: u64) -> Result<Option<RemoveGenerations>> {
        let (mut reader, mut left) = (HistoryReader::new(row), CLEANING);
        let (mut found, mut continued) = (None, 0);
        for generation in row.first_generation..row.generation {
            reader.begin_generation(generation);
            let (mut pages, mut is_continued) = (Pages::of(row.key, generation), false);
            while let Some(rows) = pages.next(&*self.store).await? {
                for row in rows {
                    let turn = TurnRecord::decode(row.format, row.checksum, &row.body)?;
                    for delivery in &turn.deliveries {
                        reader.read(delivery, &mut Vec::new())?;
                        is_continued = matches!(delivery.end, Some(End::Continued(_)));
                    }
                    left = left.less(1, row.body.len());
                }
            }
            if is_continued {
                continued += 1;
                found = Some(RemoveGenerations {
                    run: row.key,
                    from: row.first_generation,
                    until: generation + 1,
                    first_event: reader.next(),
                    continuations: continued,
                    most: CLEANING,
                });
                if continued == continuations || left.is_spent() {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Records the counts of the hour and cleans. What fails is tried again with the next cleaning.
    async fn maintain(&self, recorded: &mut Option<u64>) {
        if let Err(error) = self.record_counts(recorded).await {
            tracing::warn!(?error, "the runs of this hour could not be counted; trying again later");
        }
        if let Err(error) = self.clean().await {
            tracing::warn!(?error, "what is not kept any longer could not be removed; trying again later");
        }
    }

    /// A random interval, so that several workers do not clean at the same moment each time.
    fn until_next_cleaning(&self) -> Duration {
        let share = (self.random.number() % 1_000) as u32;
        let interval = self.clock.interval(CLEANING_INTERVAL);
        interval / 2 + interval * share / 1_000
    }
}

/// Removes data whose retention has passed and records the counts of each hour, while the engine is open.
pub(super) async fn run(engine: Arc<Inner>) {
    let mut at_once = !engine.settings.retention.is_empty();
    let mut recorded = None;
    loop {
        if !at_once {
            tokio::select! {
                biased;
                () = engine.draining.cancelled() => return,
                () = engine.cleaning.notified() => {}
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
            () = engine.maintain(&mut recorded) => {}
        }
    }
}
