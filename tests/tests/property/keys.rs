//! Idempotency keys of steps that lose answers, are undone, and are retried by other engines: a service that
//! deduplicates by key makes each purchase the right number of times.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use workflow_runtime::store::Store;
use workflow_runtime::{Engine, Error, Result, Run, step, step_info, workflow};

use crate::world::World;

/// A purchase by a step.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Purchase {
    /// Whether it is undone if the run fails.
    undoable: bool,
    /// How many requests take effect and get no answer.
    lost: u32,
    /// Whether a nested step makes the request.
    nested: bool,
}

/// Requests a purchase. The first `lost` requests take effect and fail.
fn ask(world: &World, at: usize, lost: u32) -> Result<()> {
    let key = step_info().map(|info| info.idempotency_key).ok_or_else(|| Error::new("it is part of a step"))?;
    if world.request(at, key) < lost as usize { Err(Error::new("no answer in time")) } else { Ok(()) }
}

#[step(retries = 0)]
async fn buy(#[resource] world: &Arc<World>, at: usize, purchase: Purchase) -> Result<usize> {
    match purchase.nested {
        true => buy_inside(at, purchase.lost).await?,
        false => ask(world, at, purchase.lost)?,
    }
    Ok(at)
}

#[step]
async fn buy_inside(#[resource] world: &Arc<World>, at: usize, lost: u32) -> Result<()> {
    ask(world, at, lost)
}

#[step]
async fn give_back(at: usize) -> Result<usize> {
    Ok(at)
}

#[workflow]
async fn shops(purchases: Vec<Purchase>) -> Result<usize> {
    let mut bought = 0;
    for (at, purchase) in purchases.into_iter().enumerate() {
        let call = buy(at, purchase);
        bought += match purchase.undoable {
            true => call.rollback(give_back).await?,
            false => call.await?,
        };
    }
    Ok(bought)
}

/// The expected requests, in order. The key of a request changes only when an earlier step is undone.
fn expected(run: &str, purchases: &[Purchase]) -> Vec<(usize, String)> {
    let mut requests: Vec<(usize, String)> = Vec::new();
    let (mut at, mut unwindings) = (0, 0);
    while let Some(purchase) = purchases.get(at) {
        let inside = if purchase.nested { "/property::keys::buy_inside/0" } else { "" };
        let before = requests.iter().filter(|(of, _)| *of == at).count();
        requests.push((at, format!("{run}/0/{unwindings}/{at}{inside}")));
        if before >= purchase.lost as usize {
            at += 1;
        } else if let Some(undone) = purchases[..at].iter().position(|purchase| purchase.undoable) {
            unwindings += 1;
            at = undone;
        }
    }
    requests
}

/// Tests a case: the number of requests and of retries.
pub async fn test(seed: u64, open: &dyn Fn() -> Arc<dyn Store>) -> (usize, usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let purchase = |random: &mut StdRng| Purchase {
        undoable: random.random_bool(0.4),
        lost: if random.random_bool(0.4) { random.random_range(1..3) } else { 0 },
        nested: random.random_bool(0.3),
    };
    let purchases: Vec<Purchase> = (0..random.random_range(1..7)).map(|_| purchase(&mut random)).collect();
    let id = ["shopping", "shopping/0", "50%"][random.random_range(0..3)];
    let world = Arc::new(World::default());
    let engine = |world: &Arc<World>| {
        let builder = Engine::builder().store(open()).resource(world.clone()).recoveries(u32::MAX);
        builder.replay_every_turn().open()
    };
    let mut executing = engine(&world).await.expect("the engine opens");
    executing.start(shops, purchases.clone()).id(id).await.expect("the run starts");
    let mut retries = 0;
    loop {
        let run: Run<usize> = executing.get_run(id);
        if let Ok(bought) = run.await {
            assert_eq!(bought, (0..purchases.len()).sum::<usize>());
            break;
        }
        if random.random_bool(0.3) {
            // Another engine continues the run.
            executing.shutdown().await.expect("the engine shuts down");
            executing = engine(&world).await.expect("the engine opens");
        }
        let run: Run<usize> = executing.get_run(id);
        run.retry().await.expect("the run is retried");
        retries += 1;
    }
    executing.shutdown().await.expect("the engine shuts down");
    let requests = world.requests();
    let escaped = id.replace('%', "%25").replace('/', "%2F");
    assert_eq!(requests, expected(&escaped, &purchases), "{purchases:?}");
    (requests.len(), retries)
}
