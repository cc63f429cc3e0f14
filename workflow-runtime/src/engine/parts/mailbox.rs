//! The mailbox of a run in memory: what has arrived and is not delivered yet.

use std::collections::VecDeque;

use crate::codec::Payload;
use crate::definition::AttemptResult;
use crate::error::Error;
use crate::replay::{Event, Suspension};

/// An event of the run that is not delivered yet.
pub struct Arrival {
    /// When it happened; of a timer, its deadline. In milliseconds since 1970.
    pub at: u64,
    pub what: What,
}

pub enum What {
    /// An attempt of a step ended.
    Attempt { op: u64, result: AttemptResult },
    /// An attempt of a step ended by a request (see [`EarlyEnd`]), whatever its result.
    EndedEarly { op: u64, end: EarlyEnd },
    /// A timer is due, or the next attempt of a step is due.
    Due { op: u64 },
    /// A message of the inbox wakes a sleep.
    Woken { op: u64, message: u64 },
    /// The run has waited for as long as a run may wait in memory.
    Idle,
    /// A message of the inbox.
    Message { sequence: u64, event: Event },
    /// The waker of the workflow was called from outside the run.
    Alarm,
    /// A message of the inbox cannot be read.
    Fault(Error),
}

/// What an attempt of a step requests besides its result.
pub enum EarlyEnd {
    /// To be attempted again after it was resumed.
    Suspended(Suspension),
    /// To end the run with this result.
    Finished(Payload),
}

impl Arrival {
    /// By time; on a tie, a result precedes the timeout of its operation. The start of a run is first,
    /// whatever the clocks of the other senders say.
    pub fn order(&self) -> (u64, bool) {
        match self.what {
            // It also precedes a cancel, since it decides what is rolled back.
            What::Message { event: Event::Reopened { .. }, .. } => (0, false),
            What::Message { event: Event::Started { .. }, .. } => (1, false),
            _ => (self.at, matches!(self.what, What::Due { .. })),
        }
    }
}

/// How far the inbox was read.
#[derive(Clone, Copy, Default)]
pub struct InboxRead {
    /// [`RunRow::inbox_seq`](crate::store::RunRow::inbox_seq) when the inbox was read.
    pub inbox_seq: u64,
    /// The sequence of the last message.
    pub sequence: u64,
    /// The latest arrival time of the messages so far.
    pub at: u64,
}

impl InboxRead {
    /// Reads messages in the order of the inbox. They keep this order, whatever the clocks of their senders say.
    pub fn read(&mut self, messages: &mut [Arrival]) {
        for message in messages {
            if let What::Message { sequence, .. } = message.what {
                self.sequence = sequence;
            }
            self.at = self.at.max(message.at);
            message.at = self.at;
        }
    }
}

/// The arrivals of a run, and the state `D` to which one driver at a time delivers them. Each method is one step: what it
/// changes, a driver sees together.
pub struct Mailbox<D> {
    arrivals: VecDeque<Arrival>,
    /// Whether a driver is running, or will start.
    driven: bool,
    driver: Option<D>,
    closed: bool,
    inbox: InboxRead,
}

impl<D> Mailbox<D> {
    /// The mailbox of a run that is being activated. It accepts arrivals, and delivers nothing before [`start`](Mailbox::start).
    pub fn new(inbox: InboxRead) -> Self {
        Mailbox { arrivals: VecDeque::new(), driven: true, driver: None, closed: false, inbox }
    }

    /// Sets the state of the driver, and begins to deliver: first these arrivals, then those that were put during the
    /// activation. Returns whether a driver is to be started.
    #[must_use]
    pub fn start(&mut self, driver: D, arrivals: Vec<Arrival>) -> bool {
        self.driver = Some(driver);
        self.driven = false;
        self.put_back(arrivals.into());
        self.add([])
    }

    /// Adds arrivals. Returns whether a driver is to be started.
    #[must_use]
    pub fn add(&mut self, arrivals: impl IntoIterator<Item = Arrival>) -> bool {
        if self.closed {
            return false;
        }
        self.arrivals.extend(arrivals);
        // A driver that ends finds no arrivals: only one that is started now can deliver those of before.
        let starts = !self.driven && !self.arrivals.is_empty();
        self.driven |= starts;
        starts
    }

    /// Adds the messages of the inbox that were not received before. Returns whether a driver is to be started.
    #[must_use]
    pub fn receive(&mut self, inbox_seq: u64, messages: Vec<Arrival>) -> bool {
        if self.closed {
            return false;
        }
        let read = self.inbox.sequence;
        let is_new = |message: &Arrival| match message.what {
            What::Message { sequence, .. } => sequence > read,
            _ => true,
        };
        let mut new: Vec<Arrival> = messages.into_iter().filter(is_new).collect();
        // Together: a run that is to be evicted has either the messages or an older `inbox_seq`.
        self.inbox.inbox_seq = inbox_seq;
        self.inbox.read(&mut new);
        self.add(new)
    }

    /// Takes at most so many arrivals, in their order, with the state to deliver them to. `None` ends the driver; the next
    /// arrival starts another.
    pub fn take(&mut self, most: usize) -> Option<(D, VecDeque<Arrival>)> {
        if self.closed || self.arrivals.is_empty() {
            self.driven = false;
            // A run that waits keeps no buffer.
            self.arrivals = VecDeque::new();
            return None;
        }
        // Those of one time keep the order in which they were added.
        self.arrivals.make_contiguous().sort_by_key(Arrival::order);
        let rest = if self.arrivals.len() > most { self.arrivals.split_off(most) } else { VecDeque::new() };
        let arrivals = std::mem::replace(&mut self.arrivals, rest);
        Some((self.driver.take()?, arrivals))
    }

    /// Returns the state after a turn. Gives it back if the mailbox is closed: dropping it drops the workflow, whose code may
    /// add arrivals.
    #[must_use]
    pub fn put(&mut self, driver: D) -> Option<D> {
        if self.closed {
            return Some(driver);
        }
        self.driver.replace(driver)
    }

    /// Returns arrivals that were not delivered: they precede those that were added since.
    pub fn put_back(&mut self, mut arrivals: VecDeque<Arrival>) {
        arrivals.append(&mut self.arrivals);
        // Also if there are none: the next arrival then needs no other buffer.
        self.arrivals = arrivals;
    }

    /// [`InboxRead::inbox_seq`], if nothing is to be delivered.
    pub fn inbox_if_idle(&self) -> Option<u64> {
        (!self.closed && self.arrivals.is_empty()).then_some(self.inbox.inbox_seq)
    }

    /// Closes the mailbox and returns its arrivals.
    pub fn close_and_drain(&mut self) -> VecDeque<Arrival> {
        self.closed = true;
        std::mem::take(&mut self.arrivals)
    }

    /// Closes the mailbox. Returns the state, unless a driver has it, and the last [`InboxRead::inbox_seq`].
    pub fn close(&mut self) -> (Option<D>, u64) {
        self.closed = true;
        self.arrivals.clear();
        (self.driver.take(), self.inbox.inbox_seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::Reopening;

    fn payload(sequence: u64) -> Arrival {
        Arrival { at: 7, what: What::Message { sequence, event: Event::Payload { op: 0, value: Payload::null() } } }
    }

    fn reopened() -> Arrival {
        let event = Event::Reopened { seed: String::new(), reopening: Reopening::default() };
        Arrival { at: 9, what: What::Message { sequence: 1, event } }
    }

    fn result() -> Arrival {
        Arrival { at: 8, what: What::Attempt { op: 0, result: Ok(Payload::null()) } }
    }

    /// The sequences of the messages, in the order in which they are delivered; 0 is a result.
    fn taken(mailbox: &mut Mailbox<()>, most: usize) -> Vec<u64> {
        let (driver, arrivals) = mailbox.take(most).expect("there are arrivals");
        assert!(mailbox.put(driver).is_none());
        let sequence = |arrival: Arrival| match arrival.what {
            What::Message { sequence, .. } => sequence,
            _ => 0,
        };
        arrivals.into_iter().map(sequence).collect()
    }

    #[test]
    fn a_result_of_an_attempt_that_ends_during_the_activation_is_delivered_after_the_reopening() {
        let mut mailbox = Mailbox::new(InboxRead::default());
        assert!(!mailbox.add([result()]), "there is no state yet to which it can be delivered");
        assert!(mailbox.start((), vec![reopened()]));
        assert_eq!(taken(&mut mailbox, 9), [1, 0]);
    }

    #[test]
    fn a_run_is_not_evicted_before_the_messages_of_its_activation_are_delivered() {
        let mut mailbox = Mailbox::new(InboxRead { sequence: 1, at: 9, inbox_seq: 4 });
        assert!(!mailbox.add([Arrival { at: 0, what: What::Idle }]), "the timer of the eviction is due at once");
        assert!(mailbox.start((), vec![payload(1)]));
        assert_eq!(mailbox.inbox_if_idle(), None, "a release would count the message as read");
        assert_eq!(taken(&mut mailbox, 9), [0, 1]);
        assert_eq!(mailbox.inbox_if_idle(), Some(4));
    }

    #[test]
    fn messages_of_one_time_are_delivered_in_the_order_of_the_inbox() {
        let inbox = InboxRead { sequence: 3, at: 7, inbox_seq: 3 };
        let mut mailbox = Mailbox::new(inbox);
        assert!(!mailbox.receive(4, vec![payload(3), payload(4)]), "one arrives during the activation");
        assert!(mailbox.start((), vec![payload(2), payload(3)]));
        assert_eq!(taken(&mut mailbox, 9), [2, 3, 4]);

        assert!(!mailbox.receive(8, (5..9).map(payload).collect()), "a driver is running");
        let (driver, undelivered) = mailbox.take(2).expect("there are arrivals");
        mailbox.put_back(undelivered);
        assert!(mailbox.put(driver).is_none());
        assert_eq!(taken(&mut mailbox, 9), [5, 6, 7, 8]);
    }

    #[test]
    fn one_driver_is_started_at_a_time() {
        let mut mailbox = Mailbox::new(InboxRead::default());
        assert!(!mailbox.start((), Vec::new()), "there is nothing to deliver");
        assert!(mailbox.add([payload(1)]));
        assert!(!mailbox.add([payload(2)]), "the first one delivers both");
        assert_eq!(taken(&mut mailbox, 9), [1, 2]);
        assert!(mailbox.take(9).is_none(), "the driver ends");
        assert!(mailbox.add([payload(3)]));
        assert_eq!(mailbox.close().1, 0);
        assert!(!mailbox.add([payload(4)]), "nothing is delivered to a run that has left memory");
    }
}
