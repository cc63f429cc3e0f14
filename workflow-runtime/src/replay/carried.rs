//! The data with which a run begins, continues as a new generation, or continues with another journal.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::journal::Visit;
use crate::codec::Payload;
use crate::keys::KeyBase;
use crate::model::Trace;

/// The data that a run has when it begins, or when it continues as a new generation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Carried {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Payload>,
    /// The keys of its attributes.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub attributes: BTreeSet<Box<str>>,
    /// By stream: the number of chunks that the workflow has written, and whether it has closed the stream.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub streams: BTreeMap<Box<str>, (u64, bool)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherited: Option<Inherited>,
    /// Payloads for the next hook with a token, by the token's address: the previous hook was dropped.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub surplus: BTreeMap<Box<str>, Vec<Payload>>,
    /// Placeholders for hooks of the previous generation, for which the inbox may hold messages, with their addresses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub forwards: BTreeMap<u64, Box<str>>,
}

impl Carried {
    /// `None` if it is empty.
    pub fn some(self) -> Option<Self> {
        let is_empty = self.state.is_none()
            && self.attributes.is_empty()
            && self.streams.is_empty()
            && self.inherited.is_none()
            && self.surplus.is_empty()
            && self.forwards.is_empty();
        (!is_empty).then_some(self)
    }

    /// Visits the payloads.
    pub(super) fn each_payload(&mut self, visit: Visit<'_>) {
        let context = self.inherited.iter_mut().flat_map(|inherited| inherited.context.values_mut());
        let payloads = self.state.iter_mut().chain(context).chain(self.surplus.values_mut().flatten());
        payloads.for_each(visit);
    }

    pub(super) fn bytes(&self) -> usize {
        let context = self.inherited.iter().flat_map(|inherited| inherited.context.values());
        self.state.iter().chain(context).chain(self.surplus.values().flatten()).map(|value| value.as_str().len()).sum()
    }
}

/// The data that a run shares with all its child runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Inherited {
    /// The values of the request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<Box<str>, Payload>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
    /// How many runs wait for it, each for the next one: 0 if it is not a child, or not awaited.
    #[serde(default, skip_serializing_if = "is_none")]
    pub depth: u32,
}

fn is_none(depth: &u32) -> bool {
    *depth == 0
}

impl Inherited {
    /// The data of a child at some depth, by the key of the operation that starts it.
    pub fn of_child(&self, key: &str, depth: u32) -> Self {
        Inherited { context: self.context.clone(), trace: self.trace.as_ref().map(|trace| trace.of_child(key)), depth }
    }

    /// `None` if it is empty.
    pub fn some(self) -> Option<Self> {
        (self != Inherited::default()).then_some(self)
    }
}

/// The changes for a run that continues with a journal that was another run's or an earlier generation's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reopening {
    /// The id of the run that it was forked from; `None` if it is a retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The base of the idempotency keys of operations issued from now on. Outstanding ones have theirs in their commands.
    pub base: KeyBase,
    /// The operation whose result was recorded by the source and is delivered once more, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<u64>,
    /// Whether a fork also undoes the steps of its source.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undo_inherited: bool,
    /// Placeholders for hooks that the earlier generation had opened after this point, for which the inbox holds messages, with
    /// their addresses. Not a map: the field is flattened, and then a key of a map cannot be a number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forwards: Vec<(u64, Box<str>)>,
    /// The suspended operations for which the inbox holds answers: their tokens are not opened again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answered: Vec<u64>,
    /// The suspensions that still wait and keep their ids: the operation of each, and the generation in its id.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub suspended: Box<[(u64, u64)]>,
}

impl Reopening {
    /// The number of the row format that introduced its fields.
    pub fn format(&self) -> u32 {
        if self.forwards.is_empty() && self.answered.is_empty() { 1 } else { 3 }
    }

    /// Whether another run undoes the steps that were executed before.
    pub fn disarms(&self) -> bool {
        self.source.is_some() && !self.undo_inherited
    }

    /// Removes the rollbacks that this run no longer owes.
    pub fn disarm(&self, owed: &mut BTreeMap<u64, bool>) {
        if self.disarms() {
            owed.retain(|op, succeeded| !*succeeded && self.again != Some(*op));
        }
    }
}
