//! Runs in the traces of others.

use std::time::Duration;

use opentelemetry::trace::{SpanId, Status as SpanStatus};
use serde_json::json;
use workflow_runtime::{
    Code, Error, RequestContext, Result, Run, TracingOptions, sleep, step, suspend, traceparent, workflow,
};

use crate::support::spans::{attribute, named, open, spans};
use crate::support::{Lab, soon};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[step(retries = 3, backoff = "0ms..0ms")]
async fn flaky(#[resource] lab: &Lab, failures: usize) -> Result<Option<String>> {
    if lab.note("flaky") <= failures { Err(Error::new("not yet")) } else { Ok(traceparent()) }
}

#[step]
async fn asks() -> Result<u32> {
    suspend(&1).await
}

#[workflow]
async fn traced(failures: usize) -> Result<Option<String>> {
    let header = flaky(failures).name("the flaky one").await?;
    sleep(Duration::from_millis(1)).await;
    Ok(header)
}

#[workflow]
async fn traced_with_a_child() -> Result<u32> {
    traced(0).await?;
    asks().await
}

#[workflow]
async fn fails_traced() -> Result<()> {
    Err(Error::fatal("broke"))
}

on_each_store! {
    async fn spans_tell_of_a_run_its_steps_attempts_and_waits(place: Place) {
        let (engine, exporter) = open(&place, &Lab::new()).await;
        let mut context = RequestContext::new();
        context.set("user", &json!({"id": "u1", "name": "n"})).unwrap();
        context.set("tenant", &"t").unwrap();
        let tracing = TracingOptions::new()
            .trace_id(TRACE)
            .parent_span_id("b7")
            .metadata("release", &7)
            .request_context_key("user.id")
            .request_context_key("tenant")
            .request_context_key("nope.x")
            .tag("nightly")
            .root_span_name("the whole");
        let start = engine.start(traced, 2).request_context(context).tracing(tracing);
        let run = start.await.unwrap();
        let header = soon(&run).await.unwrap();
        let spans = spans(&exporter, run.id()).await;
        let outcome = soon(run.outcome()).await.unwrap();
        assert!(spans.iter().all(|span| span.span_context.trace_id().to_string() == TRACE));
        for span in &spans {
            assert_eq!(attribute(span, "workflow.metadata.user").unwrap(), r#"{"id":"u1"}"#);
            assert_eq!(attribute(span, "workflow.metadata.tenant").unwrap(), "t");
            assert_eq!(attribute(span, "workflow.metadata.release").unwrap(), "7");
            assert_eq!(attribute(span, "workflow.metadata.nope"), None);
            assert!(span.end_time >= span.start_time);
        }
        let root = named(&spans, "the whole");
        assert_eq!(root.parent_span_id.to_string(), "00000000000000b7");
        assert_eq!((outcome.trace_id.as_deref(), outcome.span_id), (Some(TRACE), Some(root.span_context.span_id().to_string())));
        assert_eq!(attribute(root, "workflow.status").as_deref(), Some("completed"));
        assert_eq!(attribute(root, "workflow.input").as_deref(), Some("2"));
        assert!(attribute(root, "workflow.tags").unwrap().contains("nightly"));
        let step = named(&spans, "step the flaky one");
        assert_eq!((step.parent_span_id, &step.status), (root.span_context.span_id(), &SpanStatus::Ok));
        for (number, fails) in [(1, true), (2, true), (3, false)] {
            let attempt = named(&spans, &format!("attempt {number} of the flaky one"));
            assert_eq!(attempt.parent_span_id, step.span_context.span_id());
            assert_eq!(matches!(attempt.status, SpanStatus::Error { .. }), fails);
            assert_eq!(attempt.events.iter().any(|event| event.name == "exception"), fails);
            if number == 3 {
                // What it asks of others is a part of it.
                let id = attempt.span_context.span_id();
                assert_eq!(header.as_deref(), Some(&*format!("00-{TRACE}-{id}-01")));
            }
        }
        assert_eq!(named(&spans, "wait sleep").parent_span_id, root.span_context.span_id());
        assert_eq!(spans.len(), 6);
    }

    async fn the_trace_is_kept_over_children_suspensions_and_processes(place: Place) {
        let lab = Lab::new();
        let client = place.builder(&lab).connect().await.unwrap();
        let header = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let start = client.start(traced_with_a_child, ()).id("r").tracing(TracingOptions::new().traceparent(&header));
        let run = start.await.unwrap();
        let (first, _) = open(&place, &lab).await;
        soon(async { while run.suspended().await.unwrap().is_empty() { tokio::task::yield_now().await } }).await;
        first.shutdown().await.unwrap();
        let (second, exporter) = open(&place, &lab).await;
        run.resume(&5).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 5);
        let own = spans(&exporter, "r").await;
        let root = named(&own, "workflow traced_with_a_child");
        assert_eq!(root.parent_span_id.to_string(), "00f067aa0ba902b7");
        assert!(own.iter().any(|span| span.name == "attempt 1 of asks"));
        assert!(own.iter().any(|span| span.name == "attempt 2 of asks"));
        let called = named(&own, "child traced").span_context.span_id();
        let child: Run<Option<String>> = second.get_run(&run.children().await.unwrap()[0]);
        let outcome = soon(child.outcome()).await.unwrap();
        assert_eq!(outcome.trace_id.as_deref(), Some(TRACE));
        let header = outcome.result.unwrap().unwrap();
        assert!(header.starts_with(&format!("00-{TRACE}-")), "{header}");
        assert_ne!(called, SpanId::INVALID);
        assert!(own.iter().all(|span| span.span_context.trace_id().to_string() == TRACE));
    }

    async fn every_run_has_a_trace_where_spans_are_told(place: Place) {
        let (engine, exporter) = open(&place, &Lab::new()).await;
        let run = engine.start(fails_traced, ()).await.unwrap();
        assert!(soon(&run).await.is_err());
        let spans = spans(&exporter, run.id()).await;
        let root = named(&spans, "workflow fails_traced");
        assert!(matches!(&root.status, SpanStatus::Error { description } if description.contains("broke")));
        assert_eq!(soon(run.outcome()).await.unwrap().trace_id.unwrap(), root.span_context.trace_id().to_string());
        let other = engine.start(fails_traced, ()).await.unwrap();
        assert_ne!(soon(other.outcome()).await.unwrap().trace_id, soon(run.outcome()).await.unwrap().trace_id);
        let untold = place.open(&Lab::new()).await;
        drop(untold);
    }

    async fn an_id_that_is_none_is_refused(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let short = engine.start(traced, 0).tracing(TracingOptions::new().trace_id("ABC")).await.unwrap();
        let id = soon(short.outcome()).await.unwrap().trace_id.unwrap();
        assert_eq!(id, format!("{}abc", "0".repeat(29)), "1 to 32 digits");
        let long = "f".repeat(33);
        for wrong in ["", "xyz", "00", long.as_str()] {
            let refused = engine.start(traced, 0).tracing(TracingOptions::new().trace_id(wrong)).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidName, "{wrong:?}: {refused:?}");
            let refused = engine.start(traced, 0).tracing(TracingOptions::new().parent_span_id(wrong)).await;
            assert_eq!(refused.unwrap_err().code(), Code::InvalidName);
        }
        let refused = engine.start(traced, 0).tracing(TracingOptions::new().traceparent("00-zz")).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidName);
        let refused = engine.start(traced, 0).tracing(TracingOptions::new().metadata("m", &f64::NAN)).await;
        assert_eq!(refused.unwrap_err().code(), Code::Payload);
        let untraced = engine.start(traced, 0).await.unwrap();
        let outcome = soon(untraced.outcome()).await.unwrap();
        assert_eq!((outcome.trace_id, outcome.span_id, outcome.result.unwrap()), (None, None, None));
    }
}
