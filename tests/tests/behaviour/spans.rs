//! Spans of runs, and their place in the traces of other programs.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, Status as SpanStatus, TraceContextExt, TraceFlags, TraceId, TraceState,
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SimpleSpanProcessor, SpanData};
use serde_json::json;
use workflow_runtime::{
    Code, Error, RequestContext, Result, Run, TracingOptions, hook, sleep, step, suspend, traceparent, workflow,
};

use crate::support::spans::{attribute, named, of, once, open, spans};
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

#[workflow]
async fn counts_down(from: u32) -> Result<u32> {
    let mut heard = 0;
    let mut numbers = hook::<u32>().token("numbers").open();
    while heard < from {
        heard += numbers.next().await.ok_or_else(|| Error::new("refused"))??;
    }
    Ok(heard)
}

#[step(queue = "gpu-of-spans")]
async fn renders() -> Result<Option<String>> {
    Ok(traceparent())
}

#[workflow]
async fn renders_elsewhere() -> Result<Option<String>> {
    renders().await
}

fn ids(spans: &[SpanData]) -> BTreeSet<String> {
    spans.iter().map(|span| span.span_context.span_id().to_string()).collect()
}

on_each_store! {
    async fn a_run_exports_spans_of_its_steps_attempts_and_waits(place: Place) {
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
                // Requests that the step sends are part of the attempt.
                let id = attempt.span_context.span_id();
                assert_eq!(header.as_deref(), Some(&*format!("00-{TRACE}-{id}-01")));
            }
        }
        assert_eq!(named(&spans, "wait sleep").parent_span_id, root.span_context.span_id());
        assert_eq!(spans.len(), 6);
    }

    async fn the_trace_continues_over_children_suspensions_and_processes(place: Place) {
        let lab = Lab::new();
        let client = place.builder(&lab).connect().await.unwrap();
        let header = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let start = client.start(traced_with_a_child, ()).id("r").tracing(TracingOptions::new().traceparent(&header));
        let run = start.await.unwrap();
        let (first, before) = open(&place, &lab).await;
        soon(async { while run.suspended().await.unwrap().is_empty() { workflow_harness::pause().await } }).await;
        first.shutdown().await.unwrap();
        let (second, exporter) = open(&place, &lab).await;
        run.resume(&5).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 5);
        let mut own = spans(&exporter, "r").await;
        own.extend(of(&before, "r"));
        // No span was lost, so none is exported twice.
        assert_eq!(ids(&own).len(), own.len());
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

    async fn metadata_is_on_the_spans_of_a_run_and_of_its_children(place: Place) {
        let (engine, exporter) = open(&place, &Lab::new()).await;
        let tracing = TracingOptions::new().metadata("release", &json!({"major": 7})).metadata("region", &"eu");
        let run = engine.start(traced_with_a_child, ()).tracing(tracing).await.unwrap();
        soon(async { while run.suspended().await.unwrap().is_empty() { workflow_harness::pause().await } }).await;
        run.resume(&5).await.unwrap();
        soon(&run).await.unwrap();
        let mut all = spans(&exporter, run.id()).await;
        all.extend(spans(&exporter, &run.children().await.unwrap()[0]).await);
        for span in all {
            assert_eq!(attribute(&span, "workflow.metadata.release").as_deref(), Some(r#"{"major":7}"#));
            assert_eq!(attribute(&span, "workflow.metadata.region").as_deref(), Some("eu"));
        }
    }

    async fn request_context_keys_are_paths_that_are_rebuilt(place: Place) {
        let (engine, exporter) = open(&place, &Lab::new()).await;
        let mut context = RequestContext::new();
        context.set("user", &json!({"id": "u1", "home": {"city": "Ulm", "zip": 1}, "secret": 5})).unwrap();
        let tracing = TracingOptions::new()
            .request_context_key("user.id")
            .request_context_key("user.home.city")
            .request_context_key("user.home.street")
            .request_context_key("user.id.x");
        let run = engine.start(traced, 0).request_context(context).tracing(tracing).await.unwrap();
        soon(&run).await.unwrap();
        for span in spans(&exporter, run.id()).await {
            let user = attribute(&span, "workflow.metadata.user").unwrap();
            let user: serde_json::Value = serde_json::from_str(&user).unwrap();
            assert_eq!(user, json!({"id": "u1", "home": {"city": "Ulm"}}));
        }
    }

    async fn trace_id_and_parent_span_id_are_those_of_the_start(place: Place) {
        let (engine, exporter) = open(&place, &Lab::new()).await;
        let tracing = TracingOptions::new().trace_id(TRACE);
        let run = engine.start(traced, 0).tracing(tracing.clone()).await.unwrap();
        soon(&run).await.unwrap();
        let own = spans(&exporter, run.id()).await;
        assert!(own.iter().all(|span| span.span_context.trace_id().to_string() == TRACE));
        assert_eq!(named(&own, "workflow traced").parent_span_id, SpanId::INVALID, "it is the root of its trace");
        let run = engine.start(traced, 0).tracing(tracing.parent_span_id("00f067aa0ba902b7")).await.unwrap();
        soon(&run).await.unwrap();
        let own = spans(&exporter, run.id()).await;
        assert_eq!(named(&own, "workflow traced").parent_span_id.to_string(), "00f067aa0ba902b7");
        assert!(own.iter().filter(|span| span.parent_span_id.to_string() == "00f067aa0ba902b7").count() == 1);
    }

    async fn tags_and_root_span_name_are_of_the_runs_own_span(place: Place) {
        let (engine, exporter) = open(&place, &Lab::new()).await;
        let tracing = TracingOptions::new().tag("nightly").tag("slow").root_span_name("the whole");
        let run = engine.start(traced, 0).tracing(tracing).await.unwrap();
        soon(&run).await.unwrap();
        for span in spans(&exporter, run.id()).await {
            let is_root = span.name == "the whole";
            assert_eq!(is_root, attribute(&span, "workflow.status").is_some(), "{}", span.name);
            let tags = attribute(&span, "workflow.tags");
            assert_eq!(tags.as_deref(), is_root.then_some(r#"["nightly","slow"]"#), "{}", span.name);
        }
    }

    async fn hide_input_and_hide_output_hide_one_each(place: Place) {
        let (engine, exporter) = open(&place, &Lab::new()).await;
        for (tracing, hidden, shown) in [
            (TracingOptions::new().hide_input(), "workflow.input", "workflow.output"),
            (TracingOptions::new().hide_output(), "workflow.output", "workflow.input"),
        ] {
            let run = engine.start(traced_with_a_child, ()).tracing(tracing).await.unwrap();
            soon(async { while run.suspended().await.unwrap().is_empty() { workflow_harness::pause().await } }).await;
            run.resume(&5).await.unwrap();
            soon(&run).await.unwrap();
            let child = run.children().await.unwrap().remove(0);
            for run in [run.id(), &child] {
                let spans = spans(&exporter, run).await;
                assert!(spans.iter().all(|span| attribute(span, hidden).is_none()));
                assert!(spans.iter().filter(|span| attribute(span, shown).is_some()).count() >= 2, "{shown}");
            }
        }
    }

    async fn tracing_context_is_that_of_a_parent_span(place: Place) {
        let (engine, exporter) = open(&place, &Lab::new()).await;
        let (trace, span) = (TraceId::from_hex(TRACE).unwrap(), SpanId::from_hex("00f067aa0ba902b7").unwrap());
        let parent = SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::default());
        let context = Context::new().with_remote_span_context(parent);
        let run = engine.start(traced, 0).tracing(TracingOptions::new().context(&context)).await.unwrap();
        let own = spans(&exporter, run.id()).await;
        let root = named(&own, "workflow traced");
        assert_eq!((root.span_context.trace_id(), root.parent_span_id), (trace, span));
        let without = engine.start(traced, 0).tracing(TracingOptions::new().context(&Context::new())).await.unwrap();
        let own = spans(&exporter, without.id()).await;
        assert_eq!(named(&own, "workflow traced").parent_span_id, SpanId::INVALID);
    }

    async fn a_trace_that_is_not_sampled_stays_so(place: Place) {
        let (engine, exporter) = open(&place, &Lab::new()).await;
        let tracing = TracingOptions::new().traceparent(&format!("00-{TRACE}-00f067aa0ba902b7-00"));
        let unsampled = engine.start(traced, 0).tracing(tracing).await.unwrap();
        let header = soon(&unsampled).await.unwrap().unwrap();
        assert!(header.starts_with(&format!("00-{TRACE}-")) && header.ends_with("-00"), "{header}");
        let sampled = engine.start(traced, 0).await.unwrap();
        assert!(soon(&sampled).await.unwrap().unwrap().ends_with("-01"));
        spans(&exporter, sampled.id()).await;
        assert_eq!(of(&exporter, unsampled.id()).len(), 0);
    }

    async fn spans_are_exported_when_they_end(place: Place) {
        let (engine, exporter) = open(&place, &Lab::new()).await;
        let run = engine.start(counts_down, 3).await.unwrap();
        for (number, payload) in [1, 1].into_iter().enumerate() {
            engine.resume_hook("numbers", &payload).await.unwrap();
            // The run is unfinished, and each wait for a payload has its own span.
            soon(async { while of(&exporter, run.id()).len() <= number { workflow_harness::pause().await } }).await;
            assert_eq!(of(&exporter, run.id()).len(), number + 1);
        }
        engine.resume_hook("numbers", &1).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 3);
        let spans = spans(&exporter, run.id()).await;
        assert_eq!(spans.iter().filter(|span| span.name == "wait hook").count(), 3);
        assert_eq!((ids(&spans).len(), spans.len()), (4, 4));
    }

    async fn spans_that_a_crash_may_have_lost_are_exported_again_with_the_same_ids(place: Place) {
        let lab = Lab::new();
        let (first, before) = open(&place, &lab).await;
        let run = first.start(traced_with_a_child, ()).id("r").await.unwrap();
        soon(async { while run.suspended().await.unwrap().is_empty() { workflow_harness::pause().await } }).await;
        let before = once(&before, "r", |span| span.name == "attempt 1 of asks").await;
        drop((run, first));
        let (second, after) = open(&place, &lab).await;
        let run: Run<u32> = second.get_run("r");
        run.resume(&5).await.unwrap();
        soon(&run).await.unwrap();
        let after = spans(&after, "r").await;
        assert!(!before.is_empty() && ids(&before).is_subset(&ids(&after)), "{before:#?}");
        assert_eq!(ids(&after).len(), after.len(), "one process exports each span once");
        for span in &before {
            let again = named(&after, &span.name);
            assert_eq!((again.start_time, again.end_time), (span.start_time, span.end_time));
            assert_eq!((&again.attributes, again.parent_span_id), (&span.attributes, span.parent_span_id));
        }
    }

    async fn a_step_of_a_queue_is_in_the_trace_of_its_caller(place: Place) {
        let exporter = InMemorySpanExporter::default();
        let processor = SimpleSpanProcessor::new(exporter.clone());
        let builder = place.builder(&Lab::new()).queue("gpu-of-spans", 1).span_processor(processor);
        let engine = builder.open().await.unwrap();
        let run = engine.start(renders_elsewhere, ()).await.unwrap();
        let header = soon(&run).await.unwrap();
        let own = spans(&exporter, run.id()).await;
        let call = named(&own, "step renders");
        assert!(!own.iter().any(|span| span.name.starts_with("attempt")), "the attempts belong to the other run");
        let executing = run.children().await.unwrap().remove(0);
        let other = spans(&exporter, &executing).await;
        let root = other.iter().find(|span| attribute(span, "workflow.status").is_some()).unwrap();
        assert_eq!(root.parent_span_id, call.span_context.span_id());
        let attempt = named(&other, "attempt 1 of renders").span_context.clone();
        assert_eq!(attempt.trace_id(), call.span_context.trace_id());
        assert_eq!(header, Some(format!("00-{}-{}-01", attempt.trace_id(), attempt.span_id())));
    }

    async fn every_run_has_a_trace_if_the_engine_exports_spans(place: Place) {
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

    async fn invalid_trace_and_span_ids_are_refused(place: Place) {
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
