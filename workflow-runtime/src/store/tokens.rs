//! The effect of a payload that is sent to a token, and of a token that a run opens: decided here for all stores.
//!
//! A store reads the token's row and the record of the delivery under locks that keep both unchanged until its
//! transaction ends, and executes the decision. It reads and writes nothing else for it, and makes no decision itself.

use std::sync::Arc;

use super::{Deliver, DeliverAnswer, Open, RunKey, TokenState};

/// A token's row.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The run of the token; `None` if payloads are held for the run that will open it.
    pub run: Option<RunKey>,
    /// Whether that run has ended; `None` if it was deleted.
    pub ended: Option<bool>,
    pub op: Option<u64>,
    pub state: TokenState,
    pub once: bool,
    /// The id of the suspension that waits for it.
    pub asked: Option<Arc<str>>,
}

impl Found {
    /// The run that owns the token. A deleted run owns nothing, even if rows of it remain.
    fn owner(&self) -> Option<RunKey> {
        self.run.filter(|_| self.ended.is_some())
    }

    fn is_open(&self) -> bool {
        self.state == TokenState::Open && self.owner().is_some()
    }
}

/// The record of a delivery.
#[derive(Clone, Debug)]
pub(super) struct Before {
    pub digest: [u8; 32],
    /// When it was accepted.
    pub at: u64,
    /// Until when it is kept.
    pub until: u64,
    /// Whether the run that received it exists and has not ended: its record is kept longer then.
    pub is_live: bool,
}

impl Before {
    /// Whether the record still counts at this time.
    pub fn is_known(&self, now: u64) -> bool {
        self.is_live || self.until >= now
    }
}

/// What to do with a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Writes nothing and returns this answer.
    Answer(DeliverAnswer),
    /// Puts it into the inbox of a run, about an operation; `takes`: the token takes one payload only, and this is it.
    Deliver { run: RunKey, op: u64, takes: bool },
    /// Holds it for a run that has not reached its operation; `takes` as above.
    Keep { run: RunKey, takes: bool },
    /// Holds it until then for the run that will open the token; no run owns the token now.
    Hold { until: u64 },
}

/// Decides about a payload.
pub(super) fn decide(delivery: &Deliver, found: Option<&Found>, before: Option<&Before>) -> Decision {
    // A run that reuses the id of a deleted run is another run: answers to suspensions of the deleted run do not count.
    let before = before.filter(|before| before.is_known(delivery.now) && before.at >= delivery.since);
    if let Some(before) = before {
        let same = before.digest == delivery.digest;
        return Decision::Answer(if same { DeliverAnswer::Committed } else { DeliverAnswer::KeyReused });
    }
    let refused = match found.map(|found| (found, found.owner())) {
        Some((found, Some(run))) if found.state == TokenState::Open => {
            if delivery.asked.is_some() && delivery.asked != found.asked {
                return Decision::Answer(DeliverAnswer::Stale);
            }
            let takes = found.once;
            return match found.op {
                Some(op) => Decision::Deliver { run, op, takes },
                None => Decision::Keep { run, takes },
            };
        }
        Some((found, Some(_))) if found.ended == Some(true) => DeliverAnswer::Finished,
        Some((found, Some(_))) if found.state == TokenState::Taken => DeliverAnswer::Taken,
        Some((_, Some(_))) => DeliverAnswer::Disposed,
        _ => DeliverAnswer::Unknown,
    };
    match delivery.hold_until {
        Some(until) => Decision::Hold { until },
        None => Decision::Answer(refused),
    }
}

/// What to do with a token that a run opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// The run owns the token. `again`: the same suspension waits again, because it could not use the payload it received.
    Opened { again: bool },
    /// The run with this key has opened the token before, and keeps it.
    Refused(RunKey),
    /// The token is unchanged, and the run receives no refusal.
    Left,
}

/// Decides about a token.
pub(super) fn open(run: RunKey, open: &Open, found: Option<&Found>) -> Opening {
    let Some(found) = found else { return Opening::Opened { again: false } };
    let taken = found.is_open() && (found.run != Some(run) || found.op.is_some());
    match (found.run.filter(|_| taken), open.op) {
        (Some(owner), Some(_)) => Opening::Refused(owner),
        (Some(_), None) => Opening::Left,
        (None, _) => {
            let same = open.label.asked.as_ref().is_some_and(|asked| Some(&asked.id) == found.asked.as_ref());
            Opening::Opened { again: same && found.state == TokenState::Taken && found.run == Some(run) }
        }
    }
}
