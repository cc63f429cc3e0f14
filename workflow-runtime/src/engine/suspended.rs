//! The suspensions of runs, and their resumption.

use std::sync::Arc;

use super::inner::Inner;
use super::messages::{NO_OPERATION, message};
use super::parts::missing::not_found;
use crate::codec::{Payload, exact};
use crate::error::{Code, Error, Result};
use crate::model::Suspended;
use crate::registry;
use crate::replay::{Event, Suspension};
use crate::store::{Deliver, DeliverAnswer, Failed, RunRow, TokenRow, TokenState};
use crate::text::excerpt;

/// How often a resumption looks again, if its suspension was replaced by another one meanwhile.
const LOOKS: u32 = 8;

const RESUME_AGAIN: &str = "resume it again; with the same `.of(id)` and value that succeeds if it was resumed";

/// A suspension, with the data to resume it.
struct Waiting {
    suspended: Suspended,
    token: Arc<str>,
}

/// Which suspension of a run to resume.
pub(crate) enum Which {
    Only,
    Label(String),
    Id(String),
}

impl Inner {
    /// The suspensions of a run and of the runs that it has started: its own come first.
    pub(crate) async fn suspended(&self, id: &Arc<str>) -> Result<Vec<Suspended>> {
        let row = self.row(id).await?.ok_or_else(|| not_found(id))?;
        let waiting = self.waiting(&row).await?;
        let (mut own, others): (Vec<_>, Vec<_>) =
            waiting.into_iter().map(|waiting| waiting.suspended).partition(|suspended| *suspended.run == **id);
        own.extend(others);
        Ok(own)
    }

    async fn waiting(&self, row: &RunRow) -> Result<Vec<Waiting>> {
        let id = &row.id;
        let open = self.store.open_tokens(row.key).await.map_err(|error| error.run(id))?;
        let mut waiting = Vec::new();
        for (token, row) in open {
            let Some(asked) = &row.label.asked else { continue };
            let Some((run, label)) = self.named(id, &token, &row).await? else { continue };
            let payload = row.label.metadata.as_deref().unwrap_or("null");
            let payload = exact::shown(payload).map_err(|error| {
                Error::coded(Code::Damaged, "the payload of a suspension is no JSON").because(error).run(id)
            })?;
            let step = asked.step.as_deref().map(str::to_owned);
            let (id, run, type_name) = (asked.id.to_string(), run.to_string(), row.label.type_name);
            waiting.push(Waiting { suspended: Suspended { id, label, payload, step, run, type_name }, token });
        }
        Ok(waiting)
    }

    /// The suspended run, and the label: a step of a queue, which is a run of its own, suspends the run that calls it.
    async fn named(&self, id: &Arc<str>, token: &str, row: &TokenRow) -> Result<Option<(Arc<str>, String)>> {
        let of = |run: &Arc<str>| Suspension::label(run, token).map(|label| (run.clone(), label.to_owned()));
        let Some(executes) = &row.run else { return Ok(None) };
        if let Some(named) = of(executes).or_else(|| of(id)) {
            return Ok(Some(named));
        }
        let caller = self.row(executes).await?.and_then(|row| row.parent);
        Ok(caller.as_ref().and_then(of))
    }

    /// Resumes a run. The resumption is durable once this returns.
    pub(crate) async fn resume(&self, id: &Arc<str>, which: Which, value: Payload) -> Result<()> {
        self.check_open()?;
        let digest = value.digest();
        for _ in 0..LOOKS {
            let row = self.row(id).await?.ok_or_else(|| not_found(id))?;
            let mut waiting = self.waiting(&row).await?;
            waiting.retain(|waiting| *waiting.suspended.run == **id);
            let found = match &which {
                Which::Only if waiting.len() == 1 => waiting.pop(),
                Which::Only => None,
                Which::Label(label) => waiting.into_iter().find(|waiting| waiting.suspended.label == *label),
                Which::Id(asked) => waiting.into_iter().find(|waiting| waiting.suspended.id == *asked),
            };
            let Some(Waiting { suspended, token }) = found else {
                return self.not_waiting(&row, &which, digest).await;
            };
            registry::check_payload(&suspended.type_name, &value).map_err(|error| error.run(id))?;
            let now = self.clock.now();
            let deliver = Deliver {
                token,
                message: message(&Event::Payload { op: NO_OPERATION, value: value.clone() }, now, None)?,
                key: suspended.id.as_str().into(),
                scope: Some(Suspension::scope(id)),
                since: row.created_at,
                digest,
                keep: self.keep_deliveries(),
                asked: Some(suspended.id.as_str().into()),
                hold_until: None,
                now,
            };
            let failed = |failed: Failed| failed.explain("the run", "resumed", RESUME_AGAIN).run(id);
            match self.batcher.send_when_room(deliver).await.map_err(failed)? {
                DeliverAnswer::KeyReused | DeliverAnswer::Taken => return Err(already_resumed(id, &suspended.label)),
                DeliverAnswer::Disposed | DeliverAnswer::Stale | DeliverAnswer::Unknown | DeliverAnswer::Finished => {}
                DeliverAnswer::Committed => {
                    self.news.sent();
                    return Ok(());
                }
            }
        }
        Err(self.not_suspended(id, &which).await)
    }

    /// The outcome of a resumption that finds no suspension.
    async fn not_waiting(&self, row: &RunRow, which: &Which, digest: [u8; 32]) -> Result<()> {
        let (id, now) = (&row.id, self.clock.now());
        match which {
            Which::Only => {}
            Which::Id(asked) => {
                let scope = Suspension::scope(id);
                let before = self.store.delivery(&scope, asked, now).await.map_err(|error| error.run(id))?;
                if let Some(before) = before.filter(|before| before.at >= row.created_at) {
                    return if before.digest == digest { Ok(()) } else { Err(already_resumed(id, asked)) };
                }
            }
            Which::Label(label) => {
                let token = self.store.token(&Suspension::token(id, label)).await.map_err(|error| error.run(id))?;
                if token.is_some_and(|token| token.run.is_some() && token.state == TokenState::Taken) {
                    return Err(already_resumed(id, label));
                }
            }
        }
        Err(self.not_suspended(id, which).await)
    }

    async fn not_suspended(&self, id: &Arc<str>, which: &Which) -> Error {
        let (status, suspended) = match (self.row(id).await, self.suspended(id).await) {
            (Ok(Some(row)), Ok(suspended)) => (row.status, suspended),
            (Ok(None), _) => return not_found(id),
            (Err(error), _) | (_, Err(error)) => return error,
        };
        let (own, others): (Vec<_>, Vec<_>) = suspended.into_iter().partition(|suspended| *suspended.run == **id);
        let not_suspended = |text: String| Error::coded(Code::NotSuspended, text);
        let given_up = "the workflow or a timeout dropped it before it was resumed, or it never existed";
        let error = match which {
            Which::Label(label) => {
                let label = excerpt(label);
                not_suspended(format!("nothing of the run is suspended as `{label}`, or not any more: {given_up}"))
            }
            Which::Id(asked) => {
                let asked = excerpt(asked);
                not_suspended(format!("nothing of the run is suspended with the id `{asked}`: {given_up}"))
            }
            Which::Only if own.is_empty() => not_suspended("nothing of the run is suspended".to_owned()),
            Which::Only => not_suspended("several things of the run are suspended".to_owned())
                .help("name one: `run.resume(&data).of(id)`, or `.label(..)`"),
        };
        let error = match others.first() {
            Some(other) if own.is_empty() => error.help(format!(
                "run `{}`, which this run has started, is suspended as `{}`: resume that one, `get_run(..).resume(&data)`",
                other.run, other.label
            )),
            _ => error,
        };
        let labels: Vec<String> = own.iter().map(|suspended| format!("`{}`", suspended.label)).collect();
        let found = if labels.is_empty() { format!("the run is {status}") } else { labels.join(", ") };
        error.run(id).found(found).into_fatal()
    }
}

fn already_resumed(id: &Arc<str>, what: &str) -> Error {
    let text = format!(
        "what was suspended as `{}` was resumed before, with another value or by another caller",
        excerpt(what)
    );
    Error::coded(Code::AlreadyResumed, text).run(id).into_fatal()
}
