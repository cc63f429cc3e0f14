//! A call of a run: what was called, and what its time was spent on.

use super::collect::Collected;

/// Where a call is in its run: the generation, and the number of the operation in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub generation: u64,
    pub operation: u64,
}

/// What a stretch of time is spent on. Of several in one place the greatest is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Another run executes it.
    Child,
    /// It waits for a worker of its queue.
    Queue,
    /// It waits for a time.
    Timer,
    /// It waits for the next attempt.
    Retry,
    /// It waits for a payload, or for a person.
    Person,
    /// An attempt is executed.
    Work,
    /// An attempt that failed, and was followed by another one.
    Failed,
    /// The attempt that failed last.
    Final,
}

impl Kind {
    /// Whether something is executed.
    pub fn is_work(self) -> bool {
        matches!(self, Kind::Work | Kind::Failed | Kind::Final)
    }
}

/// A stretch of time, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub kind: Kind,
    pub from: u64,
    /// Its end; `None` if it has not ended. A deadline is an end that may be in the future.
    pub to: Option<u64>,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
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
}

/// What was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Step {
        step: String,
        /// The name of the call, if it has one.
        name: Option<String>,
    },
    Child {
        workflow: String,
        detached: bool,
    },
    Sleep {
        until: u64,
    },
    Hook {
        token: String,
    },
    Suspend {
        label: String,
    },
    /// A wait for a run that was not started here; its id is that of [`Branch::run`].
    Run,
}

/// An attempt, which may not have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// From 1.
    pub number: u32,
    pub from: u64,
    pub to: Option<u64>,
    /// Its error, shortened.
    pub error: Option<String>,
}

/// A call, with what it has called in turn.
#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub place: Place,
    pub call: Call,
    /// Its arguments, the metadata of a hook, or the payload of a suspension, shortened.
    pub input: String,
    pub state: State,
    /// Its result, its error, or what it waits for, shortened.
    pub detail: String,
    /// The run that executes it: a child, or a step of a queue.
    pub run: Option<String>,
    /// Whether it undoes another call: the run was rolling back.
    #[cfg_attr(not(feature = "web"), expect(dead_code, reason = "the page shows it"))]
    pub undoes: bool,
    pub began: u64,
    pub ended: Option<u64>,
    /// The events at which it began and ended, counted from the first that was read: many events can have one time.
    pub events: (u64, Option<u64>),
    pub spans: Vec<Span>,
    /// The attempts of a step; the earlier ones of very many are left out.
    pub attempts: Vec<Attempt>,
    /// The greatest number of attempts, once one has failed.
    pub attempts_max: Option<u32>,
    pub children: Vec<Branch>,
    /// How many calls of the child are not among `children`.
    pub more: u64,
}

/// Spans and attempts of one call that are kept. Older spans are joined, older attempts left out.
const SPANS_MAX: usize = 128;
const ATTEMPTS_MAX: usize = 32;

impl Branch {
    pub fn new(place: Place, call: Call, input: String, began: u64, kind: Kind) -> Self {
        let (state, attempts) = match kind {
            Kind::Work => (State::Active, vec![Attempt { number: 1, from: began, to: None, error: None }]),
            Kind::Child => (State::Active, Vec::new()),
            _ => (State::Waiting, Vec::new()),
        };
        Branch {
            place,
            call,
            input,
            state,
            detail: String::new(),
            run: None,
            undoes: false,
            began,
            ended: None,
            events: (0, None),
            spans: vec![Span { kind, from: began, to: None }],
            attempts,
            attempts_max: None,
            children: Vec::new(),
            more: 0,
        }
    }

    /// Whether an attempt of it has failed.
    pub fn has_failed(&self) -> bool {
        self.state == State::Failed || self.attempts.iter().any(|attempt| attempt.error.is_some())
    }

    /// Ends the last span. A span that was to begin later (the next attempt, which was not waited for) begins now.
    pub(super) fn close(&mut self, at: u64) {
        let Some(last) = self.spans.last_mut() else { return };
        last.from = last.from.min(at);
        last.to = Some(at);
        for earlier in self.spans.iter_mut().rev().skip(1) {
            if earlier.to.is_none_or(|to| to <= at) {
                break;
            }
            (earlier.from, earlier.to) = (earlier.from.min(at), Some(at));
        }
        if let Some(attempt) = self.attempts.last_mut().filter(|attempt| attempt.to.is_none()) {
            (attempt.from, attempt.to) = (attempt.from.min(at), Some(at));
        }
    }

    /// Ends the last span as the failure of an attempt.
    pub(super) fn fail(&mut self, at: u64, kind: Kind, error: String) {
        self.close(at);
        if let Some(last) = self.spans.last_mut().filter(|last| last.kind == Kind::Work) {
            last.kind = kind;
        }
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.error = Some(error);
        }
    }

    pub(super) fn push(&mut self, kind: Kind, from: u64, to: Option<u64>) {
        if self.spans.len() == SPANS_MAX {
            let joined = self.spans.remove(1);
            self.spans[0].to = joined.to;
        }
        self.spans.push(Span { kind, from, to });
    }

    pub(super) fn attempt(&mut self, number: u32, from: u64) {
        if self.attempts.len() == ATTEMPTS_MAX {
            self.attempts.remove(0);
        }
        self.attempts.push(Attempt { number, from, to: None, error: None });
        self.push(Kind::Work, from, None);
    }

    /// Adds the calls of the run that executes it. A step of a queue has waited until that run began.
    pub fn unfold(&mut self, child: Collected, begun: Option<u64>) {
        if let (Call::Step { .. }, Some(span)) = (&self.call, self.spans.first().copied()) {
            let end = span.to;
            let begun = begun.map(|begun| begun.clamp(span.from, end.unwrap_or(u64::MAX)));
            self.spans = vec![Span { kind: Kind::Queue, to: begun.or(end), ..span }];
            self.spans.extend(begun.map(|from| Span { kind: Kind::Child, from, to: end }));
            if begun.is_none() && end.is_none() {
                self.state = State::Waiting;
            }
        }
        self.more = child.before + child.after;
        self.children = child.calls;
    }
}
