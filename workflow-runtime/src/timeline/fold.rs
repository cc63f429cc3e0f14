//! Rows: a call each, and equal steps side by side in one.

use super::axis::Axis;
use super::bars::place;
use super::branch::{Branch, Call, Span};
use super::{Look, Row};

/// So many equal steps side by side are one row.
const FOLDED_MIN: usize = 6;
/// The lanes of a folded row.
const LANES: usize = 6;

/// The name by which steps are equal.
fn name(call: &Branch) -> Option<&str> {
    match &call.call {
        Call::Step { step, .. } => Some(step),
        Call::Child { workflow, .. } => Some(workflow),
        _ => None,
    }
}

/// How many calls at the beginning are equal and side by side: each begins before those before it have ended.
fn side_by_side(calls: &[Branch]) -> usize {
    let Some(first) = calls.first() else { return 0 };
    let Some(step) = name(first) else { return 1 };
    let mut ended = first.events.1.unwrap_or(u64::MAX);
    let mut count = 1;
    for call in &calls[1..] {
        let is_beside = call.events.0 < ended;
        if name(call) != Some(step) || !call.children.is_empty() || !is_beside {
            break;
        }
        ended = ended.max(call.events.1.unwrap_or(u64::MAX));
        count += 1;
    }
    count
}

/// Adds the rows of calls, each with those of its children.
pub(super) fn rows<'a>(calls: &'a [Branch], depth: usize, axis: &Axis, look: Look<'_>, rows: &mut Vec<Row<'a>>) {
    let mut rest = calls;
    while let Some(first) = rest.first() {
        let count = side_by_side(rest);
        let is_folded = count >= FOLDED_MIN && !look.unfolded.contains(&first.place) && first.children.is_empty();
        let (row, after) = rest.split_at(if is_folded { count } else { 1 });
        rest = after;
        rows.push(Row { calls: row, depth, lanes: lanes(row, axis) });
        if !is_folded {
            self::rows(&first.children, depth + 1, axis, look, rows);
        }
    }
}

/// The lanes of a row: that of the call, or those of parts of the folded calls.
fn lanes(row: &[Branch], axis: &Axis) -> Vec<Vec<super::Bar>> {
    let part = row.len().div_ceil(LANES).max(1);
    row.chunks(part).map(|calls| place(&flat(calls), axis)).collect()
}

/// The spans of several calls without overlaps: of those at one time the greatest kind.
fn flat(calls: &[Branch]) -> Vec<Span> {
    if let [call] = calls {
        return call.spans.clone();
    }
    let mut edges: Vec<u64> = Vec::new();
    let mut spans: Vec<&Span> = calls.iter().flat_map(|call| &call.spans).collect();
    spans.sort_by_key(|span| (span.from, span.kind));
    edges.extend(spans.iter().flat_map(|span| [span.from, span.to.unwrap_or(u64::MAX)]));
    edges.sort_unstable();
    edges.dedup();
    let mut flat: Vec<Span> = Vec::new();
    let (mut next, mut active): (usize, Vec<&Span>) = (0, Vec::new());
    for pair in edges.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        while let Some(span) = spans.get(next).filter(|span| span.from <= from) {
            active.push(span);
            next += 1;
        }
        active.retain(|span| span.to.is_none_or(|to| to > from));
        let Some(kind) = active.iter().map(|span| span.kind).max() else { continue };
        let end = (to != u64::MAX).then_some(to);
        match flat.last_mut().filter(|last| last.kind == kind && last.to == Some(from)) {
            Some(last) => last.to = end,
            None => flat.push(Span { kind, from, to: end }),
        }
    }
    // Calls that took no time have one bar.
    if flat.is_empty() {
        flat.extend(spans.into_iter().max_by_key(|span| span.kind));
    }
    flat
}
