//! Bars, grids and axes as SVG, whose geometry is in attributes: the content security policy permits no inline style.

use std::time::Duration;

use maud::{Markup, html};

use crate::timeline::{Axis, Bar, Kind, Row, Scale, State};
use crate::web::time;

/// Hundredths of a percent.
pub(super) const SCALE: Scale = Scale { width: 10_000, least: 70, ticks: 1_300 };

/// A place on the axis as a percentage.
pub(super) fn percent(units: u32) -> String {
    format!("{}.{:02}%", units / 100, units % 100)
}

/// A duration in two units at most, with tenths of short seconds.
pub(super) fn span(milliseconds: u64) -> String {
    match milliseconds {
        0 => "0\u{a0}s".to_owned(),
        1_000..10_000 if milliseconds % 1_000 >= 50 => {
            format!("{}.{}\u{a0}s", milliseconds / 1_000, milliseconds % 1_000 / 100)
        }
        60_000..3_600_000 if milliseconds < 600_000 && milliseconds % 60_000 >= 1_000 => {
            format!("{}\u{a0}min\u{a0}{:02}", milliseconds / 60_000, milliseconds % 60_000 / 1_000)
        }
        _ => time::span(Duration::from_millis(milliseconds)),
    }
}

/// A duration in its largest unit, for a narrow place.
fn short(milliseconds: u64) -> String {
    let (unit, name) = match milliseconds {
        0..1_000 => (1, "ms"),
        1_000..60_000 => (1_000, "s"),
        60_000..3_600_000 => (60_000, "min"),
        3_600_000..86_400_000 => (3_600_000, "h"),
        _ => (86_400_000, "d"),
    };
    format!("{}\u{a0}{name}", milliseconds / unit)
}

/// The patterns of the waits, once a page.
pub(super) fn patterns() -> Markup {
    html! {
        svg width="0" height="0" aria-hidden="true" {
            defs {
                pattern #h-time width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    path.hl d="M1 0v6" {}
                }
                pattern #h-person width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)" {
                    path.hp d="M1 0v6" {}
                }
                pattern #h-queue width="5" height="5" patternUnits="userSpaceOnUse" {
                    circle.hd cx="1.5" cy="1.5" r="1" {}
                    circle.hd cx="4" cy="4" r="1" {}
                }
            }
        }
    }
}

/// The class of a bar, or the pattern that fills it.
fn fill(kind: Kind) -> (Option<&'static str>, Option<&'static str>) {
    match kind {
        Kind::Work => (Some("work"), None),
        Kind::Failed => (Some("att"), None),
        Kind::Final => (Some("dead"), None),
        Kind::Child => (Some("past"), None),
        Kind::Timer | Kind::Retry => (None, Some("url(#h-time)")),
        Kind::Person => (None, Some("url(#h-person)")),
        Kind::Queue => (None, Some("url(#h-queue)")),
    }
}

fn rect(bar: &Bar, y: u32, height: u32) -> Markup {
    let (class, pattern) = fill(bar.kind);
    html! {
        rect class=[class] fill=[pattern] x=(percent(bar.x)) width=(percent(bar.width)) y=(y) height=(height) rx="2" {}
        @if bar.is_open && pattern.is_some() {
            rect.box x=(percent(bar.x)) width=(percent(bar.width)) y=(y) height=(height) rx="2" {}
        }
    }
}

/// What the bars of a row show, in words.
fn described(row: &Row<'_>, axis: &Axis) -> String {
    let count = row.calls.len();
    let attempts: usize = row.calls.iter().map(|call| call.attempts.len()).max().unwrap_or_default();
    let from = span(row.began().saturating_sub(axis.began));
    let took = row.ended().map(|ended| ended.saturating_sub(row.began()));
    let side = if count > 1 { format!("{count} side by side, ") } else { String::new() };
    let tries = if count == 1 && attempts > 1 { format!(", {attempts} attempts") } else { String::new() };
    match took {
        Some(took) => format!("{side}from {from}, {}{tries}", span(took)),
        None => format!("{side}from {from}, not ended{tries}"),
    }
}

/// The bars of a row. With `is_coarse` only one a lane, so that a page has a bounded size.
pub(super) fn row(row: &Row<'_>, axis: &Axis, is_coarse: bool) -> Markup {
    let thin = row.lanes.len() > 1;
    let here = row.calls.iter().any(|call| call.state == State::Active && call.run.is_none());
    html! {
        svg.bars width="100%" height="24" role="img" aria-label=(described(row, axis)) {
            @for (lane, y) in row.lanes.iter().zip((4..).step_by(3)) {
                @if is_coarse {
                    @if let (Some(first), Some(last), Some(kind)) = (lane.first(), lane.last(), lane.iter().map(|bar| bar.kind).max()) {
                        (rect(&Bar { x: first.x, width: last.x + last.width - first.x, kind, is_open: last.is_open }, if thin { y } else { 7 }, if thin { 2 } else { 10 }))
                    }
                } @else {
                    @for bar in lane {
                        @if thin { (rect(bar, y, 2)) }
                        @else if bar.kind == Kind::Child { (rect(bar, 10, 4)) }
                        @else { (rect(bar, 7, 10)) }
                    }
                }
            }
            @if let Some(now) = axis.now.filter(|_| here) { circle.work.pulse cx=(percent(now)) cy="12" r="4" {} }
        }
    }
}

/// The lines behind all rows: ticks, stretches that are left out, and the present.
pub(super) fn grid(axis: &Axis) -> Markup {
    html! {
        @for band in &axis.bands {
            rect.gap x=(percent(band.x)) width=(percent(band.width)) height="100%" {}
            @for x in [band.x, band.x + band.width] { line.brk x1=(percent(x)) x2=(percent(x)) y1="0" y2="100%" {} }
        }
        @for tick in &axis.ticks { line.tick x1=(percent(tick.x)) x2=(percent(tick.x)) y1="0" y2="100%" {} }
        @if let Some(now) = axis.now { line.now x1=(percent(now)) x2=(percent(now)) y1="0" y2="100%" {} }
    }
}

/// The labels of the axis.
pub(super) fn labels(axis: &Axis) -> Markup {
    html! {
        svg.axis width="100%" height="16" aria-hidden="true" {
            @for tick in &axis.ticks { text x=(percent(tick.x)) y="12" dx="3" { (span(tick.at)) } }
            @for band in &axis.bands {
                text x=(percent(band.x + band.width / 2)) y="12" text-anchor="middle" { (short(band.length)) }
            }
            @if let Some(now) = axis.now { text x=(percent(now)) y="12" dx="4" { "now" } }
        }
        span.sr { "Time axis" }
    }
}

/// What the fills mean.
pub(super) fn legend() -> Markup {
    let sample = |class: Option<&str>, pattern: Option<&str>| {
        html! { svg width="22" height="10" aria-hidden="true" { rect class=[class] fill=[pattern] width="22" height="10" rx="2" {} } }
    };
    html! {
        ul.row.legend aria-label="Legend" {
            li { (sample(Some("work"), None)) "executes" }
            li { (sample(Some("att"), None)) "failed attempt" }
            li { (sample(Some("dead"), None)) "final failure" }
            li { (sample(None, Some("url(#h-time)"))) "waits for time or a retry" }
            li { (sample(None, Some("url(#h-person)"))) "waits for a person or a payload" }
            li { (sample(None, Some("url(#h-queue)"))) "waits in a queue" }
            li { svg width="22" height="10" aria-hidden="true" { rect.past width="22" height="4" y="3" rx="1" {} } "another run" }
            li { (sample(Some("gap brk"), None)) "idle time left out" }
        }
    }
}
