//! The outcome of a run: its result, and its steps.

use std::future::IntoFuture;

use futures_util::future::BoxFuture;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::engine::Next;
use crate::error::{Code, Result};
use crate::handles::run::Run;
use crate::history::{StepOutcome, Steps};
use crate::model::{Schema, Status, span_id};

/// The outcome of a run: see [`Run::outcome`](crate::Run::outcome).
///
/// Its JSON has these fields and `"schema": 1`. The result is in `output` or in `error`; the other one is `null`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome<T, E> {
    /// The id of the run.
    pub run_id: String,
    /// [`Completed`](Status::Completed), [`Failed`](Status::Failed), [`Cancelled`](Status::Cancelled), or
    /// [`Stuck`](Status::Stuck).
    pub status: Status,
    /// The result, as awaiting the run returns it.
    pub result: Result<T, E>,
    /// The arguments of the workflow, as [`start`](crate::start()) takes them: `null` for none, the argument itself for
    /// one, an array for several. The inputs of [its steps](StepOutcome::input) have the same form. If the run's first
    /// generations were [removed](crate::Retention::generations), these are the arguments of the first generation that is
    /// kept.
    pub input: Value,
    /// The steps and the children that the run has called, in the order of the calls, over all generations that are kept.
    pub steps: Vec<StepOutcome>,
    /// The trace of the run: 32 hexadecimal digits. `None` if it was started without [tracing](crate::Start::tracing) by
    /// an engine that exports no spans.
    pub trace_id: Option<String>,
    /// The run's own span in the trace: 16 hexadecimal digits.
    pub span_id: Option<String>,
    /// The state of the run, if it was requested and the run has one.
    pub state: Option<Value>,
}

impl<T: Serialize, E: Serialize> Serialize for Outcome<T, E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let Outcome { run_id, status, result, input, steps, trace_id, span_id, state } = self;
        let mut fields = serializer.serialize_struct("Outcome", 10)?;
        fields.serialize_field("schema", &Schema)?;
        fields.serialize_field("run_id", run_id)?;
        fields.serialize_field("status", status)?;
        fields.serialize_field("output", &result.as_ref().ok())?;
        fields.serialize_field("error", &result.as_ref().err())?;
        fields.serialize_field("input", input)?;
        fields.serialize_field("steps", steps)?;
        fields.serialize_field("trace_id", trace_id)?;
        fields.serialize_field("span_id", span_id)?;
        fields.serialize_field("state", state)?;
        fields.end()
    }
}

/// A pending look-up of an outcome, executed when it is awaited: see [`Run::outcome`](crate::Run::outcome).
#[must_use = "nothing waits unless it is awaited: add `.await`"]
pub struct GetOutcome<T, E> {
    run: Run<T, E>,
    with_state: bool,
}

impl<T, E> GetOutcome<T, E> {
    pub(crate) fn new(run: Run<T, E>, with_state: bool) -> Self {
        GetOutcome { run, with_state }
    }

    /// Includes the run's [state](crate::set_state).
    pub fn include_state(mut self) -> Self {
        self.with_state = true;
        self
    }
}

impl<T, E> IntoFuture for GetOutcome<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
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

/// The steps of a run so far, and the trace that it belongs to.
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
                // Generations were removed during the read: read again from the first event that is kept.
                Err(error) if error.code() == Code::EventsRemoved => continue 'anew,
                Err(error) => return Err(error),
            }
        }
    }
}
