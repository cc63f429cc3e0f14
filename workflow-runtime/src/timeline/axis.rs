//! The axis: from times to places, with long idle stretches shortened.

use super::Look;
use super::branch::{Branch, Kind};
use super::collect::Collected;

/// The units of an axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// The width of the axis.
    pub width: u32,
    /// The least width of a bar.
    pub least: u32,
    /// The least distance of two ticks.
    pub ticks: u32,
}

/// An idle stretch that is shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Band {
    pub x: u32,
    pub width: u32,
    /// Its real length, in milliseconds.
    pub length: u64,
}

/// A tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tick {
    pub x: u32,
    /// The time since the beginning of the axis, in milliseconds.
    pub at: u64,
}

/// A stretch of the axis on which time is linear.
#[derive(Clone, Copy, Debug)]
struct Piece {
    from: u64,
    to: u64,
    x: f64,
    width: f64,
    is_band: bool,
}

/// The axis of a timeline, from the first event to the present, or to the end of the run.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pieces: Vec<Piece>,
    pub scale: Scale,
    /// When it begins, in milliseconds since 1970.
    pub began: u64,
    /// Where the present is; `None` if the run has ended, or the axis ends before.
    pub now: Option<u32>,
    pub bands: Vec<Band>,
    pub ticks: Vec<Tick>,
}

/// The width of a band, and of the future, in hundredths of the axis.
const BAND: f64 = 8.5;
const FUTURE: f64 = 9.0;
/// An idle stretch is shortened if it is longer than this part of the work.
const IDLE: f64 = 0.1;
const BANDS_MAX: usize = 6;
const STEPS: [u64; 32] = [
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    15_000,
    30_000,
    60_000,
    120_000,
    300_000,
    600_000,
    900_000,
    1_800_000,
    3_600_000,
    7_200_000,
    10_800_000,
    21_600_000,
    43_200_000,
    86_400_000,
    172_800_000,
    604_800_000,
    1_209_600_000,
    2_592_000_000,
    31_536_000_000,
];

/// Disjoint intervals in order, from any.
fn united(mut intervals: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    intervals.sort_unstable();
    let mut united: Vec<(u64, u64)> = Vec::new();
    for (from, to) in intervals {
        match united.last_mut() {
            Some((_, end)) if from <= *end => *end = to.max(*end),
            _ => united.push((from, to)),
        }
    }
    united
}

fn busy(calls: &[Branch], now: u64, intervals: &mut Vec<(u64, u64)>) {
    for call in calls {
        let work = call.spans.iter().filter(|span| span.kind.is_work() && span.from <= now);
        intervals.extend(work.map(|span| (span.from, span.to.unwrap_or(now).clamp(span.from, now.max(span.from)))));
        busy(&call.children, now, intervals);
    }
}

/// The stretches in which other runs were executed for these calls, to their ends.
fn elsewhere(calls: &[Branch]) -> impl Iterator<Item = (u64, u64)> {
    let spans = calls.iter().flat_map(|call| &call.spans).filter(|span| span.kind == Kind::Child);
    spans.filter_map(|span| span.to.map(|to| (span.from, to)))
}

fn bounds(calls: &[Branch], began: u64, last: u64) -> (u64, u64) {
    calls.iter().fold((began, last), |(began, last), call| {
        bounds(&call.children, began.min(call.began), last.max(call.ended.unwrap_or(call.began)))
    })
}

fn waits_on(calls: &[Branch], now: u64) -> bool {
    let is_ahead = |call: &Branch| {
        call.ended.is_none() && call.spans.iter().any(|span| span.to.is_some_and(|to| to > now) || span.from > now)
    };
    calls.iter().any(|call| is_ahead(call) || waits_on(&call.children, now))
}

fn is_open(calls: &[Branch]) -> bool {
    calls.iter().any(|call| call.ended.is_none() || is_open(&call.children))
}

impl Axis {
    /// The axis of these calls.
    pub fn of(collected: &Collected, look: Look<'_>) -> Self {
        let calls = &collected.calls;
        let began = calls.first().map_or(collected.began, |_| u64::MAX);
        let (began, last) = bounds(calls, began, if calls.is_empty() { collected.last } else { 0 });
        let began = if collected.before == 0 { began.min(collected.began) } else { began };
        let goes_on = is_open(calls) || (!collected.is_over && collected.after == 0);
        let end =
            if goes_on { look.now.max(last) } else { last.max(if collected.after == 0 { collected.last } else { 0 }) };
        let mut intervals = Vec::new();
        busy(calls, end, &mut intervals);
        let worked: u64 = united(intervals.clone()).iter().map(|(from, to)| to - from).sum();
        // What another run does is work too, unless it takes so long that the work here would be invisible beside it.
        intervals.extend(elsewhere(calls).filter(|(from, to)| to.saturating_sub(*from) <= worked));
        let right = match (goes_on, waits_on(calls, end)) {
            (true, true) => look.scale.width as f64 * (100.0 - FUTURE) / 100.0,
            // Room for the word `now`.
            (true, false) => look.scale.width as f64 * 0.92,
            _ => look.scale.width as f64,
        };
        let mut axis = Axis::from_work(intervals, began, end.max(began), right, look.scale);
        axis.now = goes_on.then(|| axis.x(end));
        axis.ticks = axis.ticks();
        axis
    }

    /// An axis from one time to another, with the stretches in which something is executed, up to a place on the right.
    pub fn from_work(work: Vec<(u64, u64)>, began: u64, end: u64, right: f64, scale: Scale) -> Self {
        let work = united(work);
        let worked: u64 = work.iter().map(|(from, to)| to - from).sum();
        let mut idle: Vec<(u64, u64)> = Vec::new();
        let mut at = began;
        for (from, to) in work.iter().copied().chain([(end, end)]) {
            if from > at {
                idle.push((at, from));
            }
            at = at.max(to);
        }
        idle.sort_by_key(|(from, to)| std::cmp::Reverse(to - from));
        let mut left = (end - began) as f64;
        let mut bands = Vec::new();
        for (from, to) in idle.into_iter().take(BANDS_MAX) {
            let length = (to - from) as f64;
            // A stretch that is short beside the rest gets no shorter by a band.
            if worked == 0 || length <= worked as f64 * IDLE || length <= left * BAND / 100.0 {
                break;
            }
            left -= length;
            bands.push((from, to));
        }
        bands.sort_unstable();
        let band = scale.width as f64 * BAND / 100.0;
        let room = (right - band * bands.len() as f64).max(0.0);
        let mut axis = Axis { pieces: Vec::new(), scale, began, now: None, bands: Vec::new(), ticks: Vec::new() };
        let mut x = 0.0;
        let mut add = |axis: &mut Axis, from: u64, to: u64, is_band: bool| {
            let width = match is_band {
                true => band,
                false if left > 0.0 => room * (to - from) as f64 / left,
                false => 0.0,
            };
            axis.pieces.push(Piece { from, to, x, width, is_band });
            x += width;
        };
        let mut at = began;
        for (from, to) in bands {
            add(&mut axis, at, from, false);
            add(&mut axis, from, to, true);
            at = to;
        }
        add(&mut axis, at, end, false);
        axis.bands = axis.pieces.iter().filter(|piece| piece.is_band).map(|piece| piece.band()).collect();
        axis
    }

    /// The place of a time. Times before the axis are at its beginning; those behind it are at its right end.
    pub fn x(&self, at: u64) -> u32 {
        let Some(last) = self.pieces.last() else { return 0 };
        if at > last.to {
            return self.scale.width;
        }
        let next = self.pieces.partition_point(|piece| piece.to < at);
        let piece = self.pieces.get(next).unwrap_or(last);
        let length = piece.to.saturating_sub(piece.from).max(1) as f64;
        let x = piece.x + piece.width * at.saturating_sub(piece.from) as f64 / length;
        (x.round() as u32).min(self.scale.width)
    }

    /// The end of the axis, in milliseconds since 1970.
    pub fn end(&self) -> u64 {
        self.pieces.last().map_or(self.began, |piece| piece.to)
    }

    fn ticks(&self) -> Vec<Tick> {
        let pieces = || self.pieces.iter().filter(|piece| !piece.is_band && piece.to > piece.from);
        let Some(piece) = pieces().max_by_key(|piece| piece.to - piece.from) else { return Vec::new() };
        let per_unit = (piece.to - piece.from) as f64 / piece.width.max(f64::MIN_POSITIVE);
        let least = per_unit * f64::from(self.scale.ticks);
        let step = STEPS.into_iter().find(|step| *step as f64 >= least).unwrap_or(STEPS[STEPS.len() - 1]);
        let mut ticks: Vec<Tick> = Vec::new();
        for piece in pieces() {
            let first = (piece.from - self.began).div_ceil(step);
            // Far fewer than these fit on an axis of any width.
            for tick in (first..).take(1_000) {
                let at = tick * step;
                if self.began + at > piece.to {
                    break;
                }
                let x = self.x(self.began + at);
                let is_free = ticks.last().is_none_or(|last| x >= last.x + self.scale.ticks * 3 / 4);
                // The label is to the right of the tick, and needs room before the line `now`.
                let is_free = is_free && self.now.is_none_or(|now| x + self.scale.ticks / 2 <= now);
                let is_free = is_free && !self.bands.iter().any(|band| (x..x + self.scale.ticks / 2).contains(&band.x));
                if is_free && x + self.scale.ticks / 2 <= self.scale.width {
                    ticks.push(Tick { x, at });
                }
            }
        }
        ticks
    }
}

impl Piece {
    fn band(&self) -> Band {
        let (x, end) = (self.x.round() as u32, (self.x + self.width).round() as u32);
        Band { x, width: end - x, length: self.to - self.from }
    }
}

impl Kind {
    /// Whether a stretch of this kind that has not ended reaches into the future: it has a deadline.
    pub(super) fn has_deadline(self) -> bool {
        matches!(self, Kind::Timer | Kind::Retry)
    }
}
