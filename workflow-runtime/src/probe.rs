//! The probes by which the attributes find a forbidden call or value in a workflow, by its type and not by its name.
//!
//! Each probe is a struct with two methods named `pass`: an inherent one for refused types, whose bound cannot be met,
//! and that of the trait [`Pass`] for everything else. The compiler prefers the inherent one where it applies, and then
//! prints the message of the bound's trait. Those inherent methods are written out one by one: the compiler shows them
//! below its message, and would show the macro as well.

mod callee;
mod unawaited;
mod value;

use std::future::IntoFuture;

pub use tokio;

pub use self::callee::*;
pub use self::unawaited::*;
pub use self::value::*;
use crate::durable::Durable;

/// Accepts everything that no inherent method of its probe refuses.
pub trait Pass {
    /// The probed value's type.
    type Probed;

    /// Returns the probed value.
    fn pass(self) -> Self::Probed;

    /// The same, for the last of several probes of one callee. Where it is refused, the type of the result is what the
    /// program makes of it, so that the compiler does not report the arguments of the call as well.
    fn last(self) -> Self::Probed
    where
        Self: Sized,
    {
        self.pass()
    }
}

/// The operand of a macro with the name of one that awaits: durable if it is a future at all.
pub struct Operand<T>(pub T);

impl<F: IntoFuture> Operand<F> {
    /// Accepts a durable future.
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

/// Returns its second argument: the first was evaluated for a probe.
pub fn second<T>(_probed: (), value: T) -> T {
    value
}
