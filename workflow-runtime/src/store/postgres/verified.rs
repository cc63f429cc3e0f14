//! The verified runs of a store, whose rows it need not check one by one.
//!
//! The first row that this store appends for a run checks three things: the run is this worker's, its journal is as long as
//! its owner has counted, and no follower waits for its rows. From then on the run is *verified*, and one check of the worker's own
//! row covers all verified runs. A change of a verified run compares the run's row, and needs no look at its journal. These
//! events end the verification:
//!
//! - The store itself ends the run or releases it, or the outcome of a statement is unknown. After an unknown outcome the
//!   store begins another round, and a statement of an earlier round has no effect if it is executed late.
//! - Another worker presumes this one dead and takes its runs. This worker's row then records that; each statement
//!   locks the row.
//! - The database has lost acknowledged writes. It is then another server, with another start time, or one that does
//!   not wait for its disk: each statement checks this.
//! - A process begins to follow the run's journal and notifies this store, which then notifies it of rows appended before. A
//!   store that receives no notifications reports that there may have been rows, and has no verified runs.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rustc_hash::FxHashMap;
use tokio_util::task::TaskTracker;

use super::appends::{Appended, Placed, Rows};
use super::db::{Session, args};
use super::fault::{Fault, Result};
use super::place::Place;
use super::turns;
use crate::store::{RunKey, Turn};

/// Waits for the statements of an earlier round that are being executed.
const BEGIN_ROUND: &str = "
WITH mine AS MATERIALIZED (SELECT owner FROM @workers WHERE owner = ANY ($1) ORDER BY owner FOR UPDATE)
UPDATE @workers AS workers SET round = $2 FROM mine WHERE workers.owner = mine.owner AND round < $2";

/// The verified runs.
#[derive(Default)]
pub(super) struct Verified {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The server on which this store is notified of new followers: runs are verified only there.
    heard: Option<SystemTime>,
    runs: FxHashMap<RunKey, Place>,
    /// Raised by each event that may end the verification of a run whose look-up is in progress.
    changes: u64,
    /// The rows that are being appended, and earlier ones that a caller waits for.
    appending: TaskTracker,
    before: Vec<TaskTracker>,
    /// The round in which statements are sent, and the round in which the next ones are to be sent.
    round: i64,
    next_round: i64,
}

impl Known {
    fn forget_all(&mut self) {
        self.runs.clear();
        self.changes += 1;
    }

    /// Resolves when all rows that are being appended now have been executed. Does not wait for later rows.
    fn appended(&mut self) -> impl Future<Output = ()> + use<> {
        let current = std::mem::take(&mut self.appending);
        current.close();
        self.before.retain(|tracker| !tracker.is_empty());
        self.before.push(current);
        let before = self.before.clone();
        async move {
            for tracker in before {
                tracker.wait().await;
            }
        }
    }
}

impl Verified {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a worker that has no verified run yet. Returns its round.
    pub fn begin(&self) -> i64 {
        let mut known = self.known();
        known.forget_all();
        known.round
    }

    /// The round of statements that are sent now.
    pub fn round(&self) -> i64 {
        self.known().round
    }

    /// Sets the server that reports new followers. Resolves when no row is being appended to a run that stood.
    pub fn set_heard(&self, server: Option<SystemTime>) -> impl Future<Output = ()> + use<> {
        let mut known = self.known();
        known.forget_all();
        known.heard = server;
        known.appended()
    }

    /// Records that a statement may still be executed later.
    fn doubt(&self) {
        self.forget_all();
        self.end_round();
    }

    /// Requires that earlier statements are executed or lose their effect before anything else is sent.
    pub fn end_round(&self) {
        let mut known = self.known();
        known.next_round = known.round + 1;
    }

    /// Ensures that no statement with an unknown outcome can still be executed.
    pub async fn settle(&self, session: &Session<'_>, owners: &[i64]) -> Result<()> {
        let next = {
            let known = self.known();
            if known.next_round == known.round {
                return Ok(());
            }
            known.next_round
        };
        Box::pin(session.query(BEGIN_ROUND, args![INT8_ARRAY: owners, INT8: next])).await?;
        let mut known = self.known();
        known.round = known.round.max(next);
        known.next_round = known.next_round.max(next);
        Ok(())
    }

    /// Forgets all runs: rows that were to be appended to them are not there.
    pub fn forget_all(&self) {
        self.known().forget_all();
    }

    /// Forgets a run that is followed. Resolves when no row is being appended to it without a notification.
    pub fn forget(&self, run: RunKey) -> impl Future<Output = ()> + use<> {
        let mut known = self.known();
        known.changes += 1;
        known.runs.remove(&run);
        known.appended()
    }

    /// Forgets runs that may end or be released by a transaction.
    pub fn leave(&self, runs: impl Iterator<Item = RunKey>) {
        let mut known = self.known();
        for run in runs {
            known.runs.remove(&run);
        }
    }

    /// To be called before the look-up of runs that are to be [verified](Verified::verify).
    pub fn changes(&self) -> u64 {
        self.known().changes
    }

    /// Records that these runs are verified if they were looked up on that server and nothing has changed since.
    pub fn verify(&self, changes: u64, server: Option<SystemTime>, runs: impl Iterator<Item = (RunKey, Place)>) {
        let mut known = self.known();
        if known.changes == changes && server.is_some() && server == known.heard {
            known.runs.extend(runs);
        }
    }

    /// Separates the next rows of verified runs, all of one owner, from the other turns. Rows that change a run are among them
    /// if no other turn is left: one statement locks all runs that a group changes, in the order of their keys.
    ///
    /// The places then advance past these rows. If the rows cannot be appended, all runs are forgotten.
    pub fn part<'g>(&self, turns: &[(usize, &'g Turn)]) -> (Rows<'g>, Placed<'g>) {
        let mut known = self.known();
        let mut owner = None;
        let (mut rows, mut others): (Placed<'g>, _) = turns.iter().partition(|(_, turn)| {
            turn.row.is_some()
                && turn.delivered.is_empty()
                && known
                    .runs
                    .get(&turn.run)
                    .is_some_and(|place| place.is_before(turn) && (turn.change.is_none() || !place.concerns_others))
                && *owner.get_or_insert(turn.fence.owner) == turn.fence.owner
        });
        if !others.is_empty() {
            others.extend(rows.extract_if(.., |(_, turn)| turn.change.is_some()));
        }
        for (_, turn) in &rows {
            if turns::is_end(turn) {
                known.runs.remove(&turn.run);
            } else if let Some(place) = known.runs.get_mut(&turn.run) {
                place.index += 1;
            }
        }
        for (_, turn) in others.iter().filter(|(_, turn)| !turns::is_row(turn)) {
            known.runs.remove(&turn.run);
        }
        let appending = known.appending.token();
        let owner = owner.unwrap_or_default();
        (Rows { turns: rows, owner, round: known.round, server: known.heard, _appending: appending }, others)
    }

    /// Appends rows of verified runs. Returns which of them are in the journal. A unique violation means that one of them was
    /// there already, and none is appended.
    pub async fn append(&self, session: &Session<'_>, rows: &Rows<'_>) -> Result<Appended> {
        if rows.turns.is_empty() {
            return Ok(Appended::default());
        }
        let mut doubt = Doubt(Some(self));
        let appended = rows.append(session).await;
        let certain = appended.as_ref().map_or_else(Fault::nothing_done, |_| true);
        if certain {
            doubt.0 = None;
        }
        match &appended {
            Ok(appended) if rows.turns.iter().all(|(_, turn)| turn.change.is_some() || appended.has(turn)) => {
                let mut known = self.known();
                for (_, turn) in rows.turns.iter().filter(|(_, turn)| !appended.has(turn)) {
                    known.runs.remove(&turn.run);
                }
            }
            _ => self.forget_all(),
        }
        appended
    }
}

/// Records an unknown outcome when it is dropped, unless the outcome was settled.
struct Doubt<'s>(Option<&'s Verified>);

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if let Some(verified) = self.0 {
            verified.doubt();
        }
    }
}
