//! The position of a run in its journal.

use crate::store::{Fence, RunKey, Turn};

/// The position of a verified run: what its next row must have.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub fence: Fence,
    pub generation: u64,
    pub index: u64,
    /// Whether a change of the run concerned other rows or other processes when the run was last looked up.
    pub concerns_others: bool,
}

impl Place {
    /// The place after a turn that is in the journal, if the turn has a row.
    pub fn after(turn: &Turn, concerns_others: bool) -> Option<(RunKey, Self)> {
        let index = turn.row.as_ref()?.index + 1;
        Some((turn.run, Place { fence: turn.fence, generation: turn.generation, index, concerns_others }))
    }

    /// Whether the next row of the run is the row of this turn.
    pub fn is_before(&self, turn: &Turn) -> bool {
        let index = turn.row.as_ref().map(|row| row.index);
        (self.fence, self.generation, Some(self.index)) == (turn.fence, turn.generation, index)
    }
}
