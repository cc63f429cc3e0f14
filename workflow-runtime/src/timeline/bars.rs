//! The bars of a lane.

use super::axis::Axis;
use super::branch::{Kind, Span};

/// A bar of a lane, in the units of the axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bar {
    pub x: u32,
    pub width: u32,
    pub kind: Kind,
    /// Whether what it shows has not ended.
    pub is_open: bool,
}

/// How far a bar may be moved to the right by narrow ones before it, in least widths. Bars that would move further are joined.
const MOVED_MAX: u32 = 3;

/// Places spans on the axis. Each bar has the least width; bars follow each other without overlapping.
pub(super) fn place(spans: &[Span], axis: &Axis) -> Vec<Bar> {
    let now = axis.end();
    let bar = |span: &Span| {
        let is_open = span.to.is_none_or(|to| to > now);
        let end = match span.to {
            Some(to) if to > now && !span.kind.has_deadline() => now,
            Some(to) => to,
            None => now,
        };
        let x = axis.x(span.from);
        Bar { x, width: axis.x(end.max(span.from)).saturating_sub(x), kind: span.kind, is_open }
    };
    // What is to begin in the future is not drawn: the wait before it is.
    let mut bars: Vec<Bar> = spans.iter().filter(|span| span.from <= now).map(bar).collect();
    bars.sort_by_key(|bar| bar.x);
    let (width, least) = (axis.scale.width, axis.scale.least.clamp(1, axis.scale.width.max(1)));
    match spread(&bars, width, least) {
        Some(bars) => bars,
        None => joined(&bars, width, least),
    }
}

/// Moves bars apart. Nothing if one would have to move too far.
fn spread(bars: &[Bar], width: u32, least: u32) -> Option<Vec<Bar>> {
    let mut spread: Vec<Bar> = Vec::with_capacity(bars.len());
    let mut free = 0;
    for bar in bars {
        let x = bar.x.max(free);
        if x - bar.x > least * MOVED_MAX {
            return None;
        }
        let end = (bar.x + bar.width).max(x + least);
        spread.push(Bar { x, width: end - x, ..*bar });
        free = end;
    }
    let mut limit = width;
    for bar in spread.iter_mut().rev() {
        let end = (bar.x + bar.width).min(limit);
        let x = bar.x.min(end.checked_sub(least)?);
        (bar.x, bar.width) = (x, end - x);
        limit = x;
    }
    Some(spread)
}

/// Joins bars that begin within a least width of each other: the greatest kind is drawn.
fn joined(bars: &[Bar], width: u32, least: u32) -> Vec<Bar> {
    let mut joined: Vec<Bar> = Vec::new();
    for bar in bars {
        let x = bar.x.min(width - least);
        let end = (bar.x + bar.width).max(x + least).min(width);
        match joined.last_mut() {
            Some(last) if x < last.x + least => {
                last.width = last.width.max(end - last.x);
                last.kind = last.kind.max(bar.kind);
                last.is_open |= bar.is_open;
            }
            _ => joined.push(Bar { x, width: end - x, ..*bar }),
        }
    }
    for at in 1..joined.len() {
        let next = joined[at].x;
        let last = &mut joined[at - 1];
        last.width = last.width.min(next - last.x);
    }
    joined
}
