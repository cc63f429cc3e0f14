//! `quickstart`, killed while it sleeps.

mod common;

use std::process::Command;

use common::{finish, first_line, output, spawn, text};

#[test]
fn a_killed_quickstart_continues_and_charges_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut quickstart = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    quickstart.current_dir(&directory).env_remove("WORKFLOW_URL");

    let mut child = spawn(&mut quickstart);
    assert_eq!(first_line(&mut child), "charging 4200 cents for order 1\n");
    // The step's result is recorded a moment after its output; the sleep is three seconds long.
    std::thread::sleep(std::time::Duration::from_millis(500));
    child.kill().unwrap();
    assert!(!finish(child).status.success());

    for _ in 0..2 {
        let output = output(&mut quickstart);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "receipt-1-4200\n");
    }
}
