//! Code that changes while runs are unfinished. For each change, with runs at several points, the engine either
//! continues the run or detects the change before the new code executes anything. The expected verdicts were written
//! before the test first ran.

mod table;
mod workflow;

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex};

use workflow_runtime::{Code, Engine, Run, Status};

use self::table::{Detected, Harmless, runs, steps_before};
use self::workflow::{STEPS, changes};
use crate::support::{Build, Lab, Place, ghost, soon};

/// The build whose code is that after each change.
const NEW: &str = "changed";

/// The runs that execute the changed code.
static CHANGED: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

fn is_changed(id: &str) -> bool {
    CHANGED.lock().unwrap().contains(id)
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

case! {
    #[postgres]
    async fn beside_the_old_build_a_changed_run_ends_as_one_of_the_two_and_is_never_stuck() {
        let (place, lab) = (Place::postgres(), Lab::new());
        let old = Build::at(&place, &lab, "before").await;
        let client = Engine::builder().store(place.store()).connect().await.unwrap();
        let gated = |name: &str, at: &str| -> Vec<String> { at.split(' ').map(|step| format!("{name}/{step}")).collect() };
        for (name, change, at, _) in runs() {
            STEPS.iter().filter(|step| !at.split(' ').any(|at| at == **step)).for_each(|step| lab.open_gate(&format!("{name}/{step}")));
            client.start(changes, (name.clone(), change.to_owned())).id(&name).await.unwrap();
        }
        for step in runs().flat_map(|(name, _, at, _)| gated(&name, at)) {
            soon(lab.executed(&step, 1)).await;
        }
        let before: Vec<_> = runs().map(|(name, _, at, _)| executed(&lab, &name, at)).collect();

        // A worker of the old build is alive, and has not looked for runs yet, when the new build takes them.
        let workflow = client.get_run::<u32, workflow_runtime::Error>(runs().next().unwrap().0).info().await.unwrap().workflow;
        let idle = ghost(&place.with("lease=10m"), &workflow, 7, "before").await;
        drop(old);
        let new = Build::at(&place, &lab, NEW).await;
        let store = place.store();
        for ((name, _, at, verdict), before) in runs().zip(&before) {
            match verdict {
                Harmless(_) => {
                    for step in gated(&name, at) {
                        soon(lab.executed(&step, 2)).await;
                    }
                }
                Detected(_) => {
                    soon(async {
                        while !store.run(&name).await.unwrap().unwrap().refused_by.is_some_and(|by| by.starts_with(NEW)) {
                            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                        }
                    })
                    .await;
                    assert_eq!(&executed(&lab, &name, at), before, "{name}: the new code has executed a step");
                }
            }
        }
        let old = Build::at(&place, &lab, "before").await;
        idle.give_up().await;
        runs().flat_map(|(name, _, at, _)| gated(&name, at)).for_each(|step| lab.open_gate(&step));
        for (name, change, at, verdict) in runs() {
            let end = soon(client.get_run::<u32, workflow_runtime::Error>(&*name)).await;
            assert!(!matches!(&end, Err(error) if error.code() == Code::Stuck), "{name}: {end:?}");
            let expected = match verdict {
                Harmless(steps) => steps,
                Detected(_) => steps_before(change),
            };
            assert_eq!(executed(&lab, &name, at).join(" "), expected, "{name}");
        }
        assert_eq!((old.stuck(), new.stuck()), (0, 0));
    }
}
