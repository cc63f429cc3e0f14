//! What others see of a run: its state, its attributes and its chunks, at an earlier point of its history.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::inner::Inner;
use super::point::Deliveries;
use crate::codec::Payload;
use crate::error::Result;
use crate::limits::CHUNK_PAGE_ROWS;
use crate::replay::{Carried, Command, Event};
use crate::store::{NewChunk, RunKey, RunRow};

/// The data with which a generation begins. `first` is the event that begins it, if nothing of it is kept.
fn carried<'d>(kept: &'d Deliveries, first: Option<&'d Event>) -> Option<&'d Carried> {
    match kept.first().map(|(_, delivery)| &delivery.event).or(first) {
        Some(Event::Started { carried, .. }) => carried.as_deref(),
        _ => None,
    }
}

/// The state of a run at the end of a kept part of a generation.
pub(super) fn state(kept: &Deliveries, first: Option<&Event>) -> Option<Arc<str>> {
    let commands = kept.iter().rev().flat_map(|(_, delivery)| delivery.commands.iter().rev());
    let mut set = commands.filter_map(|command| match command {
        Command::State { value } => Some(value),
        _ => None,
    });
    let state = set.next().or_else(|| carried(kept, first)?.state.as_ref());
    state.map(|state| Arc::from(state.as_str()))
}

/// The keys of the attributes that a generation has changed.
pub(super) fn changed_attributes(deliveries: &Deliveries) -> BTreeSet<Arc<str>> {
    let commands = deliveries.iter().flat_map(|(_, delivery)| &delivery.commands);
    let keys = commands.filter_map(|command| match command {
        Command::Attribute { key, .. } => Some(Arc::from(&**key)),
        _ => None,
    });
    keys.collect()
}

/// The values of these attributes at the end of a kept part of a generation. An attribute that the generation had from its
/// beginning and that the kept part has not changed is left out: its value was not recorded.
pub(super) fn attributes(
    changed: BTreeSet<Arc<str>>,
    kept: &Deliveries,
    first: Option<&Event>,
) -> Vec<(Arc<str>, Option<Arc<str>>)> {
    let given = carried(kept, first).map(|carried| &carried.attributes);
    let mut attributes: BTreeMap<Arc<str>, Option<Arc<str>>> = changed
        .into_iter()
        .filter(|key| given.is_none_or(|given| !given.contains(&**key)))
        .map(|key| (key, None))
        .collect();
    for command in kept.iter().flat_map(|(_, delivery)| &delivery.commands) {
        if let Command::Attribute { key, value } = command {
            attributes.insert(Arc::from(&**key), value.as_deref().map(Arc::from));
        }
    }
    attributes.into_iter().collect()
}

impl Inner {
    /// The attributes of a run at the end of a kept part of its history, and the chunks that its workflow has written by then.
    pub(super) async fn shown(
        &self,
        row: &RunRow,
        earlier: &[Deliveries],
        kept: &Deliveries,
        again: Option<&Event>,
    ) -> Result<(BTreeMap<Arc<str>, Arc<str>>, Vec<NewChunk>)> {
        let mut attributes = BTreeMap::new();
        let events = earlier.iter().flatten().chain(kept).map(|(_, delivery)| &delivery.event);
        let mut chunks = match events.chain(again).next() {
            // The first kept generation records how many chunks the workflow had written by then.
            Some(Event::Started { carried: Some(carried), .. }) if row.first_generation > 0 => {
                self.written_before(row.key, carried).await?
            }
            _ => Vec::new(),
        };
        let mut chunk = |stream: &str, value: Option<&Payload>| {
            let value = value.map(|value| Arc::from(value.as_str()));
            chunks.push(NewChunk { stream: stream.into(), id: self.random.number(), value });
        };
        let now = self.store.attributes(&row.id).await.map_err(|error| error.run(&row.id))?;
        // The start has set the attributes that no command has set.
        let given = |event: &Event, attributes: &mut BTreeMap<Arc<str>, Arc<str>>| {
            if let Event::Started { carried: Some(carried), .. } = event {
                for (key, value) in now.iter().filter(|(key, _)| carried.attributes.contains(&**key)) {
                    attributes.entry(key.clone()).or_insert_with(|| value.clone());
                }
            }
        };
        for (_, delivery) in earlier.iter().flatten().chain(kept) {
            given(&delivery.event, &mut attributes);
            for command in &delivery.commands {
                match command {
                    Command::Attribute { key, value: Some(value) } => {
                        attributes.insert(Arc::from(&**key), Arc::from(&**value));
                    }
                    Command::Attribute { key, value: None } => drop(attributes.remove(&**key)),
                    Command::Write { stream, value } => chunk(stream, Some(value)),
                    Command::CloseStream { stream } => chunk(stream, None),
                    _ => {}
                }
            }
        }
        if let Some(event) = again.filter(|_| kept.is_empty()) {
            given(event, &mut attributes);
        }
        Ok((attributes, chunks))
    }

    /// The chunks that the workflow of a run has written in removed generations: they are in its streams.
    async fn written_before(&self, run: RunKey, carried: &Carried) -> Result<Vec<NewChunk>> {
        let mut written = Vec::new();
        for (stream, (number, is_closed)) in &carried.streams {
            let (stream, mut left, mut next): (Arc<str>, _, _) = ((&**stream).into(), *number, 0);
            while left > 0 {
                let page = self.store.chunks(run, &stream, next, CHUNK_PAGE_ROWS).await?;
                let Some(last) = page.rows.last() else { break };
                next = last.index + 1;
                for row in page.rows.into_iter().filter(|row| row.writer.is_none()) {
                    if left > 0 {
                        left -= 1;
                        written.push(NewChunk {
                            stream: stream.clone(),
                            id: self.random.number(),
                            value: Some(row.value),
                        });
                    }
                }
            }
            if *is_closed {
                written.push(NewChunk { stream, id: self.random.number(), value: None });
            }
        }
        Ok(written)
    }
}
