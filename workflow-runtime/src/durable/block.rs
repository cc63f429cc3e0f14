//! The async blocks of a workflow's body.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Durable;

/// An async block of a workflow or of a `#[durable]` function: durable, since the attribute has checked its awaits.
///
/// It is boxed, so that it can be moved while it is polled: `select`, `FuturesUnordered` and `&mut` accept it directly, and
/// a recursive function needs no box of its own. One allocation is negligible beside the commit that a step costs.
#[must_use = "an async block does nothing unless it is awaited: add `.await`"]
pub struct DurableBlock<F>(Pin<Box<F>>);

impl<F: Future> DurableBlock<F> {
    #[doc(hidden)]
    pub fn new(block: F) -> Self {
        DurableBlock(Box::pin(block))
    }
}

impl DurableBlock<()> {
    /// Names the output type first, so that type inference of `return` and `?` in the block has it.
    #[doc(hidden)]
    pub fn returning<T, F: Future<Output = T>>(block: F) -> DurableBlock<F> {
        DurableBlock::new(block)
    }
}

impl<F: Future> Future for DurableBlock<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<F: Future> Durable for DurableBlock<F> {}

impl<F> fmt::Debug for DurableBlock<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DurableBlock")
    }
}
