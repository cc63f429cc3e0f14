//! The system's clocks, which can be set forward.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;
use workflow_runtime::engine::{Environment, System};

/// The system's clocks, ahead by some milliseconds.
pub struct Clock(watch::Sender<u64>);

impl Default for Clock {
    fn default() -> Self {
        Clock(watch::channel(0).0)
    }
}

impl Clock {
    /// Lets this time pass at once.
    pub fn pass(&self, time: Duration) {
        self.0.send_modify(|ahead| *ahead += u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }

    fn ahead(&self) -> u64 {
        *self.0.borrow()
    }
}

impl Environment for Clock {
    fn now(&self) -> u64 {
        System.now() + self.ahead()
    }

    fn monotonic(&self) -> u64 {
        System.monotonic() + self.ahead()
    }

    fn sleep_until(&self, time: u64) -> BoxFuture<'static, ()> {
        let mut ahead = self.0.subscribe();
        Box::pin(async move {
            loop {
                let at = time.saturating_sub(*ahead.borrow_and_update());
                tokio::select! {
                    biased;
                    () = System.sleep_until(at) => return,
                    Ok(()) = ahead.changed() => {}
                }
            }
        })
    }

    fn fill(&self, bytes: &mut [u8]) {
        System.fill(bytes);
    }
}
