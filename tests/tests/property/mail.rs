//! Payloads for a run that fails, is retried by other engines and continues as new: each hook receives those of its token in
//! the order in which the store has accepted them, and none is lost. Each suspension receives the answer that was accepted for
//! it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use workflow_runtime::store::{Status, Store};
use workflow_runtime::{
    Code, Engine, Error, Hook, Result, Run, hook, sleep, step, step_info, suspend, timeout, workflow,
};

use crate::world::{World, yields};

const TOKENS: usize = 2;

/// The maximum number of random actions: more than any case needs.
const ACTIONS_MAX: u32 = 20_000;

/// What the workflow does next.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Action {
    /// Opens the hook of a token, if it is not open.
    Open(usize),
    /// Receives a payload, by a hook that it opens if none is open.
    Take(usize),
    /// Receives a payload while a step is executed.
    TakeBeside(usize),
    /// Receives a payload if one arrives in time.
    TakeInTime(usize),
    Drop(usize),
    /// Asks a question, and may execute a step with a rollback meanwhile.
    Ask {
        beside: bool,
    },
    /// A step with a rollback.
    Charge,
    /// A step that fails this many times, each time with the run.
    Ship(u32),
    Sleep,
    /// Continues as new with the actions behind this one.
    Continue,
}

#[step(retries = 0)]
async fn charge(#[resource] world: &Arc<World>, at: usize) -> Result<usize> {
    world.request(at, String::new());
    yields(3).await;
    Ok(at)
}

#[step(retries = 0)]
async fn refund(_at: usize) -> Result<()> {
    Ok(())
}

#[step(retries = 0)]
async fn ship(#[resource] world: &Arc<World>, at: usize, failures: u32) -> Result<()> {
    let key = step_info().map(|info| info.idempotency_key).unwrap_or_default();
    match world.request(at, key) < failures as usize {
        true => Err(Error::fatal("no van")),
        false => Ok(()),
    }
}

/// The payloads that were taken, each with its token, or with the number that [`question`] gives the question.
type Taken = Vec<(usize, u64)>;

#[workflow]
async fn reads(actions: Vec<Action>, done: usize, mut taken: Taken) -> Result<Taken> {
    let mut hooks: [Option<Hook<u64>>; TOKENS] = [None, None];
    for (at, action) in actions.iter().copied().enumerate().skip(done) {
        match action {
            Action::Open(token) => drop(opened(&mut hooks, token)),
            Action::Take(token) => taken.push((token, opened(&mut hooks, token).await?)),
            Action::TakeBeside(token) => {
                let (payload, _) = tokio::try_join!(opened(&mut hooks, token), charge(at))?;
                taken.push((token, payload));
            }
            Action::TakeInTime(token) => {
                let payload = timeout(Duration::from_millis(1), opened(&mut hooks, token)).await;
                taken.extend(payload.ok().transpose()?.map(|payload| (token, payload)));
            }
            Action::Drop(token) => hooks[token] = None,
            Action::Ask { beside: false } => taken.push((question(at), suspend(&at).label(at.to_string()).await?)),
            Action::Ask { beside: true } => {
                let charges = async { charge(at).rollback(refund).await };
                let (answer, _) = tokio::try_join!(suspend(&at).label(at.to_string()), charges)?;
                taken.push((question(at), answer));
            }
            Action::Charge => drop(charge(at).rollback(refund).await?),
            Action::Ship(failures) => ship(at, failures).await?,
            Action::Sleep => sleep(Duration::from_millis(2)).await,
            Action::Continue => {
                drop(hooks);
                return reads(actions, at + 1, taken).continue_as_new().await;
            }
        }
    }
    Ok(taken)
}

/// The number of the question that an action asks: no token has it.
fn question(action: usize) -> usize {
    TOKENS + action
}

fn opened(hooks: &mut [Option<Hook<u64>>; TOKENS], token: usize) -> &mut Hook<u64> {
    hooks[token].get_or_insert_with(|| hook::<u64>().token(format!("t{token}")).open())
}

/// A program, and the tokens of which a hook is dropped before it has returned a payload.
fn generate(random: &mut StdRng) -> (Vec<Action>, [bool; TOKENS]) {
    let (mut actions, mut given_up) = (Vec::new(), [false; TOKENS]);
    // Whether the hook of each token is open, and whether it certainly has returned a payload.
    let mut hooks = [(false, false); TOKENS];
    let gives_up = random.random_bool(0.2);
    for _ in 0..random.random_range(3..14) {
        let token = random.random_range(0..TOKENS);
        let is_left = |hook: &(bool, bool)| !hook.0 || hook.1 || gives_up;
        let action = match random.random_range(0..18) {
            0 | 1 => Action::Open(token),
            2..5 => Action::Take(token),
            5 if random.random_bool(0.5) => Action::TakeInTime(token),
            5 => Action::TakeBeside(token),
            6..9 if is_left(&hooks[token]) => Action::Drop(token),
            9..12 => Action::Charge,
            12 | 13 => Action::Ship(random.random_range(1..4)),
            14 | 15 => Action::Ask { beside: random.random_bool(0.5) },
            16 if hooks.iter().all(is_left) => Action::Continue,
            _ => Action::Sleep,
        };
        let mut closes = |token: usize| {
            given_up[token] |= hooks[token] == (true, false);
            hooks[token] = (false, false);
        };
        match action {
            Action::Drop(token) => closes(token),
            Action::Continue => (0..TOKENS).for_each(closes),
            Action::Open(token) | Action::TakeInTime(token) => hooks[token].0 = true,
            Action::Take(token) | Action::TakeBeside(token) => hooks[token] = (true, true),
            _ => {}
        }
        actions.push(action);
    }
    (actions, given_up)
}

/// A case: its sender, and the engines that execute the run.
struct Case<'a> {
    random: StdRng,
    open: &'a dyn Fn() -> Arc<dyn Store>,
    world: Arc<World>,
    actions: Vec<Action>,
    opens: bool,
    next: u64,
    /// The payloads that the store has accepted, by token.
    accepted: [Vec<u64>; TOKENS],
    /// The last answer that the store has accepted for each question.
    answers: BTreeMap<usize, u64>,
    retries: usize,
}

impl Case<'_> {
    async fn engine(&mut self) -> Engine {
        let builder = Engine::builder().store((self.open)()).resource(self.world.clone()).recoveries(u32::MAX);
        let builder = if self.random.random_bool(0.5) { builder.replay_every_turn() } else { builder };
        let builder = if self.random.random_bool(0.5) { builder.evict_after(Duration::ZERO) } else { builder };
        builder.open().await.expect("the engine opens")
    }

    async fn start(&self, engine: &Engine) -> Run<Taken> {
        let start = engine.start(reads, (self.actions.clone(), 0, Taken::new())).id("r");
        let start = if self.opens { start.opens("t0").opens("t1") } else { start };
        start.await.expect("the run starts")
    }

    /// Sends the next number to a random token, or repeats an earlier delivery.
    async fn send(&mut self, engine: &Engine) {
        let token = self.random.random_range(0..TOKENS);
        let repeated = match self.random.random_bool(0.1) {
            true => self.accepted[token].last().copied(),
            false => None,
        };
        let number = repeated.unwrap_or_else(|| {
            self.next += 1;
            self.next
        });
        let sent = engine.resume_hook(format!("t{token}"), &number).idempotency_key(number.to_string()).await;
        match sent {
            Ok(()) => self.accepted[token].extend(repeated.is_none().then_some(number)),
            Err(error) => {
                let code = error.code();
                assert!([Code::HookNotFound, Code::HookDisposed, Code::HookFinished].contains(&code), "{error:?}");
                assert!(repeated.is_none(), "an accepted delivery is refused when it is repeated: {error:?}");
            }
        }
    }

    /// Answers a question, if the run asks one.
    async fn answer(&mut self, run: &Run<Taken>) {
        let Some(suspended) = run.suspended().await.expect("there is a run").pop() else { return };
        self.next += 1;
        match run.resume(&self.next).of(suspended.id).await {
            Ok(()) => {
                let action: usize = suspended.label.parse().expect("a number");
                self.answers.insert(question(action), self.next);
            }
            Err(error) => {
                assert!([Code::NotSuspended, Code::AlreadyResumed].contains(&error.code()), "{error:?}");
            }
        }
    }

    /// Performs random actions on one engine. Returns what the run has taken, once it has completed.
    async fn live(&mut self, engine: &Engine, run: &Run<Taken>) -> Option<Taken> {
        for _ in 0..self.random.random_range(1..200) {
            match run.status().await.expect("there is a run") {
                Status::Completed => return Some(run.await.expect("the run has completed")),
                Status::Failed | Status::Cancelled => {
                    self.retries += 1;
                    run.retry().await.expect("the run is retried");
                }
                Status::Stuck => panic!("the run is stuck: {:?}", run.info().await),
                _ => {}
            }
            match self.random.random_range(0..60) {
                0 => {
                    run.request_cancel("not now").await.expect("there is a run");
                }
                1..5 => self.answer(run).await,
                5..20 => self.send(engine).await,
                20..40 => yields(self.random.random_range(0..40)).await,
                40..50 => tokio::time::sleep(Duration::from_millis(1)).await,
                _ => drop(run.wake_up().await),
            }
        }
        None
    }
}

/// Tests a case: the number of payloads that were taken, and of retries.
pub async fn test(seed: u64, open: &dyn Fn() -> Arc<dyn Store>) -> (usize, usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let (actions, given_up) = generate(&mut random);
    let opens = random.random_bool(0.3);
    let world = Arc::new(World::default());
    let mut case = Case {
        random,
        open,
        world,
        actions,
        opens,
        next: 0,
        accepted: Default::default(),
        answers: BTreeMap::new(),
        retries: 0,
    };
    for _ in 0..ACTIONS_MAX {
        let engine = case.engine().await;
        let run = case.start(&engine).await;
        let taken = case.live(&engine, &run).await;
        match case.random.random_bool(0.5) {
            true => engine.shutdown().await.expect("the engine shuts down"),
            false => drop(engine),
        }
        let Some(taken) = taken else { continue };
        let mut by_token: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        taken.iter().for_each(|(token, number)| by_token.entry(*token).or_default().push(*number));
        for (token, numbers) in by_token {
            if let Some(answer) = case.answers.get(&token) {
                assert_eq!(numbers, [*answer], "question {}: {:?}", token - TOKENS, case.actions);
                continue;
            }
            let accepted = &case.accepted[token];
            match given_up[token] {
                true => assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?} of {accepted:?}: {:?}", case.actions),
                false => assert_eq!(numbers, accepted[..numbers.len()], "token {token}: {:?}", case.actions),
            }
        }
        return (taken.len(), case.retries);
    }
    panic!("the run does not complete: {:?}", case.actions);
}
