//! Futures of the standard library, and futures behind pointers.

use std::ops::DerefMut;
use std::pin::Pin;

use super::Durable;

impl<P> Durable for Pin<P> where P: DerefMut<Target: Durable> {}
impl<F: Durable + Unpin + ?Sized> Durable for Box<F> {}
impl<F: Durable + Unpin + ?Sized> Durable for &mut F {}
impl<T> Durable for std::future::Ready<T> {}
impl<T> Durable for std::future::Pending<T> {}
