//! An engine's entry in the list of workers.

use crate::store::Registration;

/// See the module.
#[derive(Default)]
pub struct Entry {
    /// The number under which the engine is listed; 0 before it is.
    pub owner: u64,
    /// When the engine was first registered.
    pub since: Option<u64>,
    pub registration: Option<Box<dyn Registration>>,
}
