//! The position of a run in its journal.

use crate::store::{Fence, RunKey, Turn};

/// The position of a verified run: what its next row must have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub fence: Fence,
    pub generation: u64,
    pub index: u64,
}

impl Place {
    /// The place after a turn that is in the journal, if the turn has a row.
    pub fn after(turn: &Turn) -> Option<(RunKey, Self)> {
        let index = turn.row.as_ref()?.index + 1;
        Some((turn.run, Place { fence: turn.fence, generation: turn.generation, index }))
    }
}
