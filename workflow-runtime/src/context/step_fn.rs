//! Functions with `#[step]`, as the values that a program passes by name.

use serde::de::DeserializeOwned;

use super::step::StepCall;
use crate::codec::{self, Payload};
use crate::definition::Fallible;
use crate::error::Error;

/// A function with `#[step]`, of any number of arguments up to twelve, without its resources.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no step function",
    label = "expected a function with `#[step]`",
    note = "annotate the function with `#[step]` and pass it by name"
)]
pub trait StepFn<P> {
    /// The arguments: `()` for none, the argument itself where there is one, a tuple where there are several.
    type Args: Send + 'static;

    /// The return type of the function: a `Result`.
    type Output: Fallible;

    /// Decodes the arguments of a call.
    #[doc(hidden)]
    fn decode(args: &Payload) -> Result<Self::Args, Error>;
}

macro_rules! step_fn {
    ($(($argument:ident $value:ident))* => $args:ty, $of:expr) => {
        impl<F, R, $($argument,)*> StepFn<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> StepCall<R>,
            R: Fallible,
            $($argument: DeserializeOwned + Send + 'static,)*
        {
            type Args = $args;
            type Output = R;

            fn decode(args: &Payload) -> Result<Self::Args, Error> {
                let ($($value,)*) = codec::decode::<($($argument,)*)>("the step's arguments", args)?;
                Ok($of)
            }
        }
    };
}

step_fn!(=> (), ());
step_fn!((A a) => A, a);
step_fn!((A a) (B b) => (A, B), (a, b));
step_fn!((A a) (B b) (C c) => (A, B, C), (a, b, c));
step_fn!((A a) (B b) (C c) (D d) => (A, B, C, D), (a, b, c, d));
step_fn!((A a) (B b) (C c) (D d) (E e) => (A, B, C, D, E), (a, b, c, d, e));
step_fn!((A a) (B b) (C c) (D d) (E e) (G g) => (A, B, C, D, E, G), (a, b, c, d, e, g));
step_fn!((A a) (B b) (C c) (D d) (E e) (G g) (H h) => (A, B, C, D, E, G, H), (a, b, c, d, e, g, h));
step_fn!((A a) (B b) (C c) (D d) (E e) (G g) (H h) (I i) => (A, B, C, D, E, G, H, I), (a, b, c, d, e, g, h, i));
step_fn!((A a) (B b) (C c) (D d) (E e) (G g) (H h) (I i) (J j) => (A, B, C, D, E, G, H, I, J), (a, b, c, d, e, g, h, i, j));
step_fn!(
    (A a) (B b) (C c) (D d) (E e) (G g) (H h) (I i) (J j) (K k) =>
    (A, B, C, D, E, G, H, I, J, K), (a, b, c, d, e, g, h, i, j, k)
);
step_fn!(
    (A a) (B b) (C c) (D d) (E e) (G g) (H h) (I i) (J j) (K k) (L l) =>
    (A, B, C, D, E, G, H, I, J, K, L), (a, b, c, d, e, g, h, i, j, k, l)
);
step_fn!(
    (A a) (B b) (C c) (D d) (E e) (G g) (H h) (I i) (J j) (K k) (L l) (M m) =>
    (A, B, C, D, E, G, H, I, J, K, L, M), (a, b, c, d, e, g, h, i, j, k, l, m)
);
