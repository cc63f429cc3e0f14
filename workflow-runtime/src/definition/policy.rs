//! When and how long a step is attempted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits;

/// When and how long a step is attempted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Attempts after the first.
    pub retries: u32,
    /// The upper bound of the delay before the first retry; it doubles with each.
    pub backoff_min: Duration,
    /// The largest upper bound.
    pub backoff_max: Duration,
    /// How long one attempt may take, if that is bounded.
    pub timeout: Option<Duration>,
    /// How long an attempt may go on without a [`heartbeat`](crate::heartbeat), if that is bounded.
    pub heartbeat: Option<Duration>,
}

impl Policy {
    /// What a step has unless it says otherwise.
    pub const DEFAULT: Policy = Policy {
        retries: limits::RETRIES,
        backoff_min: limits::BACKOFF.0,
        backoff_max: limits::BACKOFF.1,
        timeout: None,
        heartbeat: None,
    };

    /// With so many attempts after the first.
    pub const fn retries(self, retries: u32) -> Self {
        Policy { retries, ..self }
    }

    /// With these bounds of the delay before a retry.
    pub const fn backoff(self, backoff_min: Duration, backoff_max: Duration) -> Self {
        Policy { backoff_min, backoff_max, ..self }
    }

    /// With a bound on each attempt.
    pub const fn timeout(self, timeout: Duration) -> Self {
        Policy { timeout: Some(timeout), ..self }
    }

    /// With a bound on the silence of each attempt.
    pub const fn heartbeat(self, heartbeat: Duration) -> Self {
        Policy { heartbeat: Some(heartbeat), ..self }
    }
}
