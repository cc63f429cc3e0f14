//! Futures of the standard library, and futures behind pointers.

use std::ops::DerefMut;
use std::pin::Pin;

use super::Durable;

impl<P> Durable for Pin<P> where P: DerefMut<Target: Durable> {}
impl<F: Durable + Unpin + ?Sized> Durable for Box<F> {
    fn hand_over(&mut self) {
        (**self).hand_over();
    }
}

impl<F: Durable + Unpin + ?Sized> Durable for &mut F {
    fn hand_over(&mut self) {
        (**self).hand_over();
    }
}

impl<T> Durable for std::future::Ready<T> {}
impl<T> Durable for std::future::Pending<T> {}
