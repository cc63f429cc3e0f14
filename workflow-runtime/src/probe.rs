//! How the attributes tell a call or a value that has no place in a workflow, by what it is and not by its name.
//!
//! Each probe is a struct with two methods named `pass`: an inherent one for what is refused, whose bound cannot be met,
//! and that of the trait [`Pass`] for everything else. The compiler prefers the inherent one where it fits, and then
//! says the message of the bound's trait. Those inherent methods are written out, one by one: the compiler shows them
//! below its message, and would show the macro as well.

mod callee;
mod unawaited;
mod value;

use std::future::IntoFuture;

pub use tokio;

pub use self::callee::*;
pub use self::unawaited::*;
pub use self::value::*;
use crate::definition::Stored;
use crate::durable::Durable;

/// What lets everything pass that no inherent method of its probe catches.
pub trait Pass {
    /// What was probed.
    type Probed;

    /// Answers what was probed.
    fn pass(self) -> Self::Probed;
}

/// What an argument of a workflow or a step has to be. The attributes ask for it at each argument's own type, where the error
/// for the tuple of all would not name the one that is wrong.
pub const fn argument<T: Stored>() {}

/// The operand of a macro named like one that awaits: durable if it is a future at all.
pub struct Operand<T>(pub T);

impl<F: IntoFuture> Operand<F> {
    /// Lets a durable future pass.
    pub fn pass(self) -> F::IntoFuture
    where
        F::IntoFuture: Durable,
    {
        self.0.into_future()
    }
}

impl<T> Pass for Operand<T> {
    type Probed = T;

    fn pass(self) -> T {
        self.0
    }
}

/// Answers its second argument: the first was evaluated for a probe.
pub fn second<T>(_probed: (), value: T) -> T {
    value
}
