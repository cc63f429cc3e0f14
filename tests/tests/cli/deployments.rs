//! `deployments`: which runs a deployment executes.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use workflow_runtime::{Deployment, Engine};

use crate::support::Place;
use crate::world::nap;

case!(
    #[threads]
    async fn deployments_are_drained_promoted_and_released() {
        let place = Place::sqlite();
        let engine = Engine::builder().url(&place.url).deployment("v7").open().await.unwrap();
        for id in ["a", "b", "c"] {
            engine.start(nap, ()).id(id).deployment(Deployment::Current).await.unwrap();
        }
        engine.start(nap, ()).id("free").await.unwrap();
        let listed = || place.run("deployments -o json").json()["deployments"][0].clone();
        assert_eq!((listed()["runs"].clone(), listed()["workers"].clone()), (3.into(), 1.into()));
        let text = place.transcript(&[
            "deployments drain v7",
            "deployments drain v7 --undo -o json",
            "deployments drain v8",
            "deployments promote v7",
            "deployments release --run a --run free --run none",
            "deployments release v7",
            "deployments release v7 -o json",
            "deployments release",
        ]);
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!("deployments", text);
        });
        assert_eq!((listed()["runs"].clone(), listed()["is_promoted"].clone()), (0.into(), true.into()));
        assert_eq!(listed()["is_draining"], false);
        engine.start(nap, ()).id("bound").deployment("v7").await.unwrap();
        engine.shutdown().await.unwrap();
        let doctor = place.run("doctor");
        assert_eq!(doctor.code, 1, "{doctor:?}");
        assert!(doctor.out.contains("1 runs are bound to v7, which has no live worker"), "{doctor:?}");
        assert!(place.run("show bound").out.contains("no live worker of the deployment `v7`"));
    }
);

/// The first line that a program prints about a deployment while it executes `dev` with these arguments.
fn first_line(place: &Place, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_own_command_line"));
    command.args(["--store", &place.url, "dev", "--port", "0"]).args(arguments);
    let mut program = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(program.stderr.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains("deployment") || line.contains("open this address")).unwrap();
    program.kill().unwrap();
    program.wait().unwrap();
    line
}

case!(
    #[threads]
    async fn dev_reports_the_runs_of_deployments_without_a_worker_and_releases_them() {
        let place = Place::sqlite();
        let engine = Engine::builder().url(&place.url).deployment("v7").open().await.unwrap();
        for id in ["a", "b"] {
            engine.start(nap, ()).id(id).deployment(Deployment::Current).await.unwrap();
        }
        engine.shutdown().await.unwrap();
        let bound = || place.run("deployments -o json").json()["deployments"][0]["runs"].clone();
        assert_eq!(
            first_line(&place, &[]),
            "deployment v7 has no live worker, and 2 runs bound to it. To release them: `dev --release`, or `workflow deployments \
             release v7`"
        );
        assert_eq!(bound(), 2);
        assert_eq!(first_line(&place, &["--release"]), "released 2 runs from deployment v7, which has no live worker");
        assert!(!place.run("doctor").out.contains("bound to v7"));
        assert!(first_line(&place, &[]).starts_with("open this address"));
    }
);
