//! Runs that wait for each other, and so may wait for ever.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::inner::Inner;
use crate::error::Result;
use crate::history::PendingOperations;
use crate::limits::CYCLE_RUNS_MAX;
use crate::model::{Status, Waiting};

/// Runs each of which waits for the end of the next one, and the last one for the end of the first.
pub(super) struct Cycle {
    runs: Vec<Arc<str>>,
    /// The run that was the last one to begin to wait.
    closed_by: Arc<str>,
}

/// Which run waits, and since when.
struct Wait {
    by: Arc<str>,
    since: u64,
}

impl Cycle {
    /// The cycle that begins with a run for which one waits, given a run that waits for each.
    fn of(first: &Arc<str>, waits: &HashMap<Arc<str>, Wait>) -> Option<Self> {
        let (mut runs, mut latest) = (Vec::new(), waits.get(first)?);
        let mut wait = latest;
        while wait.by != *first {
            runs.push(wait.by.clone());
            wait = waits.get(&wait.by)?;
            if wait.since > latest.since {
                latest = wait;
            }
        }
        runs.push(first.clone());
        runs.reverse();
        Some(Cycle { runs, closed_by: latest.by.clone() })
    }

    pub fn reason(self) -> Waiting {
        Waiting::Cycle { runs: self.runs.iter().map(ToString::to_string).collect() }
    }
}

impl Inner {
    /// Looks whether a run, whose operations these are, waits for itself through other runs.
    pub(super) async fn cycle(&self, first: &Arc<str>, pending: &PendingOperations) -> Result<Option<Cycle>> {
        let (mut waits, mut queue) = (HashMap::new(), VecDeque::new());
        let add = |waits: &mut HashMap<_, _>, queue: &mut VecDeque<_>, by: &Arc<str>, pending: &PendingOperations| {
            for (run, since) in pending.awaited() {
                if let Entry::Vacant(entry) = waits.entry(Arc::<str>::from(run)) {
                    queue.push_back(entry.key().clone());
                    entry.insert(Wait { by: by.clone(), since });
                }
            }
        };
        add(&mut waits, &mut queue, first, pending);
        let mut read = 0;
        while !waits.contains_key(first)
            && let Some(id) = queue.pop_front()
        {
            // A run that waits for nothing but runs is in no other status.
            let Some(other) = self.row(&id).await?.filter(|row| row.status == Status::Suspended) else { continue };
            read += 1;
            if read > CYCLE_RUNS_MAX {
                break;
            }
            add(&mut waits, &mut queue, &id, &self.operations(&other).await?.pending);
        }
        Ok(Cycle::of(first, &waits))
    }

    /// Looks, in a task, whether a run that waits for others waits for itself, and logs it. The run continues to wait: its
    /// workflow may have another way out.
    pub(super) fn warn_of_cycle(self: &Arc<Self>, id: &Arc<str>) {
        let (engine, id) = (self.clone(), id.clone());
        let look = async move {
            let cycle = async {
                let Some(row) = engine.row(&id).await? else { return Ok(None) };
                engine.cycle(&id, &engine.operations(&row).await?.pending).await
            };
            let cycle = tokio::select! {
                biased;
                () = engine.draining.cancelled() => return,
                cycle = cycle => cycle,
            };
            match cycle {
                // The other runs of the cycle leave memory as well.
                Ok(Some(cycle)) if cycle.closed_by == id => tracing::warn!(
                    run = %id,
                    "{}; cancel one of them, unless one can continue without the others",
                    cycle.reason()
                ),
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(run = %id, ?error, "it could not be looked up whether the run waits for itself")
                }
            }
        };
        self.tasks.spawn_on(look, &self.runtime);
    }
}
