//! The tree of a run: its steps, waits and children, as lines.

use std::time::{Duration, SystemTime};

use super::table::Paint;
use super::text::{safe, shortened};
use super::time::{relative, short};

/// How far a branch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Active,
    Retrying,
    Waiting,
    Done,
    Failed,
    Dropped,
}

impl State {
    pub fn is_over(self) -> bool {
        matches!(self, State::Done | State::Failed | State::Dropped)
    }

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

/// A branch: what was called, how far it is, and what it has called in turn.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub label: String,
    pub state: State,
    pub detail: String,
    pub began: SystemTime,
    pub ended: Option<SystemTime>,
    pub children: Vec<Node>,
}

/// How a tree is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub now: SystemTime,
    /// Whether branches that are over are drawn with what they called.
    pub unfolded: bool,
    pub color: bool,
    pub raw: bool,
}

const DETAIL_CHARACTERS: usize = 120;
/// More ended branches in a row than these are one line.
const ENDED_MAX: usize = 20;

/// The lines of a tree.
pub(super) fn lines(root: &Node, look: Look) -> Vec<String> {
    let mut lines = vec![line(root, look)];
    below(root, "", look, &mut lines);
    lines
}

fn below(node: &Node, indent: &str, look: Look, lines: &mut Vec<String>) {
    let mut rows: Vec<Option<&Node>> = node.children.iter().map(Some).collect();
    let ended = node.children.iter().take_while(|child| child.state.is_over()).count();
    let folded = if look.unfolded || ended <= ENDED_MAX { 0 } else { ended - ENDED_MAX / 2 };
    if folded > 0 {
        rows.splice(..folded, [None]);
    }
    let count = rows.len();
    for (at, row) in rows.into_iter().enumerate() {
        let (branch, pad) = if at + 1 == count { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let Some(child) = row else {
            lines.push(format!("{indent}{branch}▸ {folded} branches that are over"));
            continue;
        };
        let is_folded = child.state.is_over() && !look.unfolded && !child.children.is_empty();
        let more = if is_folded { format!("  ▸ {} below", size(child)) } else { String::new() };
        lines.push(format!("{indent}{branch}{}{more}", line(child, look)));
        if !is_folded {
            below(child, &format!("{indent}{pad}"), look, lines);
        }
    }
}

fn size(node: &Node) -> usize {
    node.children.iter().map(|child| 1 + size(child)).sum()
}

fn line(node: &Node, look: Look) -> String {
    let shown = |text: &str| if look.raw { text.to_owned() } else { safe(text).into_owned() };
    let (mark, paint) = node.state.mark();
    let took = match node.ended {
        Some(ended) => short(ended.duration_since(node.began).unwrap_or(Duration::ZERO)),
        None => relative(node.began, look.now),
    };
    let took = Paint::Quiet.on(&took, look.color);
    let detail = shortened(&node.detail, DETAIL_CHARACTERS);
    let detail = if detail.is_empty() { detail } else { format!("  {}", shown(&detail)) };
    format!("{} {}{detail}  {took}", paint.on(mark, look.color), shown(&node.label))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn node(label: &str, state: State, children: Vec<Node>) -> Node {
        let ended = state.is_over().then_some(UNIX_EPOCH + Duration::from_secs(3));
        Node { label: label.into(), state, detail: String::new(), began: UNIX_EPOCH, ended, children }
    }

    #[test]
    fn branches_that_are_over_are_folded() {
        let child = node("ship", State::Done, vec![node("pack", State::Done, vec![])]);
        let root = node("checkout", State::Active, vec![child, node("charge", State::Retrying, vec![])]);
        let look = Look { now: UNIX_EPOCH + Duration::from_secs(9), unfolded: false, color: false, raw: false };
        let expected = ["● checkout  9s ago", "├─ ✓ ship  3s  ▸ 1 below", "└─ ↻ charge  9s ago"];
        assert_eq!(lines(&root, look), expected);
        assert_eq!(lines(&root, Look { unfolded: true, ..look })[2], "│  └─ ✓ pack  3s");
    }

    #[test]
    fn many_branches_that_are_over_are_one_line() {
        let many = (0..1_000).map(|n| node(&format!("s{n}"), State::Done, vec![])).collect();
        let look = Look { now: UNIX_EPOCH, unfolded: false, color: false, raw: false };
        let lines = lines(&node("w", State::Active, many), look);
        assert_eq!((lines.len(), lines[1].as_str()), (12, "├─ ▸ 990 branches that are over"));
    }
}
