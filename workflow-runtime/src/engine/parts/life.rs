//! The state of an attempt, and the permit that it holds.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::mailbox::EarlyEnd;

/// The permit that an attempt holds.
#[derive(Default)]
pub struct Held(Mutex<State>);

#[derive(Default)]
pub struct State {
    pub permit: Option<OwnedSemaphorePermit>,
    /// The semaphore of a permit that was lent.
    pub permits: Option<Arc<Semaphore>>,
    /// The number of parts of the attempt that wait for runs.
    pub waiting: usize,
    /// Whether the attempt has ended, and needs no further permit.
    pub over: bool,
}

impl Held {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a permit that was acquired again, unless it is no longer needed.
    pub fn give(&self, permit: OwnedSemaphorePermit) {
        let mut state = self.lock();
        // Otherwise it is dropped, outside the lock.
        let _rest = match state.over || state.waiting > 0 || state.permit.is_some() {
            true => Some(permit),
            false => state.permit.replace(permit),
        };
        drop(state);
    }

    /// The semaphore to acquire a permit from, if the attempt needs one.
    pub fn owed(&self) -> Option<Arc<Semaphore>> {
        let state = self.lock();
        let owes = !state.over && state.waiting == 0 && state.permit.is_none();
        state.permits.clone().filter(|_| owes)
    }
}

/// The stages of an attempt.
const WAITS: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;
/// An earlier attempt may have had the effect of the step, so only the result of this one decides whether to roll it back.
const REPEATS: u8 = 3;

/// The state of an attempt, and whether it is still needed.
#[derive(Default)]
pub struct Life {
    over: AtomicBool,
    /// Whether it has begun, or was given up before that: the first change wins.
    stage: AtomicU8,
    /// Whether it was asked to end.
    unwanted: AtomicBool,
    /// The last heartbeat, in milliseconds of monotonic time.
    pub beat: AtomicU64,
    /// Locked while the attempt ends, and while an action runs that must precede its end.
    ending: Mutex<()>,
    /// Created at the first call of `cancellation`.
    token: OnceLock<CancellationToken>,
    /// Its permit.
    pub held: Held,
    /// The first request of the attempt.
    early_end: OnceLock<Mutex<Option<EarlyEnd>>>,
}

impl Life {
    pub fn token(&self) -> CancellationToken {
        let token = self.token.get_or_init(CancellationToken::new).clone();
        if self.over.load(Ordering::SeqCst) || self.unwanted.load(Ordering::SeqCst) {
            token.cancel();
        }
        token
    }

    /// Marks that an earlier attempt may have had the effect of the step.
    pub fn repeats(&self) {
        self.stage.store(REPEATS, Ordering::SeqCst);
    }

    /// Whether the attempt may begin.
    pub fn begin(&self) -> bool {
        match self.stage.compare_exchange(WAITS, BEGUN, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => true,
            Err(stage) => stage != GIVEN_UP,
        }
    }

    /// Whether the attempt will never begin. An attempt that has begun is asked to end.
    pub fn give_up(&self) -> bool {
        match self.stage.compare_exchange(WAITS, GIVEN_UP, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => true,
            Err(BEGUN) => {
                self.unwanted.store(true, Ordering::SeqCst);
                if let Some(token) = self.token.get() {
                    token.cancel();
                }
                false
            }
            Err(_) => false,
        }
    }

    pub fn end_early(&self, end: EarlyEnd) {
        self.early_end.get_or_init(|| Mutex::new(Some(end)));
    }

    /// Whether it ends by a request.
    pub fn ends_early(&self) -> bool {
        self.early_end.get().is_some()
    }

    pub fn take_early_end(&self) -> Option<EarlyEnd> {
        self.early_end.get()?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Calls `act` before the attempt ends, if it has not ended.
    pub fn before_its_end<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        let _ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        (!self.over.load(Ordering::SeqCst)).then(act)
    }
}

/// Marks an attempt as over when its future is dropped, whether that has completed or not.
pub struct Alive(pub Arc<Life>);

impl Drop for Alive {
    fn drop(&mut self) {
        {
            let _ending = self.0.ending.lock().unwrap_or_else(PoisonError::into_inner);
            self.0.over.store(true, Ordering::SeqCst);
        }
        if let Some(token) = self.0.token.get() {
            token.cancel();
        }
    }
}
