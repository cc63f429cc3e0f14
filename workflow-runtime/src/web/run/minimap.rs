//! The whole run at a glance: its rows, or, of a long run, how much was called when.

use futures_util::{StreamExt, TryStreamExt, stream};
use maud::{Markup, html};

use super::bars::{self, percent};
use super::source::{Source, begins};
use crate::timeline::{Axis, Collected, Kind, Timeline, milliseconds};
use crate::web::error::WebError;
use crate::web::query::Query;
use crate::web::text::number;
use crate::web::visit::Visit;

/// Rows that have a line of their own; more share lines.
const LINES: usize = 24;
/// Turns that are read of a long journal, evenly spaced, and how many at the same time.
const SAMPLES: u64 = 96;
const READS: usize = 8;
const HEIGHT: u32 = 58;
/// A stretch in which calls were so much rarer than in most is idle.
const RARE: f64 = 20.0;

/// The rows of a run that is shown as a whole.
pub(super) fn of_rows(timeline: &Timeline<'_>) -> Markup {
    let axis = &timeline.axis;
    let count = timeline.rows.len();
    // Few rows are apart, so that they fill the height.
    let apart = if count <= LINES / 3 { 6 } else { 2 };
    let y = |at: usize| 4 + apart * u32::try_from(at * LINES / count.max(LINES)).unwrap_or_default();
    let class = |kind: Kind| match kind {
        Kind::Work => Some("work"),
        Kind::Failed => Some("att"),
        Kind::Final => Some("dead"),
        Kind::Child => Some("past"),
        _ => None,
    };
    html! {
        svg.mini width="100%" height=(HEIGHT) role="img" aria-label=(format!("The whole run: {count} rows in {}", bars::span(axis.end() - axis.began))) {
            (bars::grid(axis))
            @for (at, row) in timeline.rows.iter().enumerate() {
                @for bar in row.lanes.first().into_iter().flatten().take(12) {
                    rect class=[class(bar.kind)] fill=[class(bar.kind).is_none().then_some("url(#h-time)")]
                        x=(percent(bar.x)) width=(percent(bar.width)) y=(y(at)) height=(if apart > 2 { "3" } else { "2" }) {}
                }
            }
        }
    }
}

/// A turn of a long journal: when it was, and the first call in it or after it.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: u64,
    calls: u64,
}

async fn sample(visit: &Visit, source: &Source, row: u64) -> Result<Option<Sample>, WebError> {
    let mut part = source.part(row).near();
    // Most turns of a long run issue a call; of one that does not, the next ones are looked at.
    for _ in 0..32 {
        let Some(turn) = visit.client.inner().next_turn(&mut part).await? else { break };
        let found = turn.events.iter().find_map(|event| begins(event).map(|operation| (event, operation)));
        if let Some((event, calls)) = found {
            return Ok(Some(Sample { at: milliseconds(event.at), calls }));
        }
    }
    Ok(None)
}

/// A stretch between two samples.
struct Stretch {
    from: Sample,
    to: Sample,
}

impl Stretch {
    fn length(&self) -> u64 {
        self.to.at.saturating_sub(self.from.at)
    }

    fn calls(&self) -> u64 {
        self.to.calls.saturating_sub(self.from.calls)
    }

    /// Milliseconds for a call.
    fn pace(&self) -> f64 {
        self.length() as f64 / self.calls().max(1) as f64
    }
}

/// The stretches, and the axis on which those that are idle are short.
fn axis_of(stretches: &[Stretch], began: u64, end: u64) -> Axis {
    let mut paces: Vec<f64> = stretches.iter().map(Stretch::pace).collect();
    paces.sort_by(f64::total_cmp);
    let median = paces.get(paces.len() / 2).copied().unwrap_or_default().max(1.0);
    let busy = stretches.iter().filter(|stretch| stretch.pace() <= median * RARE);
    let work = busy.map(|stretch| (stretch.from.at, stretch.to.at)).collect();
    Axis::from_work(work, began, end.max(began), f64::from(bars::SCALE.width), bars::SCALE)
}

/// How much was called when, with the window, and a form that moves it.
pub(super) async fn of_run(
    visit: &Visit,
    source: &Source,
    query: &Query,
    collected: &Collected,
) -> Result<Markup, WebError> {
    let rows = (0..SAMPLES).map(|at| at * source.turns / SAMPLES);
    let mut samples: Vec<Sample> = stream::iter(rows.map(|row| sample(visit, source, row)))
        .buffered(READS)
        .try_filter_map(async |sample| Ok(sample))
        .try_collect()
        .await?;
    let end = match (source.info.completed_at, source.is_current()) {
        (Some(ended), true) => milliseconds(ended),
        (None, true) => milliseconds(visit.now),
        _ => collected.last,
    };
    samples.dedup_by_key(|sample| sample.calls);
    let last = Sample { at: end.max(samples.last().map_or(0, |last| last.at)), calls: source.calls };
    let ends = samples.iter().skip(1).chain([&last]);
    let stretches: Vec<Stretch> = samples.iter().zip(ends).map(|(from, to)| Stretch { from: *from, to: *to }).collect();
    let began = samples.first().map_or(collected.began, |first| first.at);
    let axis = axis_of(&stretches, began, last.at);
    let fastest = stretches.iter().map(|stretch| 1.0 / stretch.pace().max(0.001)).fold(f64::MIN_POSITIVE, f64::max);
    let height = |stretch: &Stretch| {
        let part = (1.0 / stretch.pace().max(0.001) / fastest).sqrt();
        ((f64::from(HEIGHT - 8) * part).round() as u32).clamp(2, HEIGHT - 8)
    };
    let query = query.clone().without("to").without("row").without("errors");
    let window = (collected.calls.first(), collected.calls.last());
    Ok(html! {
        svg.mini width="100%" height=(HEIGHT) role="group" aria-label=(format!("The whole run: {} calls in {}", number(source.calls), bars::span(axis.end() - axis.began))) {
            @for band in &axis.bands { rect.gap x=(percent(band.x)) width=(percent(band.width)) height="100%" {} }
            @for stretch in &stretches {
                @let (x, end, high) = (axis.x(stretch.from.at), axis.x(stretch.to.at), height(stretch));
                a href=(query.clone().with("from", &stretch.from.calls.to_string()).to("run"))
                    aria-label=(format!("{} calls from {}", number(stretch.calls()), number(stretch.from.calls))) {
                    rect.vol x=(percent(x)) width=(percent(end.saturating_sub(x).max(40))) y=(HEIGHT - 4 - high) height=(high) {}
                }
            }
            @if let (Some(first), Some(last)) = window {
                @let (x, end) = (axis.x(first.began), axis.x(last.ended.unwrap_or(collected.last.max(last.began))));
                rect.window x=(percent(x.min(9_930))) width=(percent(end.saturating_sub(x).clamp(70, 10_000))) y="1" height=(HEIGHT - 2) {}
            }
            @for band in &axis.bands { text x=(percent(band.x + band.width / 2)) y="14" text-anchor="middle" { (bars::span(band.length)) } }
        }
        @let first = collected.before;
        @let last = first + u64::try_from(collected.calls.len()).unwrap_or_default().saturating_sub(1);
        form.window action="run" {
            @for (name, value) in query.without("from").pairs() { input type="hidden" name=(name) value=(value); }
            span.sm { "Calls " (number(first)) " to " (number(last)) " of " (number(source.calls)) }
            label.sm { "from " input type="range" name="from" min="0" max=(source.calls.saturating_sub(1)) value=(first); }
            label.sm { "to " input type="range" name="to" min="0" max=(source.calls.saturating_sub(1)) value=(last); }
            button.btn.tiny { "Show" }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_with_few_calls_is_short_on_the_axis() {
        let at = |at, calls| Sample { at, calls };
        let samples = [at(0, 0), at(1_000, 1_000), at(2_000, 2_000), at(9_000_000, 2_001), at(9_001_000, 3_000)];
        let stretches: Vec<Stretch> = samples.windows(2).map(|pair| Stretch { from: pair[0], to: pair[1] }).collect();
        let axis = axis_of(&stretches, 0, 9_001_000);
        let [band] = axis.bands[..] else { panic!("{axis:?}") };
        assert_eq!(band.length, 9_000_000 - 2_000);
        assert!(axis.x(2_000) > 5_000, "two thirds of the calls have most of the axis");
    }
}
