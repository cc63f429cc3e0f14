//! The changes, and the expected verdicts.

/// What happens to a run whose code changes.
#[derive(Clone, Copy)]
pub enum Verdict {
    /// The run continues, and has executed these steps at its end.
    Harmless(&'static str),
    /// The run is stuck, and its reason contains this text.
    Detected(&'static str),
}

pub use Verdict::{Detected, Harmless};

const INSERTED: Verdict = Detected("was inserted before the call of step `b`");

/// Each change, with the steps at which runs are when it is made, and the verdict for each.
const CHANGES: &[(&str, &[(&str, Verdict)])] = &[
    (
        "a step is inserted at the beginning",
        &[("a", Detected("a call of step `x` was inserted before the call of step `a`")), ("c", Detected("step `x`"))],
    ),
    ("a step is inserted", &[("a", Harmless("a x b c")), ("b", INSERTED), ("c", INSERTED)]),
    ("a step is appended", &[("a", Harmless("a b c x")), ("b", Harmless("a b c x")), ("c", Harmless("a b c x"))]),
    (
        "a step is removed",
        &[
            ("a", Harmless("a c")),
            ("b", Detected("a call of step `c` was inserted before the call of step `b`, or took its place")),
            ("c", Detected("the call of step `b` was removed, or moved behind the call of step `c`")),
        ],
    ),
    (
        "the last step is removed",
        &[("a", Harmless("a b")), ("b", Harmless("a b")), ("c", Detected("the workflow ends without it"))],
    ),
    ("a step is replaced", &[("a", Harmless("a x c")), ("b", INSERTED), ("c", INSERTED)]),
    (
        "two steps are swapped",
        &[
            ("a", Harmless("a c b")),
            ("b", Detected("step `c`")),
            ("c", Detected("or moved behind the call of step `c`")),
        ],
    ),
    (
        "the first steps are swapped",
        &[("a", Detected("step `b`")), ("b", Detected("step `b`")), ("c", Detected("step `b`"))],
    ),
    ("a step is called twice", &[("a", Harmless("a a b c")), ("b", INSERTED), ("c", INSERTED)]),
    (
        "a step moves into a branch that is taken",
        &[("a", Harmless("a b c")), ("b", Harmless("a b c")), ("c", Harmless("a b c"))],
    ),
    (
        "a step moves into a branch that is not taken",
        &[("a", Harmless("a c")), ("b", Detected("step `b`")), ("c", Detected("the call of step `b` was removed"))],
    ),
    (
        "a step moves into a loop",
        &[
            ("a", Harmless("a b b c")),
            ("b", Harmless("a b b c")),
            ("c", Detected("the call of step `b` is made once more")),
        ],
    ),
    ("a step moves out of a loop", &[("a", Harmless("a b c")), ("c", Detected("the call of step `b` was removed"))]),
    (
        "a loop has more rounds",
        &[("n0", Harmless("n0 n1 n2 c")), ("n1", Harmless("n0 n1 n2 c")), ("c", Detected("is made once more"))],
    ),
    (
        "a loop has fewer rounds",
        &[("n0", Harmless("n0 c")), ("n1", Detected("step `n`")), ("c", Detected("the call of step `n` was removed"))],
    ),
    (
        "a constant of a call is changed",
        &[
            ("a", Harmless("a n1 c")),
            ("n0", Detected("the call of step `n` has other arguments")),
            ("c", Detected("the call of step `n` has other arguments")),
        ],
    ),
    (
        "a join becomes a sequence",
        &[
            ("a b", Detected("the call of step `b` was removed, or moved behind a later result")),
            ("c", Detected("step `b`")),
        ],
    ),
    (
        "a sequence becomes a join",
        &[
            ("a", Detected("a call of step `b` was inserted where the run waited")),
            ("b", Detected("the call of step `b` was moved to an earlier place")),
            ("c", Detected("the call of step `b` was moved to an earlier place")),
        ],
    ),
    (
        "a join gets a branch",
        &[("a", Harmless("a b c x")), ("b c", Detected("a call of step `x` was inserted where the run waited"))],
    ),
    (
        "the branches of a join are swapped",
        &[("a", Harmless("a b c")), ("b c", Detected("the call of step `b` and the call of step `c` were swapped"))],
    ),
    ("the arms of a select are swapped", &[("a", Detected("were swapped")), ("b", Detected("were swapped"))]),
    ("a select gets an arm", &[("a", Detected("step `x` was inserted")), ("b", Detected("step `x` was inserted"))]),
    (
        "a timeout is put around a step",
        &[("a", Harmless("a b c")), ("b", Detected("sleep or timeout")), ("c", Detected("sleep or timeout"))],
    ),
    ("a step is spawned", &[("b", Detected("a call of step `x` was inserted where the run waited"))]),
    ("a sleep is inserted", &[("a", Harmless("a b c")), ("b", INSERTED), ("c", INSERTED)]),
    ("a hook is inserted", &[("a", Harmless("a b c")), ("b", INSERTED), ("c", INSERTED)]),
    ("a child is inserted", &[("a", Harmless("a b c")), ("b", INSERTED), ("c", INSERTED)]),
    ("a detached child is inserted", &[("a", Harmless("a b c")), ("b", INSERTED), ("c", INSERTED)]),
    ("a foreign future is inserted", &[("a", Harmless("a b c")), ("b", INSERTED), ("c", INSERTED)]),
    ("a state is set", &[("a", Harmless("a b c")), ("b", INSERTED), ("c", INSERTED)]),
    (
        "another state is set",
        &[
            ("a", Harmless("a b c")),
            ("b", Detected("the call of `set_state`")),
            ("c", Detected("the call of `set_state`")),
        ],
    ),
    ("an attribute is set", &[("a", Harmless("a b c")), ("b", INSERTED), ("c", INSERTED)]),
    ("a stream is written", &[("a", Harmless("a b c")), ("b", INSERTED), ("c", INSERTED)]),
    (
        "time, random numbers and ids are read",
        &[("a", Harmless("a b c")), ("b", Harmless("a b c")), ("c", Harmless("a b c"))],
    ),
    (
        "a retry policy, a timeout and a name are changed",
        &[("a", Harmless("a b c")), ("b", Harmless("a b c")), ("c", Harmless("a b c"))],
    ),
    ("the result is changed", &[("a", Harmless("a b c")), ("c", Harmless("a b c"))]),
    ("a rollback is added", &[("a", Harmless("a b c x")), ("b", Harmless("a b c x")), ("c", Harmless("a b c x"))]),
    ("a rollback is removed", &[("a", Harmless("a b c")), ("b", Harmless("a b c")), ("c", Harmless("a b c"))]),
    ("an error is handled", &[("a", Harmless("a b c")), ("c", Harmless("a b c"))]),
    (
        "a step is inserted by a patch",
        &[("a", Harmless("a x b c")), ("b", Harmless("a b c")), ("c", Harmless("a b c"))],
    ),
    ("a step is removed by a patch", &[("a", Harmless("a c")), ("b", Harmless("a b c")), ("c", Harmless("a b c"))]),
    (
        "two steps are swapped by a patch",
        &[("a", Harmless("a c b")), ("b", Harmless("a b c")), ("c", Harmless("a b c"))],
    ),
    (
        "a loop has more rounds by a patch",
        &[("n0", Harmless("n0 n1 c")), ("n1", Harmless("n0 n1 c")), ("c", Harmless("n0 n1 c"))],
    ),
    (
        "a branch of a join is patched",
        &[("a", Harmless("a x y")), ("b c", Harmless("a b c")), ("b", Harmless("a b c"))],
    ),
    ("an arm of a select is patched", &[("a", Harmless("a b c")), ("b", Harmless("a b c")), ("c", Harmless("a b c"))]),
    (
        "a patch is removed",
        &[("a", Harmless("a x c")), ("x", Detected("patched(\"with-x\")")), ("c", Detected("patched(\"with-x\")"))],
    ),
    ("a patch is deprecated", &[("a", Harmless("a x c")), ("x", Harmless("a x c")), ("c", Harmless("a x c"))]),
    (
        "a patch is deprecated that no run has",
        &[("a", Harmless("a x b c")), ("b", Detected("predates patch `with-x`")), ("c", Detected("predates patch"))],
    ),
    ("a deprecated patch is removed", &[("a", Harmless("a x c")), ("x", Harmless("a x c")), ("c", Harmless("a x c"))]),
];

/// Each run: its id, its change, the step that it executes when the change is made, and the verdict.
pub fn runs() -> impl Iterator<Item = (String, &'static str, &'static str, Verdict)> {
    let of = |(change, points): &(&'static str, &'static [(&'static str, Verdict)])| {
        let change = *change;
        points.iter().map(move |(at, verdict)| (format!("{change}, in {at}"), change, *at, *verdict))
    };
    CHANGES.iter().flat_map(of)
}

/// The steps that the code before a change executes in a whole run.
pub fn steps_before(change: &str) -> &'static str {
    match change {
        "a step moves out of a loop" => "a b b c",
        "a loop has more rounds" | "a loop has fewer rounds" | "a loop has more rounds by a patch" => "n0 n1 c",
        "a constant of a call is changed" => "a n0 c",
        "a rollback is removed" => "a b c x",
        "a patch is removed" | "a patch is deprecated" | "a deprecated patch is removed" => "a x c",
        _ => "a b c",
    }
}
