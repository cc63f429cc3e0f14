//! What is read of a run: parts of one generation, so that a page costs the same for a journal of any length.

use crate::engine::history::part::Part;
use crate::error::{Code, Error};
use crate::history::{RunEvent, RunEventKind};
use crate::model::{RunInfo, Waiting, WorkerInfo};
use crate::steering::fits;
use crate::store::{RunKey, RunRow};
use crate::timeline::{Branch, Call, Collected, Collector, Kind, Place, State, Window};
use crate::web::error::WebError;
use crate::web::published::Published;
use crate::web::query::Query;
use crate::web::visit::Visit;

use super::excerpt::Shown;

/// A generation with more turns is long: only parts of it are read.
const LONG_TURNS: u64 = 2_048;
/// Turns that one part of a page reads at most.
pub(super) const TURNS_READ_MAX: u64 = 3_000;
/// Turns that are looked through at once for the next call.
const LOOKED_AT: u64 = 16;

/// A generation of a run.
pub(super) struct Source {
    pub info: RunInfo,
    pub key: RunKey,
    pub generation: u64,
    pub first_generation: u64,
    pub last_generation: u64,
    /// The index of the first event of the first generation that is kept.
    pub first_event: u64,
    /// The run's row; its owner is the worker that holds the run: 0 and `u64::MAX` are none.
    row: RunRow,
    /// How many turns the generation has.
    pub turns: u64,
    /// How many calls.
    pub calls: u64,
}

/// The number of the operation that an event begins.
pub(super) fn begins(event: &RunEvent) -> Option<u64> {
    match &event.kind {
        RunEventKind::StepStarted { operation, .. }
        | RunEventKind::ChildStarted { operation, .. }
        | RunEventKind::Sleeping { operation, .. }
        | RunEventKind::HookOpened { operation, .. }
        | RunEventKind::WaitingForRun { operation, .. } => Some(*operation),
        _ => None,
    }
}

impl Source {
    /// The generation that the parameters name, or the current one.
    pub async fn of(visit: &Visit, id: &str, query: &Query) -> Result<Source, WebError> {
        let generation = query.get("generation").and_then(|number| number.parse().ok());
        Source::generation(visit, id, generation).await
    }

    pub async fn generation(visit: &Visit, id: &str, generation: Option<u64>) -> Result<Source, WebError> {
        let inner = visit.client.inner();
        let info = visit.run(id).info().await?;
        let row = inner.row(id).await?;
        let row = row.ok_or_else(|| Error::coded(Code::RunNotFound, format!("there is no run `{}`", info.id)))?;
        let generation = generation.unwrap_or(row.generation).clamp(row.first_generation, row.generation);
        let turns = inner.turns(row.key, generation).await?;
        let mut source = Source {
            info,
            key: row.key,
            generation,
            first_generation: row.first_generation,
            last_generation: row.generation,
            first_event: row.first_event,
            turns,
            calls: 0,
            row,
        };
        source.calls = source.count(visit).await?;
        Ok(source)
    }

    pub fn is_long(&self) -> bool {
        self.turns > LONG_TURNS
    }

    pub fn is_current(&self) -> bool {
        self.generation == self.last_generation
    }

    /// The events from a turn on. Their indexes are known if the first event of the run is the first one.
    pub fn part(&self, row: u64) -> Part {
        Part::new(self.key, self.generation, row, self.first_event)
    }

    /// How many calls the generation has: the numbers of operations have no gaps.
    async fn count(&self, visit: &Visit) -> Result<u64, WebError> {
        let (mut end, mut size) = (self.turns, LOOKED_AT);
        while end > 0 {
            let from = end.saturating_sub(size);
            let (mut part, mut last) = (self.part(from), None);
            while let Some(turn) = visit.client.inner().next_turn(&mut part).await?.filter(|turn| turn.row < end) {
                last = turn.events.iter().filter_map(begins).max().max(last);
            }
            if let Some(last) = last {
                return Ok(last + 1);
            }
            (end, size) = (from, size * 4);
        }
        Ok(0)
    }

    /// The first turn behind which all calls from this one on are.
    pub async fn find(&self, visit: &Visit, operation: u64) -> Result<u64, WebError> {
        let (mut low, mut high) = (0, self.turns);
        while low < high && operation > 0 {
            let middle = low + (high - low) / 2;
            let mut part = self.part(middle).near();
            let mut found = None;
            while let Some(turn) = visit.client.inner().next_turn(&mut part).await?.filter(|turn| turn.row < high) {
                if let Some(last) = turn.events.iter().filter_map(begins).max() {
                    found = Some((turn.row, last));
                    break;
                }
            }
            match found {
                Some((row, last)) if last < operation => low = row + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// The calls of a window, from an operation on, or the last ones.
    pub async fn window(
        &self,
        visit: &Visit,
        from: Option<u64>,
        most: usize,
        failures: bool,
    ) -> Result<Collected, WebError> {
        let reach = if failures { TURNS_READ_MAX / 2 } else { u64::try_from(most).unwrap_or(u64::MAX) };
        let from = from.unwrap_or(self.calls.saturating_sub(reach)).min(self.calls);
        let row = self.find(visit, from).await?;
        let place = Place { generation: self.generation, operation: from };
        let window = Window { from: Some(place), most, failures };
        let mut collector = Collector::new(&self.info.id, Shown::new(visit, &self.info.id), window);
        let (mut part, mut read) = (self.part(row), 0);
        while read < TURNS_READ_MAX && !collector.is_complete() {
            let Some(turn) = visit.client.inner().next_turn(&mut part).await? else { break };
            turn.events.iter().for_each(|event| collector.add(event));
            read += 1;
        }
        let mut collected = collector.finish();
        collected.before = from;
        if !failures {
            let shown = u64::try_from(collected.calls.len()).unwrap_or(u64::MAX);
            collected.after = self.calls.saturating_sub(from + shown);
        }
        Ok(collected)
    }

    /// The worker that holds the run, if one does and is listed.
    pub async fn holder(&self, visit: &Visit) -> Result<Option<WorkerInfo>, WebError> {
        let owner = self.row.fence.owner;
        if self.info.status.is_terminal() || [0, u64::MAX].contains(&owner) {
            return Ok(None);
        }
        Ok(visit.client.inner().worker(owner).await?)
    }

    /// The deployments that have the code with which the run was started.
    pub fn fits(&self, published: &Published) -> String {
        fits::words(&fits::of(&self.row, published.deployments()))
    }

    /// Why the run does not move. Of a long journal only what is known without reading it.
    pub async fn waiting(&self, visit: &Visit) -> Result<Vec<Waiting>, WebError> {
        if self.info.status.is_terminal() {
            return Ok(Vec::new());
        }
        if self.is_long() && self.is_current() {
            return Ok(self.info.reason.clone().into_iter().collect());
        }
        Ok(visit.run(&self.info.id).waiting().await?)
    }

    /// The same, where the last calls have been read.
    pub async fn waiting_with(&self, visit: &Visit, calls: &Collected) -> Result<Vec<Waiting>, WebError> {
        let mut reasons = self.waiting(visit).await?;
        if reasons.is_empty() && !self.info.status.is_terminal() && calls.after == 0 {
            let now = crate::timeline::milliseconds(visit.now);
            reasons = calls.calls.iter().filter(|call| !call.state.is_over()).map(|call| reason(call, now)).collect();
            reasons.sort_by_key(Waiting::rank);
        }
        Ok(reasons)
    }
}

/// Why a call has not ended.
fn reason(call: &Branch, now: u64) -> Waiting {
    use crate::model::time;
    let run = || call.run.clone().unwrap_or_default();
    match &call.call {
        Call::Sleep { until } => Waiting::Timer { until: time(*until) },
        Call::Hook { token } => Waiting::Hook { token: token.clone(), metadata: None, since: Some(time(call.began)) },
        Call::Suspend { label } => {
            Waiting::Suspended { label: label.clone(), step: None, run: None, since: Some(time(call.began)) }
        }
        Call::Child { workflow, .. } => Waiting::Child { run: run(), workflow: workflow.clone(), status: None },
        Call::Run => Waiting::Run { run: run(), status: None },
        Call::Step { step, name } => {
            let (step, name, operation) = (step.clone(), name.clone(), call.place.operation);
            let (attempt, from) =
                call.attempts.last().map_or((1, call.began), |attempt| (attempt.number, attempt.from));
            let person = call.spans.last().is_some_and(|span| span.kind == Kind::Person);
            match call.state {
                State::Waiting if person => {
                    let label = call.detail.trim_start_matches("suspended as `").trim_end_matches('`').to_owned();
                    let since = call.spans.last().map(|span| time(span.from));
                    Waiting::Suspended { label, step: Some(step), run: call.run.clone(), since }
                }
                State::Retrying if from > now => Waiting::Retrying {
                    step,
                    name,
                    operation,
                    attempt,
                    attempts_max: call.attempts_max,
                    error: call.detail.clone(),
                    next_at: time(from),
                    run: call.run.clone(),
                },
                _ => Waiting::Executing {
                    step,
                    name,
                    operation,
                    attempt,
                    attempts_max: call.attempts_max,
                    dispatched_at: time(from),
                    run: call.run.clone(),
                },
            }
        }
    }
}
