//! The effects of turns beside their runs' journals and rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::creates::{self, Made};
use super::db::{Db, Session, Text, args};
use super::fault::Result;
use super::notices;
use super::read::{self, get, number, text};
use super::tokens;
use super::work::Work;
use crate::error::Error;
use crate::model::Status;
use crate::store::{
    About, Attributes, Child, Continuation, CreateAnswer, Effects, JournalRow, Message, NextGeneration, Outgoing,
    RunKey, RunRow, Watch,
};

/// Reads the status of the run with this id and, if a token is given, with this token.
const STATUS: &str =
    "SELECT key, generation, status FROM @runs WHERE id = $1 AND token = coalesce($2, token) FOR NO KEY UPDATE";

const ADD_WATCHER: &str = "
WITH tied AS (UPDATE @runs SET tied = true WHERE key = $1 AND NOT tied)
INSERT INTO @watchers (run, watcher, generation, op) SELECT $1, key, generation, $3 FROM @runs WHERE key = $2";

const SET_ATTRIBUTES: &str = "
INSERT INTO @attributes (run, key, value, created_at)
SELECT $1, t.key, value, created_at FROM unnest($2, $3) AS t (key, value), @runs AS runs WHERE runs.key = $1
ON CONFLICT (run, key) DO UPDATE SET value = excluded.value";

const CONTINUE: &str = "
UPDATE @runs SET generation = generation + 1, continuations = coalesce(continuations, 0) + 1, owner = 0, recoveries = 0,
    recovered_generation = NULL, recovered_idx = NULL,
    required_deployment = CASE WHEN $2 THEN $3 ELSE required_deployment END
WHERE key = $1";

const UNWATCH: &str = "
DELETE FROM @watchers USING unnest($2, $3) AS gone (id, op)
WHERE run = (SELECT key FROM @runs AS runs WHERE runs.id = gone.id) AND watcher = $1 AND @watchers.op = gone.op
    AND generation = (SELECT generation FROM @runs AS runs WHERE runs.key = $1)";

pub(super) async fn affect(work: &mut Work<'_, '_>, run: RunKey, effects: &Effects) -> Result<()> {
    tokens::close(work.session, run, &effects.closes).await?;
    tokens::open(work, run, &effects.opens).await?;
    for child in &effects.children {
        start_child(work, run, child).await?;
    }
    for watch in &effects.watches {
        watch_run(work, run, watch).await?;
    }
    if !effects.unwatches.is_empty() {
        let (runs, ops): (Vec<Text<'_>>, Vec<i64>) =
            effects.unwatches.iter().map(|(run, op)| (Text(run), op.cast_signed())).unzip();
        work.session.query(UNWATCH, args![INT8: run, TEXT_ARRAY: runs, INT8_ARRAY: ops]).await?;
    }
    for message in &effects.messages {
        send(work, message).await?;
    }
    set(work.session, run, effects).await?;
    match &effects.continuation {
        Some(continuation) => continue_as_new(work, run, continuation).await,
        None => Ok(()),
    }
}

/// Begins the next generation of a run. Messages that are left in its inbox are no longer news to a worker.
async fn continue_as_new(work: &mut Work<'_, '_>, run: RunKey, continuation: &Continuation) -> Result<()> {
    tokens::hand_on(work.session, run, continuation).await?;
    work.session.query("UPDATE @inbox SET holder = 0 WHERE run = $1 AND holder <> 0", args![INT8: run]).await?;
    unwatch_all(work.session, run).await?;
    let binding = continuation.binding.change();
    let required = binding.flatten().map(|deployment| Text(deployment));
    work.session.query(CONTINUE, args![INT8: run, BOOL: binding.is_some(), TEXT: required]).await?;
    work.receive(run, &continuation.start, None).await
}

async fn start_child(work: &mut Work<'_, '_>, run: RunKey, child: &Child) -> Result<()> {
    let made = creates::start(work.session, work.ours, &[&child.new], false).await?.pop();
    let answer = match made {
        Some(Made { answer: CreateAnswer::Created(key), new: true }) => {
            adopt(work, run, key, child).await?;
            child.confirmation.as_ref()
        }
        Some(made) if takes(work.session, run, child, &made.answer).await? => {
            if let Some(watch) = child.watch() {
                watch_run(work, run, &watch).await?;
            }
            child.confirmation.as_ref()
        }
        _ => Some(&child.refusal),
    };
    match answer {
        Some(answer) => work.receive(run, answer, None).await,
        None => Ok(()),
    }
}

/// Makes a new run the child of a run. Any worker can claim it; of its effects only those of `set` apply.
async fn adopt(work: &mut Work<'_, '_>, run: RunKey, key: RunKey, child: &Child) -> Result<()> {
    work.notes.due = true;
    if let Some(effects) = &child.new.effects {
        set(work.session, key, effects).await?;
    }
    let sql = "UPDATE @runs SET parent = (SELECT id FROM @runs WHERE key = $2) WHERE key = $1";
    work.session.query(sql, args![INT8: key, INT8: run]).await?;
    match child.op {
        Some(op) => add_watcher(work.session, key, run, op).await,
        None => Ok(()),
    }
}

/// Whether an operation accepts the existing run in place of the child that was to be created.
async fn takes(session: &Session<'_>, run: RunKey, child: &Child, answer: &CreateAnswer) -> Result<bool> {
    let is_own = match answer {
        CreateAnswer::Exists(there) => is_parent(session, run, there).await?,
        _ => false,
    };
    Ok(child.takes(answer, |_| is_own))
}

/// Whether `child` is a child of the run `parent`.
async fn is_parent(session: &Session<'_>, parent: RunKey, child: &RunRow) -> Result<bool> {
    let Some(id) = &child.parent else { return Ok(false) };
    let sql = "SELECT 1 FROM @runs WHERE key = $1 AND id = $2";
    Ok(session.query_opt(sql, args![INT8: parent, TEXT: Text(id)]).await?.is_some())
}

async fn add_watcher(session: &Session<'_>, run: RunKey, watcher: RunKey, op: u64) -> Result<()> {
    session.query(ADD_WATCHER, args![INT8: run, INT8: watcher, INT8: op.cast_signed()]).await?;
    Ok(())
}

async fn status(session: &Session<'_>, id: &str, token: Option<u128>) -> Result<Option<(RunKey, u64, Status)>> {
    let token = token.map(u128::to_be_bytes);
    let row = session.query_opt(STATUS, args![TEXT: Text(id), BYTEA: token.as_ref().map(<[u8; 16]>::as_slice)]).await?;
    row.map(|row| Ok((get(&row, 0)?, number(&row, 1)?, read::status(&row, 2)?))).transpose()
}

async fn watch_run(work: &mut Work<'_, '_>, run: RunKey, watch: &Watch) -> Result<()> {
    match status(work.session, &watch.run, watch.token).await? {
        None => work.receive(run, &watch.refusal, None).await,
        Some((key, generation, status)) if status.is_terminal() => {
            match read::last_in(work.session, key, generation).await? {
                Some(last) => send_end(work, run, watch.op, &last, watch.refusal.arrived_at).await,
                None => Ok(()),
            }
        }
        Some((key, ..)) => add_watcher(work.session, key, run, watch.op).await,
    }
}

async fn send(work: &mut Work<'_, '_>, message: &Outgoing) -> Result<()> {
    match status(work.session, &message.run, message.token).await? {
        Some((.., status)) if !status.is_terminal() => {
            work.send_message(&message.run, &message.message, message.unstick).await.map(drop)
        }
        _ => Ok(()),
    }
}

async fn send_end(work: &mut Work<'_, '_>, run: RunKey, op: u64, last: &JournalRow, at: u64) -> Result<()> {
    let (format, checksum, body) = (last.format, last.checksum, Arc::clone(&last.body));
    let message = Message { dedupe: None, arrived_at: at, format, checksum, body };
    work.receive(run, &message, Some(&About::Ended(op))).await
}

/// Sends the outcome of an ended run to the operations that wait for it. Returns whether there are any.
pub(super) async fn tell_watchers(work: &mut Work<'_, '_>, run: RunKey, last: &JournalRow, at: u64) -> Result<bool> {
    let watchers = work
        .session
        .query(
            "DELETE FROM @watchers AS watchers WHERE run = $1
             RETURNING watcher, op, (
                 SELECT runs.generation = watchers.generation AND status NOT IN @ended
                 FROM @runs AS runs WHERE key = watcher
             )",
            args![INT8: run],
        )
        .await?;
    for row in &watchers {
        // A watcher that has ended, or is of an earlier generation, no longer waits.
        if get::<Option<bool>>(row, 2)? == Some(true) {
            send_end(work, get(row, 0)?, number(row, 1)?, last, at).await?;
        }
    }
    Ok(!watchers.is_empty())
}

/// Sets the state and the attributes of a run, and adds the notice of its status.
async fn set(session: &Session<'_>, run: RunKey, effects: &Effects) -> Result<()> {
    if let Some(state) = &effects.state {
        set_state(session, run, state).await?;
    }
    if let Some((status, at)) = effects.notify {
        notices::note(session, run, status, at).await?;
    }
    set_attributes(session, run, &effects.attributes).await
}

/// Sets the state and the attributes of a run that is retried.
pub(super) async fn set_again(session: &Session<'_>, next: &NextGeneration) -> Result<()> {
    match &next.state {
        Some(state) => set_state(session, next.run, state).await?,
        None => session.query("DELETE FROM @states WHERE run = $1", args![INT8: next.run]).await.map(drop)?,
    }
    set_attributes(session, next.run, &next.attributes).await
}

async fn set_state(session: &Session<'_>, run: RunKey, state: &str) -> Result<()> {
    session
        .query(
            "INSERT INTO @states (run, state) VALUES ($1, $2) ON CONFLICT (run) DO UPDATE SET state = excluded.state",
            args![INT8: run, TEXT: Text(state)],
        )
        .await
        .map(drop)
}

async fn set_attributes(session: &Session<'_>, run: RunKey, attributes: &[(Arc<str>, Option<Arc<str>>)]) -> Result<()> {
    let last: BTreeMap<&str, Option<&str>> = attributes.iter().map(|(key, value)| (&**key, value.as_deref())).collect();
    let gone: Vec<Text<'_>> = last.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| Text(key)).collect();
    let (keys, values): (Vec<Text<'_>>, Vec<Text<'_>>) =
        last.iter().filter_map(|(key, value)| Some((Text(key), Text((*value)?)))).unzip();
    if !gone.is_empty() {
        session
            .query("DELETE FROM @attributes WHERE run = $1 AND key = ANY ($2)", args![INT8: run, TEXT_ARRAY: gone])
            .await?;
    }
    if !keys.is_empty() {
        session.query(SET_ATTRIBUTES, args![INT8: run, TEXT_ARRAY: keys, TEXT_ARRAY: values]).await?;
    }
    Ok(())
}

pub(super) async fn state(db: &Db, run: &str) -> Result<Option<Arc<str>>, Error> {
    let sql = "SELECT state FROM @states WHERE run = (SELECT key FROM @runs WHERE id = $1)";
    Ok(db.rows("read a state", sql, args![TEXT: Text(run)], |row| text(row, 0)).await?.pop())
}

pub(super) async fn attributes(db: &Db, run: &str) -> Result<Attributes, Error> {
    let sql = "SELECT key, value FROM @attributes WHERE run = (SELECT key FROM @runs WHERE id = $1) ORDER BY key COLLATE \"C\"";
    db.rows("read attributes", sql, args![TEXT: Text(run)], |row| Ok((text(row, 0)?, text(row, 1)?))).await
}

/// Removes all watches of a run that has ended or continues as a new generation.
pub(super) async fn unwatch_all(session: &Session<'_>, watcher: RunKey) -> Result<()> {
    session.query("DELETE FROM @watchers WHERE watcher = $1", args![INT8: watcher]).await?;
    Ok(())
}

pub(super) async fn children(db: &Db, run: &str) -> Result<Vec<Arc<str>>, Error> {
    let sql = "SELECT id FROM @runs WHERE parent = $1 ORDER BY key";
    db.rows("read runs", sql, args![TEXT: Text(run)], |row| text(row, 0)).await
}
