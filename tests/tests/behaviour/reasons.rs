//! Why a run does not move, as a process reports it whose program has no workflows.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;
use workflow_runtime::{
    Code, Engine, Error, Result, Run, Status, Waiting, hook, sleep, step, step_info, suspend, workflow,
};

use crate::support::{Lab, Place, soon};

pub(super) const PROGRAM: &str = env!("CARGO_BIN_EXE_reasons");

const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

#[step(id = "why.gated")]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(name)
}

#[step(id = "why.charge", retries = 4, backoff = "1h..2h")]
async fn charge() -> Result<()> {
    Err(Error::new("card declined"))
}

#[step(id = "why.asks_between", retries = 4, backoff = "1h..2h")]
async fn asks_between() -> Result<u32> {
    match step_info().map_or(1, |step| step.attempt) {
        1 => Err(Error::retry_after(Duration::ZERO)),
        2 => suspend(&"may I?").label("permission").await,
        _ => Err(Error::new("still closed")),
    }
}

#[step(id = "why.fails", retries = 0)]
async fn fails() -> Result<()> {
    Err(Error::fatal("out of stock"))
}

#[step(id = "why.asks")]
async fn asks() -> Result<u32> {
    suspend(&"may I?").label("permission").await
}

#[step(id = "why.draw", queue = "why")]
async fn draw(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(name)
}

#[step(id = "why.paint", queue = "why", retries = 4, backoff = "1h..2h")]
async fn paint() -> Result<()> {
    Err(Error::new("no paint"))
}

#[step(id = "why.undo")]
async fn undo(#[resource] lab: &Lab) -> Result<()> {
    lab.note("undo");
    lab.pass_gate("undo").await;
    Ok(())
}

#[workflow(id = "why.executes")]
pub(super) async fn executes() -> Result<String> {
    gated("first".into()).await
}

#[workflow(id = "why.retries")]
async fn retries() -> Result<()> {
    charge().name("visa").await
}

#[workflow(id = "why.retries_more")]
async fn retries_more() -> Result<()> {
    charge().retries(9).await
}

#[workflow(id = "why.fails_asks_and_fails")]
async fn fails_asks_and_fails() -> Result<u32> {
    asks_between().await
}

#[workflow(id = "why.sleeps")]
pub(super) async fn sleeps() -> Result<()> {
    sleep(YEAR).await;
    Ok(())
}

#[workflow(id = "why.waits")]
async fn waits() -> Result<String> {
    hook::<String>().token("approval-7").metadata(&json!({ "for": "Ada" })).await
}

#[workflow(id = "why.suspends")]
async fn suspends() -> Result<u32> {
    suspend(&"well?").label("review").await
}

#[workflow(id = "why.suspends_in_a_step")]
async fn suspends_in_a_step() -> Result<u32> {
    asks().await
}

#[workflow(id = "why.calls")]
async fn calls() -> Result<()> {
    sleeps().id("child").await
}

#[workflow(id = "why.awaits")]
async fn awaits(run: Run<()>) -> Result<()> {
    run.await
}

#[workflow(id = "why.queues")]
async fn queues(name: String) -> Result<String> {
    draw(name).await
}

#[workflow(id = "why.queues_and_fails")]
async fn queues_and_fails() -> Result<()> {
    paint().await
}

#[workflow(id = "why.undoes")]
async fn undoes() -> Result<()> {
    gated("done".into()).rollback(|_| undo()).await?;
    fails().await
}

#[workflow(id = "why.charges_while_it_fails")]
async fn charges_while_it_fails(by_a_queue: bool) -> Result<()> {
    gated("done".into()).rollback(|_| undo()).await?;
    let charged = async {
        match by_a_queue {
            true => draw("charge".into()).rollback(|_| undo()).await,
            false => gated("charge".into()).rollback(|_| undo()).await,
        }
    };
    let fails = async {
        gated("fail".into()).await?;
        fails().await
    };
    tokio::try_join!(charged, fails)?;
    Ok(())
}

#[workflow(id = "why.charges")]
async fn charges() -> Result<()> {
    gated("done".into()).rollback(|_| undo()).await?;
    sleep(YEAR).await;
    Ok(())
}

#[workflow(id = "why.has_a_child")]
async fn has_a_child() -> Result<()> {
    gated("done".into()).rollback(|_| undo()).await?;
    charges().await
}

#[workflow(id = "why.drops_a_child")]
async fn drops_a_child() -> Result<()> {
    gated("done".into()).rollback(|_| undo()).await?;
    tokio::select! {
        end = charges() => end?,
        _ = gated("fail".into()) => {}
    }
    fails().await
}

#[workflow(id = "why.waits_for_much")]
async fn waits_for_much() -> Result<()> {
    let (slept, step, payload) = futures::join!(sleep(YEAR), gated("much".into()), hook::<u32>().token("much"));
    let ((), _, _) = (slept, step?, payload?);
    Ok(())
}

#[workflow(id = "why.differs")]
async fn differs(place: String) -> Result<()> {
    static CALLED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    gated("differs".into()).await?;
    let is_first = CALLED.lock().unwrap().insert(place);
    match is_first {
        true => sleep(YEAR).await,
        false => fails().await?,
    }
    Ok(())
}

impl Place {
    /// The reasons why a run does not move, without their times. Another program prints them; in memory a client reads
    /// them.
    pub(super) async fn sentences(&self, id: &str) -> Vec<String> {
        let lines = match self.url() {
            None => {
                let client = Engine::builder().store(self.store()).connect().await.unwrap();
                let run: Run<()> = client.get_run(id);
                run.waiting().await.unwrap().iter().map(ToString::to_string).collect()
            }
            Some(url) => {
                let output = Command::new(PROGRAM).args([&*url, id]).kill_on_drop(true).output().await.unwrap();
                let (text, errors) =
                    (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
                assert!(output.status.success(), "{errors}");
                text.lines().map(str::to_owned).collect::<Vec<_>>()
            }
        };
        lines.iter().map(|line| timeless(line)).collect()
    }

    /// Waits until the run has exactly these reasons.
    pub(super) async fn has_reasons(&self, id: &str, expected: &[&str]) {
        let mut found = Vec::new();
        let asked = tokio::time::timeout(Duration::from_secs(30), async {
            while found != expected {
                found = self.sentences(id).await;
                workflow_harness::pause().await;
            }
        });
        if asked.await.is_err() {
            assert_eq!(found, expected);
        }
    }
}

/// Replaces each time by `T`, and each generated id by `ID`.
fn timeless(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split(' ') {
        let bytes = word.as_bytes();
        let is_date = bytes.len() == 10 && bytes[4] == b'-' && bytes[7] == b'-';
        let is_time = bytes.len() >= 8 && bytes[2] == b':' && bytes[5] == b':';
        match word {
            _ if is_date => words.push("T".into()),
            _ if is_time => {}
            _ if word.starts_with("UTC") => words.last_mut().unwrap().push_str(&word[3..]),
            _ if word.trim_matches([':', '`', ',']).parse::<workflow_runtime::Uuid>().is_ok() => {
                words.push(word.split('`').map(|part| if part.len() > 1 { "ID" } else { part }).collect());
            }
            _ => words.push(word.into()),
        }
    }
    words.join(" ")
}

on_each_store! {
    async fn a_step_in_execution(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        let run = engine.start(executes, ()).id("run").await.unwrap();
        place.has_reasons("run", &["executing step `why.gated` (attempt 1), dispatched at T"]).await;
        lab.open_gate("first");
        soon(run).await.unwrap();
        assert_eq!(place.sentences("run").await, ["ended: completed"]);
    }

    async fn a_step_in_backoff(place: Place) {
        let engine = place.open(&Lab::new()).await;
        engine.start(retries, ()).id("run").await.unwrap();
        place.has_reasons("run", &["retrying step `why.charge` (visa) (attempt 2 of 5) at T: card declined"]).await;
        // The retries of the call, and not those of the attribute.
        engine.start(retries_more, ()).id("more").await.unwrap();
        place.has_reasons("more", &["retrying step `why.charge` (attempt 2 of 10) at T: card declined"]).await;
    }

    async fn an_attempt_that_was_suspended_is_not_one_of_the_retries(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(fails_asks_and_fails, ()).id("run").await.unwrap();
        place.has_reasons("run", &["step `why.asks_between` is suspended as `permission`"]).await;
        run.resume(&3).await.unwrap();
        // The first and the third attempt have failed: three of four retries are left.
        place.has_reasons("run", &["retrying step `why.asks_between` (attempt 4 of 6) at T: still closed"]).await;
    }

    async fn a_sleep(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(sleeps, ()).id("run").await.unwrap();
        assert_eq!(place.sentences("run").await, ["waiting until T"]);
        assert!(matches!(run.info().await.unwrap().reason, Some(Waiting::Timer { .. })));
    }

    async fn a_hook(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let run = engine.start(waits, ()).id("run").await.unwrap();
        assert_eq!(place.sentences("run").await, ["waiting for a payload for the hook `approval-7`"]);
        let waiting = run.waiting().await.unwrap();
        let Waiting::Hook { metadata, .. } = &waiting[0] else { panic!("{waiting:?}") };
        assert_eq!(metadata, &Some(json!({ "for": "Ada" })));
    }

    async fn a_suspension(place: Place) {
        let engine = place.open(&Lab::new()).await;
        engine.start(suspends, ()).id("run").await.unwrap();
        assert_eq!(place.sentences("run").await, ["suspended as `review`"]);
        let run = engine.start(suspends_in_a_step, ()).id("step").await.unwrap();
        place.has_reasons("step", &["step `why.asks` is suspended as `permission`"]).await;
        run.resume(&3).await.unwrap();
        assert_eq!(soon(run).await.unwrap(), 3);
    }

    async fn another_run(place: Place) {
        let engine = place.open(&Lab::new()).await;
        engine.start(calls, ()).id("parent").await.unwrap();
        place.has_reasons("parent", &["waiting for the child run `child` of the workflow `why.sleeps`, which is suspended"]).await;
        engine.start(awaits, engine.get_run("parent")).id("other").await.unwrap();
        assert_eq!(place.sentences("other").await, ["waiting for the run `parent`, which is suspended"]);
    }

    async fn runs_that_wait_for_each_other(place: Place) {
        let engine = place.open(&Lab::new()).await;
        let a = engine.create_run(awaits).id("a").await.unwrap();
        engine.start(awaits, engine.get_run("a")).id("b").await.unwrap();
        engine.start(awaits, engine.get_run("b")).id("c").await.unwrap();
        assert_eq!(place.sentences("c").await, ["waiting for the run `b`, which is suspended"]);
        a.start(engine.get_run("c")).await.unwrap();
        let cycle = ["runs wait for each other: `a` for `c` for `b` for `a`", "waiting for the run `c`, which is suspended"];
        place.has_reasons("a", &cycle).await;
    }

    async fn a_queue(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        engine.start(queues, "one".into()).id("run").await.unwrap();
        let not_served = ["no live worker serves the queue `why` of step `why.draw`"];
        place.has_reasons("run", &not_served).await;
        let step = engine.get_run::<(), Error>("run").children().await.unwrap().remove(0);
        assert_eq!(place.sentences(&step).await, not_served);
        engine.shutdown().await.unwrap();
        let engine = place.builder(&lab).queue("why", 1).replay_every_turn().open().await.unwrap();
        place.has_reasons("run", &["executing step `why.draw` (attempt 1 of 4), dispatched at T, by the run ID"]).await;
        engine.start(queues, "two".into()).id("next").await.unwrap();
        place.has_reasons("next", &["step `why.draw` waits for a free place in the queue `why`"]).await;
        lab.open_gate("one");
        lab.open_gate("two");
        soon(engine.get_run::<String, Error>("next")).await.unwrap();
        engine.start(queues_and_fails, ()).id("fails").await.unwrap();
        place.has_reasons("fails", &["retrying step `why.paint` (attempt 2 of 5) at T, by the run ID: no paint"]).await;
    }

    async fn a_rollback(place: Place) {
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        lab.open_gate("done");
        let run = engine.start(undoes, ()).id("run").await.unwrap();
        let expected = "rolling back after a failure: executing step `why.undo` (attempt 1), dispatched at T";
        place.has_reasons("run", &[expected]).await;
        lab.open_gate("undo");
        soon(run).await.unwrap_err();
        assert_eq!(place.sentences("run").await, ["ended: failed"]);
    }

    async fn a_step_or_child_in_progress_before_a_rollback(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).queue("why", 2).open().await.unwrap();
        lab.open_gate("done");
        engine.start(charges_while_it_fails, false).id("step").await.unwrap();
        engine.start(charges_while_it_fails, true).id("queued").await.unwrap();
        engine.start(has_a_child, ()).id("parent").await.unwrap();
        engine.start(drops_a_child, ()).id("drops").await.unwrap();
        lab.executed("charge", 2).await;
        let mut children = Vec::new();
        for id in ["parent", "drops"] {
            let run = engine.get_run::<(), Error>(id);
            soon(async { while run.children().await.unwrap().is_empty() { workflow_harness::pause().await } }).await;
            children.extend(run.children().await.unwrap());
        }
        for child in &children {
            place.has_reasons(child, &["waiting until T"]).await;
        }
        lab.open_gate("fail");
        let parent = engine.get_run::<(), Error>("parent");
        let cancelled = tokio::spawn(async move { parent.cancel("enough").await });
        let undo = "executing step `why.undo` (attempt 1), dispatched at T";
        for (id, cause, expected) in [
            ("step", "a failure", "executing step `why.gated` (attempt 1), dispatched at T"),
            ("queued", "a failure", "executing step `why.draw` (attempt 1 of 4), dispatched at T, by the run ID"),
            ("parent", "a cancel", "waiting for the child run ID of the workflow `why.charges`, which is running"),
            ("drops", "a failure", "waiting for the run ID, which is running"),
        ] {
            place.has_reasons(id, &[&format!("waits before rolling back after {cause}: {expected}")]).await;
        }
        for child in &children {
            place.has_reasons(child, &[&format!("rolling back after a cancel: {undo}")]).await;
        }
        lab.open_gate("charge");
        for id in ["step", "queued"] {
            place.has_reasons(id, &[&format!("rolling back after a failure: {undo}")]).await;
        }
        lab.open_gate("undo");
        assert!(soon(cancelled).await.unwrap().unwrap());
        for id in ["step", "queued", "drops"] {
            soon(engine.get_run::<(), Error>(id)).await.unwrap_err();
            assert_eq!(place.sentences(id).await, ["ended: failed"]);
        }
    }

    async fn all_reasons_are_listed_and_the_first_is_the_main_one(place: Place) {
        let engine = place.open(&Lab::new()).await;
        engine.start(waits_for_much, ()).id("run").await.unwrap();
        let expected = [
            "executing step `why.gated` (attempt 1), dispatched at T",
            "waiting for a payload for the hook `much`",
            "waiting until T",
        ];
        place.has_reasons("run", &expected).await;
    }

    async fn a_run_that_is_stuck_or_has_not_begun(place: Place) {
        let lab = Lab::new();
        lab.open_gate("differs");
        let engine = place.open(&lab).await;
        let run = engine.start(differs, place.url().unwrap_or_default()).id("run").await.unwrap();
        assert_eq!(soon(&run).await.unwrap_err().code(), Code::Stuck);
        let found = place.sentences("run").await;
        assert!(found.len() == 1 && found[0].starts_with("stuck: "), "{found:?}");
        assert!(matches!(run.info().await.unwrap().reason, Some(Waiting::Stuck { .. })));
        engine.create_run(sleeps).id("later").await.unwrap();
        assert_eq!(place.sentences("later").await, ["created, and not started yet"]);
    }

    async fn the_json_of_a_run_and_its_steps_has_a_version(place: Place) {
        let lab = Lab::new();
        lab.open_gate("first");
        let engine = place.open(&lab).await;
        let run = engine.start(executes, ()).id("run").await.unwrap();
        soon(&run).await.unwrap();
        let info = serde_json::to_value(run.info().await.unwrap()).unwrap();
        assert_eq!((&info["schema"], &info["status"], &info["wakes_at"]), (&json!(1), &json!("completed"), &json!(null)));
        assert_eq!(info["reason"], json!({ "reason": "ended", "status": "completed" }));
        assert!(info["created_at"].as_str().is_some_and(|at| at.len() == 24 && at.ends_with('Z')), "{info}");
        let outcome = serde_json::to_value(run.outcome().await.unwrap()).unwrap();
        assert_eq!((&outcome["schema"], &outcome["output"], &outcome["error"]), (&json!(1), &json!("first"), &json!(null)));
        assert_eq!((&outcome["steps"][0]["schema"], &outcome["steps"][0]["step"]), (&json!(1), &json!("why.gated")));
        let worker = serde_json::to_value(&engine.workers().await.unwrap()[0]).unwrap();
        assert_eq!((&worker["schema"], &worker["kind"]), (&json!(1), &json!("engine")));
        assert_eq!(serde_json::to_value(Status::Stuck).unwrap(), json!("stuck"));
    }
}
