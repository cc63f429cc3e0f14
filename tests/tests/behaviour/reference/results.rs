//! The outcome of a run, and what an unfinished run returns.

use std::error::Error as StdError;

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use serde_json::json;
use workflow_runtime::{
    Code, Engine, Error, Failure, Result, Run, RunEventKind, Status, StepOutcome, StepStatus, Suspended,
    TracingOptions, set_state, step, suspend, workflow,
};

use crate::support::{Lab, soon};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Verdict {
    approved: bool,
}

#[step]
async fn drafts(topic: String) -> Result<String> {
    Ok(format!("on {topic}"))
}

#[step(retries = 1, backoff = "0ms..0ms")]
async fn prints(#[resource] lab: &Lab, text: String) -> Result<usize> {
    match lab.note("prints") {
        1 => Err(Error::new("no paper")),
        _ => Ok(text.len()),
    }
}

#[step]
async fn reviews(text: String) -> Result<Verdict> {
    suspend(&json!({"read": text})).label("review").await
}

#[step]
async fn burns(what: String) -> Result<()> {
    let cause = std::io::Error::other("no fire");
    Err(Error::fatal(cause).context(format!("{what} does not burn")))
}

/// Two steps, and a third that asks for a review.
#[workflow]
async fn article(topic: String) -> Result<usize> {
    set_state(&topic)?;
    let text = drafts(topic).await?;
    if !reviews(text.clone()).name("the review").await?.approved {
        burns(text).await?;
        return Ok(0);
    }
    prints(text).await
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Refused {
    /// The text must not be published. `retry` states whether another draft could be.
    Blocked {
        reason: String,
        retry: bool,
    },
    Broke(String),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::Broke(error.to_string())
    }
}

impl Failure for Refused {
    fn is_fatal(&self) -> bool {
        matches!(self, Refused::Blocked { .. })
    }
}

#[step]
async fn guards(#[resource] lab: &Lab, text: String) -> Result<String, Refused> {
    lab.note("guards");
    match text.contains("secret") {
        true => Err(Refused::Blocked { reason: "it tells a secret".into(), retry: true }),
        false => Ok(text),
    }
}

#[workflow]
async fn guarded(text: String) -> Result<String, Refused> {
    guards(text).await
}

#[workflow]
async fn two_at_once() -> Result<(String, String)> {
    futures::try_join!(drafts("a".into()), drafts("b".into()))
}

/// Waits until the review is requested.
async fn until_review<T, E>(run: &Run<T, E>) -> Suspended {
    soon(async {
        loop {
            if let Some(suspended) = run.suspended().await.unwrap().pop() {
                return suspended;
            }
            workflow_harness::pause().await;
        }
    })
    .await
}

/// Starts an article whose review has this result.
async fn reviewed(engine: &Engine, approved: bool) -> Run<usize> {
    let run = engine.start(article, "Rust".into()).include_state().await.unwrap();
    until_review(&run).await;
    run.resume(&Verdict { approved }).label("review").await.unwrap();
    run
}

fn short(step: &StepOutcome) -> &str {
    step.step.rsplit("::").next().unwrap_or_default()
}

on_each_store! {
    async fn run_id(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let named = soon(engine.start(two_at_once, ()).id("r").await.unwrap().outcome()).await.unwrap();
        assert_eq!(named.run_id, "r");
        let drawn = engine.start(two_at_once, ()).await.unwrap();
        assert_eq!(soon(drawn.outcome()).await.unwrap().run_id, drawn.id());
    }

    async fn status_success(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = reviewed(&engine, true).await;
        assert_eq!(soon(run.outcome()).await.unwrap().status, Status::Completed);
        assert_eq!(run.status().await.unwrap(), Status::Completed);
    }

    async fn status_failed(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = reviewed(&engine, false).await;
        let outcome = soon(run.outcome()).await.expect("a failed run has an outcome");
        assert_eq!((outcome.status, outcome.result.is_err()), (Status::Failed, true));
    }

    // A blocked text is a typed error, which is not retried.
    async fn status_tripwire(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let outcome = soon(engine.start(guarded, "a secret".into()).await.unwrap().outcome()).await.unwrap();
        let blocked = Refused::Blocked { reason: "it tells a secret".into(), retry: true };
        assert_eq!((outcome.status, outcome.result), (Status::Failed, Err(blocked)));
        assert_eq!(lab.count("guards"), 1);
        let passed = soon(engine.start(guarded, "news".into()).await.unwrap().outcome()).await.unwrap();
        assert_eq!(passed.result.unwrap(), "news");
    }

    async fn status_suspended(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(article, "Rust".into()).await.unwrap();
        until_review(&run).await;
        soon(async { while run.status().await.unwrap() != Status::Suspended { workflow_harness::pause().await } }).await;
        run.resume(&Verdict { approved: true }).await.unwrap();
        assert_eq!(soon(run.outcome()).await.unwrap().status, Status::Completed);
    }

    async fn status_canceled(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(article, "Rust".into()).await.unwrap();
        until_review(&run).await;
        assert!(soon(run.cancel("no more paper")).await.unwrap());
        let outcome = soon(run.outcome()).await.unwrap();
        assert_eq!((outcome.status, outcome.result.unwrap_err().code()), (Status::Cancelled, Code::Cancelled));
        assert_eq!(outcome.steps[1].status, StepStatus::Cancelled);
    }

    async fn result(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = reviewed(&engine, true).await;
        assert_eq!(soon(run.outcome()).await.unwrap().result.unwrap(), 7);
        assert_eq!(soon(&run).await.unwrap(), 7, "the result of the handle");
    }

    async fn error(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let error = soon(reviewed(&engine, false).await.outcome()).await.unwrap().result.unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::User, "on Rust does not burn"));
        assert_eq!(error.causes(), ["no fire"]);
        let error: Box<dyn StdError + Send + Sync> = error.into();
        assert!(error.to_string().starts_with("on Rust does not burn"), "{error}");
    }

    async fn input(place: Place) {
        let engine = place.open(&Lab::new()).await;
        assert_eq!(soon(reviewed(&engine, true).await.outcome()).await.unwrap().input, json!("Rust"));
        let none = soon(engine.start(two_at_once, ()).await.unwrap().outcome()).await.unwrap();
        assert_eq!(none.input, json!(null));
    }

    async fn state(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = reviewed(&engine, true).await;
        assert_eq!(soon(run.outcome()).await.unwrap().state, Some(json!("Rust")));
        assert_eq!(run.state::<String>().await.unwrap().as_deref(), Some("Rust"), "the state decodes to its type");
    }

    async fn steps(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let outcome = soon(reviewed(&engine, true).await.outcome()).await.unwrap();
        let steps: Vec<_> = outcome.steps.iter().map(|step| (short(step), step.name.as_deref(), step.status)).collect();
        assert_eq!(steps, [
            ("drafts", None, StepStatus::Completed),
            ("reviews", Some("the review"), StepStatus::Completed),
            ("prints", None, StepStatus::Completed),
        ]);
        assert_eq!(outcome.steps.iter().map(|step| step.attempts).collect::<Vec<_>>(), [1, 2, 2]);
    }

    async fn steps_payload(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let outcome = soon(reviewed(&engine, true).await.outcome()).await.unwrap();
        let inputs: Vec<_> = outcome.steps.into_iter().map(|step| step.input).collect();
        assert_eq!(inputs, [json!("Rust"), json!("on Rust"), json!("on Rust")]);
    }

    async fn steps_output(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let outcome = soon(reviewed(&engine, true).await.outcome()).await.unwrap();
        let outputs: Vec<_> = outcome.steps.into_iter().map(|step| step.output).collect();
        assert_eq!(outputs, [json!("on Rust"), json!({"approved": true}), json!(7)].map(Some));
    }

    async fn steps_error(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let outcome = soon(reviewed(&engine, false).await.outcome()).await.unwrap();
        let burning = outcome.steps.last().unwrap();
        assert_eq!((short(burning), burning.status, &burning.output), ("burns", StepStatus::Failed, &None));
        let error = burning.error.clone().unwrap();
        assert!(error.to_string().contains("no fire"), "{error}");
        let outcome = soon(reviewed(&engine, true).await.outcome()).await.unwrap();
        assert!(outcome.steps.iter().all(|step| step.error.is_none()), "the last attempt of each step has succeeded");
    }

    async fn steps_suspend_payload(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(article, "Rust".into()).await.unwrap();
        until_review(&run).await;
        let step = run.steps().await.unwrap().pop().unwrap();
        assert_eq!((step.status, step.suspended.as_ref()), (StepStatus::Suspended, Some(&json!({"read": "on Rust"}))));
        run.resume(&Verdict { approved: true }).await.unwrap();
        let steps = soon(run.outcome()).await.unwrap().steps;
        assert_eq!(steps[1].suspended, step.suspended, "it stays");
        assert_eq!((&steps[0].suspended, &steps[2].suspended), (&None, &None));
    }

    async fn steps_resume_payload(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(article, "Rust".into()).await.unwrap();
        until_review(&run).await;
        assert_eq!(run.steps().await.unwrap()[1].resumed, None);
        run.resume(&Verdict { approved: true }).await.unwrap();
        let resumed: Vec<_> = soon(run.outcome()).await.unwrap().steps.into_iter().map(|step| step.resumed).collect();
        assert_eq!(resumed, [None, Some(json!({"approved": true})), None]);
    }

    async fn steps_started_at_and_ended_at(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(article, "Rust".into()).await.unwrap();
        until_review(&run).await;
        let steps = run.steps().await.unwrap();
        assert_eq!(steps.iter().map(|step| step.ended_at.is_some()).collect::<Vec<_>>(), [true, false]);
        run.resume(&Verdict { approved: true }).await.unwrap();
        let steps = soon(run.outcome()).await.unwrap().steps;
        let times: Vec<_> = steps.iter().flat_map(|step| [step.started_at, step.ended_at.unwrap()]).collect();
        assert!(times.is_sorted(), "one after the other: {times:?}");
    }

    async fn steps_suspended_at_and_resumed_at(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = reviewed(&engine, true).await;
        let steps = soon(run.outcome()).await.unwrap().steps;
        assert_eq!([&steps[0], &steps[2]].map(|step| (step.suspended_at, step.resumed_at)), [(None, None); 2]);
        let step = &steps[1];
        let times = [Some(step.started_at), step.suspended_at, step.resumed_at, step.ended_at];
        assert!(times.iter().all(Option::is_some) && times.is_sorted(), "{times:?}");
        let events: Vec<_> = run.events().try_collect().await.unwrap();
        let at = |kind: fn(&RunEventKind) -> bool| events.iter().find(|event| kind(&event.kind)).map(|event| event.at);
        assert_eq!(step.suspended_at, at(|kind| matches!(kind, RunEventKind::StepSuspended { .. })));
        assert_eq!(step.resumed_at, at(|kind| matches!(kind, RunEventKind::StepResumed { .. })));
    }

    async fn step_execution_path(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let outcome = soon(reviewed(&engine, false).await.outcome()).await.unwrap();
        assert_eq!(outcome.steps.iter().map(short).collect::<Vec<_>>(), ["drafts", "reviews", "burns"]);
        assert!(outcome.steps.is_sorted_by_key(|step| step.event), "steps are ordered by their events");
        let outcome = soon(engine.start(two_at_once, ()).await.unwrap().outcome()).await.unwrap();
        assert_eq!(outcome.steps.iter().map(|step| step.operation).collect::<Vec<_>>(), [0, 1]);
    }

    async fn suspend_payload(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(article, "Rust".into()).await.unwrap();
        assert_eq!(until_review(&run).await.payload, json!({"read": "on Rust"}));
    }

    async fn suspended(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(article, "Rust".into()).await.unwrap();
        until_review(&run).await;
        assert_eq!(run.suspended().await.unwrap().len(), 1);
        run.resume(&Verdict { approved: true }).await.unwrap();
        soon(&run).await.unwrap();
        assert_eq!(run.suspended().await.unwrap(), []);
    }

    async fn resume_labels(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(article, "Rust".into()).await.unwrap();
        assert_eq!(until_review(&run).await.label, "review");
        let wrong = run.resume(&Verdict { approved: true }).label("the review").await.unwrap_err();
        assert_eq!(wrong.code(), Code::NotSuspended, "a resumption needs the label, not the step's name: {wrong:?}");
        run.resume(&Verdict { approved: true }).label("review").await.unwrap();
        soon(&run).await.unwrap();
    }

    async fn trace_id(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let start = engine.start(article, "Rust".into()).tracing(TracingOptions::new().trace_id(id));
        let run = start.await.unwrap();
        until_review(&run).await;
        run.resume(&Verdict { approved: true }).await.unwrap();
        assert_eq!(soon(run.outcome()).await.unwrap().trace_id.as_deref(), Some(id), "the same after the resumption");
        let untraced = soon(engine.start(two_at_once, ()).await.unwrap().outcome()).await.unwrap();
        assert_eq!((untraced.trace_id, untraced.span_id), (None, None));
    }

    async fn span_id(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let mut ids = Vec::new();
        for _ in 0..2 {
            let run = engine.start(two_at_once, ()).tracing(TracingOptions::new()).await.unwrap();
            let id = soon(run.outcome()).await.unwrap().span_id.unwrap();
            assert_eq!(soon(run.outcome()).await.unwrap().span_id.as_deref(), Some(&*id), "it does not change");
            assert!(id.len() == 16 && id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{id}");
            ids.push(id);
        }
        assert_ne!(ids[0], ids[1]);
    }
}
