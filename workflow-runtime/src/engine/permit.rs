//! The permit by which an attempt runs, and how the attempt lends it while it waits for another run.
//!
//! What the attempt waits for may itself need a permit, and there may be no other one. So an attempt that waits for a run
//! holds none: it takes one again before it goes on.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::scope::{Life, of_attempt};

/// What an attempt holds.
#[derive(Default)]
pub(super) struct Held(Mutex<State>);

#[derive(Default)]
struct State {
    permit: Option<OwnedSemaphorePermit>,
    /// Where a permit that was lent came from.
    permits: Option<Arc<Semaphore>>,
    /// How many parts of the attempt wait for runs.
    waiting: usize,
    /// Whether the attempt has ended, and takes no permit any more.
    over: bool,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a permit that was waited for, unless it is not needed any more.
    fn give(&self, permit: OwnedSemaphorePermit) {
        let mut state = self.lock();
        // Else it is dropped, outside the lock.
        let _rest = match state.over || state.waiting > 0 || state.permit.is_some() {
            true => Some(permit),
            false => state.permit.replace(permit),
        };
        drop(state);
    }

    /// Where to take a permit again, if one is needed.
    fn owed(&self) -> Option<Arc<Semaphore>> {
        let state = self.lock();
        let owes = !state.over && state.waiting == 0 && state.permit.is_none();
        state.permits.clone().filter(|_| owes)
    }
}

/// The permit of an attempt, until this is dropped.
pub(super) struct Permit(Arc<Life>);

impl Permit {
    pub fn hold(life: &Arc<Life>, permit: OwnedSemaphorePermit) -> Self {
        life.held.lock().permit = Some(permit);
        Permit(life.clone())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let _permit = {
            let mut state = self.0.held.lock();
            state.over = true;
            state.permit.take()
        };
    }
}

/// A permit that is lent.
struct Lent {
    life: Arc<Life>,
    stage: Stage,
}

enum Stage {
    Waits,
    TakesAgain,
    Done,
}

impl Lent {
    fn new(life: Arc<Life>) -> Self {
        let _permit = {
            let mut state = life.held.lock();
            state.waiting += 1;
            let permit = state.permit.take();
            if let Some(permit) = &permit {
                state.permits = Some(permit.semaphore().clone());
            }
            permit
        };
        Lent { life, stage: Stage::Waits }
    }

    /// Takes a permit again, unless another part of the attempt still waits.
    async fn take_again(mut self) {
        self.life.held.lock().waiting -= 1;
        self.stage = Stage::TakesAgain;
        if let Some(permits) = self.life.held.owed()
            && let Ok(permit) = permits.acquire_owned().await
        {
            self.life.held.give(permit);
        }
        self.stage = Stage::Done;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        match self.stage {
            Stage::Waits => {
                self.life.held.lock().waiting -= 1;
                take_later(&self.life);
            }
            Stage::TakesAgain => take_later(&self.life),
            Stage::Done => {}
        }
    }
}

/// An attempt that has given up waiting goes on at once, and has a permit again as soon as there is one.
fn take_later(life: &Arc<Life>) {
    let Some(permits) = life.held.owed() else { return };
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let life: Weak<Life> = Arc::downgrade(life);
    runtime.spawn(async move {
        let Ok(permit) = permits.acquire_owned().await else { return };
        if let Some(life) = life.upgrade() {
            life.held.give(permit);
        }
    });
}

/// Waits for what another run is to do, without the permit of the attempt that this code is part of, if it is part of one.
pub(super) async fn lending<F: Future>(wait: F) -> F::Output {
    let Some(life) = of_attempt(|scope| scope.life.clone()) else { return wait.await };
    let lent = Lent::new(life);
    let output = wait.await;
    lent.take_again().await;
    output
}
