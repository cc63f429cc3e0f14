//! Erases the type of a durable future while keeping it durable.

use std::pin::Pin;

use super::Durable;

/// Methods for the futures of a workflow, in addition to `futures::FutureExt`.
///
/// ```
/// use std::pin::Pin;
/// use workflow_runtime::{durable, Durable, DurableExt, Result};
///
/// #[durable]
/// async fn one() -> Result<u32> { Ok(1) }
/// #[durable]
/// async fn two() -> Result<u32> { Ok(2) }
///
/// fn either(first: bool) -> Pin<Box<dyn Durable<Output = Result<u32>> + Send>> {
///     if first { one().boxed() } else { two().boxed() }
/// }
/// ```
pub trait DurableExt: Durable {
    /// The future as a trait object.
    ///
    /// It replaces `futures::FutureExt::boxed`, whose trait object a workflow does not accept, since it is not
    /// durable. If both traits are in scope, call this one as `DurableExt::boxed(future)`.
    fn boxed<'a>(self) -> Pin<Box<dyn Durable<Output = Self::Output> + Send + 'a>>
    where
        Self: Sized + Send + 'a,
    {
        Box::pin(self)
    }

    /// As [`DurableExt::boxed`], for a future that is not `Send`: in a helper that no workflow awaits across threads.
    fn boxed_local<'a>(self) -> Pin<Box<dyn Durable<Output = Self::Output> + 'a>>
    where
        Self: Sized + 'a,
    {
        Box::pin(self)
    }
}

impl<F: Durable + ?Sized> DurableExt for F {}
