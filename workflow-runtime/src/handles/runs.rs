//! Listing and counting runs.

use std::collections::BTreeMap;
use std::fmt;
use std::future::IntoFuture;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use crate::definition::{Workflow, WorkflowFn};
use crate::engine::{self, Client};
use crate::error::{Code, Error, Result};
use crate::limits::{PAGE_RUNS, PAGE_RUNS_MAX};
use crate::model::{RunInfo, Status};
use crate::store::{Filter, Position};
use crate::text::excerpt;

/// The runs that there are, the latest first: to be filtered, and then listed page by page, as a stream, or counted. Awaiting
/// it gives a [`Page`].
///
/// ```
/// # use workflow_runtime::{Engine, Result, Status, workflow};
/// # #[workflow] async fn order(id: u64) -> Result<()> { Ok(()) }
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// # let engine = Engine::open("memory:").await?;
/// # for id in 0..3 { engine.start(order, id).attribute("customer", "Ada").await?.await?; }
/// let orders = engine.runs().of(order).attribute("customer", "Ada"); // or `runs()`, of the ambient engine
/// let page = orders.clone().status(Status::Completed).limit(2).await?;
/// assert_eq!(page.runs.len(), 2);
/// if let Some(next) = page.next {
///     let text = next.to_string(); // goes through an URL
///     assert_eq!(orders.clone().limit(2).after(text.parse()?).await?.runs.len(), 1);
/// }
/// assert_eq!(orders.count().await?[&Status::Completed], 3);
/// # Ok(())
/// # }
/// ```
pub fn runs() -> Runs {
    Runs::new(None)
}

/// Which runs are asked for: see [`runs`](runs()). A run must fit everything that is said.
///
/// Where millions of runs are kept, a status, workflows, attributes, a parent and times are found by an index; a text in
/// ids, and a second attribute that few have, may have to look at all that fit the rest.
///
/// A step that has a queue is a run of its own, whose workflow is `queue:NAME/STEP`.
#[derive(Clone, Debug)]
#[must_use = "nothing is looked for unless it is awaited: add `.await`, `.stream()` or `.count()`"]
pub struct Runs {
    engine: Option<Client>,
    filter: Filter,
    after: Option<Position>,
    limit: usize,
}

/// Some of the runs that were asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page {
    /// They, the latest first, as of one moment.
    pub runs: Vec<RunInfo>,
    /// Where the next page begins, for [`Runs::after`]; nothing if this is the last one.
    pub next: Option<Cursor>,
}

/// A place in the list of all runs, behind a run. It stays where it is while runs are started and deleted, also that one.
///
/// Its text goes into a URL as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor(Position);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.created_at, self.0.run)
    }
}

impl FromStr for Cursor {
    type Err = Error;

    /// # Errors
    ///
    /// [`Code::InvalidCursor`].
    fn from_str(text: &str) -> Result<Self> {
        let position = || {
            let (created_at, run) = text.split_once('-')?;
            Some(Position { created_at: created_at.parse().ok()?, run: run.parse().ok()? })
        };
        position().map(Cursor).ok_or_else(|| {
            Error::coded(Code::InvalidCursor, format!("{:?} is no place in a list of runs", excerpt(text)))
                .expected("what `Page::next` has given, as text")
                .help("begin at the first page")
        })
    }
}

impl Runs {
    pub(crate) fn new(engine: Option<Client>) -> Self {
        Runs { engine, filter: Filter::default(), after: None, limit: PAGE_RUNS }
    }

    /// With this status; said several times, with any of these.
    pub fn status(mut self, status: Status) -> Self {
        self.filter.statuses.push(status);
        self
    }

    /// Of the workflow with this id, as it was when they were started; said several times, of any of these.
    pub fn workflow(mut self, id: impl Into<String>) -> Self {
        self.filter.workflows.push(id.into().into());
        self
    }

    /// Of this workflow, also under ids that it had before (`was`); said several times, of any of these.
    pub fn of<F, P>(mut self, _workflow: F) -> Self
    where
        F: WorkflowFn<P>,
    {
        let definition = F::Workflow::DEFINITION;
        let ids = std::iter::once(&definition.source.id).chain(definition.was);
        self.filter.workflows.extend(ids.map(|id| (*id).into()));
        self
    }

    /// Started at this time or later, to the millisecond.
    pub fn created_after(mut self, time: SystemTime) -> Self {
        self.filter.created_from = milliseconds(time);
        self
    }

    /// Started before this time, to the millisecond.
    pub fn created_before(mut self, time: SystemTime) -> Self {
        self.filter.created_before = Some(milliseconds(time));
        self
    }

    /// With this [attribute](crate::set_attribute); said several times, with all of these.
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.filter.attributes.push((key.into().into(), value.into().into()));
        self
    }

    /// Started as a child by the run with this id; that one may have been deleted since.
    pub fn parent(mut self, run: impl Into<String>) -> Self {
        self.filter.parent = Some(run.into().into());
        self
    }

    /// With this text in their ids.
    pub fn id_contains(mut self, text: impl Into<String>) -> Self {
        self.filter.id_contains = Some(text.into().into());
        self
    }

    /// How many runs a page has at the most: 100 unless set, from 1 to 1,000.
    pub fn limit(mut self, runs: usize) -> Self {
        self.limit = runs.clamp(1, PAGE_RUNS_MAX);
        self
    }

    /// Behind this place, as the page before has given it.
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor.0);
        self
    }

    /// All of them, page by page as they are read.
    ///
    /// # Errors
    ///
    /// As an item, which is the last one, if the store cannot be read.
    ///
    /// ```
    /// # use futures_util::TryStreamExt;
    /// # use workflow_runtime::{Result, Status, runs};
    /// # async fn example() -> Result<()> {
    /// let mut failed = runs().status(Status::Failed).stream();
    /// while let Some(run) = failed.try_next().await? {
    ///     println!("{} {}", run.id, run.workflow);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn stream(self) -> BoxStream<'static, Result<RunInfo>> {
        let pages = stream::try_unfold(Some(self), |rest| async move {
            let Some(rest) = rest else { return Ok(None) };
            let page = rest.page().await?;
            let rest = page.next.map(|next| rest.after(next));
            Ok::<_, Error>(Some((stream::iter(page.runs).map(Ok), rest)))
        });
        pages.try_flatten().boxed()
    }

    /// How many they are, by their status, over all pages; statuses without any are left out.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub async fn count(self) -> Result<BTreeMap<Status, u64>> {
        self.engine().await?.inner().counts(&self.filter).await
    }

    async fn engine(&self) -> Result<Client> {
        match &self.engine {
            Some(engine) => Ok(engine.clone()),
            None => engine::ambient().await,
        }
    }

    async fn page(&self) -> Result<Page> {
        let engine = self.engine().await?;
        let (runs, next) = engine.inner().list(&self.filter, self.after, self.limit).await?;
        Ok(Page { runs, next: next.map(Cursor) })
    }
}

impl IntoFuture for Runs {
    type Output = Result<Page>;
    type IntoFuture = BoxFuture<'static, Result<Page>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.page().await })
    }
}

/// As it is stored; what is before 1970 is then.
fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
