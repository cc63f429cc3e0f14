//! How a run has ended, with all that it did.

use std::future::IntoFuture;

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::engine::Next;
use crate::error::{Code, Failure, Result};
use crate::handles::run::Run;
use crate::history::{StepOutcome, Steps};
use crate::model::{Status, span_id};

/// How a run has ended: see [`Run::outcome`](crate::Run::outcome).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome<T, E> {
    /// The id of the run.
    pub run_id: String,
    /// [`Completed`](Status::Completed), [`Failed`](Status::Failed), [`Cancelled`](Status::Cancelled), or
    /// [`Stuck`](Status::Stuck) if it cannot go on for now.
    pub status: Status,
    /// What awaiting the run gives.
    pub result: Result<T, E>,
    /// The arguments of its workflow, as [`start`](crate::start()) takes them: `null` for none, the argument itself where there
    /// is one, an array where there are several. Those of [its steps](StepOutcome::input) are told in the same way. Of a run whose first
    /// generations were [removed](crate::Retention::generations) they are those of the first generation that is kept.
    pub input: Value,
    /// Its steps and the children that it has called, in the order in which they were called, over all generations that are kept.
    pub steps: Vec<StepOutcome>,
    /// The trace that it belongs to: 32 hexadecimal digits. Nothing if it was started without [tracing](crate::Start::tracing) by
    /// an engine that tells no spans.
    pub trace_id: Option<String>,
    /// Its own span in it: 16 hexadecimal digits.
    pub span_id: Option<String>,
    /// Its state, if that was asked for and it has one.
    pub state: Option<Value>,
}

/// An outcome that is not looked up yet: see [`Run::outcome`](crate::Run::outcome).
#[must_use = "nothing waits unless it is awaited: add `.await`"]
pub struct GetOutcome<T, E> {
    run: Run<T, E>,
    with_state: bool,
}

impl<T, E> GetOutcome<T, E> {
    pub(crate) fn new(run: Run<T, E>, with_state: bool) -> Self {
        GetOutcome { run, with_state }
    }

    /// With the run's [state](crate::set_state).
    pub fn include_state(mut self) -> Self {
        self.with_state = true;
        self
    }
}

impl<T, E> IntoFuture for GetOutcome<T, E>
where
    T: DeserializeOwned + Send + 'static,
    E: Failure,
{
    type Output = Result<Outcome<T, E>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let GetOutcome { run, with_state } = self;
            let result = run.clone().ended().await?;
            let (steps, trace_id) = steps(&run).await?;
            let state = if with_state { run.state().await? } else { None };
            let status = run.status().await?;
            let input = steps.input.clone().unwrap_or_default();
            let span_id = trace_id.as_ref().map(|_| span_id(&["run", run.id()]));
            let (run_id, steps) = (run.id().to_owned(), steps.into_steps());
            Ok(Outcome { run_id, status, result, input, steps, trace_id, span_id, state })
        })
    }
}

/// The steps of a run, as far as it has come, and the trace that it belongs to.
pub(crate) async fn steps<T, E>(run: &Run<T, E>) -> Result<(Steps, Option<String>)> {
    let engine = run.engine().await?;
    'anew: loop {
        let mut place = engine.inner().history(run.shared_id()).await?;
        let mut steps = Steps::default();
        loop {
            match engine.inner().next_event(&mut place).await {
                Ok(Next::Event(event)) => steps.add(event),
                Ok(Next::Nothing { .. } | Next::End) => {
                    return Ok((steps, place.trace().map(|trace| trace.trace_id.to_string())));
                }
                // What is told is what is kept, from its beginning.
                Err(error) if error.code() == Code::EventsRemoved => continue 'anew,
                Err(error) => return Err(error),
            }
        }
    }
}
