//! What becomes of a payload that is sent to a token, and of a token that a run opens: decided here for every store.
//!
//! A store reads the token's row and the record of the delivery under locks that keep both as they are until its
//! transaction ends, and does what the decision says. It reads and writes no more than that, and decides nothing itself.

use std::sync::Arc;

use super::{Deliver, DeliverAnswer, Open, RunKey, TokenState};

/// A token's row.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Whose it is; nothing if payloads are held for whoever opens it.
    pub run: Option<RunKey>,
    /// Whether that run has ended; nothing if it was deleted.
    pub ended: Option<bool>,
    pub op: Option<u64>,
    pub state: TokenState,
    pub once: bool,
    /// The id of the suspension that waits for it.
    pub asked: Option<Arc<str>>,
}

impl Found {
    /// The run that has it. A run that was deleted has nothing, though its rows may still be there.
    fn owner(&self) -> Option<RunKey> {
        self.run.filter(|_| self.ended.is_some())
    }

    fn is_open(&self) -> bool {
        self.state == TokenState::Open && self.owner().is_some()
    }
}

/// What is recorded of a delivery.
#[derive(Clone, Debug)]
pub(super) struct Before {
    pub digest: [u8; 32],
    /// When it was accepted.
    pub at: u64,
    /// Until when it is known.
    pub until: u64,
    /// Whether the run that has got it is there and has not ended: it is known for longer then.
    pub is_live: bool,
}

impl Before {
    /// Whether it is still known at this time.
    pub fn is_known(&self, now: u64) -> bool {
        self.is_live || self.until >= now
    }
}

/// What becomes of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing is written.
    Answer(DeliverAnswer),
    /// It goes into the inbox of a run, about an operation; `takes` says whether the token has got the only one that it takes.
    Deliver { run: RunKey, op: u64, takes: bool },
    /// It is held for a run that has not come to its operation.
    Keep { run: RunKey, takes: bool },
    /// It is held until then for whoever opens the token, which nobody has.
    Hold { until: u64 },
}

/// Decides about a payload.
pub(super) fn decide(delivery: &Deliver, found: Option<&Found>, before: Option<&Before>) -> Decision {
    // A run that has the id of a deleted one is another run: what its suspensions were given is not known to this one.
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

/// What becomes of a token that a run opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// It is the run's. `again` says that the same suspension waits again, since it could not use what it had got.
    Opened { again: bool },
    /// It stays this run's, which has opened it before.
    Refused(RunKey),
    /// It stays what it is, without a word.
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
