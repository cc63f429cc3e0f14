//! Functions that a workflow must not call: a callee is compared with them by type, since each function has its own type.

use std::any::type_name;

use super::Pass;

/// Never implemented: its message is the error.
#[diagnostic::on_unimplemented(
    message = "the clock gives another answer on a replay",
    label = "use `workflow_runtime::now()`"
)]
pub trait Clock {}

/// Never implemented: its message is the error.
#[diagnostic::on_unimplemented(
    message = "randomness gives another answer on a replay",
    label = "use `workflow_runtime::random()`"
)]
pub trait Random {}

/// Never implemented: its message is the error.
#[diagnostic::on_unimplemented(
    message = "a random id is another one on a replay",
    label = "use `workflow_runtime::uuid()`"
)]
pub trait Identifier {}

/// Never implemented: its message is the error.
#[diagnostic::on_unimplemented(
    message = "the environment may be another one on a replay",
    label = "read it in a `#[step]`, or take the value as an argument"
)]
pub trait Environment {}

/// Never implemented: its message is the error.
#[diagnostic::on_unimplemented(
    message = "a workflow is replayed, and would do this again each time",
    label = "move the call into a `#[step]`"
)]
pub trait World {}

/// Never implemented: its message is the error.
#[diagnostic::on_unimplemented(
    message = "what runs beside the workflow is not replayed",
    label = "use `workflow_runtime::spawn` for a branch, or a `#[step]`"
)]
pub trait Task {}

/// Never implemented: its message is the error.
#[diagnostic::on_unimplemented(
    message = "a workflow waits by recorded timers",
    label = "use `workflow_runtime::sleep(..).await`, or `workflow_runtime::timeout`"
)]
pub trait Waiting {}

/// Never implemented: its message is the error.
#[diagnostic::on_unimplemented(message = "a replay runs in another process", label = "move the call into a `#[step]`")]
pub trait Process {}

/// Never implemented: its message is the error.
#[diagnostic::on_unimplemented(
    message = "a hash state is seeded at random, so it differs on a replay",
    label = "use a `BTreeMap`, or a fixed seed"
)]
pub trait Hashing {}

/// The result of a refused probe. Its type is whatever the program makes of it: if it were the callee, whose generic arguments
/// are those of the function that it was compared with, the compiler would report the program's own arguments as well.
fn never<R>() -> R {
    unreachable!("a callee that is refused does not compile")
}

/// The struct of a probe, which holds two callees, and its behaviour if they differ.
macro_rules! same {
    ($($probe:ident)*) => {$(
        /// Two callees.
        pub struct $probe<A, B>(pub A, pub B);

        impl<A, B> Pass for $probe<A, B> {
            type Probed = A;

            fn pass(self) -> A {
                refuse_by_name(type_name::<A>());
                self.0
            }
        }
    )*};
}

same! {
    SameClock
    SameRandom
    SameIdentifier
    SameEnvironment
    SameWorld
    SameTask
    SameWaiting
    SameProcess
    SameHashing
}

impl<A> SameClock<A, A> {
    /// Refuses everything.
    pub fn pass(self) -> A
    where
        A: Clock,
    {
        self.0
    }

    /// Refuses everything.
    pub fn last<R>(self) -> R
    where
        A: Clock,
    {
        never()
    }
}

impl<A> SameRandom<A, A> {
    /// Refuses everything.
    pub fn pass(self) -> A
    where
        A: Random,
    {
        self.0
    }

    /// Refuses everything.
    pub fn last<R>(self) -> R
    where
        A: Random,
    {
        never()
    }
}

impl<A> SameIdentifier<A, A> {
    /// Refuses everything.
    pub fn pass(self) -> A
    where
        A: Identifier,
    {
        self.0
    }

    /// Refuses everything.
    pub fn last<R>(self) -> R
    where
        A: Identifier,
    {
        never()
    }
}

impl<A> SameEnvironment<A, A> {
    /// Refuses everything.
    pub fn pass(self) -> A
    where
        A: Environment,
    {
        self.0
    }

    /// Refuses everything.
    pub fn last<R>(self) -> R
    where
        A: Environment,
    {
        never()
    }
}

impl<A> SameWorld<A, A> {
    /// Refuses everything.
    pub fn pass(self) -> A
    where
        A: World,
    {
        self.0
    }

    /// Refuses everything.
    pub fn last<R>(self) -> R
    where
        A: World,
    {
        never()
    }
}

impl<A> SameTask<A, A> {
    /// Refuses everything.
    pub fn pass(self) -> A
    where
        A: Task,
    {
        self.0
    }

    /// Refuses everything.
    pub fn last<R>(self) -> R
    where
        A: Task,
    {
        never()
    }
}

impl<A> SameWaiting<A, A> {
    /// Refuses everything.
    pub fn pass(self) -> A
    where
        A: Waiting,
    {
        self.0
    }

    /// Refuses everything.
    pub fn last<R>(self) -> R
    where
        A: Waiting,
    {
        never()
    }
}

impl<A> SameProcess<A, A> {
    /// Refuses everything.
    pub fn pass(self) -> A
    where
        A: Process,
    {
        self.0
    }

    /// Refuses everything.
    pub fn last<R>(self) -> R
    where
        A: Process,
    {
        never()
    }
}

impl<A> SameHashing<A, A> {
    /// Refuses everything.
    pub fn pass(self) -> A
    where
        A: Hashing,
    {
        self.0
    }

    /// Refuses everything.
    pub fn last<R>(self) -> R
    where
        A: Hashing,
    {
        never()
    }
}

/// Refuses functions of crates that cannot be named here, under any name that they were imported by.
///
/// It compares the full name of a called function, which the compiler knows: in a release build this leaves no code
/// for functions that pass.
fn refuse_by_name(function: &str) {
    let path = function.split('<').find(|part| !part.is_empty()).unwrap_or_default();
    let Some((krate, _)) = path.split_once("::") else { return };
    let last = path.rsplit("::").next().unwrap_or_default();
    // A function of a trait, such as that of a generator that the workflow has seeded itself.
    let of_trait = function.starts_with('<') || path.contains("Rng::") || path.contains("RngExt::");
    let (reason, instead) = match krate {
        "chrono" | "time" | "jiff" if function.contains("::now") => ("the clock", "`workflow_runtime::now()`"),
        "uuid" | "ulid" => ("a random id", "`workflow_runtime::uuid()`"),
        "rand" | "rand_core" if of_trait && !last.starts_with("from_") => return,
        "rand" | "fastrand" | "getrandom" | "rand_core" => ("randomness", "`workflow_runtime::random()`"),
        "futures_executor" | "futures_lite" | "pollster" | "async_std" | "async_global_executor" | "smol" => {
            ("what runs beside the workflow", "`.await`, or a `#[step]`")
        }
        "rayon_core" if last.starts_with("spawn") => ("what runs beside the workflow", "a `#[step]`"),
        "tokio" => ("what tokio does", "a `#[step]`, or `workflow_runtime::spawn` for a branch"),
        _ => return,
    };
    panic!("a workflow called `{function}`: {reason} is not the same on a replay: use {instead}");
}
