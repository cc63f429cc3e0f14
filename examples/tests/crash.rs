//! `crash`, which checks its own result.

mod common;

use std::process::Command;

use common::{output, text};

#[test]
fn no_recorded_step_runs_again_under_kills() {
    for seed in ["1", "2", "3", "4"] {
        let output = output(Command::new(env!("CARGO_BIN_EXE_crash")).arg(seed));
        let stdout = text(&output.stdout);
        assert!(output.status.success(), "seed {seed}\n{stdout}\n{}", text(&output.stderr));
        assert!(stdout.contains("no recorded step ran again"), "{stdout}");
        let kills: usize = stdout.lines().find_map(|line| line.split_once(" kills;")?.0.parse().ok()).unwrap();
        assert!(kills >= 3, "the child was killed only {kills} times\n{stdout}");
    }
}
