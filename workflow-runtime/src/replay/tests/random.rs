//! The run's own random numbers.

use rand::Rng;

use super::support::*;

const BODY: Body = |_| {
    run(async {
        let draw = || shared().with_rng(|rng| rng.next_u32());
        let mut numbers = vec![draw(), draw()];
        step("work", 1).await?;
        numbers.push(draw());
        step("work", 2).await?;
        numbers.push(draw());
        Ok(json(numbers))
    })
};

fn numbers(setting: Setting) -> String {
    let mut driven = Driven::start_as(BODY, setting);
    driven.deliver(completed(0, 1));
    driven.deliver(completed(1, 1));
    driven.end()
}

#[test]
fn numbers_depend_only_on_the_seed() {
    let of = |seed| numbers(Setting { seed, ..Setting::default() });
    assert_eq!(of("a seed"), of("a seed"));
    assert_ne!(of("a seed"), of("another seed"));
    // The numbers are part of the format: a newer build that replays the run must draw the same.
    assert_eq!(of(SEED), "Completed([1826850486,1331717214,737382782,3298239917])");
}

#[test]
fn numbers_do_not_depend_on_the_randomness_of_the_host() {
    let of = |draw| numbers(Setting { draw, ..Setting::default() });
    assert_eq!(of(1), of(2));
}

#[test]
fn nested_draws_do_not_lose_the_sequence() {
    let driven = Driven::start(|_| {
        run(async {
            let (outer, inner) = shared().with_rng(|rng| (rng.next_u32(), shared().with_rng(|rng| rng.next_u32())));
            // The inner call uses a copy of the sequence, which is discarded.
            assert_eq!(outer, inner);
            let next = shared().with_rng(|rng| rng.next_u32());
            Ok(json(next != outer))
        })
    });
    assert_eq!(driven.end(), "Completed(true)");
}
