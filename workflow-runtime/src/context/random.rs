//! Random values that are the same on each replay.

use chacha20::ChaCha12Rng;
use rand::distr::{Distribution, StandardUniform};
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use crate::replay::current;

fn with_rng<T>(f: impl FnOnce(&mut ChaCha12Rng) -> T) -> T {
    match current() {
        Some(run) => run.with_rng(f),
        None => {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).unwrap_or_else(|error| panic!("the system has no randomness: {error}"));
            f(&mut ChaCha12Rng::from_seed(seed))
        }
    }
}

/// A random value of any type that the `rand` crate can draw uniformly: integers over their whole range, floats from 0
/// to 1, `bool`, `char`, tuples and arrays of such.
///
/// In a workflow it comes from the run's own seed, and so is the same on each replay; elsewhere from the system. Not for
/// secrets: anyone who can read the journal knows the seed.
///
/// ```
/// # use workflow_runtime::{Result, random, workflow};
/// #[workflow]
/// async fn dice() -> Result<u8> {
///     Ok(random::<u8>() % 6 + 1)
/// }
/// ```
pub fn random<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    with_rng(|rng| StandardUniform.sample(rng))
}

/// A random UUID (version 4): in a workflow the same on each replay.
pub fn uuid() -> Uuid {
    let mut bytes = [0; 16];
    with_rng(|rng| rng.fill_bytes(&mut bytes));
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
