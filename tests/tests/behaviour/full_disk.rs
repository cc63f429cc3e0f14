//! A full disk, simulated by a small file system in memory. The test runs where it may mount one.

use std::path::Path;

use workflow_harness::disk::Disk;
use workflow_runtime::{Code, Engine, Error, Result, step, workflow};

use crate::support::{Lab, soon};

#[step]
async fn gated(#[resource] lab: &Lab, name: String) -> Result<String> {
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(name)
}

#[workflow]
async fn passes(name: String) -> Result<String> {
    gated(name).await
}

async fn open(path: &Path, lab: &Lab) -> Engine {
    let builder = Engine::builder().url(format!("sqlite:{}", path.display())).resource(lab.clone());
    builder.open().await.expect("the engine opens")
}

case! {
    #[disk]
    async fn on_a_full_disk_starts_fail_and_unfinished_runs_wait() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = Disk::mount(directory.path(), "4m").expect("the file system can be mounted");
        let lab = Lab::new();
        // More than the part of the write-ahead log that SQLite overwrites can hold.
        let large = "quick".repeat(200_000);
        let engine = open(&directory.path().join("workflow.db"), &lab).await;
        let run = engine.start(passes, "full".to_owned()).id("in-flight").await.expect("the run starts");
        lab.executed("full", 1).await;

        let filler = disk.fill();
        let error = engine.start(passes, large.clone()).id("refused").await.expect_err("the disk is full");
        assert_eq!(error.code(), Code::Store);
        let text = format!("{error:?}");
        for part in ["the run was not started", "the disk is full", "refused", "make room"] {
            assert!(text.contains(part), "no `{part}` in: {text}");
        }
        lab.open_gate("full");
        let error = engine.start(passes, large.clone()).id("refused too").await.expect_err("the disk is still full");
        assert!(format!("{error:?}").contains("the disk is full"), "{error:?}");
        assert_eq!(error.code(), Code::Store);

        std::fs::remove_file(filler).expect("the file can be removed");
        assert_eq!(soon(run).await.expect("the run continues without help"), "full");
        assert_eq!(lab.count("full"), 1, "the step ran again");
        assert!(!engine.get_run::<String, Error>("refused").exists().await.expect("the store is readable"));
        lab.open_gate("quick");
        let run = engine.start(passes, "quick".to_owned()).id("refused").await.expect("it starts");
        assert_eq!(soon(run).await.expect("it completes"), "quick");
        engine.shutdown().await.expect("the engine shuts down");
        drop(disk);
    }
}
