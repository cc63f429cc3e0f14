//! Telemetry for OpenTelemetry: the spans of runs, and metrics. Without the feature `otel` it does nothing.
//!
//! The spans of a run are derived from its journal, row by row as they are recorded (`spans`), and its own span once it has
//! ended (`end`). The id of a span is derived from its subject: a span that is exported again after a crash has the
//! same id. The counters (`metrics`) are those of this process; the depth of a queue (`depth`) is read from the store.

#[cfg(feature = "otel")]
mod export;
#[cfg(feature = "otel")]
mod metrics;
#[cfg(not(feature = "otel"))]
mod off;
#[cfg(feature = "otel")]
mod spans;

#[cfg(feature = "otel")]
pub use self::export::{EndedSpan, Exporter, Telemetry};
#[cfg(feature = "otel")]
pub use self::metrics::{Metrics, Scheduled};
#[cfg(not(feature = "otel"))]
pub use self::off::{Metrics, Scheduled, Spans, Telemetry};
#[cfg(feature = "otel")]
pub use self::spans::Spans;

/// The name of the instrumentation scope.
#[cfg(feature = "otel")]
pub const SCOPE: &str = "workflow_runtime";
