//! A workflow whose code is that before or after a change.

use std::time::Duration;

use workflow_runtime::{
    Error, Result, deprecated_patch, hook, nondeterministic, now, patched, random, set_attribute, set_state, sleep,
    spawn, step, timeout, uuid, workflow, writer,
};

use super::{NEW, is_changed};
use crate::support::{Lab, build};

macro_rules! steps {
    ($($name:ident)*) => {
        $(
            #[step]
            async fn $name(#[resource] lab: &Lab, id: String) -> Result<String> {
                pass(lab, &id, stringify!($name)).await
            }
        )*
        pub const STEPS: &[&str] = &[$(stringify!($name)),*, "n0", "n1", "n2", "n3"];
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

/// The workflow's code before and after each change. The id of the run, or the build, selects the new code.
#[workflow]
pub async fn changes(id: String, change: String) -> Result<u32> {
    let (new, i) = (is_changed(&id) || build() == NEW, || id.clone());
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
