//! Writes that are sent again until the store takes them.

use crate::error::Error;
use crate::store::Failed;

/// The engine that sends a write.
pub trait Sender {
    /// Whether no write is sent again: the engine is closed, is shutting down, or cannot write any more because of this error.
    fn gives_up_after(&self, error: &Error) -> bool;

    /// Whether the engine executes under this number.
    fn is_owner(&self, owner: u64) -> bool;

    /// Waits before a write is sent again. Returns false at once if the engine is closed in the meantime.
    fn before_next_attempt(&self) -> impl Future<Output = bool> + Send;
}

/// What is written.
pub struct Sent<'a> {
    pub run: &'a str,
    /// For the log: "the store does not take {what}".
    pub what: &'static str,
    /// The owner that the write names, if the store refuses the write once the run has another one.
    pub owner: Option<u64>,
}

/// The answer of the store.
#[derive(Debug, PartialEq)]
pub struct Taken<A> {
    pub answer: A,
    /// Whether the write was sent more than once: an earlier one may have been committed.
    pub again: bool,
}

/// Why a write is not sent again that the store has not taken. The write may have been committed if the last failure is in
/// doubt.
#[derive(Debug)]
pub enum GivenUp {
    /// The engine is closed or is shutting down.
    Closed(Failed),
    /// The engine has lost the right to execute under which the write was made: the store would refuse the write.
    Lost(Failed),
}

/// Sends a write until the store answers it, whatever the answer is, with a pause after each failure. Stops before that only
/// if the engine closes ([`GivenUp::Closed`]) or has another owner number than the write ([`GivenUp::Lost`]). Both are
/// checked after a failure: each write is sent at least once. The pause ends early if the engine ends.
///
/// `send` must send the same write each time, so that the store recognises one that it has committed before.
pub async fn until_taken<A, F>(
    engine: &impl Sender,
    sent: Sent<'_>,
    mut send: impl FnMut() -> F,
) -> Result<Taken<A>, GivenUp>
where
    F: Future<Output = Result<A, Failed>>,
{
    let mut again = false;
    loop {
        let failed = match send().await {
            Ok(answer) => return Ok(Taken { answer, again }),
            Err(failed) => failed,
        };
        if engine.gives_up_after(&failed.error) {
            return Err(GivenUp::Closed(failed));
        }
        if sent.owner.is_some_and(|owner| !engine.is_owner(owner)) {
            return Err(GivenUp::Lost(failed));
        }
        if !std::mem::replace(&mut again, true) {
            let Sent { run, what, .. } = sent;
            tracing::error!(run, error = ?failed.error, "the store does not take {what}; it is sent again until it does");
        }
        if !engine.before_next_attempt().await {
            return Err(GivenUp::Closed(failed));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::error::Code;

    /// An engine that counts its pauses.
    #[derive(Default)]
    struct Engine {
        owner: AtomicU64,
        pauses: AtomicUsize,
        /// The number of the pause in which the engine ends.
        ends: Option<usize>,
        /// The number of the pause in which the engine loses the right to execute.
        loses: Option<usize>,
    }

    impl Sender for Engine {
        fn gives_up_after(&self, error: &Error) -> bool {
            error.code() == Code::Closed
        }

        fn is_owner(&self, owner: u64) -> bool {
            self.owner.load(Relaxed) == owner
        }

        async fn before_next_attempt(&self) -> bool {
            let pause = Some(self.pauses.fetch_add(1, Relaxed) + 1);
            if pause == self.loses {
                self.owner.fetch_add(1, Relaxed);
            }
            pause != self.ends
        }
    }

    fn failed(code: Code) -> Failed {
        Failed::new(Error::coded(code, "the disk is full"), false, false)
    }

    /// Sends a write that the store takes after `failures`. Returns how it ended, and how often it was sent.
    async fn send(
        engine: &Engine,
        owner: Option<u64>,
        failures: usize,
    ) -> (Result<Taken<&'static str>, GivenUp>, usize) {
        let calls = Cell::new(0);
        let sent = until_taken(engine, Sent { run: "r", what: "a write", owner }, || {
            calls.set(calls.get() + 1);
            std::future::ready(if calls.get() > failures { Ok("done") } else { Err(failed(Code::Store)) })
        });
        (sent.await, calls.get())
    }

    #[tokio::test]
    async fn a_write_is_sent_until_the_store_takes_it() {
        for failures in 0..5 {
            let engine = Engine::default();
            let (sent, calls) = send(&engine, Some(0), failures).await;
            assert_eq!(sent.expect("it is taken"), Taken { answer: "done", again: failures > 0 });
            assert_eq!((calls, engine.pauses.load(Relaxed)), (failures + 1, failures));
        }
    }

    #[tokio::test]
    async fn a_write_is_not_sent_again_by_an_engine_that_ends_in_the_pause() {
        let engine = Engine { ends: Some(2), ..Engine::default() };
        let (sent, calls) = send(&engine, Some(0), 9).await;
        assert!(matches!(sent, Err(GivenUp::Closed(failed)) if failed.error.code() == Code::Store));
        assert_eq!(calls, 2);
    }

    #[tokio::test]
    async fn a_write_is_not_sent_again_after_an_error_that_closes_the_engine() {
        let (engine, mut calls) = (Engine::default(), 0);
        let sent = until_taken::<(), _>(&engine, Sent { run: "r", what: "a write", owner: None }, || {
            calls += 1;
            std::future::ready(Err(failed(Code::Closed)))
        });
        assert!(matches!(sent.await, Err(GivenUp::Closed(_))));
        assert_eq!((calls, engine.pauses.load(Relaxed)), (1, 0));
    }

    #[tokio::test]
    async fn a_write_under_a_right_that_was_lost_is_not_sent_again_and_any_other_write_is() {
        let engine = || Engine { loses: Some(2), ..Engine::default() };
        let (sent, calls) = send(&engine(), Some(0), 4).await;
        assert!(matches!(sent, Err(GivenUp::Lost(failed)) if failed.error.code() == Code::Store));
        assert_eq!(calls, 3);
        let (sent, calls) = send(&engine(), None, 4).await;
        assert_eq!((sent.expect("it is taken").again, calls), (true, 5));
    }
}
