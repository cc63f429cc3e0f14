//! What must hold between the crashes of a run.

use std::collections::BTreeMap;

use workflow_tests::{Execution, operation};

use super::snapshot::Snapshot;

/// What a crash has left.
pub struct Crash {
    pub stored: Snapshot,
    /// How many executions had been noted.
    pub executions: usize,
}

/// Compares what crashes have left, the last being the end, with what was executed in between:
///
/// - a journal is only ever appended to;
/// - an operation whose result was recorded is not executed again, and neither is an attempt whose end was recorded;
/// - what was outstanding is executed once more in each life, and not twice.
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

/// Asserts that nothing was executed that the journal had not asked for.
pub fn assert_issued(crash: &Crash, executions: &[Execution]) {
    for execution in &executions[..crash.executions] {
        let issued =
            crash.stored.get(&execution.run).is_some_and(|run| run.operations().issued.contains(&execution.op));
        assert!(issued, "it was executed before it was recorded: {execution:?}");
    }
}

fn assert_appended(before: &Snapshot, after: &Snapshot) {
    for (id, before) in before {
        let after = after.get(id).unwrap_or_else(|| panic!("run {id} is gone"));
        let kept = after.journal.get(..before.journal.len());
        assert_eq!(kept, Some(&before.journal[..]), "the journal of run {id} is not a continuation of what it was");
    }
}

fn assert_not_repeated(crash: &Crash, executions: &[Execution]) {
    let lives_before: Vec<_> = executions[..crash.executions].iter().map(|execution| &execution.life).collect();
    for (id, stored) in &crash.stored {
        let operations = stored.operations();
        let later = executions[crash.executions..].iter().filter(|later| &later.run == id);
        // An engine that was dropped, unlike a process that was killed, may still be starting what it had dispatched.
        for later in later.filter(|later| !lives_before.contains(&&later.life)) {
            let retried = operations.end.as_ref().is_some_and(|end| end.get("failed").is_some())
                && stored
                    .journal
                    .last()
                    .is_some_and(|last| later.op >= operation(last.generation.cast_unsigned() + 1, 0));
            assert!(operations.end.is_none() || retried, "its run had ended, and it was executed: {later:?}");
            assert!(
                !operations.settled.contains(&later.op),
                "its result was recorded, and it was executed again: {later:?}"
            );
            let ended = operations.ended_attempts.get(&later.op).copied().unwrap_or(0);
            assert!(later.attempt > ended, "attempt {ended} was recorded as ended, and was repeated: {later:?}");
        }
    }
}
