//! Runs that no worker executes, and the workers, as a process reports them whose program has no workflows.

use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use workflow_runtime::Engine;

use super::reasons::{PROGRAM, executes, sleeps};
use crate::support::{Lab, Place, soon};

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
