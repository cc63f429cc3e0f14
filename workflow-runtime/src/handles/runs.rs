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

/// A query for runs, latest first: filter it, then list it page by page, read it as a stream, or count it. Awaiting
/// it returns a [`Page`].
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
///     let text = next.to_string(); // for a URL
///     assert_eq!(orders.clone().limit(2).after(text.parse()?).await?.runs.len(), 1);
/// }
/// assert_eq!(orders.count().await?[&Status::Completed], 3);
/// # Ok(())
/// # }
/// ```
pub fn runs() -> Runs {
    Runs::new(None)
}

/// A query for runs: see [`runs`](runs()). A run must match all filters.
///
/// The filters by status, workflow, attribute, parent and time, and the filter of failing runs, use an index. A filter by a
/// text in ids, and a second attribute that few runs have, may read all runs that match the other filters.
///
/// A step that has a queue is a run of its own, whose workflow is `queue:NAME/STEP`.
#[derive(Clone, Debug)]
#[must_use = "nothing is looked for unless it is awaited: add `.await`, `.stream()` or `.count()`"]
pub struct Runs {
    engine: Option<Client>,
    pub(super) filter: Filter,
    after: Option<Position>,
    limit: usize,
}

/// A page of the runs that match a query.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page {
    /// The runs, the latest first, at one moment.
    pub runs: Vec<RunInfo>,
    /// Where the next page begins, for [`Runs::after`]; `None` if this is the last page.
    pub next: Option<Cursor>,
}

/// A position in the list of all runs, after a run. It stays valid while runs are started and deleted, including that run.
///
/// Its text can be part of a URL without escaping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor(Position);

impl Cursor {
    /// When the run was created, or has begun to fail in a list of failing runs.
    #[cfg(feature = "web")]
    pub(crate) fn at(self) -> SystemTime {
        crate::model::time(self.0.at)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.at, self.0.run)
    }
}

impl FromStr for Cursor {
    type Err = Error;

    /// # Errors
    ///
    /// [`Code::InvalidCursor`].
    fn from_str(text: &str) -> Result<Self> {
        let position = || {
            let (at, run) = text.split_once('-')?;
            Some(Position { at: at.parse().ok()?, run: run.parse().ok()? })
        };
        position().map(Cursor).ok_or_else(|| {
            Error::coded(Code::InvalidCursor, format!("{:?} is no cursor of a list of runs", excerpt(text)))
                .expected("the text of a cursor that `Page::next` has returned")
                .help("begin at the first page")
        })
    }
}

impl Runs {
    pub(crate) fn new(engine: Option<Client>) -> Self {
        Runs { engine, filter: Filter::default(), after: None, limit: PAGE_RUNS }
    }

    /// Filters by this status. Can be called more than once: matches runs with any of these.
    pub fn status(mut self, status: Status) -> Self {
        self.filter.statuses.push(status);
        self
    }

    /// Filters by the workflow id that the runs were started with. Can be called more than once: matches any of these.
    pub fn workflow(mut self, id: impl Into<String>) -> Self {
        self.filter.workflows.push(id.into().into());
        self
    }

    /// Filters by this workflow, including its former ids (`was`). Can be called more than once: matches any of these.
    pub fn of<F, P>(mut self, _workflow: F) -> Self
    where
        F: WorkflowFn<P>,
    {
        let definition = F::Workflow::DEFINITION;
        let ids = std::iter::once(&definition.source.id).chain(definition.was);
        self.filter.workflows.extend(ids.map(|id| (*id).into()));
        self
    }

    /// Filters runs that were started at this time or later, to the millisecond.
    pub fn created_after(mut self, time: SystemTime) -> Self {
        self.filter.created_from = milliseconds(time);
        self
    }

    /// Filters runs that were started before this time, to the millisecond.
    pub fn created_before(mut self, time: SystemTime) -> Self {
        self.filter.created_before = Some(milliseconds(time));
        self
    }

    /// Filters by this [attribute](crate::set_attribute). Can be called more than once: matches runs with all of these.
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.filter.attributes.push((key.into().into(), value.into().into()));
        self
    }

    /// Filters children of the run with this id, which may have been deleted since.
    pub fn parent(mut self, run: impl Into<String>) -> Self {
        self.filter.parent = Some(run.into().into());
        self
    }

    /// Filters runs that are failing: they are unfinished, and the last attempt of one of their steps has failed and will
    /// be repeated. The list is then in the order of [`RunInfo::failing_since`], the latest first.
    ///
    /// If a child of a run is failing, the list has the child and not its parent. If a step in a queue is failing, the list
    /// has the run that executes this step.
    pub fn failing(mut self) -> Self {
        self.filter.failing = true;
        self
    }

    /// Filters runs whose id contains this text. No index has such a text: a page reads runs for at most a tenth of a second, and
    /// may have fewer runs than its limit, or none, although there are further pages.
    pub fn id_contains(mut self, text: impl Into<String>) -> Self {
        self.filter.id_contains = Some(text.into().into());
        self
    }

    /// The maximum number of runs of a page: 100 by default, from 1 to 1,000.
    pub fn limit(mut self, runs: usize) -> Self {
        self.limit = runs.clamp(1, PAGE_RUNS_MAX);
        self
    }

    /// Begins after this position, which the previous page returned.
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor.0);
        self
    }

    /// Reads all matching runs, page by page.
    ///
    /// # Errors
    ///
    /// If the store cannot be read, the last item is the error.
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

    /// Counts the matching runs by status, over all pages; statuses without runs are left out.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub async fn count(self) -> Result<BTreeMap<Status, u64>> {
        self.count_up_to(usize::MAX).await
    }

    /// Counts like [`count`](Runs::count), in bounded time: of a status with more than `most` runs, the count is `most` or more.
    /// For the exact count of millions of runs, `count` reads an entry of an index for each.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    ///
    /// ```
    /// # use workflow_runtime::{Engine, Result, Status};
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let engine = Engine::open("memory:").await?;
    /// let counts = engine.runs().count_up_to(10_001).await?;
    /// match counts.get(&Status::Completed).copied().unwrap_or(0) {
    ///     10_001.. => println!("more than 10,000 have completed"),
    ///     count => println!("{count} have completed"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn count_up_to(self, most: usize) -> Result<BTreeMap<Status, u64>> {
        self.engine().await?.inner().counts(&self.filter, most).await
    }

    pub(super) async fn engine(&self) -> Result<Client> {
        engine::given_or_ambient(&self.engine).await
    }

    /// A page of the runs that match a condition, too. No index has it, so that the page may be short, as with
    /// [`id_contains`](Runs::id_contains).
    #[cfg(feature = "web")]
    pub(crate) async fn matching(self, matches: impl Fn(&RunInfo) -> bool) -> Result<Page> {
        let engine = self.engine().await?;
        let (runs, next) = engine.inner().search(&self.filter, matches, self.after, self.limit).await?;
        Ok(Page { runs, next: next.map(Cursor) })
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

/// The time as it is stored, in milliseconds; times before 1970 become 0.
fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
