//! The locks of a transaction: which runs a group of writes concerns, and the statement that locks them in one order.

use std::collections::BTreeSet;

use super::db::{Session, Text, args};
use super::fault::Result;
use super::segments::Segment;
use crate::store::{
    AppendChunk, Delete, Effects, Release, RemoveGenerations, Reopen, Replace, RunKey, SendMessage, UnstickRun, Write,
};

/// Locks the runs that a transaction concerns, and the watchers of the runs that it ends. Its one plan is made when the tables
/// may be empty: `LIMIT 1` makes the server look up each id and token by the index even then.
const LOCK: &str = "
SELECT key FROM @runs WHERE key IN (
    SELECT unnest((SELECT $1))
    UNION ALL SELECT key FROM unnest((SELECT $2)) AS wanted (id), LATERAL (
        SELECT key FROM @runs AS runs WHERE runs.id = wanted.id LIMIT 1
    ) AS found
    UNION ALL SELECT run FROM unnest((SELECT $3)) AS wanted (token), LATERAL (
        SELECT run FROM @tokens AS tokens WHERE tokens.token = wanted.token LIMIT 1
    ) AS found
    UNION ALL SELECT watcher FROM @watchers WHERE run = ANY ((SELECT $4)::bigint[])
) ORDER BY key FOR NO KEY UPDATE";

/// The ids of the other runs that the effects of a run concern.
fn others(effects: Option<&Effects>) -> impl Iterator<Item = &str> {
    let watched = effects.into_iter().flat_map(|effects| effects.watches.iter().map(|watch| &*watch.run));
    let unwatched = effects.into_iter().flat_map(|effects| effects.unwatches.iter().map(|(run, _)| &**run));
    // Children that may exist already.
    let attached = effects
        .into_iter()
        .flat_map(|effects| effects.children.iter().filter(|child| child.attach.is_some()).map(|child| &*child.new.id));
    watched
        .chain(attached)
        .chain(unwatched)
        .chain(effects.into_iter().flat_map(|effects| effects.messages.iter().map(|message| &*message.run)))
}

/// Locks the runs in the order of their keys. A group that is a single statement which locks all that it concerns needs no
/// other statement before it.
pub(super) async fn lock(session: &Session<'_>, segments: &[Segment<'_>]) -> Result<()> {
    let (mut keys, mut ids, mut tokens, mut ended) =
        (BTreeSet::new(), BTreeSet::<&str>::new(), BTreeSet::<&str>::new(), BTreeSet::new());
    for segment in segments {
        match segment {
            Segment::Creates(_, runs) | Segment::Starts(runs) => {
                ids.extend(runs.iter().flat_map(|(_, new)| others(new.effects.as_deref())));
            }
            Segment::Turns(turns) => {
                for (_, turn) in turns {
                    keys.insert(turn.run);
                    ids.extend(others(turn.effects.as_deref()));
                    if turn.change.as_ref().is_some_and(|change| change.status.is_terminal()) {
                        ended.insert(turn.run);
                    }
                }
            }
            Segment::Messages(messages) => ids.extend(messages.iter().map(|(_, run, _)| *run)),
            Segment::Single(_, write) => match write {
                Write::Create(new) => {
                    ids.insert(&*new.id);
                    ids.extend(others(new.effects.as_deref()));
                }
                Write::SendMessage(SendMessage { run, .. }) | Write::UnstickRun(UnstickRun { run }) => {
                    ids.insert(&**run);
                }
                Write::Reopen(Reopen { run, below }) => keys.extend(below.iter().chain([run]).map(|next| next.run)),
                Write::Replace(Replace { run, new, .. }) => {
                    keys.insert(*run);
                    ids.insert(&*new.id);
                    ids.extend(others(new.effects.as_deref()));
                }
                Write::Deliver(deliver) => drop(tokens.insert(&deliver.token)),
                Write::Release(Release { run, .. }) | Write::RemoveGenerations(RemoveGenerations { run, .. }) => {
                    keys.insert(*run);
                }
                // With the watchers of the run: a run that was never due can have some.
                Write::Delete(Delete { run, .. }) => {
                    keys.insert(*run);
                    ended.insert(*run);
                }
                Write::AppendChunk(AppendChunk { run, into, .. }) => {
                    keys.insert(*run);
                    ids.extend(into.as_deref());
                }
                _ => {}
            },
        }
    }
    // A single statement that itself locks all that it concerns needs no other statement before it.
    let alone = segments.len() == 1 && ids.is_empty() && tokens.is_empty() && ended.is_empty();
    if alone || (keys.is_empty() && ids.is_empty() && tokens.is_empty()) {
        return Ok(());
    }
    let (keys, ended): (Vec<RunKey>, Vec<RunKey>) = (keys.into_iter().collect(), ended.into_iter().collect());
    let ids: Vec<Text<'_>> = ids.into_iter().map(Text).collect();
    let tokens: Vec<Text<'_>> = tokens.into_iter().map(Text).collect();
    session.query(LOCK, args![INT8_ARRAY: keys, TEXT_ARRAY: ids, TEXT_ARRAY: tokens, INT8_ARRAY: ended]).await?;
    Ok(())
}
