//! When and for how long a step is attempted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits;

/// When and for how long a step is attempted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// The number of attempts after the first.
    pub retries: u32,
    /// The upper bound of the delay before the first retry; it doubles with each retry.
    pub backoff_min: Duration,
    /// The largest upper bound.
    pub backoff_max: Duration,
    /// The time limit of one attempt, if any.
    pub timeout: Option<Duration>,
    /// The maximum time without a [`heartbeat`](crate::heartbeat), if any.
    pub heartbeat: Option<Duration>,
}

impl Policy {
    /// The policy of a step that sets no options.
    pub const DEFAULT: Policy = Policy {
        retries: limits::RETRIES,
        backoff_min: limits::BACKOFF.0,
        backoff_max: limits::BACKOFF.1,
        timeout: None,
        heartbeat: None,
    };

    /// Sets the number of attempts after the first.
    pub const fn retries(self, retries: u32) -> Self {
        Policy { retries, ..self }
    }

    /// Sets the bounds of the delay before a retry.
    pub const fn backoff(self, backoff_min: Duration, backoff_max: Duration) -> Self {
        Policy { backoff_min, backoff_max, ..self }
    }

    /// Sets the time limit of each attempt.
    pub const fn timeout(self, timeout: Duration) -> Self {
        Policy { timeout: Some(timeout), ..self }
    }

    /// Sets the maximum time between heartbeats of each attempt.
    pub const fn heartbeat(self, heartbeat: Duration) -> Self {
        Policy { heartbeat: Some(heartbeat), ..self }
    }
}
