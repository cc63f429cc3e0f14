//! The timeline of a run: rows of bars, made from the events of its history.
//!
//! Two pure functions, which the command line and the web page share. A [`Collector`] takes events in order and keeps the
//! calls of a window, so that a journal of any length needs the memory of the window. [`lay_out`] places the calls on an
//! [`Axis`] of a given width, on which long idle stretches are short.

mod axis;
mod bars;
mod branch;
mod collect;
mod fold;

use std::collections::BTreeSet;

pub(crate) use self::axis::{Axis, Scale};
pub(crate) use self::bars::Bar;
pub(crate) use self::branch::{Branch, Call, Kind, Place, State};
pub(crate) use self::collect::{Collected, Collector, Excerpts, Window, milliseconds};

/// How a timeline is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look<'a> {
    /// The present, in milliseconds since 1970: open bars end at it.
    pub now: u64,
    pub scale: Scale,
    /// The folded rows that are drawn as single rows, by the place of their first call.
    pub unfolded: &'a BTreeSet<Place>,
}

/// A row: a call, or several equal calls that are folded.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    /// The call, or the calls that are folded, in their order.
    pub calls: &'a [Branch],
    /// How many parents it has in this timeline.
    pub depth: usize,
    /// The bars. A call has one lane, a folded row several thin ones.
    pub lanes: Vec<Vec<Bar>>,
}

impl Row<'_> {
    /// When the row begins.
    pub fn began(&self) -> u64 {
        self.calls.iter().map(|call| call.began).min().unwrap_or_default()
    }

    /// When its last call has ended; `None` if one has not.
    pub fn ended(&self) -> Option<u64> {
        self.calls.iter().map(|call| call.ended).max_by_key(|ended| ended.unwrap_or(u64::MAX)).flatten()
    }
}

/// Rows on one axis.
#[derive(Debug)]
pub(crate) struct Timeline<'a> {
    pub axis: Axis,
    pub rows: Vec<Row<'a>>,
}

/// Places calls, with their children, on an axis. The rows are in the order of the calls, each child below its parent.
///
/// The bars of a lane are in the order of time, lie within the width, and do not overlap.
pub(crate) fn lay_out<'a>(collected: &'a Collected, look: Look<'_>) -> Timeline<'a> {
    let axis = Axis::of(collected, look);
    let mut rows = Vec::new();
    fold::rows(&collected.calls, 0, &axis, look, &mut rows);
    Timeline { axis, rows }
}

#[cfg(test)]
mod tests;
