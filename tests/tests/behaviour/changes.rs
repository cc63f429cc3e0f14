//! Code that changes while runs are unfinished. For each change, with runs at several points, the engine either
//! continues the run or detects the change before the new code executes anything. The expected verdicts were written
//! before the test first ran.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use workflow_runtime::{
    Code, Error, Result, Run, Status, deprecated_patch, hook, nondeterministic, now, patched, random, set_attribute,
    set_state, sleep, spawn, step, timeout, uuid, workflow, writer,
};

use crate::support::{Lab, soon};

/// The runs that execute the changed code.
static CHANGED: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

fn is_changed(id: &str) -> bool {
    CHANGED.lock().unwrap().contains(id)
}

macro_rules! steps {
    ($($name:ident)*) => {
        $(
            #[step]
            async fn $name(#[resource] lab: &Lab, id: String) -> Result<String> {
                pass(lab, &id, stringify!($name)).await
            }
        )*
        const STEPS: &[&str] = &[$(stringify!($name)),*, "n0", "n1", "n2", "n3"];
    };
}

async fn pass(lab: &Lab, id: &str, name: &str) -> Result<String> {
    let name = format!("{id}/{name}");
    lab.note(&name);
    lab.pass_gate(&name).await;
    Ok(name)
}

steps!(a b c x y);

#[step]
async fn n(#[resource] lab: &Lab, id: String, number: u32) -> Result<String> {
    pass(lab, &id, &format!("n{number}")).await
}

#[step]
async fn fails(id: String) -> Result<String> {
    Err(Error::fatal(id))
}

/// A child workflow.
#[workflow]
async fn tiny(id: String) -> Result<String> {
    Ok(id)
}

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(1);

/// The workflow's code before and after each change. The ids in `CHANGED` select the new code, as a deploy would.
#[workflow]
async fn changes(id: String, change: String) -> Result<u32> {
    let (new, i) = (is_changed(&id), || id.clone());
    match change.as_str() {
        "a step is inserted at the beginning" => {
            if new {
                x(i()).await?;
            }
            a(i()).await?;
            b(i()).await?;
            c(i()).await?;
        }
        "a step is inserted" => {
            a(i()).await?;
            if new {
                x(i()).await?;
            }
            b(i()).await?;
            c(i()).await?;
        }
        "a step is appended" => {
            a(i()).await?;
            b(i()).await?;
            c(i()).await?;
            if new {
                x(i()).await?;
            }
        }
        "a step is removed" => {
            a(i()).await?;
            if !new {
                b(i()).await?;
            }
            c(i()).await?;
        }
        "the last step is removed" => {
            a(i()).await?;
            b(i()).await?;
            if !new {
                c(i()).await?;
            }
        }
        "a step is replaced" => {
            a(i()).await?;
            if new {
                x(i()).await?
            } else {
                b(i()).await?
            };
            c(i()).await?;
        }
        "two steps are swapped" => {
            a(i()).await?;
            if new {
                c(i()).await?;
                b(i()).await?;
            } else {
                b(i()).await?;
                c(i()).await?;
            }
        }
        "the first steps are swapped" => {
            if new {
                b(i()).await?;
                a(i()).await?;
            } else {
                a(i()).await?;
                b(i()).await?;
            }
            c(i()).await?;
        }
        "a step is called twice" => {
            a(i()).await?;
            if new {
                a(i()).await?;
            }
            b(i()).await?;
            c(i()).await?;
        }
        "a step moves into a branch that is taken" => {
            a(i()).await?;
            if !new || id.contains("moves") {
                b(i()).await?;
            }
            c(i()).await?;
        }
        "a step moves into a branch that is not taken" => {
            a(i()).await?;
            if !new || id.is_empty() {
                b(i()).await?;
            }
            c(i()).await?;
        }
        "a step moves into a loop" => {
            a(i()).await?;
            for _ in 0..if new { 2 } else { 1 } {
                b(i()).await?;
            }
            c(i()).await?;
        }
        "a step moves out of a loop" => {
            a(i()).await?;
            for _ in 0..if new { 1 } else { 2 } {
                b(i()).await?;
            }
            c(i()).await?;
        }
        "a loop has more rounds" => {
            for number in 0..if new { 3 } else { 2 } {
                n(i(), number).await?;
            }
            c(i()).await?;
        }
        "a loop has fewer rounds" => {
            for number in 0..if new { 1 } else { 2 } {
                n(i(), number).await?;
            }
            c(i()).await?;
        }
        "a constant of a call is changed" => {
            a(i()).await?;
            n(i(), if new { 1 } else { 0 }).await?;
            c(i()).await?;
        }
        "a join becomes a sequence" => {
            if new {
                a(i()).await?;
                b(i()).await?;
            } else {
                let (a, b) = tokio::join!(a(i()), b(i()));
                a.and(b)?;
            }
            c(i()).await?;
        }
        "a sequence becomes a join" => {
            if new {
                let (a, b) = tokio::join!(a(i()), b(i()));
                a.and(b)?;
            } else {
                a(i()).await?;
                b(i()).await?;
            }
            c(i()).await?;
        }
        "a join gets a branch" => {
            a(i()).await?;
            if new {
                let (b, c, x) = tokio::join!(b(i()), c(i()), x(i()));
                b.and(c).and(x)?;
            } else {
                let (b, c) = tokio::join!(b(i()), c(i()));
                b.and(c)?;
            }
        }
        "the branches of a join are swapped" => {
            a(i()).await?;
            if new {
                let (c, b) = tokio::join!(c(i()), b(i()));
                b.and(c)?;
            } else {
                let (b, c) = tokio::join!(b(i()), c(i()));
                b.and(c)?;
            }
        }
        "the arms of a select are swapped" => {
            if new {
                tokio::select! {
                    biased;
                    () = sleep(HOUR) => {}
                    _ = a(i()) => {}
                }
            } else {
                tokio::select! {
                    biased;
                    _ = a(i()) => {}
                    () = sleep(HOUR) => {}
                }
            }
            b(i()).await?;
            c(i()).await?;
        }
        "a select gets an arm" => {
            if new {
                tokio::select! {
                    biased;
                    _ = a(i()) => {}
                    () = sleep(HOUR) => {}
                    _ = x(i()) => {}
                }
            } else {
                tokio::select! {
                    biased;
                    _ = a(i()) => {}
                    () = sleep(HOUR) => {}
                }
            }
            b(i()).await?;
            c(i()).await?;
        }
        "a timeout is put around a step" => {
            a(i()).await?;
            if new {
                timeout(HOUR, b(i())).await.map_err(Error::new)??
            } else {
                b(i()).await?
            };
            c(i()).await?;
        }
        "a step is spawned" => {
            a(i()).await?;
            if new {
                drop(spawn(x(i())));
            }
            b(i()).await?;
            c(i()).await?;
        }
        "a sleep is inserted" => {
            a(i()).await?;
            if new {
                sleep(SOON).await;
            }
            b(i()).await?;
            c(i()).await?;
        }
        "a hook is inserted" => {
            a(i()).await?;
            if new {
                let _ = timeout(SOON, hook::<()>().token(i())).await;
            }
            b(i()).await?;
            c(i()).await?;
        }
        "a child is inserted" => {
            a(i()).await?;
            if new {
                tiny(i()).await?;
            }
            b(i()).await?;
            c(i()).await?;
        }
        "a detached child is inserted" => {
            a(i()).await?;
            if new {
                tiny(i()).detach()?;
            }
            b(i()).await?;
            c(i()).await?;
        }
        "a foreign future is inserted" => {
            a(i()).await?;
            if new {
                let _ = nondeterministic(async { 7 }).await;
            }
            b(i()).await?;
            c(i()).await?;
        }
        "a state is set" => {
            a(i()).await?;
            if new {
                set_state(&"half")?;
            }
            b(i()).await?;
            c(i()).await?;
        }
        "another state is set" => {
            a(i()).await?;
            set_state(if new { &"half done" } else { &"half" })?;
            b(i()).await?;
            c(i()).await?;
        }
        "an attribute is set" => {
            a(i()).await?;
            if new {
                set_attribute("colour", "red")?;
            }
            b(i()).await?;
            c(i()).await?;
        }
        "a stream is written" => {
            a(i()).await?;
            if new {
                writer::<u32>("news").write(&1).await?;
            }
            b(i()).await?;
            c(i()).await?;
        }
        "time, random numbers and ids are read" => {
            a(i()).await?;
            if new {
                let _ = (now(), random::<u64>(), uuid());
            }
            b(i()).await?;
            c(i()).await?;
        }
        "a retry policy, a timeout and a name are changed" => {
            a(i()).await?;
            if new {
                b(i()).retries(9).timeout(HOUR).name("second").await?
            } else {
                b(i()).await?
            };
            c(i()).await?;
        }
        "the result is changed" => {
            a(i()).await?;
            b(i()).await?;
            c(i()).await?;
            if new {
                return Ok(2);
            }
        }
        "a rollback is added" => {
            let undo = i();
            if new {
                a(i()).rollback(move |_| x(undo)).await?
            } else {
                a(i()).await?
            };
            b(i()).await?;
            c(i()).await?;
            fails(i()).await?;
        }
        "a rollback is removed" => {
            let undo = i();
            if new {
                a(i()).await?
            } else {
                a(i()).rollback(move |_| x(undo)).await?
            };
            b(i()).await?;
            c(i()).await?;
            fails(i()).await?;
        }
        "an error is handled" => {
            a(i()).await?;
            b(i()).await?;
            c(i()).await?;
            let failed = fails(i()).await;
            if !new {
                failed?;
            }
        }
        "a step is inserted by a patch" => {
            a(i()).await?;
            if new && patched("with-x") {
                x(i()).await?;
            }
            b(i()).await?;
            c(i()).await?;
        }
        "a step is removed by a patch" => {
            a(i()).await?;
            if !(new && patched("without-b")) {
                b(i()).await?;
            }
            c(i()).await?;
        }
        "two steps are swapped by a patch" => {
            a(i()).await?;
            if new && patched("c-first") {
                c(i()).await?;
                b(i()).await?;
            } else {
                b(i()).await?;
                c(i()).await?;
            }
        }
        "a loop has more rounds by a patch" => {
            for number in 0..if new && patched("more-n") { 3 } else { 2 } {
                n(i(), number).await?;
            }
            c(i()).await?;
        }
        "a branch of a join is patched" => {
            a(i()).await?;
            let first = async { if new && patched("x-for-b") { x(i()).await } else { b(i()).await } };
            let second = async { if new && patched("y-for-c") { y(i()).await } else { c(i()).await } };
            let (first, second) = tokio::join!(first, second);
            first.and(second)?;
        }
        "an arm of a select is patched" => {
            a(i()).await?;
            let late = async {
                let wait = if new && patched("a-day") { 24 * HOUR } else { HOUR };
                sleep(wait).await;
            };
            tokio::select! {
                biased;
                done = b(i()) => drop(done?),
                () = late => {}
            }
            c(i()).await?;
        }
        "a patch is removed" => {
            a(i()).await?;
            if new || patched("with-x") {
                x(i()).await?;
            }
            c(i()).await?;
        }
        "a patch is deprecated" => {
            a(i()).await?;
            if new {
                deprecated_patch("with-x");
                x(i()).await?;
            } else if patched("with-x") {
                x(i()).await?;
            }
            c(i()).await?;
        }
        "a patch is deprecated that no run has" => {
            a(i()).await?;
            if new {
                deprecated_patch("with-x");
                x(i()).await?;
            }
            b(i()).await?;
            c(i()).await?;
        }
        "a deprecated patch is removed" => {
            a(i()).await?;
            if !new {
                deprecated_patch("with-x");
            }
            x(i()).await?;
            c(i()).await?;
        }
        other => return Err(Error::fatal(format!("no change is called {other}"))),
    }
    Ok(1)
}

/// What happens to a run whose code changes.
#[derive(Clone, Copy)]
enum Verdict {
    /// The run continues, and has executed these steps at its end.
    Harmless(&'static str),
    /// The run is stuck, and its reason contains this text.
    Detected(&'static str),
}

use Verdict::{Detected, Harmless};

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
fn runs() -> impl Iterator<Item = (String, &'static str, &'static str, Verdict)> {
    let of = |(change, points): &(&'static str, &'static [(&'static str, Verdict)])| {
        let change = *change;
        points.iter().map(move |(at, verdict)| (format!("{change}, in {at}"), change, *at, *verdict))
    };
    CHANGES.iter().flat_map(of)
}

/// The steps that a run has executed, in order; an interrupted and repeated step counts once. Branches of a join
/// execute in any order, so their steps are sorted.
fn executed(lab: &Lab, id: &str, at: &str) -> Vec<String> {
    let prefix = format!("{id}/");
    let mut steps: Vec<_> =
        lab.notes().iter().filter_map(|note| note.strip_prefix(&prefix).map(str::to_owned)).collect();
    for interrupted in at.split(' ') {
        let mut times = (0..steps.len()).filter(|number| steps[*number] == interrupted);
        if let (Some(_), Some(again)) = (times.next(), times.next()) {
            steps.remove(again);
        }
    }
    if id.contains("join") {
        steps.sort();
    }
    steps
}

on_each_store! {
    async fn a_change_of_the_code_is_harmless_or_detected_before_anything_is_executed(place: Place) {
        // Other stores have runs with the same names, and `CHANGED` is shared.
        let scope = uuid::Uuid::new_v4();
        let id = |name: &str| format!("{name} {scope}");
        let lab = Lab::new();
        let engine = place.open(&lab).await;
        for (name, change, at, _) in runs() {
            let id = id(&name);
            STEPS.iter().filter(|step| !at.split(' ').any(|at| at == **step)).for_each(|step| lab.open_gate(&format!("{id}/{step}")));
            engine.start(changes, (id.clone(), change.to_owned())).id(&id).await.unwrap();
        }
        for (name, _, at, _) in runs() {
            for step in at.split(' ') {
                soon(lab.executed(&format!("{}/{step}", id(&name)), 1)).await;
            }
        }
        drop(engine);

        let before: Vec<_> = runs().map(|(name, _, at, _)| executed(&lab, &id(&name), at)).collect();
        for (name, _, at, _) in runs() {
            let id = id(&name);
            at.split(' ').for_each(|step| lab.open_gate(&format!("{id}/{step}")));
            CHANGED.lock().unwrap().insert(id);
        }
        let engine = place.open(&lab).await;
        for ((name, _, at, verdict), before) in runs().zip(before) {
            let id = id(&name);
            let run: Run<u32> = engine.get_run(&id);
            let end = soon(&run).await;
            let executed = executed(&lab, &id, at);
            match verdict {
                Harmless(steps) => {
                    assert!(!matches!(&end, Err(error) if error.code() == Code::Stuck), "{name}: {end:?}");
                    assert_eq!(executed.join(" "), steps, "{name}");
                }
                Detected(reason) => {
                    let error = end.expect_err(&name);
                    assert_eq!(run.status().await.unwrap(), Status::Stuck, "{name}");
                    assert!(format!("{error:?}").contains(reason), "{name}: {error:?}");
                    assert_eq!(executed, before, "{name}");
                }
            }
        }
    }
}
