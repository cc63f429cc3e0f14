//! The permit of an attempt, and how the attempt lends it while it waits for another run.
//!
//! The awaited run may itself need a permit, and there may be no other. So an attempt that waits for a run
//! holds none: it acquires one again before it continues.

use std::future::Future;
use std::sync::{Arc, Weak};

use tokio::sync::OwnedSemaphorePermit;

use super::parts::life::Life;
use super::scope::of_attempt;

/// The permit of an attempt; dropping it releases the permit.
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

/// A permit that the attempt has lent while it waits.
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

    /// Acquires a permit again, unless another part of the attempt still waits.
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

/// An attempt that has stopped waiting continues at once, and gets a permit as soon as one is free.
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

/// Waits for another run, without the permit of the current attempt, if there is one.
pub(super) async fn lending<F: Future>(wait: F) -> F::Output {
    let Some(life) = of_attempt(|scope| scope.life.clone()) else { return wait.await };
    let lent = Lent::new(life);
    let output = wait.await;
    lent.take_again().await;
    output
}
