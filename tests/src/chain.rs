//! A workflow whose result identifies the recorded execution of each step.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use workflow_runtime::{Result, step, workflow};

use crate::Log;

/// The argument of a [`chain`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Chain {
    /// The number of steps.
    pub links: u32,
    /// A step number and a path: this step ends only once the file exists.
    pub gate: Option<(u32, String)>,
}

#[step]
async fn link(#[resource] log: &Log, number: u32) -> Result<String> {
    let token = log.sign();
    // Every other step takes a while, so that a crash of the process interrupts some steps.
    if number % 2 == 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(token)
}

#[step]
async fn hold(#[resource] log: &Log, gate: String) -> Result<String> {
    let token = log.sign();
    while !Path::new(&gate).exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(token)
}

/// Executes one step after the other: the token of each step's recorded execution.
#[workflow]
pub async fn chain(chain: Chain) -> Result<Vec<String>> {
    let mut tokens = Vec::new();
    for number in 0..chain.links {
        tokens.push(match &chain.gate {
            Some((at, gate)) if *at == number => hold(gate.clone()).await?,
            _ => link(number).await?,
        });
    }
    Ok(tokens)
}
