//! Runs that meet changed code.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use workflow_runtime::{Engine, Result, Run, hook, workflow};
use workflow_tests::Execution;

use super::child::{Child, command, was_killed};
use super::snapshot::{self, Stored};

const PROGRAM: &str = env!("CARGO_BIN_EXE_deploy");

struct Site {
    directory: TempDir,
    lives: u32,
}

impl Site {
    fn new() -> Self {
        Site { directory: tempfile::tempdir().expect("a temporary directory"), lives: 0 }
    }

    /// A copy of the program: another build.
    fn build(&self, name: &str) -> PathBuf {
        let copy = self.directory.path().join(name);
        // Not copied by this process: a child that another test forks meanwhile would keep it open for writing, and what is
        // open for writing cannot be executed.
        let copied = Command::new("cp").arg(PROGRAM).arg(&copy).status();
        assert!(copied.is_ok_and(|status| status.success()), "the program cannot be copied");
        copy
    }

    fn run(&mut self, program: impl AsRef<Path>, variant: &str) -> Child {
        self.lives += 1;
        let (database, log) = (self.directory.path().join("workflow.db"), self.directory.path().join("log"));
        let life = self.lives.to_string();
        Child::spawn(command(program, [&database, &log, Path::new(&life), Path::new(variant)]))
    }

    /// Runs it to its end, where it must say that the run is stuck: why.
    fn stuck(&mut self, program: impl AsRef<Path>, variant: &str) -> String {
        let mut child = self.run(program, variant);
        let error = child.wait_for("stuck");
        child.end_well();
        serde_json::from_str(&error).expect("the error is a JSON text")
    }

    fn result(&mut self, program: impl AsRef<Path>, variant: &str) -> String {
        let mut child = self.run(program, variant);
        let result = child.wait_for("result");
        child.end_well();
        result
    }

    fn stored(&self) -> Stored {
        snapshot::of_database(&self.directory.path().join("workflow.db"))["run"].clone()
    }

    /// Which operations were executed, each as `life:op`.
    fn executions(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.directory.path().join("log")).expect("there is a log");
        log.lines()
            .filter_map(Execution::parse)
            .map(|execution| format!("{}:{}", execution.life, execution.op))
            .collect()
    }
}

/// The place in the program whose line has this text.
fn place(text: &str) -> String {
    let line = include_str!("../../src/bin/deploy.rs").lines().position(|line| line.contains(text));
    format!("deploy.rs:{}", line.unwrap_or_else(|| panic!("no line has {text}")) + 1)
}

case! {
    fn a_run_that_meets_other_code_is_stuck_and_goes_on_with_the_right_code() {
        let mut site = Site::new();
        let mut first = site.run(PROGRAM, "holds");
        first.wait_for("holding");
        assert!(was_killed(first.kill()));
        let journal = site.stored().journal;

        let other_step = site.build("other-step");
        let error = site.stuck(&other_step, "calls another step");
        for part in
            ["add` with [2]", "multiply` with [2]", "operation 1", "row 1 of its journal", &place("// another step")]
        {
            assert!(error.contains(part), "no {part} in {error}");
        }
        assert_eq!(site.stuck(&other_step, "calls another step"), error, "the same build has tried again");

        let error = site.stuck(site.build("other-input"), "gives another input");
        for part in ["add` with [2]", "add` with [102]", "operation 1", &place("// another input")] {
            assert!(error.contains(part), "no {part} in {error}");
        }

        let error = site.stuck(site.build("early"), "returns early");
        for part in ["add` with [2]", "the workflow ended", "row 1 of its journal"] {
            assert!(error.contains(part), "no {part} in {error}");
        }

        let stored = site.stored();
        assert_eq!((stored.status.as_str(), &stored.journal), ("stuck", &journal));
        assert_eq!(site.executions(), ["1:0", "1:1", "1:2"], "a stuck run was executed");

        assert_eq!(site.result(site.build("repaired"), ""), "4");
        assert_eq!(site.executions(), ["1:0", "1:1", "1:2", "6:2", "6:3"]);
        assert_eq!(&site.stored().journal[..journal.len()], journal);
    }
}

case! {
    fn a_panic_of_the_workflow_keeps_the_result_that_it_was_given() {
        let mut site = Site::new();
        let error = site.stuck(PROGRAM, "panics");
        assert!(error.contains("a mistake in this variant"), "{error}");
        let stored = site.stored();
        assert_eq!((stored.status.as_str(), stored.journal.len()), ("stuck", 2));
        let [message] = &stored.inbox[..] else { panic!("not one message: {:?}", stored.inbox) };
        assert_eq!(message["completed"], serde_json::json!({ "op": 1, "value": 3 }));
        assert_eq!(site.stuck(PROGRAM, "panics"), error, "the same build has tried again");

        let error = site.stuck(site.build("still"), "panics");
        assert!(error.contains("a mistake in this variant"), "{error}");
        assert_eq!(site.stored().inbox.len(), 1);

        assert_eq!(site.result(site.build("repaired"), ""), "4");
        assert_eq!(site.executions(), ["1:0", "1:1", "4:2", "4:3"], "a step whose result was there is executed again");
        assert!(site.stored().inbox.is_empty());
    }
}

/// What both versions of a program have, for one who only starts it.
#[workflow(id = "shop::parcel")]
async fn parcel(name: String) -> Result<Vec<String>> {
    let _ = hook::<()>().token(name).await;
    Ok(Vec::new())
}

case! {
    #[threads]
    async fn recorded_calls_of_steps_that_were_renamed_go_on_under_their_new_names() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite:{}", directory.path().join("workflow.db").display());
        let version = |path: &str, life: &str| {
            let mut child = Child::spawn(command(path, [url.as_str(), directory.path().join("log").to_str().unwrap(), life]));
            child.wait_for("open");
            child
        };
        let mut first = version(env!("CARGO_BIN_EXE_version_one"), "one");
        let client = Engine::builder().url(url.clone()).connect().await.expect("a client connects");
        client.start(parcel, "box".to_owned()).id("run").await.expect("it is started");
        first.wait_for("packing");
        assert!(was_killed(first.kill()));

        let mut second = version(env!("CARGO_BIN_EXE_version_two"), "two");
        let run: Run<Vec<String>> = client.get_run("run");
        let labelled = async {
            while client.resume_hook("label of box", "to Ada").await.is_err() {
                workflow_harness::pause().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), labelled).await.expect("the child waits for it");
        let result = tokio::time::timeout(std::time::Duration::from_secs(60), run).await.expect("it ends");
        assert_eq!(result.unwrap(), ["weighed", "box wrapped", "box franked", "to Ada"]);
        second.close();
        second.end_well();
    }
}
