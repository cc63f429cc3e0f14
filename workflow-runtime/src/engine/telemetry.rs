//! What OpenTelemetry is told: the spans of runs, and what is counted and measured. Nothing without the feature `otel`.
//!
//! The spans of a run are made of its journal, row by row as they are recorded (`spans`), and its own span once it has ended
//! (`export`). Their ids follow from what they are about: a span that is told twice, since a process died in between, is
//! the same span. What is counted (`metrics`) is of this process; how much waits in a queue (`depth`) is asked of the store.

#[cfg(feature = "otel")]
mod depth;
#[cfg(feature = "otel")]
mod export;
#[cfg(feature = "otel")]
mod metrics;
#[cfg(not(feature = "otel"))]
mod off;
#[cfg(feature = "otel")]
mod spans;

#[cfg(feature = "otel")]
pub(super) use self::export::Telemetry;
#[cfg(feature = "otel")]
pub(super) use self::metrics::{Metrics, Scheduled};
#[cfg(not(feature = "otel"))]
pub(super) use self::off::{Metrics, Scheduled, Spans, Telemetry};
#[cfg(feature = "otel")]
pub(super) use self::spans::Spans;

/// What tells it.
#[cfg(feature = "otel")]
const SCOPE: &str = "workflow_runtime";
