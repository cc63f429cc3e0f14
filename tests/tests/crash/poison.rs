//! A step that aborts its process in each execution.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use workflow_tests::Execution;

use super::child::{Child, command};

const SIGABRT: i32 = 6;

case! {
    fn a_run_whose_step_aborts_the_process_is_stuck_after_five_recoveries_and_other_runs_complete() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (database, log) = (directory.path().join("workflow.db"), directory.path().join("log"));
        let live = |life: u32| {
            let mut child =
                Child::spawn(command(env!("CARGO_BIN_EXE_poison"), [&database, &log, Path::new(&life.to_string())]));
            let status = child.end();
            (child, status)
        };
        for life in 1..=6 {
            let (child, status) = live(life);
            assert_eq!(status.signal(), Some(SIGABRT), "process {life}: {status}, output {:?}", child.said);
        }
        let (child, status) = live(7);
        assert!(status.success(), "{status}, {:?}", child.said);
        let [error] = child.said("stuck")[..] else { panic!("the run is not stuck: {:?}", child.said) };
        for part in ["operation 0: step `poison::kill_the_process`", "at most 5 recoveries", "poisoned"] {
            assert!(error.contains(part), "no {part} in {error}");
        }
        assert_eq!(child.said("result"), ["1000"]);

        let executions: Vec<_> = std::fs::read_to_string(&log)
            .expect("there is a log")
            .lines()
            .filter_map(Execution::parse)
            .filter(|execution| execution.step == "kill_the_process")
            .map(|execution| execution.life)
            .collect();
        assert_eq!(executions, ["1", "2", "3", "4", "5", "6"]);
    }
}
