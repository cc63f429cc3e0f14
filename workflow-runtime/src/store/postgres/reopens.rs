//! New generations of runs that have failed or were cancelled.

use std::collections::HashMap;

use super::creates::append;
use super::db::args;
use super::effects;
use super::fault::Result;
use super::messages;
use super::read::{self, get};
use super::work::Work;
use crate::store::{About, NextGeneration, ReopenAnswer, RunKey};

const CAN_GO_ON: &str = "
SELECT key, generation, status IN ('failed', 'cancelled') FROM @runs WHERE key = ANY ($1) ORDER BY key FOR NO KEY UPDATE";

const REOPEN: &str = "
UPDATE @runs SET generation = generation + 1, status = 'running', owner = 0, wake_at = 0, completed_at = NULL, stuck = NULL,
    failing_since = NULL, error_class = NULL, error_text = NULL, recoveries = 0, recovered_generation = NULL, recovered_idx = NULL
WHERE key = ANY ($1)";

/// As `LEAVE_MESSAGES` of the SQLite store.
const LEAVE_MESSAGES: &str = "
UPDATE @inbox AS inbox SET unread = true, holder = 0,
    generation = CASE WHEN unread AND inbox.generation = t.generation THEN inbox.generation + 1 ELSE inbox.generation END
FROM unnest($1, $2) AS t (run, generation) WHERE inbox.run = t.run";

const REPLACE_MESSAGES: &str = "DELETE FROM @inbox WHERE run = $1 AND sequence = ANY ($2)";

/// Continues failed or cancelled runs as new generations.
pub(super) async fn reopen(
    work: &mut Work<'_, '_>,
    run: &NextGeneration,
    below: &[NextGeneration],
) -> Result<ReopenAnswer> {
    let session = work.session;
    let all = || below.iter().chain([run]);
    let keys: Vec<RunKey> = all().map(|next| next.run).collect();
    let mut can_go_on: HashMap<RunKey, Option<u64>> = HashMap::with_capacity(keys.len());
    for row in session.query(CAN_GO_ON, args![INT8_ARRAY: keys.clone()]).await? {
        let generation = read::number(&row, 1)?;
        can_go_on.insert(get(&row, 0)?, get::<bool>(&row, 2)?.then_some(generation));
    }
    if !can_go_on.contains_key(&run.run) {
        return Ok(ReopenAnswer::Unknown);
    }
    for message in &run.messages {
        if messages::is_known(session, run.run, message).await? {
            return Ok(ReopenAnswer::Committed);
        }
    }
    let is_ready = |next: &NextGeneration| can_go_on.get(&next.run) == Some(&Some(next.generation));
    if !is_ready(run) {
        return Ok(ReopenAnswer::Fenced);
    }
    if !below.iter().all(is_ready) {
        return Ok(ReopenAnswer::Changed);
    }
    let generations: Vec<i64> = all().map(|next| next.generation.cast_signed()).collect();
    session.query(REOPEN, args![INT8_ARRAY: keys.clone()]).await?;
    session.query(LEAVE_MESSAGES, args![INT8_ARRAY: keys, INT8_ARRAY: generations]).await?;
    for next in all() {
        let NextGeneration { run, generation, rows, messages, payloads, replaced, .. } = next;
        append(session, *run, generation + 1, rows).await?;
        effects::set_again(session, next).await?;
        if !replaced.is_empty() {
            let sequences: Vec<i64> = replaced.iter().map(|sequence| sequence.cast_signed()).collect();
            session.query(REPLACE_MESSAGES, args![INT8: *run, INT8_ARRAY: sequences]).await?;
        }
        for message in messages {
            work.receive(*run, message, None).await?;
        }
        for (op, message) in payloads {
            work.receive(*run, message, Some(&About::Operation(*op))).await?;
        }
    }
    Ok(ReopenAnswer::Committed)
}
