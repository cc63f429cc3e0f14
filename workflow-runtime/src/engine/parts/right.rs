//! The right to execute that the engine holds.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::Ownership;

/// The engine does not hold the right.
const FREE: u8 = 0;
/// The engine holds a right that lasts until it is taken.
const HELD: u8 = 1;
/// The engine holds a right that may have expired.
const EXPIRES: u8 = 2;

/// The right to execute, held while a write may be made under it.
#[derive(Default)]
pub struct Right {
    held: Mutex<Option<Box<dyn Ownership>>>,
    /// Written while `held` is locked. Each step reads it: the lock is needed only for a right that may expire.
    state: AtomicU8,
}

impl Right {
    fn lock(&self) -> MutexGuard<'_, Option<Box<dyn Ownership>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine has acquired the right.
    pub fn set(&self, right: Box<dyn Ownership>) {
        let mut held = self.lock();
        self.state.store(if right.expires() { EXPIRES } else { HELD }, Ordering::SeqCst);
        *held = Some(right);
    }

    /// Takes the right: the engine does not hold it any more.
    pub fn take(&self) -> Option<Box<dyn Ownership>> {
        let mut held = self.lock();
        self.state.store(FREE, Ordering::SeqCst);
        held.take()
    }

    /// Whether the engine holds the right at this moment.
    pub fn lasts(&self) -> bool {
        match self.state.load(Ordering::SeqCst) {
            FREE => false,
            HELD => true,
            _ => self.lock().as_ref().is_some_and(|right| right.lasts()),
        }
    }
}
