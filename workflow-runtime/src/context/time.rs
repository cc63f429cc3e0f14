//! The run's clock and its timers.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::durable::Durable;
use crate::replay::{Kind, Operation, current};
use crate::store::NEVER;

/// The current time: in a workflow, the time of the event it is handling, the same on each replay; elsewhere the system's.
///
/// In a workflow it has a resolution of a millisecond, never goes back, and does not change between two awaits.
///
/// ```
/// # use workflow_runtime::{Result, now, workflow};
/// # use std::time::SystemTime;
/// #[workflow]
/// async fn stamp() -> Result<SystemTime> {
///     Ok(now())
/// }
/// ```
pub fn now() -> SystemTime {
    match current() {
        Some(run) => UNIX_EPOCH + Duration::from_millis(run.now().min(NEVER)),
        None => SystemTime::now(),
    }
}

/// Waits for `duration`, counted from this call, across crashes and restarts.
///
/// The deadline is recorded; a run that was down at the deadline resumes as soon as it is up. Changing the duration in the
/// code does not change a sleep that has begun: the recorded deadline applies. [`Run::wake_up`](crate::Run::wake_up) ends it
/// early. Rounded up to a millisecond.
/// Dropping it cancels it. Outside a workflow it is tokio's sleep.
///
/// While the engine in which it was called is open, setting the system's clock neither shortens nor prolongs it; time
/// during which the machine is suspended counts. After a restart the recorded deadline is compared with the clock of the
/// store: the server's on PostgreSQL, otherwise the system's.
#[track_caller]
pub fn sleep(duration: Duration) -> Sleep {
    wait(duration, false)
}

/// A sleep, or the timer of a timeout (`bounds`): waking a run early ends sleeps only.
#[track_caller]
pub(super) fn wait(duration: Duration, bounds: bool) -> Sleep {
    let operation = Operation::new(Location::caller());
    let milliseconds = u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(NEVER);
    Sleep(match operation {
        Some(operation) => {
            let since = operation.run().now();
            let until = since.saturating_add(milliseconds).min(NEVER);
            Inner::Run { operation, until, bounds, since: Some(since) }
        }
        None => Inner::Plain { duration, sleep: None },
    })
}

/// Waits until `deadline`, across crashes and restarts; a deadline that has passed is due at once.
///
/// It is a time of day, by the clock of the store: the server's on PostgreSQL, otherwise the system's. If that clock is set
/// forward, the sleep ends accordingly; if it is set back, the engine continues from the earlier time until it is reopened.
///
/// Rounded up to a millisecond. Dropping it cancels it. Outside a workflow it is tokio's sleep.
#[track_caller]
pub fn sleep_until(deadline: SystemTime) -> Sleep {
    let operation = Operation::new(Location::caller());
    let since = deadline.duration_since(UNIX_EPOCH).unwrap_or_default();
    Sleep(match operation {
        Some(operation) => {
            let until = u64::try_from(since.as_nanos().div_ceil(1_000_000)).unwrap_or(NEVER).min(NEVER);
            Inner::Run { operation, until, bounds: false, since: None }
        }
        None => {
            let duration = deadline.duration_since(SystemTime::now()).unwrap_or_default();
            Inner::Plain { duration, sleep: None }
        }
    })
}

/// Waits for a time: see [`sleep`].
#[must_use = "a sleep does nothing unless it is awaited: add `.await`"]
pub struct Sleep(Inner);

enum Inner {
    Run { operation: Operation, until: u64, bounds: bool, since: Option<u64> },
    Plain { duration: Duration, sleep: Option<Pin<Box<tokio::time::Sleep>>> },
}

impl Future for Sleep {
    type Output = ();

    /// # Panics
    ///
    /// If it was created in a workflow and is polled elsewhere.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Inner::Run { operation, until, bounds, since } => {
                let timer = Kind::Timer { until: *until, bounds: *bounds, since: *since };
                match ready!(operation.poll(context, || Some(timer))) {
                    Ok(_) => Poll::Ready(()),
                    Err(error) => panic!("{error:?}"),
                }
            }
            Inner::Plain { duration, sleep } => {
                sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(*duration))).as_mut().poll(context)
            }
        }
    }
}

impl Durable for Sleep {
    fn hand_over(&mut self) {
        if let Inner::Run { operation, .. } = &mut self.0 {
            operation.hand_over();
        }
    }
}
