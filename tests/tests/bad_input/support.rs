//! A workflow that a test holds in the middle, and what errors are asked for.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use tokio::sync::watch;
use workflow_runtime::{Code, Engine, Error, Result, step, workflow};

/// Where a gate is.
#[derive(Clone, Debug, Default)]
struct Gate {
    /// How often a step came to it.
    came: u32,
    open: bool,
}

/// The gates by their names: each test has names of its own.
static GATES: LazyLock<watch::Sender<BTreeMap<String, Gate>>> = LazyLock::new(watch::Sender::default);

fn gate(name: &str, change: impl FnOnce(&mut Gate)) {
    GATES.send_modify(|gates| change(gates.entry(name.to_owned()).or_default()));
}

async fn until(name: &str, condition: impl Fn(&Gate) -> bool) {
    let mut gates = GATES.subscribe();
    let met = gates.wait_for(|gates| gates.get(name).is_some_and(&condition)).await;
    met.expect("the gates are never dropped");
}

/// Lets pass who comes to the gate, from now on.
pub fn open(name: &str) {
    gate(name, |gate| gate.open = true);
}

/// Waits until a step has come to the gate so many times.
pub async fn came(name: &str, times: u32) {
    until(name, |gate| gate.came >= times).await;
}

/// How often a step has come to the gate.
pub fn comings(name: &str) -> u32 {
    GATES.borrow().get(name).map_or(0, |gate| gate.came)
}

#[step]
async fn pass(name: String) -> Result<String> {
    gate(&name, |gate| gate.came += 1);
    until(&name, |gate| gate.open).await;
    Ok(name)
}

#[step]
async fn echo(value: u64) -> Result<u64> {
    Ok(value)
}

/// Three rows in the journal: its start, and a step before and at the gate of this name.
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

/// An engine on a file.
pub async fn engine(path: &std::path::Path) -> Engine {
    Engine::open(&format!("sqlite:{}", path.display())).await.expect("the engine opens")
}

/// Asserts what an error is and what it tells.
#[track_caller]
pub fn assert_error(error: &Error, code: Code, parts: &[&str]) {
    let text = format!("{error:?}");
    assert_eq!(error.code(), code, "{text}");
    for part in parts {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
}
