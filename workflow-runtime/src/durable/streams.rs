//! Streams of `futures`: durable if their parts are.

use futures_util::Stream;
use futures_util::future::TryFuture;
use futures_util::stream::*;

use super::Durable;

/// A stream that a replay can resume; [`Durable`] for each of its items.
#[diagnostic::on_unimplemented(
    message = "a workflow can only await durable streams, and `{Self}` is none: the engine could not resume it after a crash",
    label = "not durable",
    note = "make it of step calls and durable helpers, with `stream::iter(..).map(..)`, `FuturesUnordered`, `buffer_unordered`",
    note = "move what reads a foreign stream into a `#[step]`"
)]
pub trait DurableStream: Stream {}

impl<P> DurableStream for std::pin::Pin<P> where P: std::ops::DerefMut<Target: DurableStream> + Unpin {}
impl<S: DurableStream + Unpin + ?Sized> DurableStream for Box<S> {}
impl<S: DurableStream + Unpin + ?Sized> DurableStream for &mut S {}

/// `Name<S, A, F> of S with A` is a durable stream if the streams `S` and the futures `A` are durable.
macro_rules! stream {
    ($($name:ident<$($all:ident),*> $(of $($stream:ident)+)? $(, with $($part:ident)+)?;)*) => {$(
        impl<$($all),*> DurableStream for $name<$($all),*>
        where
            $($($stream: DurableStream,)+)?
            $($($part: Durable,)+)?
            Self: Stream,
        {
        }
    )*};
}

stream! {
    Empty<T>;
    Iter<I>;
    Pending<T>;
    Repeat<T>;
    RepeatWith<F>;

    FuturesOrdered<A>, with A;
    FuturesUnordered<A>, with A;
    Once<A>, with A;
    TryUnfold<T, F, A>, with A;
    Unfold<T, F, A>, with A;

    Chain<S, Z> of S Z;
    Chunks<S> of S;
    Cycle<S> of S;
    Enumerate<S> of S;
    FlatMap<S, U, F> of S U;
    Fuse<S> of S;
    Inspect<S, F> of S;
    Map<S, F> of S;
    Peekable<S> of S;
    ReadyChunks<S> of S;
    Select<S, Z> of S Z;
    SelectAll<S> of S;
    Skip<S> of S;
    Take<S> of S;
    Zip<S, Z> of S Z;

    Filter<S, A, F> of S, with A;
    FilterMap<S, A, F> of S, with A;
    Scan<S, T, A, F> of S, with A;
    SkipWhile<S, A, F> of S, with A;
    TakeUntil<S, A> of S, with A;
    TakeWhile<S, A, F> of S, with A;
    Then<S, A, F> of S, with A;
}

/// The same for structs that require `Stream` or `TryStream` themselves.
macro_rules! try_stream {
    ($($name:ident<S $(, $all:ident)*> $(with $part:ident)?;)*) => {$(
        impl<S: DurableStream + TryStream $(, $all)*> DurableStream for $name<S $(, $all)*>
        where
            $($part: Durable,)?
            Self: Stream,
        {
        }
    )*};
}

try_stream! {
    AndThen<S, A, F> with A;
    ErrInto<S, T>;
    InspectErr<S, F>;
    InspectOk<S, F>;
    IntoStream<S>;
    MapErr<S, F>;
    MapOk<S, F>;
    OrElse<S, A, F> with A;
    TryChunks<S>;
    TryFilter<S, A, F> with A;
    TryFilterMap<S, A, F> with A;
    TrySkipWhile<S, A, F> with A;
    TryTakeWhile<S, A, F> with A;
}

impl<S: DurableStream<Item: Durable>> DurableStream for Buffered<S> {}
impl<S: DurableStream<Item: Durable>> DurableStream for BufferUnordered<S> {}
impl<S: DurableStream<Item: DurableStream>> DurableStream for Flatten<S> {}
impl<S: DurableStream + TryStream<Ok: Durable + TryFuture>> DurableStream for TryBuffered<S> where Self: Stream {}
impl<S: DurableStream + TryStream<Ok: Durable + TryFuture>> DurableStream for TryBufferUnordered<S> where Self: Stream {}
impl<S: DurableStream + TryStream<Ok: DurableStream + TryStream>> DurableStream for TryFlatten<S> where Self: Stream {}

/// The futures that consume items of a stream.
macro_rules! consumer {
    ($($name:ident<$($lifetime:lifetime,)? S $(, $all:ident)*> $(with $part:ident)?;)*) => {$(
        impl<$($lifetime,)? S: DurableStream $(, $all)*> Durable for $name<$($lifetime,)? S $(, $all)*>
        where
            $($part: Durable,)?
            Self: Future,
        {
        }
    )*};
}

consumer! {
    All<S, A, F> with A;
    Any<S, A, F> with A;
    Collect<S, T>;
    Concat<S>;
    Count<S>;
    Fold<S, A, T, F> with A;
    ForEach<S, A, F> with A;
    ForEachConcurrent<S, A, F> with A;
    Next<'a, S>;
    Peek<'a, S>;
    PeekMut<'a, S>;
    NextIf<'a, S, F>;
    SelectNextSome<'a, S>;
    StreamFuture<S>;
    Unzip<S, T, U>;

    TryAll<S, A, F> with A;
    TryAny<S, A, F> with A;
    TryCollect<S, T>;
    TryFold<S, A, T, F> with A;
    TryForEach<S, A, F> with A;
    TryForEachConcurrent<S, A, F> with A;
    TryNext<'a, S>;
}

impl<S: DurableStream + TryStream> Durable for TryConcat<S> where Self: Future {}
