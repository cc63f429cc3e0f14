//! What runs are suspended for, and resuming them.

use std::sync::Arc;

use super::Inner;
use super::letters::{letter, not_sent};
use super::queries::not_found;
use crate::codec::{self, Payload};
use crate::error::{Code, Error, Result};
use crate::registry;
use crate::replay::{Event, Suspension};
use crate::store::{Deliver, DeliverAnswer, TokenState};
use crate::suspend::Suspended;

impl Inner {
    /// What a run is suspended for.
    pub(crate) async fn suspended(&self, id: &Arc<str>) -> Result<Vec<Suspended>> {
        let row = self.row(id).await?.ok_or_else(|| not_found(id))?;
        let open = self.store.open_tokens(row.key).await.map_err(|error| error.run(id))?;
        let mut suspended = Vec::new();
        for (token, row) in open {
            let Some(label) = Suspension::label(id, &token) else { continue };
            let payload = row.label.metadata.as_deref().unwrap_or("null");
            let payload = codec::decode_text("the payload of a suspension", payload).map_err(|error| error.run(id))?;
            suspended.push(Suspended { label: label.to_owned(), payload });
        }
        Ok(suspended)
    }

    /// Resumes a run. Once this returns it is durable.
    pub(crate) async fn resume(&self, id: &Arc<str>, label: Option<String>, value: Payload) -> Result<()> {
        self.check_open()?;
        let label = match label {
            Some(label) => label,
            None => self.only_suspension(id).await?,
        };
        let token = Suspension::token(id, &label);
        if let Some(row) = self.store.token(&token).await.map_err(|error| error.run(id))?
            && row.state == TokenState::Open
        {
            registry::check_payload(&row.label.type_name, &value).map_err(|error| error.run(id))?;
        }
        let now = self.environment.now();
        let letter = letter(&Event::Payload { op: 0, value }, now, Some(self.letter_key()))?;
        let already = || {
            let text = format!("what was suspended as `{label}` has been resumed, or is not waited for any more");
            Error::coded(Code::AlreadyResumed, text).run(id).into_fatal()
        };
        let deliver = Deliver { token, letter, hold_until: None, now };
        match self.batcher.send_when_room(deliver).await.map_err(|failed| not_sent(failed).run(id))? {
            DeliverAnswer::Disposed => Err(already()),
            DeliverAnswer::Unknown | DeliverAnswer::Finished => Err(self.not_suspended(id, Some(&label)).await),
            DeliverAnswer::Committed => {
                self.news.posted();
                Ok(())
            }
        }
    }

    async fn only_suspension(&self, id: &Arc<str>) -> Result<String> {
        let mut suspended = self.suspended(id).await?;
        match (suspended.pop(), suspended.is_empty()) {
            (Some(only), true) => Ok(only.label),
            _ => Err(self.not_suspended(id, None).await),
        }
    }

    async fn not_suspended(&self, id: &Arc<str>, label: Option<&str>) -> Error {
        let (status, suspended) = match (self.row(id).await, self.suspended(id).await) {
            (Ok(Some(row)), Ok(suspended)) => (row.status, suspended),
            (Ok(None), _) => return not_found(id),
            (Err(error), _) | (_, Err(error)) => return error,
        };
        let labels: Vec<String> = suspended.iter().map(|suspended| format!("`{}`", suspended.label)).collect();
        let error = match label {
            Some(label) => {
                let text = format!("nothing of the run is suspended as `{label}`");
                Error::coded(Code::NotSuspended, text)
            }
            None if labels.is_empty() => Error::coded(Code::NotSuspended, "nothing of the run is suspended"),
            None => Error::coded(Code::NotSuspended, "several things of the run are suspended")
                .help("say which: `run.resume(&data).label(..)`"),
        };
        let found = if labels.is_empty() { format!("the run is {status}") } else { labels.join(", ") };
        error.run(id).found(found).into_fatal()
    }
}
