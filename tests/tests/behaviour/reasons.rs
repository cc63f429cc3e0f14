//! Why a run does not move, as a process reports it whose program has no workflows.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use workflow_runtime::{Code, Engine, Error, Result, Run, Status, Waiting, hook, sleep, step, suspend, workflow};

use crate::support::{Lab, Place, soon};

const PROGRAM: &str = env!("CARGO_BIN_EXE_reasons");

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
async fn executes() -> Result<String> {
    gated("first".into()).await
}

#[workflow(id = "why.retries")]
async fn retries() -> Result<()> {
    charge().name("visa").await
}

#[workflow(id = "why.sleeps")]
async fn sleeps() -> Result<()> {
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
    async fn sentences(&self, id: &str) -> Vec<String> {
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
    async fn has_reasons(&self, id: &str, expected: &[&str]) {
        let mut found = Vec::new();
        let asked = tokio::time::timeout(Duration::from_secs(30), async {
            while found != expected {
                found = self.sentences(id).await;
                tokio::task::yield_now().await;
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

/// The program without workflows, with an engine on the store.
struct Bare(Child);

impl Bare {
    async fn open(url: &str) -> Self {
        Bare::open_by(Command::new(PROGRAM).arg(url)).await
    }

    async fn open_by(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut program = command.spawn().unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        assert_eq!(soon(lines.next_line()).await.unwrap().as_deref(), Some("open"));
        Bare(program)
    }

    fn pid(&self) -> u32 {
        self.0.id().unwrap()
    }
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
        place.has_reasons("run", &["retrying step `why.charge` (visa) (attempt 2) at T: card declined"]).await;
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
        place.has_reasons("run", &["executing step `why.draw` (attempt 1), dispatched at T, by the run ID"]).await;
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
            soon(async { while run.children().await.unwrap().is_empty() { tokio::task::yield_now().await } }).await;
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
            ("queued", "a failure", "executing step `why.draw` (attempt 1), dispatched at T, by the run ID"),
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

    async fn no_live_worker(place: Place) {
        let engine = place.open(&Lab::new()).await;
        engine.start(sleeps, ()).id("run").await.unwrap();
        assert_eq!(place.sentences("run").await, ["waiting until T"]);
        engine.shutdown().await.unwrap();
        let none = "no live worker has the workflow `why.sleeps`";
        assert_eq!(place.sentences("run").await, [none, "waiting until T"]);
        let client = Engine::builder().store(place.store()).connect().await.unwrap();
        client.start(executes, ()).id("pending").await.unwrap();
        assert_eq!(place.sentences("pending").await, ["no live worker has the workflow `why.executes`"]);
        assert_eq!(client.workers().await.unwrap(), []);
    }

    async fn workers_and_deployments_are_listed(place: Place) {
        let lab = Lab::new();
        let engine = place.builder(&lab).deployment("v1").queue("why", 2).open().await.unwrap();
        let client = Engine::builder().store(place.store()).connect().await.unwrap();
        let workers = client.workers().await.unwrap();
        assert_eq!(workers.len(), 1);
        let worker = &workers[0];
        assert_eq!((worker.deployment.as_deref(), worker.pid), (Some("v1"), Some(std::process::id())));
        assert!(worker.is_alive && worker.executes && !worker.is_draining && worker.host.is_some());
        assert_eq!(worker.queues, ["why"]);
        let deployments = client.deployments().await.unwrap();
        assert_eq!(deployments.len(), 1);
        assert_eq!((&*deployments[0].id, deployments[0].workers), ("v1", 1));
        let workflow = deployments[0].catalogue.workflows.iter().find(|it| it.id == "why.queues").unwrap();
        assert!(workflow.file.ends_with("reasons.rs") && workflow.line > 0 && workflow.fingerprint.len() == 64);
        assert_eq!(workflow.arguments, [("name".to_owned(), Some(json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "string", "type": "string",
        })))]);
        let step = deployments[0].catalogue.steps.iter().find(|it| it.id == "why.draw").unwrap();
        assert_eq!(step.queue.as_deref(), Some("why"));
        assert!(deployments[0].catalogue.queues.iter().any(|queue| queue == "why"));
        let other = place.builder(&lab).deployment("v2").open().await.unwrap();
        let mut ids: Vec<_> = client.deployments().await.unwrap().into_iter().map(|it| (it.id, it.workers)).collect();
        ids.sort();
        assert_eq!(ids, [("v1".to_owned(), 1), ("v2".to_owned(), 1)]);
        other.shutdown().await.unwrap();
        engine.shutdown().await.unwrap();
        assert_eq!(client.workers().await.unwrap(), []);
        // The next engine removes deployments that no worker and no run uses.
        let engine = place.builder(&lab).open().await.unwrap();
        let deployments = client.deployments().await.unwrap();
        assert_eq!(deployments.len(), 1);
        assert_eq!(deployments[0].id.len(), 12, "a default id is derived from the build");
        engine.shutdown().await.unwrap();
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

case! {
    async fn on_sqlite_a_program_without_the_workflow_may_execute() {
        let (lab, place) = (Lab::new(), Place::sqlite());
        let bare = Bare::open(&place.url().unwrap()).await;
        let engine = place.open(&lab).await;
        engine.start(executes, ()).id("run").await.unwrap();
        let (here, there) = (std::process::id(), bare.pid());
        let expected = format!(
            "process {there} of the deployment `bare` executes and does not have the workflow `why.executes`; process {here} has \
             it and does not execute"
        );
        place.has_reasons("run", &[&expected]).await;
        let executes = |workers: Vec<workflow_runtime::WorkerInfo>| {
            workers.into_iter().map(|it| (it.deployment.unwrap(), it.is_alive, it.executes)).collect::<Vec<_>>()
        };
        let workers = executes(engine.workers().await.unwrap());
        assert_eq!(workers[0], ("bare".to_owned(), true, true));
        assert_eq!((workers[1].1, workers[1].2), (true, false));
        // When the executing process is killed, the other one executes.
        drop(bare);
        place.has_reasons("run", &["executing step `why.gated` (attempt 1), dispatched at T"]).await;
        let workers = executes(engine.workers().await.unwrap());
        assert_eq!((workers.len(), workers[0].1, workers[0].2), (1, true, true));
    }
}

case! {
    async fn a_program_that_can_execute_none_of_the_runs_logs_a_warning() {
        let place = Place::sqlite();
        let engine = place.open(&Lab::new()).await;
        engine.start(sleeps, ()).id("run").await.unwrap();
        engine.shutdown().await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("warnings");
        let mut command = Command::new(PROGRAM);
        let _bare = Bare::open_by(command.arg(place.url().unwrap()).env("WARNINGS", &file)).await;
        let warnings = std::fs::read_to_string(file).unwrap();
        let (text, workflow) = ("this program can execute none of the unfinished runs of its store", "why.sleeps");
        assert!(warnings.contains(text) && warnings.contains(workflow), "{warnings}");
        assert!(warnings.contains("use that_crate as _;"), "{warnings}");
    }
}

case! {
    async fn a_worker_that_was_killed_is_not_alive() {
        let place = Place::sqlite();
        let mut bare = Bare::open(&place.url().unwrap()).await;
        bare.0.kill().await.unwrap();
        let client = Engine::builder().store(place.store()).connect().await.unwrap();
        let workers = client.workers().await.unwrap();
        assert_eq!((workers.len(), workers[0].is_alive, workers[0].executes), (1, false, false));
        client.start(sleeps, ()).id("run").await.unwrap();
        assert_eq!(place.sentences("run").await, ["no live worker has the workflow `why.sleeps`"]);
        // The next worker removes the killed one.
        let engine = place.open(&Lab::new()).await;
        let workers = engine.workers().await.unwrap();
        assert_eq!((workers.len(), workers[0].is_alive, workers[0].executes), (1, true, true));
    }
}
