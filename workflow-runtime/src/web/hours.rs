//! The last 24 hours: the runs that have ended in each, and the recorded counts of those that had not ended.

use std::time::Duration;

use maud::{Markup, html};

use super::error::WebError;
use super::survey::Survey;
use super::text::number;
use super::visit::Visit;
use crate::engine::hour;
use crate::model::{Figure, RunInfo, Status};
use crate::store::HourCount;

const HOURS: usize = 24;
/// The newest runs that have ended, for the bars.
const ENDED_MAX: usize = 2_000;

/// A count for each hour, the earliest first; `None` if it is not known.
type Counts = [Option<u64>; HOURS];

/// The newest runs that have ended in the last 24 hours.
pub(super) async fn ended(visit: &Visit) -> Result<Vec<RunInfo>, WebError> {
    let since = visit.now - Duration::from_secs(HOURS as u64 * 3_600);
    let (mut ended, mut after) = (Vec::new(), None);
    loop {
        let query = [Status::Completed, Status::Failed, Status::Cancelled].into_iter();
        let query = query.fold(visit.client.runs(), |runs, status| runs.status(status)).limit(500);
        let page = match after {
            Some(after) => query.after(after).await?,
            None => query.await?,
        };
        // They are ordered by their creation: one that was created earlier may have ended later.
        let looked = page.runs.len();
        ended.extend(page.runs.into_iter().filter(|info| info.completed_at.is_some_and(|at| at >= since)));
        after = page.next;
        if after.is_none() || ended.len() >= ENDED_MAX || looked == 0 {
            return Ok(ended);
        }
        if ended.len() < looked / 2 {
            return Ok(ended);
        }
    }
}

/// Whether more runs have ended than [`ended`] has read, so that the earlier hours lack some.
pub(super) fn is_part(ended: &[RunInfo]) -> bool {
    ended.len() >= ENDED_MAX
}

/// The runs that have ended in an hour.
#[derive(Clone, Copy, Default)]
struct Hour {
    all: u64,
    failed: u64,
    completed: u64,
}

/// The runs that have ended in each hour.
pub(super) struct Ends {
    hours: [Hour; HOURS],
    is_part: bool,
}

impl Ends {
    pub fn of(visit: &Visit, ended: &[RunInfo]) -> Self {
        let mut hours = [Hour::default(); HOURS];
        for info in ended {
            let Some(ago) = info.completed_at.and_then(|at| visit.now.duration_since(at).ok()) else { continue };
            let hours_ago = usize::try_from(ago.as_secs() / 3_600).unwrap_or(usize::MAX);
            let place = (HOURS - 1).checked_sub(hours_ago);
            if let Some(hour) = place.and_then(|place| hours.get_mut(place)) {
                hour.all += 1;
                hour.failed += u64::from(info.status == Status::Failed);
                hour.completed += u64::from(info.status == Status::Completed);
            }
        }
        Ends { hours, is_part: is_part(ended) }
    }

    /// The number of the last hour, and a line for all hours if they are known.
    pub fn failed(&self) -> (Markup, Markup) {
        self.trend(|hour| hour.failed, "failed")
    }

    /// The same of the runs that have completed.
    pub fn completed(&self) -> (Markup, Markup) {
        self.trend(|hour| hour.completed, "completed")
    }

    fn trend(&self, count: impl Fn(&Hour) -> u64, word: &str) -> (Markup, Markup) {
        let counts = self.hours.each_ref().map(count);
        let last = html! { (number(counts[HOURS - 1])) " in the last hour" };
        let line = match self.is_part {
            true => html! {},
            false => line(&counts.map(Some), &format!("Runs that have {word}")),
        };
        (last, line)
    }

    /// The ends of all hours, as bars.
    pub fn bars(&self) -> Markup {
        let Ends { hours, is_part } = self;
        let most = hours.iter().map(|hour| hour.all).max().unwrap_or_default().max(1);
        let height = |count: u64| (count * 100).div_ceil(most);
        html! {
            section data-live="hours" {
                header { h2 { "Ended, by hour" } span.dim.sm { "blue: all, red: failed; the highest bar is " (number(most)) @if *is_part { "; only the newest " (number(ENDED_MAX as u64)) " runs" } } }
                svg.hours viewBox="0 0 720 104" preserveAspectRatio="none" role="img" aria-label="Runs that have ended in each of the last 24 hours" {
                    line x1="0" x2="720" y1="103.5" y2="103.5" {}
                    @for (hour, Hour { all, failed, .. }) in hours.iter().enumerate() {
                        @let (x, high) = (hour * 30 + 3, height(*all));
                        rect x=(x) y=(103 - high) width="24" height=(high) rx="2" { title { (all) " ended, " (failed) " failed" } }
                        @if *failed > 0 { @let high = height(*failed).max(3); rect.bad x=(x) y=(103 - high) width="24" height=(high) rx="2" {} }
                    }
                }
                div.scale { span { "24 h ago" } span { "12 h ago" } span { "now" } }
            }
        }
    }
}

/// The recorded counts since an hour.
pub(super) struct Recorded {
    first: u64,
    counts: Vec<HourCount>,
}

/// The recorded counts of the last hours.
pub(super) async fn recorded(visit: &Visit) -> Result<Recorded, WebError> {
    let inner = visit.client.inner();
    let first = hour(inner.store_time()).saturating_sub(HOURS as u64 - 1);
    Ok(Recorded { first, counts: inner.hour_counts(first).await? })
}

/// The figures of the runs that had not ended, for each hour.
pub(super) struct Figures {
    /// In the order of [`Figure::ALL`].
    counts: [Counts; Figure::ALL.len()],
}

impl Figures {
    /// The recorded counts, and the present ones in place of those of this hour. An hour in which no engine has executed has none.
    pub fn of(recorded: &Recorded, survey: &Survey) -> Self {
        let mut counts = [[None; HOURS]; Figure::ALL.len()];
        for HourCount { hour, figure, runs } in &recorded.counts {
            let place = hour.checked_sub(recorded.first).and_then(|place| usize::try_from(place).ok());
            if let Some(count) = place.and_then(|place| counts[*figure as usize].get_mut(place)) {
                *count = Some(*runs);
            }
        }
        for figure in Figure::ALL {
            counts[figure as usize][HOURS - 1] = Some(survey.figure(figure));
        }
        Figures { counts }
    }

    /// The highest count of a figure, if an earlier one is known.
    pub fn most(&self, figure: Figure) -> Option<u64> {
        let counts = &self.counts[figure as usize];
        counts[..HOURS - 1].iter().any(Option::is_some).then(|| counts.iter().flatten().copied().max())?
    }

    /// A line for all hours, with gaps at those that have no count; nothing if no earlier count is known.
    pub fn line(&self, figure: Figure) -> Markup {
        let what = match figure {
            Figure::Running => "Runs that were running",
            Figure::Failing => "Runs that were failing",
            Figure::Waiting => "Runs that were waiting",
            Figure::Stuck => "Runs that were stuck",
        };
        match self.most(figure) {
            Some(_) => line(&self.counts[figure as usize], what),
            None => html! {},
        }
    }
}

/// A line of the counts, from the first hour to the last one.
fn line(counts: &Counts, what: &str) -> Markup {
    let most = counts.iter().flatten().copied().max().unwrap_or_default();
    if most == 0 {
        return html! {};
    }
    let mut parts: Vec<Vec<(usize, u64)>> = vec![Vec::new()];
    for (hour, count) in counts.iter().enumerate() {
        match (count, parts.last_mut()) {
            (Some(count), Some(part)) => part.push((hour * 10, 22 - count * 20 / most)),
            _ => parts.push(Vec::new()),
        }
    }
    let points = |part: &[(usize, u64)]| match *part {
        // An hour between two gaps.
        [(x, y)] => format!("{},{y} {},{y}", x.saturating_sub(3), x + 3),
        _ => part.iter().map(|(x, y)| format!("{x},{y}")).collect::<Vec<_>>().join(" "),
    };
    let unknown = counts.iter().filter(|count| count.is_none()).count();
    let label = match unknown {
        0 => format!("{what} in each of the last 24 hours"),
        1 => format!("{what} in each of the last 24 hours, of which 1 has no count"),
        _ => format!("{what} in each of the last 24 hours, of which {unknown} have no count"),
    };
    html! {
        svg.trend viewBox="0 0 230 24" preserveAspectRatio="none" role="img" aria-label=(label) {
            @for part in parts.iter().filter(|part| !part.is_empty()) { polyline points=(points(part)) {} }
        }
    }
}
