//! The end of a run: its span, and its part in the metrics.

use std::sync::Arc;

use opentelemetry::{Array, KeyValue, StringValue, Value as Attribute};
use serde_json::Value;

use super::inner::Inner;
use super::parts::resend::Sender as _;
use super::parts::telemetry::{EndedSpan, Exporter};
use crate::error::Result;
use crate::model::{Status, span_id};
use crate::replay::{End, Event, TurnRecord};

/// The status of a run's end, with its error as JSON.
fn status(end: &End) -> Result<(), String> {
    match end {
        End::Failed(error) => Err(error.as_str().to_owned()),
        End::Cancelled(reason) => Err(Value::from(reason.as_str()).to_string()),
        End::Completed(_) | End::Continued(_) => Ok(()),
    }
}

impl Inner {
    /// Exports the span of a run whose end is recorded in this generation, unless the status is not an end. The span shows
    /// the run's first and last row, which are read in a task of its own; a shutdown waits for it.
    pub(super) fn export_end(self: &Arc<Self>, run: &Arc<str>, generation: u64, status: Status) {
        let Some(exporter) = self.settings.telemetry.0.clone().filter(|_| status.is_terminal()) else { return };
        let (engine, run) = (self.clone(), run.clone());
        let export = async move {
            while let Err(error) = engine.export(&exporter, &run, generation, status).await {
                if !error.is_outage() || engine.draining.is_cancelled() || !engine.before_next_attempt().await {
                    return tracing::warn!(%run, ?error, "the span of a run that has ended could not be exported");
                }
            }
        };
        self.tasks.spawn_on(export, &self.runtime);
    }

    async fn export(&self, exporter: &Exporter, run: &str, generation: u64, ended: Status) -> Result<()> {
        let Some(row) = self.row(run).await? else { return Ok(()) };
        let first = self.store.journal(row.key, row.first_generation, 0, 1).await?.into_iter().next();
        let last = self.store.last(row.key, generation).await?;
        let (Some(first), Some(last)) = (first, last) else { return Ok(()) };
        let first = TurnRecord::decode(first.format, first.checksum, &first.body)?;
        let last = TurnRecord::decode(last.format, last.checksum, &last.body)?;
        let (Some(first), Some(last)) = (first.deliveries.first(), last.deliveries.last()) else { return Ok(()) };
        // A run that was cancelled before it was started has no trace.
        let Event::Started { args, carried: Some(carried), .. } = &first.event else { return Ok(()) };
        let Some(trace) = carried.inherited.as_ref().and_then(|inherited| inherited.trace.as_ref()) else {
            return Ok(());
        };
        let mut attributes = vec![
            KeyValue::new("workflow.status", ended.as_str()),
            KeyValue::new("workflow.name", row.workflow.to_string()),
        ];
        if !trace.hide_input {
            attributes.push(KeyValue::new("workflow.input", args.as_str().to_owned()));
        }
        if !trace.tags.is_empty() {
            let tags = trace.tags.iter().map(|tag| StringValue::from(tag.to_string())).collect();
            attributes.push(KeyValue::new("workflow.tags", Attribute::Array(Array::String(tags))));
        }
        if let Some(End::Completed(output)) = last.end.as_ref().filter(|_| !trace.hide_output) {
            attributes.push(KeyValue::new("workflow.output", output.as_str().to_owned()));
        }
        let short = row.workflow.rsplit("::").next().unwrap_or(&row.workflow);
        let name = trace.name.as_deref().map_or_else(|| format!("workflow {short}"), str::to_owned);
        let status = last.end.as_ref().map(status);
        let span = EndedSpan { name, began: first.at, ended: last.at, attributes, status };
        exporter.export(trace, run, &span_id(&["run", run]), trace.parent_span_id.as_deref(), span);
        Ok(())
    }

    /// Counts the end of a run that was not in memory, or that such a run got stuck.
    pub(super) async fn count_end(&self, run: &str, status: Status) {
        if let Ok(Some(row)) = self.row(run).await {
            self.metrics.ended(row.workflow.to_string(), status);
        }
    }
}
