//! The runs that are retried with a run: the failed children that it still waits for, and their failed children.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::super::inner::Inner;
use super::super::messages;
use super::super::parts::mailbox::What;
use super::super::parts::missing::not_found;
use super::payloads::{self, Lost};
use super::point::{LastGood, last_good_point};
use super::rewrite::{Beginning, Changes, awaited_children};
use super::{RETRY_AGAIN, not_retried, shown, suspended};
use crate::error::{Code, Error, Result};
use crate::limits::{RETRY_LOOKS_MAX, RETRY_RUNS_MAX};
use crate::model::Status;
use crate::replay::{Event, Identity};
use crate::store::{NextGeneration, Reopen, ReopenAnswer, RunRow};

fn has_failed(row: &RunRow) -> bool {
    matches!(row.status, Status::Failed | Status::Cancelled)
}

impl Inner {
    /// Continues a run that has failed or was cancelled, with its children, in one write.
    pub(super) async fn reopen(&self, row: RunRow) -> Result<()> {
        let id = row.id.clone();
        for _ in 0..RETRY_LOOKS_MAX {
            let Some(reopen) = self.tree(&row).await? else { continue };
            let answer = self.batcher.send_when_room(reopen).await;
            match answer.map_err(|failed| failed.explain("the run", "retried", RETRY_AGAIN).run(&id))? {
                ReopenAnswer::Committed => return Ok(()),
                ReopenAnswer::Unknown => return Err(not_found(&id)),
                ReopenAnswer::Fenced => {
                    let status = self.row(&id).await?.map_or(row.status, |row| row.status);
                    return Err(not_retried(&id, status).help("another call has retried it"));
                }
                // Another call has retried or deleted one of its children: looks again.
                ReopenAnswer::Changed => {}
            }
        }
        Err(Error::coded(
            Code::NotRepairable,
            "the run was not retried: its children changed each time that it was tried",
        )
        .run(&id)
        .found(format!("{RETRY_LOOKS_MAX} changes"))
        .help("retry it when no other call is retrying or deleting its children"))
    }

    /// The next generations of a run and of the failed runs below it. `None` if one of these has changed meanwhile.
    async fn tree(&self, top: &RunRow) -> Result<Option<Reopen>> {
        let (mut found, mut below) = (VecDeque::new(), Vec::new());
        let run = self.next_generation(top, &mut found).await.map_err(|error| error.run(&top.id))?;
        while let Some(row) = found.pop_front() {
            if below.len() + found.len() + 2 > RETRY_RUNS_MAX {
                return Err(too_many(&top.id));
            }
            match self.next_generation(&row, &mut found).await {
                Ok(next) => below.push(next),
                Err(error) => match self.row(&row.id).await? {
                    Some(now) if (now.key, now.generation, now.status) == (row.key, row.generation, row.status) => {
                        return Err(error
                            .run(&row.id)
                            .context(format!("run `{}` cannot continue with its child", top.id))
                            .help("delete the child; the retry then starts it again"));
                    }
                    _ => return Ok(None),
                },
            }
        }
        // Each run was found by the run that waits for it.
        below.reverse();
        Ok(Some(Reopen { run, below }))
    }

    /// The next generation of a run that has failed. Adds its children that have to continue as well to `found`.
    async fn next_generation(&self, row: &RunRow, found: &mut VecDeque<RunRow>) -> Result<NextGeneration> {
        let deliveries = self.deliveries(row.key, row.generation).await?;
        let waiting = suspended::waiting(&deliveries, row);
        let changed = shown::changed_attributes(&deliveries);
        let LastGood { kept, cut, again, mut reopening, bases, renewed, called_again } =
            last_good_point(deliveries, row.generation);
        reopening.suspended = suspended::kept(&waiting, &suspended::waiting(&kept, row));
        let again = match kept.is_empty() {
            true => self.start_of(row.key, again).await?,
            false => again,
        };
        let mut children = BTreeSet::new();
        for (op, id) in awaited_children(&kept, &renewed).into_iter().chain(called_again) {
            // A child that was deleted, or that the source of a fork has started, is started anew.
            let Some(child) = self.child_to_continue(row, &id).await? else { continue };
            children.insert(op);
            // Two calls may have waited for one child.
            if has_failed(&child) && !found.iter().any(|other| other.key == child.key) {
                found.push_back(child);
            }
            if found.len() >= RETRY_RUNS_MAX {
                break;
            }
        }
        let first = again.as_ref().filter(|_| kept.is_empty());
        let (_, mut inbox) = self.store.inbox(row.key).await?;
        inbox.retain(|message| message.generation == row.generation);
        let (state, attributes) = (shown::state(&kept, first), shown::attributes(changed, &kept, first));
        let payloads = payloads::again(&row.id, &kept, first, Lost { cut: &cut, inbox }, self.clock.now())?;
        (reopening.forwards, reopening.answered) = (payloads.forwards, payloads.answered);
        let identity = Identity { run: row.id.clone(), workflow: "", generation: row.generation + 1 };
        let changes = Changes { reopening, bases, children };
        let Beginning { rows, messages } = self.beginning(kept, again, &identity, &row.id, changes)?;
        let (payloads, replaced) = (payloads.payloads, payloads.replaced);
        let (run, generation) = (row.key, row.generation);
        Ok(NextGeneration { run, generation, rows, messages, payloads, replaced, state, attributes })
    }

    /// A child that a run waits for and owns, if it exists. The end of a run cancels its children: a child that is being
    /// cancelled ends before it continues.
    async fn child_to_continue(&self, parent: &RunRow, id: &Arc<str>) -> Result<Option<RunRow>> {
        let owned = |child: &RunRow| child.parent.as_ref() == Some(&parent.id);
        let Some(child) = self.row(id).await?.filter(owned) else { return Ok(None) };
        if child.status.is_terminal() || !self.is_being_cancelled(&child).await? {
            return Ok(Some(child));
        }
        match self.wait(id).await {
            Err(error) if error.code() != Code::RunNotFound => Err(error.context(format!(
                "run `{}` can be retried once its child, which is being cancelled, has ended",
                parent.id
            ))),
            _ => Ok(self.row(id).await?.filter(owned)),
        }
    }

    /// Whether a run that has not ended has received a cancel, or has it in its inbox.
    async fn is_being_cancelled(&self, row: &RunRow) -> Result<bool> {
        let (_, inbox) = self.store.inbox(row.key).await?;
        for message in inbox {
            if matches!(
                messages::open(message, row.generation)?.what,
                What::Message { event: Event::Cancel { .. }, .. }
            ) {
                return Ok(true);
            }
        }
        // The inbox was read first: a message that was taken out of it meanwhile is in the journal.
        let deliveries = self.deliveries(row.key, row.generation).await?;
        Ok(deliveries.iter().any(|(_, delivery)| matches!(delivery.event, Event::Cancel { .. })))
    }
}

fn too_many(id: &Arc<str>) -> Error {
    Error::coded(Code::Limit, "too many runs would have to be retried at once with the run")
        .run(id)
        .expected(format!(
            "at most {RETRY_RUNS_MAX} runs: it, its children that have failed or were cancelled, and theirs"
        ))
        .help("retry its children first (`run.children()` lists them), then the run")
        .into_fatal()
}
