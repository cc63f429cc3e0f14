//! Executes a workflow in many variations, and compares the results.

use std::collections::HashSet;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chacha20::ChaCha12Rng;
use futures_util::future::{BoxFuture, Either, select};
use futures_util::{FutureExt, TryStreamExt};
use rand::{Rng, SeedableRng};

use super::engine::{Builder, TestEngine};
use super::mocks::Watch;
use super::simulated::{BEGIN, Simulated};
use crate::codec::{self, Payload};
use crate::definition::{Fallible, FormOf, Workflow, WorkflowFn};
use crate::engine::{Engine, step_info};
use crate::error::{Code, Error, Result};
use crate::handles::run::{Run, RunOf};
use crate::handles::start::Start;
use crate::history::RunEventKind;
use crate::limits::CRASHES_MAX;
use crate::store::{MemoryStore, Store};

/// The id of the run that is explored.
const RUN: &str = "explored";

/// How many other orders are tried by default.
const SEEDS: u64 = 100;

/// How often an attempt yields to other tasks at most, before it begins.
const YIELDS_MAX: u32 = 4;

/// How long, on its own clock, a run may wait until the exploration reports that it does not end.
const PATIENCE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

type Explored<W> = Exploration<<<W as Workflow>::Output as Fallible>::Ok, <<W as Workflow>::Output as Fallible>::Err>;

type Driver<W> = Arc<dyn Fn(Engine, RunOf<W>) -> BoxFuture<'static, ()> + Send + Sync>;

/// Explores a workflow: executes it once unchanged, once with a replay behind each turn, then from the state behind
/// each commit of the first execution, as after a crash there (at most 1,000 of these, evenly chosen), and then with
/// concurrent steps in 100 other orders. Each execution has its own engine; clock and randomness are the same for all.
///
/// Returns the distinct results, each with a variation that leads to it, and the violations: a replay that differs, a
/// run that is stuck or does not end, a panic, a recorded step that is executed again.
///
/// ```
/// # use workflow_runtime::testing::{TestEngine, explore};
/// # use workflow_runtime::{Result, step, workflow};
/// # #[step] async fn fetch(page: u32) -> Result<u32> { unimplemented!() }
/// #[workflow]
/// async fn sum() -> Result<u32> {
///     let (a, b) = tokio::try_join!(fetch(1), fetch(2))?;
///     Ok(a + b)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let explored = explore(sum, ()).engine(|| TestEngine::builder().mock(fetch, |page| Ok(page * 10))).await?;
/// assert_eq!(explored.one()?, 30);
/// # Ok(())
/// # }
/// ```
pub fn explore<F, P>(_workflow: F, args: <F::Workflow as Workflow>::Args) -> Explore<F::Workflow>
where
    F: WorkflowFn<P>,
{
    let args = <F::Workflow as Workflow>::Form::encode(&args, "the workflow's arguments");
    Explore { args, engine: Arc::new(TestEngine::builder), driver: None, seeds: SEEDS, real_steps: false }
}

/// An exploration that has not begun: see [`explore`]. Awaiting it executes it.
///
/// # Errors
///
/// If the arguments cannot be encoded, or an engine cannot be opened.
#[must_use = "an exploration does nothing unless it is awaited: add `.await`"]
pub struct Explore<W: Workflow> {
    args: Result<Payload>,
    engine: Arc<dyn Fn() -> Builder + Send + Sync>,
    driver: Option<Driver<W>>,
    seeds: u64,
    real_steps: bool,
}

impl<W: Workflow> Explore<W> {
    /// Makes the builder of each execution's engine, with its mocks. It is called for each execution, so that a mock which
    /// counts begins again.
    pub fn engine(mut self, builder: impl Fn() -> Builder + Send + Sync + 'static) -> Self {
        self.engine = Arc::new(builder);
        self
    }

    /// Executes steps that have no mock. Otherwise they fail: an exploration executes each step many times.
    pub fn allow_real_steps(mut self) -> Self {
        self.real_steps = true;
        self
    }

    /// How many other orders of concurrent steps are tried: 100 unless set.
    pub fn seeds(mut self, seeds: u64) -> Self {
        self.seeds = seeds;
        self
    }

    /// Acts on each execution from outside, beside the run: answers its hooks, cancels it. It is called for each execution, also
    /// for those that continue after a crash, so what it sends needs an idempotency key.
    pub fn with<U>(mut self, driver: impl Fn(Engine, RunOf<W>) -> U + Send + Sync + 'static) -> Self
    where
        U: Future<Output = ()> + Send + 'static,
    {
        self.driver = Some(Arc::new(move |engine, run| driver(engine, run).boxed()));
        self
    }
}

/// What distinguishes one execution of an exploration from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Variation {
    /// The first execution.
    Plain,
    /// Each turn was replayed at once.
    Replayed,
    /// The process crashed behind this commit, counted from 1.
    Crash(u64),
    /// Concurrent steps took another order, chosen by this seed.
    Order(u64),
}

impl fmt::Display for Variation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Variation::Plain => f.write_str("as it is"),
            Variation::Replayed => f.write_str("with a replay of each turn"),
            Variation::Crash(commit) => write!(f, "with a crash behind commit {commit}"),
            Variation::Order(seed) => write!(f, "with the order of seed {seed}"),
        }
    }
}

/// A violation that an exploration has found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The execution in which it was found.
    pub variation: Variation,
    /// A description of the violation.
    pub error: Error,
}

/// The result of an exploration.
#[derive(Debug)]
#[must_use = "call `.one()` to assert that all executions have the same result"]
#[non_exhaustive]
pub struct Exploration<T, E> {
    /// How many executions there were.
    pub executions: u64,
    /// How many commits the first execution made.
    pub commits: u64,
    /// How many executions continued after a crash behind one of these.
    pub crashes: u64,
    /// The distinct results, each with the first variation that led to it.
    pub results: Vec<(Result<T, E>, Variation)>,
    /// The violations.
    pub findings: Vec<Finding>,
}

impl<T: fmt::Debug, E: fmt::Debug> Exploration<T, E> {
    /// The result of all executions.
    ///
    /// # Errors
    ///
    /// The error that the run ended with in all executions.
    ///
    /// # Panics
    ///
    /// If there were several results, or findings: the message lists them with their variations.
    pub fn one(mut self) -> Result<T, E> {
        let one = if self.findings.is_empty() && self.results.len() == 1 { self.results.pop() } else { None };
        match one {
            Some((result, _)) => result,
            None => panic!("{self}"),
        }
    }
}

impl<T: fmt::Debug, E: fmt::Debug> fmt::Display for Exploration<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Exploration { executions, commits, crashes, results, findings } = self;
        write!(
            f,
            "{executions} executions (crashes behind {crashes} of {commits} commits): results {}, findings {}",
            results.len(),
            findings.len()
        )?;
        for (result, variation) in results {
            write!(f, "\n  {variation}: {result:?}")?;
        }
        for Finding { variation, error } in findings {
            write!(f, "\n  {variation}: {error}")?;
        }
        Ok(())
    }
}

/// Delays attempts by a seed, and finds those whose result is recorded already.
struct Watched {
    random: Option<Mutex<ChaCha12Rng>>,
    /// Run, generation and operation of the steps whose results the journals have.
    recorded: HashSet<(String, u64, u64)>,
    repeated: Mutex<Vec<String>>,
}

impl Watch for Watched {
    fn begins(&self, step: &'static str) -> u32 {
        if let Some(operation) = step_info().and_then(|info| operation(&info.idempotency_key))
            && self.recorded.contains(&operation)
        {
            let (run, _, op) = operation;
            self.repeated
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(format!("step `{step}`, operation {op} of run `{run}`, is executed again"));
        }
        let random = self.random.as_ref().map(|random| random.lock().unwrap_or_else(PoisonError::into_inner));
        random.map_or(0, |mut random| random.next_u32() % YIELDS_MAX)
    }
}

/// The operation that an idempotency key names, unless it is of a step inside a step.
fn operation(key: &str) -> Option<(String, u64, u64)> {
    let mut parts = key.split('/');
    let (run, generation, _, op) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    Some((run.replace("%2F", "/").replace("%25", "%"), generation.parse().ok()?, op.parse().ok()?))
}

/// The steps of all runs of a store whose results are recorded.
async fn recorded(store: &MemoryStore) -> Result<HashSet<(String, u64, u64)>> {
    let client = Engine::builder().store(Arc::new(store.clone())).connect().await?;
    let runs: Vec<_> = client.runs().stream().try_collect().await?;
    let mut recorded = HashSet::new();
    for info in runs {
        let run: Run<()> = client.get_run(info.id.clone());
        let events: Vec<_> = run.events().so_far().try_collect().await?;
        recorded.extend(events.into_iter().filter_map(|event| match event.kind {
            RunEventKind::StepCompleted { operation, .. } | RunEventKind::StepFailed { operation, .. } => {
                Some((info.id.clone(), event.generation, operation))
            }
            _ => None,
        }));
    }
    Ok(recorded)
}

/// The executions so far.
struct Executions<W: Workflow> {
    explore: Explore<W>,
    args: Payload,
    found: Explored<W>,
    /// The results so far, encoded.
    results: HashSet<String>,
}

impl<W: Workflow> Executions<W> {
    /// Executes the workflow once, from its start or from a snapshot of a store.
    async fn execute(&mut self, variation: Variation, at: u64, store: MemoryStore) -> Result<()> {
        let seed = if let Variation::Order(seed) = variation { Some(seed) } else { None };
        let watched = Arc::new(Watched {
            random: seed.map(|seed| Mutex::new(ChaCha12Rng::seed_from_u64(seed))),
            recorded: if let Variation::Crash(_) = variation { recorded(&store).await? } else { HashSet::new() },
            repeated: Mutex::default(),
        });
        let mut builder = (self.explore.engine)();
        builder.mocks.watch = Some(watched.clone());
        builder.mocks.deny_unmocked |= !self.explore.real_steps;
        // The engine after a crash is a new one. The run keeps the randomness that it was started with.
        let simulated = Arc::new(Simulated::new(at, if let Variation::Crash(commit) = variation { commit } else { 0 }));
        builder = builder.configure(|engine| {
            let engine = engine.environment(simulated);
            if variation == Variation::Replayed { engine.replay_every_turn() } else { engine }
        });
        let engine = builder.open_on(Arc::new(store)).await?;
        let args = W::Form::decode("the workflow's arguments", &self.args)?;
        let run: RunOf<W> = match Start::<W>::new(Some((**engine).clone()), args).id(RUN).await {
            Ok(run) => run,
            Err(error) => {
                self.found.executions += 1;
                self.found.findings.push(Finding { variation, error });
                return engine.shutdown().await;
            }
        };
        let id: Arc<str> = run.id().into();
        let inner = engine.inner();
        let ended = tokio::time::timeout(PATIENCE, inner.wait(&id));
        let ended = match &self.explore.driver {
            None => ended.await,
            Some(driver) => {
                let driver = driver((*engine).clone(), run.clone());
                match select(std::pin::pin!(ended), driver).await {
                    Either::Left((ended, _)) => ended,
                    Either::Right(((), ended)) => ended.await,
                }
            }
        };
        let found = &mut self.found;
        found.executions += 1;
        let mut report = |error| found.findings.push(Finding { variation, error });
        for again in watched.repeated.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            report(Error::coded(Code::Nondeterminism, format!("{again} although its result was recorded")));
        }
        match ended {
            Err(_) => report(
                Error::coded(Code::Timeout, "the run does not end")
                    .expected(format!("an end within {} days of its clock", PATIENCE.as_secs() / (24 * 3600)))
                    .help("answer its hooks and suspensions in `.with(|engine, run| ..)`"),
            ),
            Ok(Err(error)) => report(error),
            Ok(Ok(_)) => {
                let result = engine.get_run(&*id).await;
                let text = match &result {
                    Ok(value) => format!("Ok({:?})", codec::encode("the result", value)?),
                    Err(error) => format!("Err({:?})", codec::encode("the error", error)?),
                };
                if self.results.insert(text) {
                    found.results.push((result, variation));
                }
            }
        }
        drop(run);
        engine.shutdown().await
    }

    async fn all(mut self) -> Result<Explored<W>> {
        let store = MemoryStore::new();
        let clock = Simulated::new(BEGIN, 0);
        store.record(CRASHES_MAX, move || crate::environment::Environment::now(&clock));
        self.execute(Variation::Plain, BEGIN, store.clone()).await?;
        let (commits, snapshots) = store.recorded();
        self.found.commits = commits;
        if self.found.findings.iter().any(|finding| finding.error.code() == Code::Timeout) {
            // The others would not end either.
            return Ok(self.found);
        }
        self.execute(Variation::Replayed, BEGIN, MemoryStore::new()).await?;
        for snapshot in snapshots {
            // Before its first commit there is no run to continue.
            if snapshot.store.run(RUN).await?.is_none() {
                continue;
            }
            self.found.crashes += 1;
            self.execute(Variation::Crash(snapshot.commit), snapshot.at, snapshot.store).await?;
        }
        for seed in 1..=self.explore.seeds {
            self.execute(Variation::Order(seed), BEGIN, MemoryStore::new()).await?;
        }
        Ok(self.found)
    }
}

impl<W: Workflow> IntoFuture for Explore<W> {
    type Output = Result<Explored<W>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(mut self) -> Self::IntoFuture {
        let args = std::mem::replace(&mut self.args, Err(Error::new("the arguments were taken")));
        let found = Exploration { executions: 0, commits: 0, crashes: 0, results: Vec::new(), findings: Vec::new() };
        async move { Executions { explore: self, args: args?, found, results: HashSet::new() }.all().await }.boxed()
    }
}
