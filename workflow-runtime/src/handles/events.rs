//! Reading the history of a run, from any process that uses its store.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt, TryStreamExt};

use crate::engine::{self, Client, Next};
use crate::error::Result;
use crate::history::RunEvent;

/// Reads the past and future events of a run: see [`Run::events`](crate::Run::events).
///
/// This [`Stream`] yields every event, and waits for new ones. It ends after the last event of an ended run, and after an
/// error. It does not end while a run is stuck. The store keeps no state for a reader: dropping it costs nothing, and
/// another one can continue [`from`](Events::from) any index, also in another process and after the run has ended.
///
/// Chunks that steps write are not events; they are in the [streams](crate::Run::stream)
/// of the run, with their own indexes: `select` merges both.
///
/// # Errors
///
/// [`Code::RunNotFound`](crate::Code::RunNotFound); [`Code::EventsRemoved`](crate::Code::EventsRemoved) if
/// [`Retention::generations`](crate::Retention::generations) has removed the next event;
/// [`Code::Damaged`](crate::Code::Damaged); [`Code::Closed`](crate::Code::Closed) after a shutdown; or if the store fails.
#[must_use = "streams do nothing unless polled"]
pub struct Events {
    engine: Option<Client>,
    run: Arc<str>,
    from: Option<i64>,
    waits: bool,
    events: Option<BoxStream<'static, Result<RunEvent>>>,
}

impl Events {
    pub(crate) fn new(engine: Option<Client>, run: Arc<str>) -> Self {
        Events { engine, run, from: None, waits: true, events: None }
    }

    /// Where to begin: at the event with this index, or, if negative, counted from the end of the existing events (-1
    /// is the last one; a position before the first event is the first). The default is
    /// the first event that is kept.
    ///
    /// An event that was [removed](crate::Retention::generations) is an error: a reader that continues
    /// from an index would miss what was removed. The error names the first index that is kept.
    pub fn from(mut self, index: i64) -> Self {
        self.from = Some(index);
        self.events = None;
        self
    }

    /// Ends after the events that exist now, instead of waiting.
    pub fn so_far(mut self) -> Self {
        self.waits = false;
        self.events = None;
        self
    }
}

async fn begin(
    engine: Option<Client>,
    run: Arc<str>,
    from: Option<i64>,
    waits: bool,
) -> Result<BoxStream<'static, Result<RunEvent>>> {
    let engine = engine::given_or_ambient(&engine).await?;
    let length = match from {
        Some(from) if from < 0 => {
            let mut place = engine.inner().history(&run).await?;
            while let Next::Event(_) = engine.inner().next_event(&mut place).await? {}
            place.next()
        }
        _ => 0,
    };
    let place = engine.inner().history(&run).await?;
    let from = match from {
        None => place.next(),
        Some(from) if from < 0 => length.saturating_sub(from.unsigned_abs()).max(place.next()),
        Some(from) => from.unsigned_abs(),
    };
    place.check(from)?;
    let events = stream::try_unfold((engine, place), move |(engine, mut place)| async move {
        let event = match waits {
            true => engine.inner().following_event(&mut place).await?,
            false => match engine.inner().next_event(&mut place).await? {
                Next::Event(event) => Some(event),
                Next::Nothing { .. } | Next::End => None,
            },
        };
        Ok(event.map(|event| (event, (engine, place))))
    });
    Ok(events.try_skip_while(move |event| std::future::ready(Ok(event.index < from))).boxed())
}

impl Stream for Events {
    type Item = Result<RunEvent>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let reader = &mut *self;
        let events = reader.events.get_or_insert_with(|| {
            stream::once(begin(reader.engine.clone(), reader.run.clone(), reader.from, reader.waits))
                .try_flatten()
                .boxed()
        });
        let event = std::task::ready!(events.poll_next_unpin(context));
        if matches!(event, Some(Err(_)) | None) {
            reader.events = Some(stream::empty().boxed());
        }
        Poll::Ready(event)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("run", &self.run).field("from", &self.from).finish_non_exhaustive()
    }
}
