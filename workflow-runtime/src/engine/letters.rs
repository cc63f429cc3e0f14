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
use crate::codec::excerpt;
use crate::error::{Code, Error, Result};
use crate::limits::NAME_BYTES_MAX;
use crate::names::{self, TOKEN};
use crate::registry;
use crate::replay::{Event, FORMAT, Opening};
use crate::resume::{HookInfo, ResumeHook};
use crate::store::{InboxRow, Letter, NEVER, Open, Outcome, RunKey, TokenLabel, TokenState, Write};

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

/// The tokens that a turn opens.
pub(super) fn opens(opened: &[Opening], now: u64) -> Result<Vec<Open>> {
    let open = |Opening { op, token, metadata, type_name }: &Opening| {
        let metadata = metadata.as_ref().map(|metadata| Arc::from(metadata.as_str()));
        let refusal = letter(&Event::Conflict { op: *op, owner: String::new() }, now, None)?;
        let label = TokenLabel { type_name: (*type_name).into(), metadata };
        Ok(Open { token: token.clone(), op: Some(*op), label, refusal })
    };
    opened.iter().map(open).collect()
}

/// A token that a run opens before it has come to the hook.
pub(super) fn promise(token: String, now: u64) -> Result<Open> {
    let refusal = letter(&Event::Conflict { op: 0, owner: String::new() }, now, None)?;
    names::check(TOKEN, &token)?;
    Ok(Open { token: token.into(), op: None, label: TokenLabel::default(), refusal })
}

/// A letter as an arrival.
pub(super) fn open(letter: InboxRow) -> Result<Arrival> {
    let mut event = Event::decode(letter.format, letter.checksum, &letter.body)
        .map_err(|error| error.context("a letter in its inbox cannot be read"))?;
    match (&mut event, letter.about) {
        (Event::Payload { op, .. }, Some(about)) => *op = about.parse().unwrap_or(u64::MAX),
        (Event::Payload { op, .. }, None) => *op = u64::MAX,
        (Event::Conflict { owner, .. }, Some(about)) => *owner = about.to_string(),
        _ => {}
    }
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

    /// Ends what a run sleeps.
    pub(crate) async fn wake_up(&self, id: &Arc<str>) -> Result<()> {
        self.post(id, &Event::WakeUp, false).await
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

    /// Sends a payload to a hook. Once this returns it is durable.
    pub(crate) async fn resume_hook(&self, resume: ResumeHook) -> Result<()> {
        let ResumeHook { token, payload, idempotency_key, hold_for, .. } = resume;
        self.check_open()?;
        names::check(TOKEN, &token)?;
        let (token, value): (Arc<str>, _) = (token.into(), payload?);
        if let Some(row) = self.store.token(&token).await? {
            registry::check_payload(&row.label.type_name, &value)?;
        }
        let now = self.environment.now();
        let dedupe = idempotency_key.map(|key| format!("hook/{token}/{key}"));
        let letter = letter(&Event::Payload { op: 0, value }, now, dedupe)?;
        let hold_until = hold_for.map(|time| now.saturating_add(u64::try_from(time.as_millis()).unwrap_or(NEVER)));
        let deliver = Write::Deliver { token: token.clone(), letter, hold_until, now };
        let (code, what) = match self.batcher.send(deliver).await.map_err(|failed| failed.error)? {
            Outcome::Unknown => (Code::HookNotFound, "no hook has the token"),
            Outcome::Disposed => (Code::HookDisposed, "the hook was dropped that had the token"),
            Outcome::Finished => (Code::HookFinished, "the run has ended that had the token"),
            _ => {
                self.news.hint();
                return Ok(());
            }
        };
        Err(Error::coded(code, format!("{what} `{}`", excerpt(&token))).help(
            "check the token; `.hold_for(..)` keeps a payload for a hook that is opened later, and \
             `start(..).opens(token)` takes them from the start of the run on",
        ))
    }

    pub(crate) async fn hook_info(&self, token: &str) -> Result<HookInfo> {
        names::check(TOKEN, token)?;
        let row =
            self.store.token(token).await?.ok_or_else(|| {
                Error::coded(Code::HookNotFound, format!("no hook has the token `{}`", excerpt(token)))
            })?;
        let metadata = row.label.metadata.as_deref().map(serde_json::from_str).transpose();
        Ok(HookInfo {
            token: token.to_owned(),
            run: row.run.map(|run| run.to_string()),
            is_open: row.state == TokenState::Open,
            metadata: metadata
                .map_err(|error| Error::coded(Code::Damaged, "the metadata of a hook cannot be read").because(error))?,
        })
    }
}
