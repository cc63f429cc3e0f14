//! Commits turns.

use super::inner::Inner;
use super::parts::resend::{self, GivenUp, Sent, Taken};
use crate::error::{Code, Error};
use crate::limits::ROW_BYTES_MAX;
use crate::replay::{Encoded, TurnRecord};
use crate::store::{JournalRow, Turn, TurnAnswer};

/// The journal's row of the delivered events.
pub(super) fn journal_row(engine: &Inner, index: u64, record: &TurnRecord) -> Result<JournalRow, Error> {
    let Encoded { format, checksum, body } = record.encode()?;
    if body.len() > ROW_BYTES_MAX {
        return Err(Error::coded(
            Code::Limit,
            "what the workflow asks for after one event is too large to be recorded",
        )
        .expected(format!("at most {ROW_BYTES_MAX} bytes"))
        .found(format!("{} bytes", body.len()))
        .help("start fewer steps at once, or pass them the address of the data instead of the data"));
    }
    Ok(JournalRow { index, turn: engine.random.number(), format, checksum, body })
}

/// Commits a turn, however long that takes: sends it again, unchanged, until the store accepts it. `None` if it is not
/// recorded by this engine, else whether other runs may have received inbox messages.
pub(super) async fn commit(engine: &Inner, id: &str, turn: &Turn) -> Option<bool> {
    let sent = Sent { run: id, what: "the run's turn", owner: Some(turn.fence.owner) };
    match resend::until_taken(engine, sent, || engine.batcher.turn(turn)).await {
        Ok(Taken { answer: TurnAnswer::Committed, again }) => Some(again),
        Ok(Taken { answer: TurnAnswer::CommittedAndNotified, .. }) => Some(true),
        Ok(Taken { answer: TurnAnswer::Fenced, .. }) => {
            tracing::warn!(run = id, "the run is another engine's now");
            // Or this engine's, under a later claim.
            engine.activations.miss();
            None
        }
        // The next engine executes the turn again.
        Err(GivenUp::Closed(failed)) => {
            tracing::warn!(run = id, error = ?failed.error, "the run's last turn is not recorded");
            None
        }
        // The next owner finds the run as it was before this turn, or with this turn.
        Err(GivenUp::Lost(failed)) => {
            tracing::warn!(run = id, error = ?failed.error, "the right to execute the run was lost before its turn was recorded");
            None
        }
    }
}
