//! The server's clock, estimated from answers that the server sends anyway.
//!
//! The server reads its clock at some moment between request and answer. The estimate is the middle, with an error of at
//! most half the round trip. So the answer with the smallest round trip is the best, until it is so old that the two clocks
//! may have drifted apart by more.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::db::{Session, args};
use super::fault::Result;
use super::read::get;
use crate::boottime;

/// The fastest drift between two clocks: one part in this many.
const DRIFT: u32 = 5_000;
/// After this time without a sample, the store asks the server. The renewals of a worker are much more frequent.
const STALE: Duration = Duration::from_secs(60);

const ASK: &str = "SELECT clock_timestamp()";

#[derive(Clone, Copy, Debug)]
struct Sample {
    /// The middle between request and answer, by the local clock that counts suspends.
    at: Duration,
    /// The server's time then, since 1970.
    server: Duration,
    round_trip: Duration,
}

impl Sample {
    /// The server's time at `now`, and the greatest possible error.
    fn at(&self, now: Duration) -> (Duration, Duration) {
        let age = now.saturating_sub(self.at);
        (self.server + age, self.round_trip / 2 + age / DRIFT)
    }
}

#[derive(Debug, Default)]
struct Heard {
    best: Option<Sample>,
    last: Duration,
}

#[derive(Debug, Default)]
pub(super) struct ServerClock(Mutex<Heard>);

impl ServerClock {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server's time in milliseconds since 1970, if it is known.
    pub fn now(&self) -> Option<u64> {
        let best = self.heard().best?;
        let (server, _) = best.at(boottime::elapsed());
        u64::try_from(server.as_millis()).ok()
    }

    /// Learns what the server's clock showed between `sent`, by [`boottime::elapsed`], and now.
    pub fn learn(&self, sent: Duration, server: SystemTime) {
        self.learn_at(sent, boottime::elapsed(), server);
    }

    fn learn_at(&self, sent: Duration, answered: Duration, server: SystemTime) {
        let Ok(server) = server.duration_since(UNIX_EPOCH) else { return };
        let round_trip = answered.saturating_sub(sent);
        let new = Sample { at: sent + round_trip / 2, server, round_trip };
        let mut heard = self.heard();
        heard.last = answered;
        let better = heard.best.is_none_or(|best| {
            let ((known, doubt), (said, new_doubt)) = (best.at(answered), new.at(answered));
            // The two contradict each other: the server's clock was set, or it is another server.
            new_doubt <= doubt || known.abs_diff(said) > doubt + new_doubt
        });
        if better {
            heard.best = Some(new);
        }
    }

    /// Asks for the server's time if the last sample is old, as in a process that writes but holds no lease.
    pub async fn refresh(&self, session: &Session<'_>) -> Result<()> {
        if boottime::elapsed().saturating_sub(self.heard().last) < STALE {
            return Ok(());
        }
        self.ask(session).await
    }

    pub async fn ask(&self, session: &Session<'_>) -> Result<()> {
        let sent = boottime::elapsed();
        if let Some(row) = session.query_opt(ASK, args![]).await? {
            self.learn(sent, get(&row, 0)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: u64 = 1_700_000_000_000;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn known(clock: &ServerClock, now: u64) -> u64 {
        clock.heard().best.unwrap().at(ms(now)).0.as_millis() as u64
    }

    fn learn(clock: &ServerClock, sent: u64, answered: u64, server: u64) {
        clock.learn_at(ms(sent), ms(answered), UNIX_EPOCH + ms(server));
    }

    #[test]
    fn the_estimate_is_the_middle_of_the_round_trip() {
        let clock = ServerClock::default();
        learn(&clock, 1_000, 1_200, SERVER);
        assert_eq!(known(&clock, 1_100), SERVER);
        assert_eq!(known(&clock, 2_100), SERVER + 1_000);
    }

    #[test]
    fn the_smallest_round_trip_wins() {
        let clock = ServerClock::default();
        learn(&clock, 1_000, 1_010, SERVER);
        learn(&clock, 2_000, 2_500, SERVER + 1_100);
        assert_eq!(known(&clock, 3_005), SERVER + 2_000, "a slow answer says less");
        learn(&clock, 3_000, 3_002, SERVER + 1_997);
        assert_eq!(known(&clock, 3_001), SERVER + 1_997);
    }

    #[test]
    fn a_new_sample_replaces_an_old_one() {
        let clock = ServerClock::default();
        learn(&clock, 1_000, 1_010, SERVER);
        learn(&clock, 1_001_000, 1_001_100, SERVER + 1_000_060);
        assert_eq!(known(&clock, 1_001_050), SERVER + 1_000_060, "two clocks drift by 200 ms in so long a time");
    }

    #[test]
    fn a_jump_of_the_servers_clock_is_adopted_at_once() {
        let clock = ServerClock::default();
        learn(&clock, 1_000, 1_002, SERVER);
        learn(&clock, 2_000, 2_500, SERVER + 7_200_000);
        assert_eq!(known(&clock, 2_250), SERVER + 7_200_000);
        learn(&clock, 3_000, 3_500, SERVER);
        assert_eq!(known(&clock, 3_250), SERVER);
    }
}
