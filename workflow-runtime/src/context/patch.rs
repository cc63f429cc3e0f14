//! Changing the code of a workflow while runs are unfinished.

use std::panic::Location;

use crate::replay::current;

/// Whether this run takes the new branch of a change of the code: `false` for runs that had passed this call before the
/// change was deployed, `true` for all others.
///
/// A `true` is recorded in the journal as a marker with the name, before the next operation. The marker has no number,
/// so the operations of runs without it keep their numbers. A replay returns `true` if the marker is the next entry of
/// the journal, else `false`. The first answer for a name holds for the rest of the run, or until it [continues as
/// new](crate::Invocation::continue_as_new): a loop never takes both branches, and a run that got `false` keeps it
/// after a retry and in its forks, unless these begin before the call. Concurrent branches call it in the order of
/// their polls. Outside a workflow, and in a step, it returns `true`.
///
/// When no unfinished run needs the old branch, replace the call with [`deprecated_patch`], and remove that when all
/// runs that have a marker without deprecation have ended.
///
/// The name has 1 to 512 bytes and no control characters; with another name the run becomes stuck with
/// [`Code::InvalidName`](crate::Code::InvalidName). Builds of this library that do not know patches leave a run with a
/// marker to newer ones ([`Code::NewerFormat`](crate::Code::NewerFormat)).
///
/// ```
/// # use workflow_runtime::{Engine, Result, patched, step, workflow};
/// # #[step] async fn reserve(order: u64) -> Result<()> { Ok(()) }
/// # #[step] async fn ship(order: u64) -> Result<u64> { Ok(order) }
/// #[workflow]
/// async fn checkout(order: u64) -> Result<u64> {
///     if patched("with-reserve") {
///         reserve(order).await?; // runs that had called `ship` before this was deployed do not reserve
///     }
///     ship(order).await
/// }
/// # #[tokio::main] async fn main() -> Result<()> {
/// # assert_eq!(Engine::open("memory:").await?.start(checkout, 7).await?.await?, 7);
/// # Ok(()) }
/// ```
#[must_use = "the code of both branches has to differ: `if patched(\"..\") { .. } else { .. }`"]
#[track_caller]
pub fn patched(name: &'static str) -> bool {
    let site = Location::caller();
    current().is_none_or(|run| run.patched(name, site))
}

/// Replaces [`patched`] once no unfinished run needs the old branch: only the new code remains.
///
/// A run that has the marker of the patch continues, and so does a run that makes the call for the first time; it gets
/// a marker that later code may ignore. A run that passed this call before the patch was deployed becomes stuck with
/// [`Code::Nondeterminism`](crate::Code::Nondeterminism): deploy the code with the old branch again, and it continues.
/// Remove the call when the runs with markers of `patched` have ended: a run with such a marker does not fit code
/// without any call. Outside a workflow, and in a step, it does nothing.
///
/// ```
/// # use workflow_runtime::{Engine, Result, deprecated_patch, step, workflow};
/// # #[step] async fn reserve(order: u64) -> Result<()> { Ok(()) }
/// # #[step] async fn ship(order: u64) -> Result<u64> { Ok(order) }
/// #[workflow]
/// async fn checkout(order: u64) -> Result<u64> {
///     deprecated_patch("with-reserve");
///     reserve(order).await?;
///     ship(order).await
/// }
/// # #[tokio::main] async fn main() -> Result<()> {
/// # assert_eq!(Engine::open("memory:").await?.start(checkout, 7).await?.await?, 7);
/// # Ok(()) }
/// ```
#[track_caller]
pub fn deprecated_patch(name: &'static str) {
    let site = Location::caller();
    if let Some(run) = current() {
        run.deprecated_patch(name, site);
    }
}
