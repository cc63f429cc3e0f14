//! A full disk: a small file system in memory, where one may be mounted.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use workflow_runtime::{Code, Error};

use super::support::{assert_error, came, comings, engine, gated, open, quick};

/// A mounted file system.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn mount(path: &'a Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(path).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Disk(path))
    }

    /// Takes all the room that there is.
    fn fill(&self) -> std::path::PathBuf {
        let path = self.0.join("filler");
        let mut filler = File::create(&path).expect("there is room for a name");
        let mut block = 4096;
        while block > 0 {
            if filler.write_all(&vec![0; block]).is_err() {
                block /= 2;
            }
        }
        path
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_error_of_the_start_and_a_wait_of_what_runs() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let Some(disk) = Disk::mount(directory.path()) else {
        eprintln!("not tested: no file system may be mounted here");
        return;
    };
    let engine = engine(&directory.path().join("workflow.db")).await;
    let run = engine.start(gated, "full".to_owned()).id("in-flight").await.expect("it starts");
    came("full", 1).await;

    let filler = disk.fill();
    let error = engine.start(quick, 1).id("refused").await.expect_err("the disk is full");
    assert_error(&error, Code::Store, &["the run was not started", "the disk is full", "refused", "make room"]);
    open("full");
    let error = engine.start(quick, 2).id("refused too").await.expect_err("the disk is still full");
    assert_error(&error, Code::Store, &["the disk is full"]);

    std::fs::remove_file(filler).expect("it can be removed");
    assert_eq!(run.await.expect("it goes on by itself"), "full");
    assert_eq!(comings("full"), 1, "the step ran again");
    assert!(!engine.get_run::<u64, Error>("refused").exists().await.expect("the store is readable"));
    assert_eq!(engine.start(quick, 3).id("refused").await.expect("it starts").await.expect("it completes"), 3);
    engine.shutdown().await.expect("it shuts down");
    drop(disk);
}
