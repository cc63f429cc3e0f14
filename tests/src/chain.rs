//! A workflow whose result tells which execution of each step was recorded.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use workflow_runtime::{Result, step, workflow};

use crate::Log;

/// What a [`chain`] is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Chain {
    /// How many steps it has.
    pub links: u32,
    /// The step with this number does not end before there is a file of this name.
    pub gate: Option<(u32, String)>,
}

#[step]
async fn link(#[resource] log: &Log, number: u32) -> Result<String> {
    let token = log.sign();
    // Some take a while, so that whatever happens to the process happens to some of them.
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

/// One step after the other: what each of them has signed with.
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
