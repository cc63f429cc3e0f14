//! Two programs on one SQLite file, which have different workflows: one executes, and yields to the other.

use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;
use workflow_runtime::store::{SqliteStore, Store};
use workflow_runtime::{Client, Code, Error, Run, Waiting, WorkerInfo};

use super::blocking;
use super::child::{Child, command, was_killed};

struct Shop {
    directory: tempfile::TempDir,
    url: String,
}

impl Shop {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite:{}", directory.path().join("shop.db").display());
        Shop { directory, url }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Opens a program under this deployment.
    fn open(&self, program: &str, deployment: &str) -> Child {
        let log = self.path("log").display().to_string();
        let mut command = command(program, [&*self.url, &log, deployment]);
        command.env("WORKFLOW_DEPLOYMENT", deployment);
        let mut child = Child::spawn(command);
        blocking(|| child.wait_for("open"));
        child
    }

    fn both(&self) -> [Child; 2] {
        [self.open(env!("CARGO_BIN_EXE_version_one"), "one"), self.open(env!("CARGO_BIN_EXE_version_two"), "two")]
    }

    /// Waits until the program of this deployment has logged a warning with this text, and returns all that have it.
    async fn warned(&self, deployment: &str, text: &str) -> Vec<String> {
        soon(async || {
            let warnings = std::fs::read_to_string(self.path("log").with_extension(deployment)).unwrap_or_default();
            let found: Vec<String> = warnings.lines().filter(|line| line.contains(text)).map(str::to_owned).collect();
            (!found.is_empty()).then_some(found)
        })
        .await
    }

    async fn client(&self) -> Client {
        Client::connect(&self.url).await.expect("the client connects")
    }

    async fn start(&self, workflow: &str, arguments: Value, id: &str) -> Run<Vec<String>> {
        let client = self.client().await;
        client.start_by_id(workflow, arguments).id(id).await.expect("it starts");
        client.get_run(id)
    }

    /// Executes `workflow yield`.
    fn yield_execution(&self) -> tokio::task::JoinHandle<Output> {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_command_line"));
        command.args(["--store", &self.url, "yield"]);
        tokio::task::spawn_blocking(move || command.output().expect("the command runs"))
    }

    /// Waits until the process that executes is asked to yield.
    async fn asked(&self) {
        let store = SqliteStore::open_existing(self.path("shop.db")).expect("the store opens");
        soon(async || store.workers().await.unwrap().iter().any(|row| row.yields).then_some(())).await;
    }
}

/// Looks until there is something.
async fn soon<T>(look: impl AsyncFn() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "it does not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn executing(client: &Client) -> Option<String> {
    let workers = client.workers().await.unwrap();
    workers.into_iter().find(|worker| worker.executes).and_then(|worker| worker.deployment)
}

case! {
    #[threads]
    async fn a_program_yields_to_one_that_has_the_workflow() {
        let shop = Shop::new();
        let [mut one, mut two] = shop.both();
        let client = shop.client().await;
        let pid = async |deployment: &str| {
            let of = |worker: &WorkerInfo| worker.deployment.as_deref() == Some(deployment);
            client.workers().await.unwrap().iter().find(|worker| of(worker)).and_then(|worker| worker.pid).unwrap()
        };
        let (first, second) = (pid("one").await, pid("two").await);
        let waits = shop.warned("two", "a process of another deployment executes the runs of the store").await;
        assert!(waits[0].contains(&format!("executes={first} deployment=one")), "{waits:?}");

        // The second program has this workflow, and the first one does not.
        let runs = [shop.start("shop::gift", Value::Null, "a").await, shop.start("shop::gift", Value::Null, "b").await];
        let lacks = "this process executes and does not have a workflow of unfinished runs; another live process has it";
        let lacking = shop.warned("one", lacks).await;
        assert!(lacking[0].contains(&format!("workflow=shop::gift process={first} candidates=[{second}]")), "{lacking:?}");
        let expected = Waiting::OtherWorkerExecutes {
            workflow: "shop::gift".into(),
            executes: first,
            deployment: Some("one".into()),
            candidates: vec![second],
        };
        assert_eq!(runs[0].waiting().await.unwrap()[0], expected);

        let done = shop.yield_execution().await.unwrap();
        assert!(done.status.success(), "{done:?}");
        assert_eq!(String::from_utf8(done.stdout).unwrap(), format!("process {second} of deployment two executes now\n"));
        for run in runs {
            assert_eq!(run.await.unwrap().len(), 2);
        }
        assert_eq!(shop.warned("one", lacks).await.len(), 1, "it is logged once");
        two.close();
        blocking(|| two.end_well());
        soon(async || (executing(&client).await.as_deref() == Some("one")).then_some(())).await;
        one.close();
        blocking(|| one.end_well());
    }
}

case! {
    #[threads]
    async fn another_process_takes_over_from_one_that_is_killed_while_it_yields() {
        let shop = Shop::new();
        let [mut one, mut two] = shop.both();
        let client = shop.client().await;
        // Both have this workflow; in the first one, its step `pack` does not end.
        let run = shop.start("shop::parcel", "book".into(), "parcel").await;
        blocking(|| one.wait_for("packing"));
        let yielded = shop.yield_execution();
        // It waits for its attempt.
        shop.asked().await;
        assert!(was_killed(blocking(|| one.kill())));
        let done = yielded.await.unwrap();
        assert!(done.status.success(), "{done:?}");
        assert_eq!(executing(&client).await.as_deref(), Some("two"));
        let label = async || client.resume_hook("label of book", "7").await.ok();
        soon(label).await;
        assert_eq!(run.await.unwrap(), ["weighed", "book wrapped", "book franked", "7"]);
        two.close();
        blocking(|| two.end_well());
    }
}

case! {
    #[threads]
    async fn a_program_executes_again_if_no_other_one_does_after_it_has_yielded() {
        let shop = Shop::new();
        let [mut one, two] = shop.both();
        let client = shop.client().await;
        two.stop();
        let done = shop.yield_execution().await.unwrap();
        assert_eq!(done.status.code(), Some(3), "{done:?}");
        let error = String::from_utf8(done.stderr).unwrap();
        assert!(error.contains("this process executes again"), "{error}");
        assert_eq!(executing(&client).await.as_deref(), Some("one"));
        two.resume();
        drop(two);
        // Then there is no other one.
        let alone = async || {
            let refused = client.yield_execution().await;
            refused.is_err_and(|error: Error| error.code() == Code::CannotYield).then_some(())
        };
        soon(alone).await;
        one.close();
        blocking(|| one.end_well());
    }
}
