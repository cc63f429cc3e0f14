//! Invariants of journals and executions across crashes.

use std::collections::BTreeMap;

use workflow_tests::{Execution, operation};

use super::snapshot::Snapshot;

/// The state after a crash.
pub struct Crash {
    pub stored: Snapshot,
    /// The number of executions in the log.
    pub executions: usize,
}

/// Compares the states after each crash (the last state is the final one) with the executions in between:
///
/// - rows are only appended to a journal;
/// - an operation whose result is recorded is not executed again, nor is an attempt whose end is recorded;
/// - a process or engine (a life) executes an outstanding attempt at most once.
pub fn assert_continuous(crashes: &[Crash], executions: &[Execution]) {
    for pair in crashes.windows(2) {
        let [before, after] = pair else { continue };
        assert_appended(&before.stored, &after.stored);
    }
    for crash in crashes {
        assert_not_repeated(crash, executions);
    }
    let mut once: BTreeMap<_, u32> = BTreeMap::new();
    for execution in executions {
        let count = once.entry(execution.clone()).or_default();
        *count += 1;
        assert_eq!(*count, 1, "one life executed an attempt twice: {execution:?}");
    }
}

/// Asserts that the journal has the command of each step that was executed.
pub fn assert_issued(crash: &Crash, executions: &[Execution]) {
    for execution in &executions[..crash.executions] {
        let issued =
            crash.stored.get(&execution.run).is_some_and(|run| run.operations().issued.contains(&execution.op));
        assert!(issued, "a step was executed before its command was recorded: {execution:?}");
    }
}

fn assert_appended(before: &Snapshot, after: &Snapshot) {
    for (id, before) in before {
        let after = after.get(id).unwrap_or_else(|| panic!("run {id} is gone"));
        let kept = after.journal.get(..before.journal.len());
        assert_eq!(kept, Some(&before.journal[..]), "recorded rows of the journal of run {id} have changed");
    }
}

fn assert_not_repeated(crash: &Crash, executions: &[Execution]) {
    let lives_before: Vec<_> = executions[..crash.executions].iter().map(|execution| &execution.life).collect();
    for (id, stored) in &crash.stored {
        let operations = stored.operations();
        let later = executions[crash.executions..].iter().filter(|later| &later.run == id);
        // An engine that was dropped, unlike a killed process, may still begin attempts that it had dispatched.
        for later in later.filter(|later| !lives_before.contains(&&later.life)) {
            let retried = operations.end.as_ref().is_some_and(|end| end.get("failed").is_some())
                && stored
                    .journal
                    .last()
                    .is_some_and(|last| later.op >= operation(last.generation.cast_unsigned() + 1, 0));
            assert!(operations.end.is_none() || retried, "a step was executed after the end of its run: {later:?}");
            assert!(
                !operations.settled.contains(&later.op),
                "a step with a recorded result was executed again: {later:?}"
            );
            let ended = operations.ended_attempts.get(&later.op).copied().unwrap_or(0);
            assert!(later.attempt > ended, "attempt {ended} has a recorded end and was repeated: {later:?}");
        }
    }
}
