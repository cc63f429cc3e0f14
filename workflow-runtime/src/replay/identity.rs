//! What identifies runs to one another.

use std::sync::Arc;

use crate::keys;

/// The identity of a run.
#[derive(Clone)]
pub(crate) struct Identity {
    pub run: Arc<str>,
    /// The id of its workflow, in this build.
    pub workflow: &'static str,
    pub generation: u64,
}

impl Identity {
    /// The same for every attempt of an operation in this generation, and for no other operation.
    pub fn key(&self, op: u64) -> String {
        keys::execution(&self.run, self.generation, op)
    }

    /// The id of the child that an operation starts. `seed` is that of the run's first event.
    pub fn child_id(&self, seed: &[u8; 32], op: u64) -> Arc<str> {
        keys::child(seed, &self.run, self.generation, op).into()
    }

    /// The token of the child that an operation starts under an id of the workflow's choice.
    pub fn child_token(&self, seed: &[u8; 32], op: u64) -> u128 {
        keys::child_token(seed, &self.run, self.generation, op)
    }
}

/// A run to wait for, or to cancel with its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub run: Arc<str>,
    /// If set, a run with this id and another token is ignored: the operation has not started it.
    pub token: Option<u128>,
}

impl From<Arc<str>> for Target {
    fn from(run: Arc<str>) -> Self {
        Target { run, token: None }
    }
}
