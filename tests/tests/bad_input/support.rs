//! A workflow that waits at a gate of the test, and assertions on errors.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use tokio::sync::watch;
use workflow_runtime::{Code, Engine, Error, Result, step, workflow};

/// The state of a gate.
#[derive(Clone, Debug, Default)]
struct Gate {
    /// How often a step has arrived at the gate.
    arrived: u32,
    open: bool,
}

/// The gates by name. Each test has names of its own.
static GATES: LazyLock<watch::Sender<BTreeMap<String, Gate>>> = LazyLock::new(watch::Sender::default);

fn gate(name: &str, change: impl FnOnce(&mut Gate)) {
    GATES.send_modify(|gates| change(gates.entry(name.to_owned()).or_default()));
}

async fn until(name: &str, condition: impl Fn(&Gate) -> bool) {
    let mut gates = GATES.subscribe();
    let met = gates.wait_for(|gates| gates.get(name).is_some_and(&condition)).await;
    met.expect("the gates are never dropped");
}

/// Opens a gate for waiting and later steps.
pub fn open(name: &str) {
    gate(name, |gate| gate.open = true);
}

/// Waits until steps have arrived at the gate this many times.
pub async fn arrived(name: &str, times: u32) {
    until(name, |gate| gate.arrived >= times).await;
}

/// How often a step has arrived at the gate.
pub fn arrivals(name: &str) -> u32 {
    GATES.borrow().get(name).map_or(0, |gate| gate.arrived)
}

#[step]
async fn pass(name: String) -> Result<String> {
    gate(&name, |gate| gate.arrived += 1);
    until(&name, |gate| gate.open).await;
    Ok(name)
}

#[step]
async fn echo(value: u64) -> Result<u64> {
    Ok(value)
}

/// A workflow with a step before the gate of this name and a step that waits at it.
#[workflow]
pub async fn gated(name: String) -> Result<String> {
    echo(1).await?;
    pass(name).await
}

/// A short workflow.
#[workflow]
pub async fn quick(value: u64) -> Result<u64> {
    echo(value).await
}

/// Opens an engine on a file.
pub async fn engine(path: &std::path::Path) -> Engine {
    Engine::open(&format!("sqlite:{}", path.display())).await.expect("the engine opens")
}

/// Asserts that an error has this code and that its text has these parts.
#[track_caller]
pub fn assert_error(error: &Error, code: Code, parts: &[&str]) {
    let text = format!("{error:?}");
    assert_eq!(error.code(), code, "{text}");
    for part in parts {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
}
