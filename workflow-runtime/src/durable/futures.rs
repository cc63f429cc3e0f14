//! The combinators of `futures`: durable if their parts are.
//!
//! Their order of polls is the same in every process. Missing here are futures that poll by other rules (`PollFn`) or take
//! their result from elsewhere (`RemoteHandle`, channels).

use futures_util::future::*;

use super::{Durable, DurableStream};

/// A future that enters a span with each poll.
impl<A: Durable> Durable for tracing::instrument::Instrumented<A> {}
impl<A: Durable> Durable for tracing::instrument::WithDispatch<A> where Self: Future {}

/// `Name<A, B> with A B` is durable if `A` and `B` are; `where Self: Future` spares the bounds that make it a future.
macro_rules! durable {
    ($($name:ident<$($all:ident),*> $(with $($part:ident)+)?;)*) => {$(
        impl<$($all),*> Durable for $name<$($all),*>
        where
            $($($part: Durable,)+)?
            Self: Future,
        {
        }
    )*};
}

durable! {
    Lazy<F>;
    Pending<T>;
    Ready<T>;

    AndThen<A, B, F> with A B;
    CatchUnwind<A> with A;
    Either<A, B> with A B;
    ErrInto<A, T> with A;
    Fuse<A> with A;
    Inspect<A, F> with A;
    InspectErr<A, F> with A;
    InspectOk<A, F> with A;
    IntoFuture<A> with A;
    Map<A, F> with A;
    MapErr<A, F> with A;
    MapInto<A, T> with A;
    MapOk<A, F> with A;
    MapOkOrElse<A, F, G> with A;
    MaybeDone<A> with A;
    NeverError<A> with A;
    OkInto<A, T> with A;
    OptionFuture<A> with A;
    OrElse<A, B, F> with A B;
    PollImmediate<A> with A;
    Select<A, B> with A B;
    SelectAll<A> with A;
    SelectOk<A> with A;
    Shared<A> with A;
    Then<A, B, F> with A B;
    TrySelect<A, B> with A B;
    UnitError<A> with A;
    UnwrapOrElse<A, F> with A;

    Abortable<A> with A;
    Join<A, B> with A B;
    Join3<A, B, C> with A B C;
    Join4<A, B, C, D> with A B C D;
    Join5<A, B, C, D, E> with A B C D E;
    JoinAll<A> with A;
}

/// The same for structs that require `TryFuture` themselves.
macro_rules! try_durable {
    ($($name:ident<$($part:ident),*>;)*) => {$(
        impl<$($part: Durable + TryFuture),*> Durable for $name<$($part),*> where Self: Future {}
    )*};
}

try_durable! {
    TryJoin<A, B>;
    TryJoin3<A, B, C>;
    TryJoin4<A, B, C, D>;
    TryJoin5<A, B, C, D, E>;
    TryJoinAll<A>;
    TryMaybeDone<A>;
}

impl<A> Durable for Flatten<A>
where
    A: Durable,
    A::Output: Durable,
    Self: Future,
{
}

impl<T, F: Fn() -> T> Durable for AlwaysReady<T, F> {}

impl<A: Durable> DurableStream for IntoStream<A> {}
impl<A: DurableStream, B: DurableStream<Item = A::Item>> DurableStream for Either<A, B> {}
