//! Letters: what comes for a run from outside, by way of its inbox.
//!
//! A run that is not in memory finds its letters when it is loaded. For one that is, the store tells that there is
//! [news](crate::store::Store::news), and the letters are put into its mailbox.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Inner;
use super::live::{Arrival, Live, What};
use super::wait::{Finished, not_found};
use crate::error::{Code, Error, Result};
use crate::limits::NAME_BYTES_MAX;
use crate::replay::{Event, FORMAT};
use crate::store::{InboxRow, Letter, Outcome, RunKey, Write};

#[derive(Default)]
pub(super) struct News {
    /// Runs with letters that could not be fetched yet.
    unread: Mutex<BTreeSet<RunKey>>,
    arrived: Notify,
}

impl News {
    fn unread(&self) -> MutexGuard<'_, BTreeSet<RunKey>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There may be news: this engine has posted something itself, or runs came into memory that had some.
    pub fn hint(&self) {
        self.arrived.notify_one();
    }

    /// A run came into memory.
    pub fn run_is_here(&self, run: RunKey) {
        if self.unread().contains(&run) {
            self.hint();
        }
    }

    /// Resolves when there may be news.
    pub async fn arriving(&self) {
        self.arrived.notified().await;
    }
}

/// An event as a letter.
pub(super) fn letter(event: &Event, arrived_at: u64, dedupe: Option<String>) -> Result<Letter> {
    let body = event.encode()?;
    Ok(Letter { dedupe, arrived_at, format: FORMAT, checksum: crc32fast::hash(&body), body: body.into() })
}

/// A letter as an arrival.
pub(super) fn open(letter: InboxRow) -> Result<Arrival> {
    let event = Event::decode(letter.format, letter.checksum, &letter.body)
        .map_err(|error| error.context("a letter in its inbox cannot be read"))?;
    Ok(Arrival { at: letter.arrived_at, what: What::Letter { sequence: letter.sequence, event } })
}

impl Inner {
    /// Fetches the letters that came for runs in memory.
    pub(super) async fn fetch_news(self: &Arc<Self>) -> Result<()> {
        let news = self.store.news(self.owner).await?;
        self.news.unread().extend(news);
        let unread: Vec<RunKey> = self.news.unread().iter().copied().collect();
        for run in unread {
            let live = self.live_runs().get(&run).cloned();
            match live {
                Some(live) => self.fetch(&live).await?,
                // It may be on its way into memory, with an inbox that was read before.
                None if !self.taking.is_idle() => continue,
                None => {}
            }
            self.news.unread().remove(&run);
        }
        Ok(())
    }

    async fn fetch(self: &Arc<Self>, live: &Arc<Live>) -> Result<()> {
        let (inbox_seq, letters) = self.store.inbox(live.key).await?;
        let arrivals = letters.into_iter().map(|letter| {
            let at = letter.arrived_at;
            open(letter).unwrap_or_else(|error| Arrival { at, what: What::Fault(error) })
        });
        live.receive(self, inbox_seq, arrivals.collect());
        Ok(())
    }

    /// Puts an event into a run's inbox. Once this returns it is durable.
    async fn post(&self, id: &Arc<str>, event: &Event, unstick: bool) -> Result<()> {
        self.check_open()?;
        let letter = letter(event, self.environment.now(), None)?;
        let posted = self.batcher.send(Write::Post { run: id.clone(), letter, unstick }).await;
        match posted.map_err(|failed| failed.error.run(id))? {
            Outcome::Unknown => Err(not_found(id)),
            _ => {
                self.news.hint();
                Ok(())
            }
        }
    }

    /// Asks a run to end, and waits for its end: whether it is cancelled.
    pub(crate) async fn cancel(&self, id: &Arc<str>, reason: String) -> Result<bool> {
        if reason.len() > NAME_BYTES_MAX {
            return Err(Error::coded(Code::Limit, "the reason to cancel the run is too long")
                .run(id)
                .expected(format!("at most {NAME_BYTES_MAX} bytes"))
                .found(format!("{} bytes", reason.len())));
        }
        let row = self.row(id).await?.ok_or_else(|| not_found(id))?;
        if row.status.is_terminal() {
            return Ok(row.status == crate::store::Status::Cancelled);
        }
        loop {
            self.post(id, &Event::Cancel { reason: reason.clone() }, true).await?;
            match self.wait(id).await {
                Ok(finished) => return Ok(matches!(finished, Finished::Cancelled(_))),
                // It got stuck before it had come to the letter.
                Err(error) if error.code() == Code::Stuck => {}
                Err(error) => return Err(error),
            }
        }
    }
}
