//! Delivers due timers to their runs.

use std::sync::Arc;

use super::inner::Inner;
use super::parts::active_run::IDLE;
use super::parts::mailbox::{Arrival, What};

/// Delivers to each run its due timers, until the engine stops.
pub(super) async fn run(engine: Arc<Inner>) {
    loop {
        let (due, next) = engine.timers.due(&engine.clock);
        for ((_, _, op), (live, at)) in due {
            let what = if op == IDLE { What::Idle } else { What::Due { op } };
            engine.add_arrivals(&live, [Arrival { at, what }]);
        }
        tokio::select! {
            biased;
            () = engine.stopped.cancelled() => return,
            () = engine.environment.sleep_until(next) => {}
            () = engine.timers.earlier() => {}
        }
    }
}
