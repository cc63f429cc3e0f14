//! `agent`: killed while it waits for a person, answered by another process, and started again.
#![cfg(unix)]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{finish, output, spawn, text};

fn agent(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent"));
    command.current_dir(directory).args(arguments).env_remove("WORKFLOW_URL");
    command
}

#[test]
fn a_killed_agent_continues_after_its_recorded_calls() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let show = || text(&output(&mut agent(directory, &["show"])).stdout);
    let log = || std::fs::read_to_string(directory.join("agent.log")).unwrap_or_default();

    // Killed while it works, and then while it waits.
    let mut child = spawn(&mut agent(directory, &["ask", "a weekend in Ulm"]));
    while !log().contains("search") {
        assert!(child.try_wait().unwrap().is_none(), "it has ended: {:?}", finish(child));
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    finish(child);
    let mut child = spawn(&mut agent(directory, &["ask", "a weekend in Ulm"]));
    while !show().contains("it waits for `approval`") {
        assert!(child.try_wait().unwrap().is_none(), "it has ended: {:?}", finish(child));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(show().contains("doing: \"asking\""), "{}", show());
    child.kill().unwrap();
    finish(child);

    // No process executes the run now. The answer is kept, and taken once.
    let told = output(&mut agent(directory, &["approve", "yes"]));
    assert!(told.status.success(), "{}", text(&told.stderr));
    let again = output(&mut agent(directory, &["approve", "no"]));
    assert!(!again.status.success() && text(&again.stderr).contains("already_resumed"), "{}", text(&again.stderr));

    let done = output(&mut agent(directory, &["ask", "a weekend in Ulm"]));
    let said = text(&done.stdout);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(said.contains("a weekend in Ulm is booked for 500."), "{said}");
    assert!(said.contains("(trace ") && said.contains("There are two of you ."), "{said}");
    let uses: Vec<String> = log().lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(uses.last().map(String::as_str), Some("multiply"));
    // The kill may have interrupted the first use of the tool. Recorded calls are not made again.
    assert!(uses.iter().filter(|tool| *tool == "multiply").count() == 1, "{uses:?}");
    assert!(uses.iter().filter(|tool| *tool == "search").count() <= 2, "{uses:?}");
}

#[test]
fn an_agent_without_arguments_approves_itself_and_answers() {
    let directory = tempfile::tempdir().unwrap();
    let done = output(&mut agent(directory.path(), &[]));
    let said = text(&done.stdout);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(said.contains("Book a weekend in Ulm for 500?") && said.contains("is booked for 500."), "{said}");
}
