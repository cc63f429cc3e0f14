//! What a run publishes while it is in progress: its state and its attributes.

use std::panic::Location;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec;
use crate::error::{Code, Error, Result};
use crate::limits::ATTRIBUTES_MAX;
use crate::names::check_attribute;
use crate::replay::{Shared, current};

fn run(what: &str, site: &Location<'_>) -> Result<std::sync::Arc<Shared>> {
    current().ok_or_else(|| {
        Error::coded(Code::OutsideRun, format!("{what} outside a workflow"))
            .operation(format!("at {site}"))
            .help("do it in the `#[workflow]`; a step gets what it needs as its arguments, and returns what is new")
    })
}

/// Sets the state of the run, which other processes can read: [`Run::state`](crate::Run::state). It replaces
/// the previous state.
///
/// It is recorded with the turn that sets it, so readers always see the state of a committed turn. Any value
/// that can be serialized is allowed: `set_state("charging")`, a struct that borrows.
///
/// # Errors
///
/// [`Code::Payload`] if the value does not survive JSON, [`Code::OutsideRun`] outside a workflow.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use workflow_runtime::{Engine, Result, set_state, step, workflow};
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Progress { done: u32, of: u32 }
///
/// # #[step] async fn load(n: u32) -> Result<()> { Ok(()) }
/// #[workflow]
/// async fn import(of: u32) -> Result<()> {
///     for done in 0..of {
///         set_state(&Progress { done, of })?;
///         load(done).await?;
///     }
///     set_state(&Progress { done: of, of })
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// # let engine = Engine::open("memory:").await?;
/// let run = engine.start(import, 3).await?;
/// (&run).await?;
/// assert_eq!(run.state().await?, Some(Progress { done: 3, of: 3 }));
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn set_state<S: Serialize + ?Sized>(state: &S) -> Result<()> {
    let site = Location::caller();
    let run = run("a state is set", site)?;
    run.set_value(codec::encode("the run's state", state)?, site);
    Ok(())
}

/// The state of the run as it was last [set](set_state); `None` if it was not set.
///
/// # Errors
///
/// [`Code::Payload`] if it is of another type, [`Code::OutsideRun`] outside a workflow.
#[track_caller]
pub fn state<S: DeserializeOwned>() -> Result<Option<S>> {
    let run = run("a state is read", Location::caller())?;
    run.value().map(|state| codec::decode("the run's state", &state)).transpose()
}

/// Sets an attribute of the run, by which it can be found: [`Runs::attribute`](crate::Runs::attribute). Recorded with the
/// turn that sets it.
///
/// # Errors
///
/// [`Code::Limit`] if key and value have more than 512 bytes or the run would have more than 64 attributes,
/// [`Code::InvalidName`] for a key that is empty or has control characters, [`Code::OutsideRun`] outside a workflow.
///
/// ```
/// # use workflow_runtime::{Engine, Result, set_attribute, workflow};
/// #[workflow]
/// async fn order(customer: String) -> Result<()> {
///     set_attribute("customer", &customer)
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// # let engine = Engine::open("memory:").await?;
/// let run = engine.start(order, "Ada".into()).await?;
/// (&run).await?;
/// let found = engine.runs().attribute("customer", "Ada").await?.runs;
/// assert_eq!(found[0].id, run.id());
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn set_attribute(key: &str, value: &str) -> Result<()> {
    let site = Location::caller();
    let run = run("an attribute is set", site)?;
    check_attribute(key, value)?;
    if !run.set_attribute(key, Some(value), site) {
        return Err(Error::coded(Code::Limit, "the run has too many attributes")
            .expected(format!("at most {ATTRIBUTES_MAX}"))
            .help("use attributes to find runs, and `set_state` for data that is only shown"));
    }
    Ok(())
}

/// Removes an attribute of the run; nothing happens if the run has no attribute with this key.
///
/// # Errors
///
/// [`Code::OutsideRun`] outside a workflow.
#[track_caller]
pub fn remove_attribute(key: &str) -> Result<()> {
    let site = Location::caller();
    run("an attribute is removed", site)?.set_attribute(key, None, site);
    Ok(())
}
