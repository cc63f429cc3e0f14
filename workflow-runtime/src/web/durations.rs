//! How long the runs of each workflow took, from the newest of those that have ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::sync::Mutex;

use crate::engine::Client;
use crate::error::Result;
use crate::model::{RunInfo, Status};

const ENDED: [Status; 3] = [Status::Completed, Status::Failed, Status::Cancelled];
/// The newest runs of a workflow that are looked at.
const RUNS_MAX: usize = 200;
/// How many workflows are looked at at the same time, and for how long. Those that were not looked at have no durations.
const READS: usize = 4;
const TIME_MAX: Duration = Duration::from_millis(500);
/// How long the durations are used: this long, or so many times as long as it took to compute them.
const KEPT: Duration = Duration::from_secs(2);
const KEPT_TIMES: u32 = 10;

/// The durations of some runs, from their creation to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spread {
    /// So many runs were looked at.
    pub runs: usize,
    /// Half of them took at most this.
    pub half: Duration,
    /// All but a twentieth of them took at most this.
    pub most: Duration,
}

impl Spread {
    fn of(mut took: Vec<Duration>) -> Option<Spread> {
        took.sort_unstable();
        let (runs, last) = (took.len(), *took.last()?);
        // The least duration that so many per cent of the runs do not exceed.
        let at = |per_cent: usize| took.get((runs * per_cent).div_ceil(100).saturating_sub(1)).copied().unwrap_or(last);
        Some(Spread { runs, half: at(50), most: at(95) })
    }
}

pub(super) type Spreads = BTreeMap<String, Spread>;

/// The durations that are shared, and until when.
#[derive(Default)]
pub(super) struct Durations(Mutex<Option<(Arc<Spreads>, Instant)>>);

impl Durations {
    /// The durations of these workflows, from a look at most some seconds ago.
    pub async fn of(&self, client: &Client, workflows: impl Iterator<Item = &str>) -> Result<Arc<Spreads>> {
        let mut shared = self.0.lock().await;
        if let Some((spreads, _)) = shared.as_ref().filter(|(_, until)| *until > Instant::now()) {
            return Ok(spreads.clone());
        }
        let (began, workflows) = (Instant::now(), workflows.map(str::to_owned).collect::<Vec<_>>());
        let look = |workflow: String| async move {
            if began.elapsed() > TIME_MAX {
                return Ok(None);
            }
            let spread = look(client, &workflow).await?;
            Ok(spread.map(|spread| (workflow, spread)))
        };
        let read: Vec<Result<Option<(String, Spread)>>> =
            futures_util::stream::iter(workflows).map(look).buffer_unordered(READS).collect().await;
        let spreads: Spreads = read.into_iter().filter_map(Result::transpose).collect::<Result<_>>()?;
        let spreads = Arc::new(spreads);
        *shared = Some((spreads.clone(), Instant::now() + KEPT.max(began.elapsed() * KEPT_TIMES)));
        Ok(spreads)
    }
}

async fn look(client: &Client, workflow: &str) -> Result<Option<Spread>> {
    let ended = ENDED.into_iter().fold(client.runs().workflow(workflow), |runs, status| runs.status(status));
    let took = |info: RunInfo| info.completed_at?.duration_since(info.created_at).ok();
    Ok(Spread::of(ended.limit(RUNS_MAX).await?.runs.into_iter().filter_map(took).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_the_runs_that_there_are() {
        let seconds = |range: std::ops::RangeInclusive<u64>| Spread::of(range.rev().map(Duration::from_secs).collect());
        let spread =
            |runs, half, most| Some(Spread { runs, half: Duration::from_secs(half), most: Duration::from_secs(most) });
        assert_eq!(Spread::of(Vec::new()), None);
        assert_eq!(seconds(7..=7), spread(1, 7, 7));
        assert_eq!(seconds(1..=2), spread(2, 1, 2));
        assert_eq!(seconds(1..=100), spread(100, 50, 95));
    }
}
