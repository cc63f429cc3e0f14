//! The parameters of a start.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt;
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceFlags, TraceState};
use opentelemetry_sdk::trace::SpanData;
use serde::{Deserialize, Serialize};
use serde_json::json;
use workflow_runtime::{
    Code, Error, OutputChunk, RequestContext, Result, Run, Status, TracingOptions, create_run, finish, hook,
    request_context, set_state, sleep, start, state, step, suspend, traceparent, workflow, writer,
};

use crate::support::spans::{attribute, named, open, spans};
use crate::support::{Lab, Place, soon};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    #[serde(default = "one")]
    count: usize,
}

fn one() -> usize {
    1
}

fn check(order: &Order) -> Result<()> {
    if order.id == 0 { Err(Error::new("orders are counted from 1")) } else { Ok(()) }
}

#[step]
async fn ship(#[resource] lab: &Lab, order: Order) -> Result<usize> {
    lab.note("shipped");
    Ok(order.count)
}

#[workflow(id = "reference.order", validate = check)]
async fn order(order: Order) -> Result<usize> {
    ship(order).await
}

#[workflow]
async fn counts_on() -> Result<Option<u32>> {
    let first = state::<u32>()?;
    hook::<()>().token("count on").await?;
    set_state(&(first.unwrap_or_default() + 1))?;
    Ok(first)
}

#[workflow]
async fn remembers(input: u32) -> Result<(u32, Option<u32>, Option<User>)> {
    Ok((input, state()?, who_asks().await?))
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    id: String,
    roles: Vec<String>,
}

#[step]
async fn who_asks() -> Result<Option<User>> {
    request_context().get("user")
}

#[step(queue = "context")]
async fn who_asks_elsewhere() -> Result<Option<User>> {
    request_context().get("user")
}

#[workflow]
async fn asked_by() -> Result<Option<User>> {
    who_asks().await
}

#[workflow]
async fn asked_by_again(times: u32) -> Result<Vec<Option<User>>> {
    sleep(Duration::from_millis(1)).await;
    if times > 0 {
        return asked_by_again(times - 1).continue_as_new().await;
    }
    let own = request_context().get("user")?;
    Ok(vec![own, who_asks().await?, asked_by().await?, who_asks_elsewhere().await?])
}

fn ada() -> User {
    User { id: "u1".into(), roles: vec!["admin".into()] }
}

fn context() -> RequestContext {
    let mut context = RequestContext::new();
    context.set("user", &ada()).unwrap();
    context.set("tenant", &"t").unwrap();
    context
}

/// An action that only some users may perform.
#[step]
async fn erases(#[resource] lab: &Lab) -> Result<()> {
    let user: Option<User> = request_context().get("user")?;
    if !user.is_some_and(|user| user.roles.iter().any(|role| role == "admin")) {
        return Err(Error::fatal("only an admin may"));
    }
    lab.note("erased");
    Ok(())
}

#[workflow]
async fn erasure() -> Result<()> {
    erases().await
}

#[step]
async fn writes_word(word: String) -> Result<()> {
    writer("words").write(&word).await
}

/// A step that calls another step.
#[step(retries = 1, backoff = "0ms..0ms")]
async fn writes_words(#[resource] lab: &Lab, words: Vec<String>) -> Result<usize> {
    lab.note("writes_words");
    for word in words {
        writes_word(word).await?;
    }
    Ok(lab.note("has written"))
}

#[workflow]
async fn speech(words: Vec<String>) -> Result<usize> {
    set_state(&"speaking".to_owned())?;
    writes_words(words).await
}

#[step(retries = 1, backoff = "0ms..0ms")]
async fn header(#[resource] lab: &Lab) -> Result<Option<String>> {
    if lab.note("attempt") == 1 { Err(Error::new("not yet")) } else { Ok(traceparent()) }
}

/// Has four spans: its own, one of a step, and those of two attempts.
#[workflow]
async fn traced(_input: String) -> Result<Option<String>> {
    header().await
}

#[workflow]
async fn has_state() -> Result<u32> {
    set_state(&json!({"done": 1}))?;
    hook::<u32>().token("end with its state").await
}

#[workflow]
async fn has_none() -> Result<()> {
    Ok(())
}

#[step]
async fn asks(question: String) -> Result<u32> {
    suspend(&question).label(&question).await
}

#[workflow]
async fn asks_two() -> Result<u32> {
    let (a, b) = futures::try_join!(asks("how much?".into()), asks("how many?".into()))?;
    Ok(a * b)
}

#[workflow]
async fn step_by_step(orders: Vec<Order>) -> Result<usize> {
    let mut shipped = 0;
    for order in orders {
        if !suspend::<bool>(&shipped).label("next").await? {
            finish(shipped).await?;
        }
        shipped += ship(order).await?;
    }
    Ok(shipped)
}

/// Starts a run with these options, and returns its spans, its result, and its trace and span ids.
async fn trace_of(place: &Place, tracing: TracingOptions) -> (Vec<SpanData>, Option<String>, [Option<String>; 2]) {
    let (engine, exporter) = open(place, &Lab::new()).await;
    let start = engine.start(traced, "input".into()).request_context(context());
    let run = start.tracing(tracing).await.unwrap();
    let outcome = soon(run.outcome()).await.unwrap();
    let spans = spans(&exporter, run.id()).await;
    assert_eq!(spans.len(), 4, "{spans:?}");
    (spans, outcome.result.unwrap(), [outcome.trace_id, outcome.span_id])
}

fn root(spans: &[SpanData]) -> &SpanData {
    named(spans, "workflow traced")
}

/// The distinct values of an attribute in the spans.
fn said(spans: &[SpanData], key: &str) -> Vec<Option<String>> {
    let mut said: Vec<_> = spans.iter().map(|span| attribute(span, key)).collect();
    said.sort_unstable();
    said.dedup();
    said
}

on_each_store! {
    async fn input_data(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(order, Order { id: 1, count: 3 }).await.unwrap();
        assert_eq!(soon(run).await.unwrap(), 3);
        let run = engine.start_by_id("reference.order", json!({"id": 2})).await.unwrap();
        assert_eq!(soon(run).await.unwrap(), json!(1), "the default of the type applies");
        let refused = engine.start(order, Order { id: 0, count: 1 }).id("refused").await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArguments);
        let refused = engine.start_by_id("reference.order", json!({"id": "x"})).id("refused").await.unwrap_err();
        assert!(format!("{refused:?}").contains("at id: invalid type: string"), "{refused:?}");
        assert!(!engine.get_run::<(), Error>("refused").exists().await.unwrap());
        assert_eq!(lab.count("shipped"), 2);
    }

    async fn initial_state(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(counts_on, ()).initial_state(&41).await.unwrap();
        assert_eq!(run.state::<u32>().await.unwrap(), Some(41));
        engine.resume_hook("count on", &()).await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), Some(41));
        assert_eq!(run.state::<u32>().await.unwrap(), Some(42));
        let error = engine.start(counts_on, ()).initial_state(&f64::NAN).await.unwrap_err();
        assert_eq!(error.code(), Code::Payload);
        let created = engine.create_run(counts_on).await.unwrap();
        let run = created.start(()).initial_state(&7).await.unwrap();
        assert_eq!(run.state::<u32>().await.unwrap(), Some(7));
        engine.resume_hook("count on", &()).hold_for(Duration::from_secs(60)).await.unwrap();
        assert_eq!(soon(run).await.unwrap(), Some(7));
    }

    async fn request_context_reaches_steps_children_queues_and_generations(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("context", 1).replay_every_turn().open().await.unwrap();
        let run = engine.start(asked_by_again, 2).request_context(context()).await.unwrap();
        assert_eq!(soon(run).await.unwrap(), vec![Some(ada()); 4]);
        let run = engine.start(asked_by_again, 0).await.unwrap();
        assert_eq!(soon(run).await.unwrap(), vec![None; 4]);
        let created = engine.create_run(asked_by).await.unwrap();
        let run = created.start(()).request_context(context()).await.unwrap();
        assert_eq!(soon(run).await.unwrap(), Some(ada()));
    }

    async fn request_context_outlives_the_process(place: Place) {
        let lab = Lab::new();
        let client = place.builder(&lab).connect().await.unwrap();
        let run: Run<_> = client.start(asked_by, ()).id("r").request_context(context()).await.unwrap();
        let engine = place.open(&lab).await;
        assert_eq!(soon(run).await.unwrap(), Some(ada()));
        engine.shutdown().await.unwrap();
    }

    async fn input_state_and_context_outlive_a_crash_right_behind_the_start(place: Place) {
        let lab = Lab::new();
        let client = place.builder(&lab).connect().await.unwrap();
        let start = client.start(remembers, 1).id("r").initial_state(&2).request_context(context());
        drop((start.await.unwrap(), client));
        let engine = place.open(&lab).await;
        let run: Run<(u32, Option<u32>, Option<User>)> = engine.get_run("r");
        assert_eq!(soon(run).await.unwrap(), (1, Some(2), Some(ada())));
    }

    // The actor is a value of the request context. A step decides what the actor may do.
    async fn actor(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let nobody = engine.start(erasure, ()).await.unwrap();
        assert!(soon(&nobody).await.unwrap_err().to_string().contains("only an admin may"));
        assert_eq!(lab.count("erased"), 0);
        let ada = engine.start(erasure, ()).request_context(context()).await.unwrap();
        soon(&ada).await.unwrap();
        assert_eq!(lab.count("erased"), 1);
    }

    async fn output_writer(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let heard: Arc<Mutex<Vec<OutputChunk>>> = Arc::default();
        let hears = heard.clone();
        let start = engine.start(speech, ["good", "morning"].map(str::to_owned).to_vec());
        let run = start.output_writer(move |chunk| {
            let hears = hears.clone();
            async move {
                if chunk.index == 0 {
                    // The chunk is stored, so the writer's error does not fail the write, the step or the attempt.
                    hears.lock().unwrap().push(chunk);
                    return Err(Error::new("did not understand"));
                }
                hears.lock().unwrap().push(chunk);
                Ok(())
            }
        });
        let run = run.await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 1);
        assert_eq!(lab.notes(), ["writes_words", "has written"]);
        let heard = heard.lock().unwrap().clone();
        let words: Vec<_> = heard.iter().map(|chunk| (chunk.get::<String>().unwrap(), chunk.attempt)).collect();
        let expected = [("good", 1), ("morning", 1)].map(|(word, attempt)| (word.to_owned(), attempt));
        assert_eq!(words, expected);
        assert!(heard.iter().all(|chunk| chunk.stream == "words" && chunk.step.ends_with("::writes_words")));
        // The writer received the chunks that are in the stream.
        let stream: Vec<_> = run.stream::<String>("words").map_ok(|chunk| chunk.value).try_collect().await.unwrap();
        assert_eq!(stream, ["good", "morning"]);
    }

    async fn tracing_context(place: Place) {
        let span = SpanContext::new(
            opentelemetry::TraceId::from_hex(TRACE).unwrap(),
            opentelemetry::SpanId::from_hex("b7").unwrap(),
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        );
        let current = Context::new().with_remote_span_context(span.clone());
        let (spans, header, _) = trace_of(&place, TracingOptions::new().context(&current)).await;
        assert!(spans.iter().all(|told| told.span_context.trace_id() == span.trace_id()));
        assert_eq!(root(&spans).parent_span_id, span.span_id());
        // In a step the current span is that of the attempt, so that user code can add child spans.
        let attempt = named(&spans, "attempt 2 of header").span_context.span_id();
        assert_eq!(header.unwrap(), format!("00-{TRACE}-{attempt}-01"));
        let (spans, ..) = trace_of(&place, TracingOptions::new().context(&Context::new())).await;
        assert_ne!(root(&spans).span_context.trace_id(), span.trace_id(), "the run has its own trace");
    }

    async fn tracing_options_metadata(place: Place) {
        let tracing = TracingOptions::new().metadata("release", &7).metadata("flags", &["a", "b"]);
        let (spans, ..) = trace_of(&place, tracing).await;
        assert_eq!(said(&spans, "workflow.metadata.release"), [Some("7".into())]);
        assert_eq!(said(&spans, "workflow.metadata.flags"), [Some(r#"["a","b"]"#.into())]);
    }

    async fn tracing_options_request_context_keys(place: Place) {
        let tracing = TracingOptions::new()
            .request_context_key("user.id")
            .request_context_key("tenant")
            .request_context_key("nope.x");
        let (spans, ..) = trace_of(&place, tracing).await;
        assert_eq!(said(&spans, "workflow.metadata.user"), [Some(r#"{"id":"u1"}"#.into())]);
        assert_eq!(said(&spans, "workflow.metadata.tenant"), [Some("t".into())]);
        assert_eq!(said(&spans, "workflow.metadata.nope"), [None]);
    }

    async fn tracing_options_trace_id(place: Place) {
        let (spans, _, [trace_id, _]) = trace_of(&place, TracingOptions::new().trace_id(TRACE)).await;
        assert_eq!(trace_id.as_deref(), Some(TRACE));
        assert!(spans.iter().all(|span| span.span_context.trace_id().to_string() == TRACE));
        let (_, _, [trace_id, _]) = trace_of(&place, TracingOptions::new().trace_id("ABC")).await;
        assert_eq!(trace_id.unwrap(), format!("{}abc", "0".repeat(29)), "1 to 32 digits");
    }

    async fn tracing_options_parent_span_id(place: Place) {
        let (spans, ..) = trace_of(&place, TracingOptions::new().trace_id(TRACE).parent_span_id("b7")).await;
        assert_eq!(root(&spans).parent_span_id.to_string(), "00000000000000b7");
        let others = spans.iter().filter(|span| span.name != "workflow traced");
        assert!(others.clone().all(|span| span.parent_span_id.to_string() != "00000000000000b7"), "{spans:?}");
    }

    async fn tracing_options_tags(place: Place) {
        let (spans, ..) = trace_of(&place, TracingOptions::new().tag("nightly").tag("beta")).await;
        let tags = attribute(root(&spans), "workflow.tags").unwrap();
        assert!(tags.contains("nightly") && tags.contains("beta"), "{tags}");
        assert_eq!(spans.iter().filter(|span| attribute(span, "workflow.tags").is_some()).count(), 1);
    }

    async fn tracing_options_root_span_name(place: Place) {
        let (spans, _, [_, span_id]) = trace_of(&place, TracingOptions::new().root_span_name("the whole")).await;
        assert_eq!(named(&spans, "the whole").span_context.span_id().to_string(), span_id.unwrap());
        assert!(spans.iter().all(|span| span.name != "workflow traced"));
    }

    async fn tracing_options_hide_input(place: Place) {
        let (spans, ..) = trace_of(&place, TracingOptions::new()).await;
        assert_eq!(attribute(root(&spans), "workflow.input").as_deref(), Some(r#""input""#));
        let (spans, ..) = trace_of(&place, TracingOptions::new().hide_input()).await;
        assert_eq!(said(&spans, "workflow.input"), [None]);
        assert!(attribute(root(&spans), "workflow.output").is_some());
    }

    async fn tracing_options_hide_output(place: Place) {
        let (spans, ..) = trace_of(&place, TracingOptions::new()).await;
        assert!(attribute(root(&spans), "workflow.output").is_some());
        let (spans, ..) = trace_of(&place, TracingOptions::new().hide_output()).await;
        assert_eq!(said(&spans, "workflow.output"), [None]);
        assert!(attribute(root(&spans), "workflow.input").is_some());
        let (spans, ..) = trace_of(&place, TracingOptions::new().hide_input().hide_output()).await;
        assert_eq!((said(&spans, "workflow.input"), said(&spans, "workflow.output")), (vec![None], vec![None]));
    }

    async fn output_options_include_state(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(has_state, ()).include_state().await.unwrap();
        engine.resume_hook("end with its state", &3).await.unwrap();
        assert_eq!(soon(run.outcome()).await.unwrap().state, Some(json!({"done": 1})));
        let run: Run<u32> = engine.get_run(run.id());
        assert_eq!(soon(run.outcome()).await.unwrap().state, None);
        assert_eq!(soon(run.outcome().include_state()).await.unwrap().state, Some(json!({"done": 1})));
        let outcome = soon(engine.start(has_none, ()).include_state().await.unwrap().outcome()).await.unwrap();
        assert_eq!(outcome.state, None, "the run has set no state");
    }

    // The labels are not an option of the start: a run returns them while it is suspended.
    async fn output_options_include_resume_labels(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(asks_two, ()).await.unwrap();
        let labels = soon(async {
            loop {
                let mut labels: Vec<_> = run.suspended().await.unwrap().into_iter().map(|asked| asked.label).collect();
                labels.sort_unstable();
                if labels.len() == 2 {
                    return labels;
                }
                workflow_harness::pause().await;
            }
        });
        assert_eq!(labels.await, ["how many?", "how much?"]);
        run.resume(&6).label("how much?").await.unwrap();
        run.resume(&7).label("how many?").await.unwrap();
        assert_eq!(soon(&run).await.unwrap(), 42);
        assert_eq!(run.suspended().await.unwrap(), []);
    }

    // A workflow that is to run step by step waits between its steps.
    async fn per_step(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let orders: Vec<_> = (1..=3).map(|id| Order { id, count: 1 }).collect();
        let run = engine.start(step_by_step, orders).await.unwrap();
        for shipped in 0..2 {
            soon(async {
                while run.suspended().await.unwrap().first().is_none_or(|next| next.payload != shipped) {
                    workflow_harness::pause().await;
                }
            })
            .await;
            assert_eq!((lab.count("shipped"), run.status().await.unwrap()), (shipped, Status::Suspended));
            run.resume(&(shipped < 1)).await.unwrap();
        }
        assert_eq!((soon(&run).await.unwrap(), lab.count("shipped")), (1, 1));
    }
}

case! {
    fn request_context_refuses_what_cannot_be_stored() {
        let mut context = RequestContext::new();
        let error = context.set("nan", &f64::NAN).unwrap_err();
        assert_eq!(error.code(), Code::Payload);
        assert!(format!("{error:?}").contains("`nan`"), "{error:?}");
        assert_eq!(context.set("", &1).unwrap_err().code(), Code::InvalidName);
        context.set("n", &1).unwrap();
        context.set("n", &2).unwrap();
        assert_eq!(context.get::<u32>("n").unwrap(), Some(2));
        assert_eq!(context.get::<u32>("m").unwrap(), None);
        assert_eq!(context.get::<String>("n").unwrap_err().code(), Code::Payload);
        assert_eq!(context.keys().collect::<Vec<_>>(), ["n"]);
        assert_eq!(request_context(), RequestContext::new());
        let _ = (create_run(asked_by), start(asked_by, ()));
    }
}
