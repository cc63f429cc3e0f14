//! The tree of a run: its steps, waits and children, as lines, with a column of bars.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::table::Paint;
use super::trace;
use crate::model::{Attempt, RunInfo, rfc3339};
use crate::steering::text::{safe, shortened};
use crate::steering::time::{relative, short};
use crate::timeline::{Axis, Bar, Branch, Call, Collected, Kind, Row, Scale, State, Timeline, milliseconds};

/// The bars have a column of so many characters.
pub(super) const SCALE: Scale = Scale { width: 32, least: 1, ticks: 6 };

impl State {
    fn mark(self) -> (&'static str, Paint) {
        match self {
            State::Active => ("●", Paint::Busy),
            State::Retrying => ("↻", Paint::Bad),
            State::Waiting => ("…", Paint::Plain),
            State::Done => ("✓", Paint::Good),
            State::Failed => ("✗", Paint::Bad),
            State::Dropped => ("–", Paint::Quiet),
        }
    }
}

impl Kind {
    fn letter(self) -> (char, Paint) {
        match self {
            Kind::Work => ('█', Paint::Busy),
            Kind::Failed => ('▒', Paint::Bad),
            Kind::Final => ('▓', Paint::Bad),
            Kind::Timer => ('─', Paint::Quiet),
            Kind::Retry => ('╌', Paint::Quiet),
            Kind::Person => ('·', Paint::Plain),
            Kind::Queue => ('┄', Paint::Plain),
            Kind::Child => ('━', Paint::Plain),
        }
    }
}

/// How a tree is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// In milliseconds since 1970.
    pub now: u64,
    /// Whether times are shown as they are, and not how long ago they were.
    pub is_iso: bool,
    pub color: bool,
    pub raw: bool,
}

const DETAIL_CHARACTERS: usize = 120;

fn time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

/// The lines of a tree: that of the run, and those of its calls. There are bars if there is a call.
pub(super) fn lines(info: &RunInfo, calls: &Collected, timeline: &Timeline<'_>, look: Look) -> Vec<String> {
    let label = format!("{} {}", info.workflow, info.id);
    let (began, ended) = (milliseconds(info.created_at), info.completed_at.map(milliseconds));
    let root = line(trace::state(info.status), &label, info.status.as_str(), (began, ended), look);
    if timeline.rows.is_empty() {
        return vec![root];
    }
    let head = Paint::Quiet.on(&labels(&timeline.axis), look.color);
    let mut lines = vec![format!("{head}  {root}")];
    let blank = " ".repeat(width());
    if calls.before > 0 {
        lines.push(format!("{blank}  ├─ ▸ {} branches that are over", calls.before));
    }
    let mut indents: Vec<bool> = Vec::new();
    for (at, row) in timeline.rows.iter().enumerate() {
        let after = &timeline.rows[at + 1..];
        let next = after.iter().find(|next| next.depth <= row.depth);
        let is_last = next.is_none_or(|next| next.depth < row.depth);
        indents.truncate(row.depth);
        let mut pad: String = indents.iter().map(|is_last| if *is_last { "   " } else { "│  " }).collect();
        let branch = if is_last { "└─ " } else { "├─ " };
        let bars = bars(row, &timeline.axis, look.color);
        lines.push(format!("{bars}  {pad}{branch}{}", call(row, look)));
        indents.push(is_last);
        if let [Branch { more: more @ 1.., children, .. }] = row.calls {
            pad.push_str(if is_last { "   " } else { "│  " });
            let branch = if children.is_empty() { "└─ " } else { "├─ " };
            lines.push(format!("{blank}  {pad}{branch}▸ {more} branches that are over"));
        }
    }
    lines
}

fn width() -> usize {
    usize::try_from(SCALE.width).unwrap_or_default()
}

/// The ticks of the axis and the lengths of what is left out of it, as a line.
fn labels(axis: &Axis) -> String {
    let label = |x: u32, text: String| (usize::try_from(x).unwrap_or_default(), text);
    let ticks = axis.ticks.iter().map(|tick| label(tick.x, short(Duration::from_millis(tick.at))));
    let bands = axis.bands.iter().map(|band| label(band.x, format!("…{}", short(Duration::from_millis(band.length)))));
    let now = axis.now.map(|now| label(now.min(SCALE.width - 3), "now".to_owned()));
    let mut labels: Vec<(usize, String)> = now.into_iter().chain(bands).chain(ticks).collect();
    let mut line = vec![' '; width()];
    for (x, text) in labels.drain(..) {
        let text: Vec<char> = text.replace(' ', "").chars().collect();
        let room = x.saturating_sub(1)..(x + text.len() + 1).min(line.len());
        // A label that would touch another one is left out.
        if x + text.len() <= line.len() && line[room].iter().all(|letter| *letter == ' ') {
            line[x..x + text.len()].copy_from_slice(&text);
        }
    }
    line.into_iter().collect()
}

/// The bars of a row, in one line: of several lanes the greatest kind is drawn.
fn bars(row: &Row<'_>, axis: &Axis, color: bool) -> String {
    let covers = |bar: &&Bar, x: u32| bar.x <= x && x < bar.x + bar.width;
    let cell = |x: u32| {
        let kind = row.lanes.iter().flatten().filter(|bar| covers(bar, x)).map(|bar| bar.kind).max();
        match kind {
            Some(kind) => kind.letter(),
            None if axis.now == Some(x) => ('│', Paint::Quiet),
            None => (' ', Paint::Plain),
        }
    };
    let mut line = String::new();
    let mut part: Option<(Paint, String)> = None;
    for (letter, paint) in (0..SCALE.width).map(cell) {
        match &mut part {
            Some((last, text)) if *last == paint => text.push(letter),
            _ => {
                line.extend(part.take().map(|(paint, text)| paint.on(&text, color)));
                part = Some((paint, letter.to_string()));
            }
        }
    }
    line.extend(part.map(|(paint, text)| paint.on(&text, color)));
    line
}

fn label(call: &Branch) -> String {
    let run = call.run.as_deref().unwrap_or_default();
    match &call.call {
        Call::Step { step, name: None } => format!("{step}({})", call.input),
        Call::Step { step, name: Some(name) } => format!("{step}({}) ({name})", call.input),
        Call::Child { workflow, .. } => format!("{workflow}({}) {run}", call.input),
        Call::Sleep { until } => format!("sleep until {}", rfc3339::format(time(*until))),
        Call::Hook { token } => format!("hook {token}"),
        Call::Suspend { label } => format!("suspend {label}"),
        Call::Run => format!("run {run}"),
    }
}

/// A call, or several that are folded.
fn call(row: &Row<'_>, look: Look) -> String {
    let Some(first) = row.calls.first() else { return String::new() };
    let times = (row.began(), row.ended());
    if let [call] = row.calls {
        let detail = match (call.state, call.attempts.last()) {
            (State::Retrying, Some(next)) => {
                let attempt = Attempt(next.number, call.attempts_max);
                format!("{attempt} at {}: {}", rfc3339::format(time(next.from)), call.detail)
            }
            _ => call.detail.clone(),
        };
        return line(call.state, &label(call), &detail, times, look);
    }
    let count = |state: fn(State) -> bool| row.calls.iter().filter(|call| state(call.state)).count();
    let (done, failed) = (count(|state| state == State::Done), count(|state| state == State::Failed));
    let state = match row.calls.iter().find(|call| !call.state.is_over()) {
        Some(open) => open.state,
        None if failed > 0 => State::Failed,
        None => State::Done,
    };
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    let text = format!("{} × {}", row.calls.len(), label(first));
    line(state, &text, &format!("{done} done{failed}"), times, look)
}

fn line(state: State, label: &str, detail: &str, (began, ended): (u64, Option<u64>), look: Look) -> String {
    let shown = |text: &str| if look.raw { text.to_owned() } else { safe(text).into_owned() };
    let (mark, paint) = state.mark();
    let took = match ended {
        Some(ended) => short(Duration::from_millis(ended.saturating_sub(began))),
        // What is now is that of the last event.
        None if look.is_iso => format!("since {}", rfc3339::format(time(began))),
        None => relative(time(began), time(look.now)),
    };
    let took = Paint::Quiet.on(&took, look.color);
    let detail = shortened(detail, DETAIL_CHARACTERS);
    let detail = if detail.is_empty() { detail } else { format!("  {}", shown(&detail)) };
    format!("{} {}{detail}  {took}", paint.on(mark, look.color), shown(label))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::{Schema, Status};
    use crate::timeline::{self, Place};

    fn branch(operation: u64, name: &str, kind: Kind, from: u64, to: Option<u64>) -> Branch {
        let call = Call::Step { step: name.into(), name: None };
        let mut branch = Branch::new(Place { generation: 0, operation }, call, String::new(), from, kind);
        branch.spans[0].to = to;
        (branch.ended, branch.state) = (to, if to.is_some() { State::Done } else { State::Active });
        branch
    }

    fn drawn(calls: Vec<Branch>, before: u64, now: u64) -> Vec<String> {
        let info = RunInfo {
            id: "order-1".into(),
            parent: None,
            generation: 0,
            workflow: "checkout".into(),
            status: Status::Running,
            created_at: UNIX_EPOCH,
            started_at: None,
            completed_at: None,
            wakes_at: None,
            failing_since: None,
            error: None,
            reason: None,
            schema: Schema,
        };
        let calls = Collected { calls, before, ..Collected::default() };
        let look = timeline::Look { now, scale: SCALE, unfolded: &BTreeSet::new() };
        lines(&info, &calls, &timeline::lay_out(&calls, look), Look { now, is_iso: false, color: false, raw: false })
    }

    #[test]
    fn bars_and_branches_are_beside_each_other() {
        let mut ship = branch(0, "ship", Kind::Work, 0, Some(4_000));
        ship.children = vec![branch(0, "pack", Kind::Work, 1_000, Some(2_000))];
        let lines = drawn(vec![ship, branch(1, "charge", Kind::Work, 4_000, None)], 0, 8_000);
        let expected = [
            "0ms    2s      4s     6s     now  ● checkout order-1  running  8s ago",
            "███████████████              │    ├─ ✓ ship()  4s",
            "    ███                      │    │  └─ ✓ pack()  1s",
            "               ██████████████│    └─ ● charge()  4s ago",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn branches_that_are_left_out_are_counted() {
        let lines = drawn(vec![branch(990, "s", Kind::Work, 0, Some(9))], 990, 9);
        assert!(lines[1].ends_with("  ├─ ▸ 990 branches that are over"), "{lines:?}");
        assert_eq!(drawn(Vec::new(), 0, 9), ["● checkout order-1  running  now"]);
    }
}
