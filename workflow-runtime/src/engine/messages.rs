//! Messages: messages that reach a run from outside, through its inbox.
//!
//! A run that is not in memory reads its messages when it is loaded. For a run in memory, the store reports
//! [news](crate::store::Store::news), and the engine puts the messages into its mailbox.

use std::sync::Arc;
use std::time::Duration;

use super::inner::Inner;
use super::parts::active_run::ActiveRun;
use super::parts::finished::Finished;
use super::parts::mailbox::{Arrival, What};
use super::parts::missing::not_found;
use crate::codec::{Payload, exact};
use crate::error::{Code, Error, Result};
use crate::keys;
use crate::limits::{NAME_BYTES_MAX, RESEND_DELAYS, RESEND_KEYS_KEPT, TURN_RETRY_INTERVAL};
use crate::model::HookInfo;
use crate::names::{self, TOKEN};
use crate::registry;
use crate::replay::{Encoded, End, Event};
use crate::store::{
    About, Dedupe, Deliver, DeliverAnswer, Failed, InboxRow, Keep, Message, NEVER, Open, RunKey, SendMessage,
    SendMessageAnswer, TokenLabel, TokenRow, TokenState,
};
use crate::text::excerpt;

/// Fetches messages until the engine drains.
pub(super) async fn run(engine: Arc<Inner>) {
    loop {
        tokio::select! {
            biased;
            () = engine.draining.cancelled() => return,
            () = engine.news.arriving() => {}
        }
        if !engine.is_executing() {
            continue;
        }
        if let Err(error) = engine.fetch_news().await {
            tracing::warn!(?error, "inbox messages could not be fetched; trying again");
            engine.environment.sleep(TURN_RETRY_INTERVAL).await;
            engine.news.hint();
        }
    }
}

const CANCEL_AGAIN: &str = "cancel it again: a second request changes nothing";
const WAKE_AGAIN: &str = "look whether the run still sleeps, and wake it again if it does";
const DELIVER_AGAIN: &str = "send it again; a payload with the same idempotency key arrives once";

fn check_reason(id: &str, reason: &str) -> Result<()> {
    if reason.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(Error::coded(Code::Limit, "the reason to cancel the run is too long")
        .run(id)
        .expected(format!("at most {NAME_BYTES_MAX} bytes"))
        .found(format!("{} bytes", reason.len())))
}

/// The deduplication key of a message that may be sent again after a commit in doubt.
pub(super) fn for_resending(key: String) -> Option<Dedupe> {
    Some(Dedupe { key, lasts: false })
}

pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(NEVER)
}

fn key_reused(token: &str, key: &str) -> Error {
    let text = format!("another payload was delivered to `{}` under the key `{}`", excerpt(token), excerpt(key));
    Error::coded(Code::KeyReused, text)
        .help("use a new key for each delivery, and repeat a key only with the same payload")
        .into_fatal()
}

/// Encodes an event as a message.
pub(super) fn message(event: &Event, arrived_at: u64, dedupe: Option<Dedupe>) -> Result<Message> {
    let Encoded { format, checksum, body } = event.encode()?;
    Ok(Message { dedupe, arrived_at, format, checksum, body })
}

/// The opening of a token before the run has reached its hook.
pub(super) fn promise(token: String, now: u64) -> Result<Open> {
    let refusal = message(&Event::Conflict { op: 0, owner: String::new() }, now, None)?;
    names::check_own(TOKEN, &token)?;
    Ok(Open { token: token.into(), op: None, label: TokenLabel::default(), scope: None, refusal })
}

/// The operation of an event that belongs to none: an event of an older generation, or a payload whose token determines the
/// hook that receives it.
pub(super) const NO_OPERATION: u64 = u64::MAX;

/// Decodes a message as an arrival at a generation of its run. One for an operation of another generation matches none.
pub(super) fn open(message: InboxRow, generation: u64) -> Result<Arrival> {
    let (at, sequence) = (message.arrived_at, message.sequence);
    Ok(Arrival { at, what: What::Message { sequence, event: event(message, generation)? } })
}

/// The event of a message. If it is meant for an operation of another generation, it is for no operation.
pub(super) fn event(message: InboxRow, generation: u64) -> Result<Event> {
    let unreadable = |error: Error| error.context("a message in its inbox cannot be read");
    let event = match message.about {
        Some(About::Ended(op)) => {
            let end = End::of(message.format, message.checksum, &message.body).map_err(unreadable)?;
            Event::Ended { op, end }
        }
        about => match (Event::decode(message.format, message.checksum, &message.body).map_err(unreadable)?, about) {
            (Event::Payload { value, .. }, Some(About::Operation(op))) => Event::Payload { op, value },
            (Event::Conflict { op, .. }, Some(About::Owner(owner))) => Event::Conflict { op, owner: owner.to_string() },
            (event, _) => event,
        },
    };
    Ok(if message.generation == generation { event } else { event.with_op(NO_OPERATION) })
}

/// A payload that is sent to a hook.
pub(crate) struct HookPayload {
    pub token: String,
    pub value: Result<Payload>,
    pub idempotency_key: Option<String>,
    /// The digest that distinguishes it from another delivery under its key; that of the payload, if it is `None`.
    pub content: Option<[u8; 32]>,
    /// How long it is held for a hook that is opened later.
    pub hold_for: Option<Duration>,
}

impl Inner {
    /// Fetches the messages for runs in memory. Those that cannot be fetched are left for the next call.
    async fn fetch_news(self: &Arc<Self>) -> Result<()> {
        let news = self.store.news(self.owner()).await?;
        self.news.unread().extend(news);
        let unread: Vec<RunKey> = self.news.unread().iter().copied().collect();
        let mut failed = None;
        for run in unread {
            // In this order: a run that is being activated at this check may be in memory at the next line.
            let nobody_is_coming = self.activations.is_idle();
            let live = self.live_runs().get(&run).cloned();
            match live {
                Some(live) => {
                    if let Err(error) = self.fetch(&live).await {
                        failed = Some(error.run(&live.id));
                        continue;
                    }
                }
                // The run may be being activated, with an inbox that was read before.
                None if !nobody_is_coming => continue,
                None => {}
            }
            self.news.unread().remove(&run);
        }
        failed.map_or(Ok(()), Err)
    }

    async fn fetch(self: &Arc<Self>, live: &Arc<ActiveRun>) -> Result<()> {
        let (inbox_seq, messages) = match self.store.inbox(live.key).await {
            Ok(inbox) => inbox,
            Err(error) if error.code() == Code::Damaged => {
                self.add_arrivals(live, [Arrival { at: self.clock.now(), what: What::Fault(error) }]);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let arrivals = messages.into_iter().filter(|message| !message.unread).map(|message| {
            let at = message.arrived_at;
            open(message, live.generation).unwrap_or_else(|error| Arrival { at, what: What::Fault(error) })
        });
        self.drive_if(live, live.receive(inbox_seq, arrivals.collect()));
        Ok(())
    }

    /// A key that no other message has: a message that is sent again after a doubt is recognised as the same.
    pub(super) fn message_key(&self) -> String {
        keys::message(self.random.number())
    }

    /// Puts an event into a run's inbox. The event is durable once this returns. `failed` is the error if that is not certain.
    async fn send_message(
        &self,
        id: &Arc<str>,
        event: &Event,
        unstick: bool,
        failed: impl Fn(Failed) -> Error,
    ) -> Result<()> {
        self.check_open()?;
        let message = message(event, self.clock.now(), for_resending(self.message_key()))?;
        let sent = self.batcher.send(SendMessage { run: id.clone(), message, unstick }).await;
        match sent.map_err(|error| failed(error).run(id))? {
            SendMessageAnswer::Unknown => Err(not_found(id)),
            SendMessageAnswer::Committed => {
                self.news.sent();
                Ok(())
            }
        }
    }

    /// Ends the current sleeps of a run.
    pub(crate) async fn wake_up(&self, id: &Arc<str>) -> Result<()> {
        let failed = |failed: Failed| failed.explain("the request to wake the run", "recorded", WAKE_AGAIN);
        self.send_message(id, &Event::WakeUp, false, failed).await
    }

    /// Asks a run to end. Returns whether it had not ended before.
    pub(crate) async fn request_cancel(&self, id: &Arc<str>, reason: String) -> Result<bool> {
        check_reason(id, &reason)?;
        let row = self.row(id).await?.ok_or_else(|| not_found(id))?;
        if row.status.is_terminal() {
            return Ok(false);
        }
        if row.has_not_begun() && self.cancel_for_later(&row, &reason).await? {
            return Ok(true);
        }
        let failed = |failed: Failed| failed.explain("the request to cancel the run", "recorded", CANCEL_AGAIN);
        self.send_message(id, &Event::Cancel { reason }, true, failed).await.map(|()| true)
    }

    /// Asks a run to end, and waits for its end. Returns whether it is cancelled.
    pub(crate) async fn cancel(&self, id: &Arc<str>, reason: String) -> Result<bool> {
        check_reason(id, &reason)?;
        let row = self.row(id).await?.ok_or_else(|| not_found(id))?;
        if row.status.is_terminal() {
            return Ok(row.status == crate::model::Status::Cancelled);
        }
        if row.has_not_begun() && self.cancel_for_later(&row, &reason).await? {
            return self.wait(id).await.map(|finished| matches!(finished, Finished::Cancelled(_)));
        }
        let failed = |failed: Failed| failed.explain("the request to cancel the run", "recorded", CANCEL_AGAIN);
        let mut stuck = None;
        for delay in RESEND_DELAYS {
            self.send_message(id, &Event::Cancel { reason: reason.clone() }, true, failed).await?;
            match self.wait(id).await {
                Ok(finished) => return Ok(matches!(finished, Finished::Cancelled(_))),
                // The run got stuck before it received the message.
                Err(error) if error.code() == Code::Stuck => {
                    stuck = Some(error);
                    self.environment.sleep(delay).await;
                }
                Err(error) if error.code() == Code::AwaitsItself => {
                    return Err(error.context("the request to cancel the run is recorded"));
                }
                Err(error) => return Err(error),
            }
        }
        let error = stuck.unwrap_or_else(|| Error::coded(Code::Stuck, "the run is stuck").run(id));
        Err(error.context("the run is to be cancelled, and what it has done cannot be undone by this build"))
    }

    /// How long the store keeps the idempotency key that a sender chose for a delivery.
    pub(super) fn keep_deliveries(&self) -> Keep {
        Keep::FromEnd(milliseconds(self.settings.keep_deliveries))
    }

    /// Sends a payload to a hook. The payload is durable once this returns.
    pub(crate) async fn resume_hook(&self, sent: HookPayload) -> Result<()> {
        let HookPayload { token, value, idempotency_key, content, hold_for } = sent;
        self.check_open()?;
        let (token, value): (Arc<str>, _) = (token.into(), value?);
        let (key, digest, keep) = match &idempotency_key {
            Some(key) => {
                names::check("an idempotency key", key)?;
                let digest = content.unwrap_or_else(|| value.digest());
                (Arc::from(keys::delivery(key)), digest, self.keep_deliveries())
            }
            None => (Arc::from(self.message_key()), [0; 32], Keep::FromDelivery(milliseconds(RESEND_KEYS_KEPT))),
        };
        let now = self.clock.now();
        if let Some(row) = self.store.token(&token).await?
            && let Err(error) = registry::check_payload(&row.label.type_name, &value)
        {
            // The payload may have been delivered before, to a hook of another type.
            let before = self.store.delivery(&token, &key, now).await?;
            return if before.is_some_and(|before| before.digest == digest) { Ok(()) } else { Err(error) };
        }
        let message = message(&Event::Payload { op: NO_OPERATION, value }, now, None)?;
        let hold_until = hold_for.map(|time| now.saturating_add(milliseconds(time)));
        let deliver = Deliver {
            token: token.clone(),
            message,
            key,
            scope: None,
            since: 0,
            digest,
            keep,
            asked: None,
            hold_until,
            now,
        };
        let failed = |failed: Failed| failed.explain("the payload", "delivered", DELIVER_AGAIN);
        let (code, what) = match self.batcher.send_when_room(deliver).await.map_err(failed)? {
            DeliverAnswer::Unknown => (Code::HookNotFound, "no hook has the token"),
            DeliverAnswer::Disposed | DeliverAnswer::Taken | DeliverAnswer::Stale => {
                (Code::HookDisposed, "the hook was dropped that had the token")
            }
            DeliverAnswer::Finished => (Code::HookFinished, "the run has ended that had the token"),
            DeliverAnswer::KeyReused => {
                return Err(key_reused(&token, idempotency_key.as_deref().unwrap_or_default()));
            }
            DeliverAnswer::Committed => {
                self.news.sent();
                return Ok(());
            }
        };
        let error = Error::coded(code, format!("{what} `{}`", excerpt(&token)));
        if code == Code::HookNotFound {
            return Err(error.help(
                "check the token; `.hold_for(..)` keeps a payload for a hook that is opened later, and \
                 `start(..).opens(token)` takes them from the start of the run on",
            ));
        }
        let error =
            error.help("the workflow no longer waits for it: nothing to do if this was a late or a second answer");
        Err(match self.store.token(&token).await?.and_then(|row| row.run) {
            Some(run) => error.run(run),
            None => error,
        })
    }

    /// Whether a payload with this content was delivered to a token under a key.
    #[cfg(feature = "http")]
    pub(crate) async fn was_delivered(&self, token: &str, key: &str, content: [u8; 32]) -> Result<bool> {
        names::check("an idempotency key", key)?;
        let before = self.store.delivery(token, &keys::delivery(key), self.clock.now()).await?;
        match before {
            Some(before) if before.digest != content => Err(key_reused(token, key)),
            before => Ok(before.is_some()),
        }
    }

    pub(crate) async fn hook_info(&self, token: &str) -> Result<HookInfo> {
        let row =
            self.store.token(token).await?.ok_or_else(|| {
                Error::coded(Code::HookNotFound, format!("no hook has the token `{}`", excerpt(token)))
            })?;
        described(token, row)
    }

    /// The open hooks of a run, without its suspensions.
    #[cfg(any(feature = "cli", feature = "web"))]
    pub(crate) async fn hooks(&self, id: &str) -> Result<Vec<HookInfo>> {
        let row = self.row(id).await?.ok_or_else(|| not_found(id))?;
        let open = self.store.open_tokens(row.key).await.map_err(|error| error.run(id))?;
        let own = open.into_iter().filter(|(_, token)| token.label.asked.is_none());
        own.filter(|(_, token)| token.run.as_deref() == Some(id)).map(|(token, row)| described(&token, row)).collect()
    }
}

fn described(token: &str, row: TokenRow) -> Result<HookInfo> {
    let metadata = row.label.metadata.as_deref().map(exact::shown).transpose();
    Ok(HookInfo {
        token: token.to_owned(),
        is_open: row.state == TokenState::Open && row.run.is_some(),
        schema: registry::registry().payload_schema(&row.label.type_name),
        run: row.run.map(|run| run.to_string()),
        metadata: metadata
            .map_err(|error| Error::coded(Code::Damaged, "the metadata of a hook cannot be read").because(error))?,
        type_name: row.label.type_name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(event: &Event, generation: u64) -> InboxRow {
        let Message { arrived_at, format, checksum, body, .. } = message(event, 5, None).expect("it encodes");
        InboxRow { sequence: 1, arrived_at, format, checksum, body, unread: false, generation, about: None }
    }

    fn op(row: InboxRow, generation: u64) -> Option<u64> {
        match open(row, generation).expect("it is read").what {
            What::Message { event, .. } => event.op(),
            _ => None,
        }
    }

    #[test]
    fn a_message_for_an_operation_of_an_older_generation_finds_none() {
        let (op_then, value) = (3, Payload::null());
        let events = [
            Event::Completed { op: op_then, value: value.clone() },
            Event::Failed { op: op_then, error: value.clone() },
            Event::Attempt { op: op_then, attempt: 1, error: value.clone(), not_before: 0, attempts_max: None },
            Event::Suspended { op: op_then, label: "l".into(), payload: value.clone(), type_name: "t".into() },
            Event::Finished { op: op_then, value },
            Event::Timer { op: op_then },
            Event::Woken { op: op_then },
        ];
        for event in events {
            assert_eq!(op(row(&event, 1), 1), Some(op_then), "{event:?}");
            assert_eq!(op(row(&event, 0), 1), Some(NO_OPERATION), "{event:?}");
        }
    }
}
