//! A SQLite file that is removed, replaced or restored between two processes that use it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::child::{Child, PATIENCE, command};

/// The directory of the file and its copies.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Files(tempfile::tempdir().expect("a temporary directory"))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn spawn(&self) -> Child {
        let url = format!("sqlite:{}", self.at("workflow.db").display());
        Child::spawn(command(env!("CARGO_BIN_EXE_keeps"), [url, self.at("warnings").display().to_string()]))
    }

    /// Starts a process that opens the store and starts these runs.
    fn life(&self, ids: &[&str]) -> Child {
        let mut child = self.spawn();
        child.wait_for("open");
        for id in ids {
            child.send(id);
            assert_eq!(child.wait_for("answer"), *id);
        }
        child
    }

    fn lives_and_ends(&self, ids: &[&str]) {
        let mut child = self.life(ids);
        child.close();
        child.end_well();
    }

    fn lives_and_is_killed(&self, ids: &[&str]) {
        self.life(ids).kill();
        assert!(self.at("workflow.db-wal").metadata().expect("the write-ahead log is left").len() > 0);
    }

    /// Starts a process that cannot open the store: the error.
    fn refused(&self) -> String {
        let mut child = self.spawn();
        let refused = child.wait_for("refused");
        child.end_well();
        refused
    }

    fn back_up(&self) {
        let copy = format!("VACUUM INTO '{}'", self.at("backup.db").display());
        Connection::open(self.at("workflow.db")).expect("the file opens").execute(&copy, ()).expect("the copy is made");
    }

    fn restore(&self) {
        fs::copy(self.at("backup.db"), self.at("workflow.db")).expect("the file is restored");
    }

    fn remove(&self, names: &[&str]) {
        names.iter().for_each(|name| fs::remove_file(self.at(name)).expect("the file is removed"));
    }

    fn runs(&self) -> Vec<String> {
        let connection = Connection::open(self.at("workflow.db")).expect("the database opens");
        let mut runs = connection.prepare("SELECT id FROM runs ORDER BY id").expect("the file has runs");
        runs.query_map((), |row| row.get(0))
            .expect("the table is readable")
            .collect::<Result<_, _>>()
            .expect("each id is text")
    }

    fn warned(&self, of: &str) -> bool {
        fs::read_to_string(self.at("warnings")).unwrap_or_default().contains(of)
    }

    fn nothing_was_warned(&self) {
        assert_eq!(fs::read_to_string(self.at("warnings")).expect("the file of warnings exists"), "");
    }

    /// Asserts that the store does not open while the old write-ahead log exists, that the refusal changes nothing, and
    /// that the store opens without the log.
    fn opens_only_without_the_log(&self, runs: &[&str]) {
        let before = fs::read(self.at("workflow.db")).expect("the file is readable");
        for _ in 0..2 {
            let refused = self.refused();
            assert!(refused.starts_with("store_replaced") && refused.contains("workflow.db-wal"), "{refused}");
        }
        assert!(fs::read(self.at("workflow.db")).expect("the file is readable") == before, "the file was changed");
        fs::rename(self.at("workflow.db-wal"), self.at("kept-wal")).expect("the file is moved");
        let _ = fs::remove_file(self.at("workflow.db-shm"));
        self.lives_and_ends(&["z"]);
        assert_eq!(self.runs(), [runs, &["z"]].concat());
        assert!(self.warned("commits are missing"));
    }
}

fn commits(path: &Path) -> i64 {
    let connection = Connection::open(path).expect("the database opens");
    connection.query_row("SELECT commits FROM meta", (), |row| row.get(0)).expect("there is a count")
}

case! {
    fn a_killed_process_leaves_each_acknowledged_run() {
        let files = Files::new();
        files.lives_and_is_killed(&["a", "b"]);
        files.lives_and_is_killed(&["c"]);
        files.lives_and_ends(&["d"]);
        assert_eq!(files.runs(), ["a", "b", "c", "d"]);
        files.nothing_was_warned();
    }
}

case! {
    fn a_backup_can_be_copied_back_after_a_shutdown() {
        let files = Files::new();
        files.lives_and_ends(&["a"]);
        files.back_up();
        files.lives_and_ends(&["b"]);
        files.restore();
        files.lives_and_ends(&["c"]);
        assert_eq!(files.runs(), ["a", "c"]);
        assert!(files.warned("commits are missing"), "the missing commits are not logged");
    }
}

case! {
    fn a_backup_that_is_restored_after_a_kill_opens_only_without_the_old_log() {
        let files = Files::new();
        let mut child = files.life(&["a"]);
        files.back_up();
        let mut number = 0;
        // Until the counts of commits distinguish the file from its copy.
        while commits(&files.at("workflow.db")) == commits(&files.at("backup.db")) {
            number += 1;
            child.send(&format!("b{number}"));
            assert_eq!(child.wait_for("answer"), format!("b{number}"));
        }
        child.kill();
        files.restore();
        files.opens_only_without_the_log(&["a"]);
    }
}

case! {
    fn an_old_file_that_is_restored_after_a_kill_opens_only_without_the_old_log() {
        let files = Files::new();
        files.lives_and_ends(&["a"]);
        fs::copy(files.at("workflow.db"), files.at("backup.db")).expect("the file is copied");
        files.lives_and_ends(&["b"]);
        files.lives_and_is_killed(&["c"]);
        files.restore();
        files.opens_only_without_the_log(&["a"]);
    }
}

case! {
    fn a_file_that_is_removed_after_a_kill_is_not_recreated_beside_its_log() {
        let files = Files::new();
        files.lives_and_is_killed(&["a"]);
        fs::rename(files.at("workflow.db"), files.at("kept.db")).expect("the file is moved");
        for _ in 0..2 {
            let refused = files.refused();
            assert!(refused.starts_with("store_replaced") && refused.contains("workflow.db-wal"), "{refused}");
        }
        fs::rename(files.at("kept.db"), files.at("workflow.db")).expect("the file is moved back");
        files.lives_and_ends(&["b"]);
        assert_eq!(files.runs(), ["a", "b"]);
    }
}

case! {
    fn an_engine_warns_of_a_log_that_was_removed_after_a_kill() {
        let files = Files::new();
        files.lives_and_is_killed(&["a"]);
        files.remove(&["workflow.db-wal", "workflow.db-shm"]);
        files.lives_and_ends(&["b"]);
        assert_eq!(files.runs(), ["b"]);
        assert!(files.warned("commits are missing"), "a run that was acknowledged is gone");
    }
}

case! {
    fn an_engine_warns_when_it_recreates_a_store_that_was_removed() {
        let files = Files::new();
        files.lives_and_is_killed(&["a"]);
        files.remove(&["workflow.db", "workflow.db-wal", "workflow.db-shm"]);
        files.lives_and_ends(&["b"]);
        assert_eq!(files.runs(), ["b"]);
        assert!(files.warned("another database at the path"), "a run that was acknowledged is gone");
    }
}

/// Asserts that a process names the other one that holds the lock, until that one ends. `a` is a run that does not move.
fn is_blocked_until_it_ends(files: &Files, mut holder: Child, mut other: Child, a: &str) {
    let deadline = Instant::now() + PATIENCE;
    // The holder may not have noticed the replacement yet.
    let asked = loop {
        other.send(&format!("?{a}"));
        let asked: Value = serde_json::from_str(&other.wait_for("waiting")).expect("it is JSON");
        if !asked["health"]["blocked_by"].is_null() && files.warned("nothing executes the runs") {
            break asked;
        }
        assert!(Instant::now() < deadline, "the holder of the lock is not named: {asked}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let process = holder.id();
    assert_eq!(asked["health"]["executes"], false, "{asked}");
    assert_eq!(asked["health"]["blocked_by"], process, "{asked}");
    assert_eq!(asked["reasons"], json!([{ "reason": "store_replaced", "process": process }]));
    assert!(files.warned(&format!("process={process} ")));
    holder.kill();
    let ended = loop {
        other.send(&format!("?{a}"));
        let asked: Value = serde_json::from_str(&other.wait_for("waiting")).expect("it is JSON");
        if asked["reasons"][0]["reason"] == "ended" {
            break asked;
        }
        assert!(Instant::now() < deadline, "the run does not end: {asked}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(ended["health"]["executes"], true, "{ended}");
    assert_eq!(ended["health"]["blocked_by"], Value::Null, "{ended}");
    other.close();
    other.end_well();
}

case! {
    fn a_process_names_the_one_that_holds_the_lock_of_a_removed_file() {
        let files = Files::new();
        let holder = files.life(&["a"]);
        files.remove(&["workflow.db", "workflow.db-wal", "workflow.db-shm"]);
        let other = files.life(&["b"]);
        is_blocked_until_it_ends(&files, holder, other, "b");
    }
}

case! {
    fn a_process_names_the_one_that_holds_the_lock_of_a_file_with_a_copy_in_its_place() {
        let files = Files::new();
        let holder = files.life(&["a"]);
        files.back_up();
        files.remove(&["workflow.db-wal", "workflow.db-shm"]);
        fs::rename(files.at("backup.db"), files.at("workflow.db")).expect("the file is replaced");
        let other = files.life(&["b"]);
        is_blocked_until_it_ends(&files, holder, other, "b");
    }
}
