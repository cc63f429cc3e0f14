//! Idempotency keys of steps.

use std::collections::BTreeSet;
use std::future::{pending, poll_fn};
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join;
use workflow_runtime::{Error, Result, durable, step, step_info, workflow};

use crate::support::{Lab, Place, soon};

/// A service that deduplicates by key. The lab's notes record its requests and their keys.
#[derive(Clone)]
struct Provider(Lab);

impl Provider {
    /// Requests `what` from the service under the key of the current step.
    fn ask(&self, what: &str) -> String {
        let key = step_info().expect("the caller is a step").idempotency_key;
        self.0.note(&format!("ask {what} {key}"));
        key
    }

    /// The key of each request, in order.
    fn asked(&self, what: &str) -> Vec<String> {
        let notes = self.0.notes();
        notes.iter().filter_map(|note| note.strip_prefix(&format!("ask {what} "))).map(str::to_owned).collect()
    }

    /// The number of effects (distinct keys), and the number of requests.
    fn done(&self, what: &str) -> (usize, usize) {
        (self.keys(what).len(), self.asked(what).len())
    }

    fn keys(&self, what: &str) -> Vec<String> {
        self.asked(what).into_iter().collect::<BTreeSet<_>>().into_iter().collect()
    }
}

#[step]
async fn asks(#[resource] lab: &Lab, what: String) -> Result<String> {
    Ok(Provider(lab.clone()).ask(&what))
}

/// Takes effect, and times out until the test calls [`mend`].
#[step(retries = 0)]
async fn charges(#[resource] lab: &Lab, what: String) -> Result<String> {
    let key = Provider(lab.clone()).ask(&what);
    if lab.count(&format!("mend {what}")) == 0 {
        pending::<()>().await;
    }
    Ok(key)
}

#[step(queue = "keys", retries = 0)]
async fn charges_elsewhere(#[resource] lab: &Lab, what: String) -> Result<String> {
    let key = Provider(lab.clone()).ask(&what);
    if lab.count(&format!("mend {what}")) == 0 {
        pending::<()>().await;
    }
    Ok(key)
}

#[step]
async fn refunds(#[resource] lab: &Lab, what: String) -> Result<()> {
    lab.note(&format!("refund {what}"));
    Ok(())
}

/// Requests `what`, once its gate is open.
#[step(retries = 0)]
async fn waits(#[resource] lab: &Lab, what: String) -> Result<String> {
    let key = Provider(lab.clone()).ask(&what);
    lab.pass_gate(&what).await;
    Ok(key)
}

const SHORT: Duration = Duration::from_millis(1);

#[workflow]
async fn buys(elsewhere: bool) -> Result<Vec<String>> {
    let before = asks("before".into()).await?;
    let charge = match elsewhere {
        true => charges_elsewhere("charge".into()).timeout(SHORT).await?,
        false => charges("charge".into()).timeout(SHORT).await?,
    };
    Ok(vec![before, charge, asks("after".into()).await?])
}

#[workflow]
async fn buys_later(left: u32) -> Result<String> {
    match left {
        0 => charges("charge".into()).timeout(SHORT).await,
        left => {
            asks("earlier".into()).await?;
            buys_later(left - 1).continue_as_new().await
        }
    }
}

#[workflow]
async fn reserves_and_buys() -> Result<Vec<String>> {
    let before = asks("before".into()).await?;
    let reserved = asks("reserve".into()).rollback(|_| refunds("reserve".into())).await?;
    Ok(vec![before, reserved, charges("charge".into()).timeout(SHORT).await?])
}

/// The reservation is running when the charge fails.
#[workflow]
async fn reserves_beside() -> Result<Vec<String>> {
    let reserved = waits("reserve".into()).rollback(|_| refunds("reserve".into()));
    let charged = charges("charge".into()).timeout(SHORT);
    let (reserved, charged) = tokio::try_join!(reserved, charged)?;
    Ok(vec![reserved, charged])
}

#[workflow]
async fn reserves_elsewhere_and_buys() -> Result<Vec<String>> {
    let before = asks("before".into()).await?;
    let reserved = reserves_in_queue("reserve".into()).rollback(|_| refunds("reserve".into())).await?;
    Ok(vec![before, reserved, charges("charge".into()).timeout(SHORT).await?])
}

#[step(queue = "keys")]
async fn reserves_in_queue(#[resource] lab: &Lab, what: String) -> Result<String> {
    Ok(Provider(lab.clone()).ask(&what))
}

#[step]
async fn left(#[resource] lab: &Lab) -> Result<String> {
    Ok(Provider(lab.clone()).ask("inside"))
}

#[step]
async fn right(#[resource] lab: &Lab) -> Result<String> {
    Ok(Provider(lab.clone()).ask("inside"))
}

/// Polls two futures concurrently; `swapped` polls the second one first.
async fn both<A, B>(first: impl Future<Output = A>, second: impl Future<Output = B>, swapped: bool) -> (A, B) {
    let (mut first, mut second) = (Box::pin(first.map(Some)), Box::pin(second.map(Some)));
    let (mut one, mut other) = (None, None);
    poll_fn(move |context| {
        for turn in [swapped, !swapped] {
            if !turn
                && one.is_none()
                && let Poll::Ready(done) = first.as_mut().poll(context)
            {
                one = done;
            }
            if turn
                && other.is_none()
                && let Poll::Ready(done) = second.as_mut().poll(context)
            {
                other = done;
            }
        }
        if one.is_some() && other.is_some() {
            Poll::Ready((one.take().unwrap(), other.take().unwrap()))
        } else {
            Poll::Pending
        }
    })
    .await
}

#[durable]
async fn calls_left() -> Result<String> {
    left().await
}

/// Calls steps concurrently, in an order that alternates from attempt to attempt.
#[step(retries = 3, backoff = "0ms..0ms")]
async fn nests(#[resource] lab: &Lab) -> Result<Vec<String>> {
    let attempt = lab.note("nests");
    let swapped = attempt.is_multiple_of(2);
    let (a, b) = both(async { left().await }, async { right().await }, swapped).await;
    // Calls of the same step are numbered in the order of the calls, not of the polls.
    let (c, d) = both(left(), left(), swapped).await;
    let task = workflow_runtime::spawn(left());
    let other = workflow_runtime::spawn(calls_left());
    let (e, f) = join(task, other).await;
    let keys = vec![a?, b?, c?, d?, e?, f?];
    for key in &keys {
        lab.note(key);
    }
    if attempt < 4 { Err(Error::new("once more")) } else { Ok(keys) }
}

#[workflow]
async fn nesting() -> Result<Vec<String>> {
    nests().await
}

#[step]
async fn calls_many(#[resource] lab: &Lab) -> Result<Vec<String>> {
    let mut keys = vec![Provider(lab.clone()).ask("outer")];
    for _ in 0..3 {
        keys.push(left().await?);
    }
    Ok(keys)
}

#[workflow]
async fn many_keys(generations: u32) -> Result<Vec<String>> {
    calls_many().await?;
    calls_many().await?;
    match generations {
        0 => Ok(Vec::new()),
        left => many_keys(left - 1).continue_as_new().await,
    }
}

fn lab_and_provider() -> (Lab, Provider) {
    let lab = Lab::new();
    (lab.clone(), Provider(lab))
}

async fn engine(place: &Place, lab: &Lab) -> workflow_runtime::Engine {
    let builder = place.builder(lab).queue("keys", 4);
    builder.replay_every_turn().open().await.expect("the engine opens")
}

fn mend(lab: &Lab, what: &str) {
    lab.note(&format!("mend {what}"));
}

on_each_store! {
    async fn runs_whose_ids_contain_other_ids_share_no_key(place: Place) {
        let (lab, provider) = lab_and_provider();
        let engine = engine(&place, &lab).await;
        let ids = ["batch-1", "batch-1/0", "batch-1/0/0", "batch-1%2F0", "batch-1/1", "batch-1/0/0/0"];
        for id in ids {
            soon(engine.start(many_keys, 2).id(id).await.unwrap()).await.unwrap();
        }
        // Three generations, each with two outer calls, each with three calls inside.
        assert_eq!(provider.done("outer"), (ids.len() * 6, ids.len() * 6));
        assert_eq!(provider.done("inside"), (ids.len() * 18, ids.len() * 18));
    }

    async fn a_key_has_a_format_that_does_not_change(place: Place) {
        let (lab, provider) = lab_and_provider();
        let engine = engine(&place, &lab).await;
        soon(engine.start(many_keys, 1).id("a/b").await.unwrap()).await.unwrap();
        let outer = ["a%2Fb/0/0/0", "a%2Fb/0/0/1", "a%2Fb/1/0/0", "a%2Fb/1/0/1"];
        assert_eq!(provider.keys("outer"), outer);
        assert_eq!(provider.keys("inside")[1], "a%2Fb/0/0/0/behaviour::keys::left/1");
    }

    async fn keys_of_steps_inside_a_step_do_not_depend_on_the_order_of_polls(place: Place) {
        let (lab, provider) = lab_and_provider();
        let engine = engine(&place, &lab).await;
        let keys = soon(engine.start(nesting, ()).await.unwrap()).await.unwrap();
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "{keys:?}");
        for key in &keys {
            assert_eq!(lab.count(key), 4, "each attempt has the same keys: {keys:?}");
        }
        assert_eq!(provider.done("inside"), (keys.len(), keys.len() * 4));
        assert!(keys[0].ends_with("::left/0") && keys[1].ends_with("::right/0"), "{keys:?}");
    }

    async fn a_retry_uses_the_same_key_for_a_charge_that_timed_out(place: Place) {
        for elsewhere in [false, true] {
            let (lab, provider) = lab_and_provider();
            let engine = engine(&place, &lab).await;
            let run = engine.start(buys, elsewhere).id("order/1").await.unwrap();
            assert!(soon(&run).await.is_err());
            // The charge times out again.
            run.retry().await.unwrap();
            assert!(soon(&run).await.is_err());
            mend(&lab, "charge");
            run.retry().await.unwrap();
            let keys = soon(&run).await.unwrap();
            assert_eq!(provider.done("charge"), (1, 3), "one charge, requested three times");
            assert_eq!((provider.done("before"), provider.done("after")), ((1, 1), (1, 1)));
            assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 3, "{keys:?}");
            run.delete().await.unwrap();
            engine.shutdown().await.unwrap();
        }
    }

    async fn retry_keeps_the_keys_of_a_run_that_has_continued_as_new(place: Place) {
        let (lab, provider) = lab_and_provider();
        let engine = engine(&place, &lab).await;
        let run = engine.start(buys_later, 1).await.unwrap();
        assert!(soon(&run).await.is_err());
        mend(&lab, "charge");
        run.retry().await.unwrap();
        let key = soon(&run).await.unwrap();
        assert_eq!(provider.done("charge"), (1, 2));
        assert_eq!(key, format!("{}/1/0/0", run.id()));
        assert_ne!(provider.keys("earlier"), [key]);
    }

    async fn a_step_that_was_undone_gets_a_new_key(place: Place) {
        let (lab, provider) = lab_and_provider();
        let engine = engine(&place, &lab).await;
        let run = engine.start(reserves_and_buys, ()).await.unwrap();
        for round in 1..=2 {
            assert!(soon(&run).await.is_err());
            assert_eq!(lab.count("refund reserve"), round);
            assert_eq!(provider.done("reserve"), (round, round), "the old key would return the refunded reservation");
            assert_eq!(provider.done("charge"), (round, round));
            run.retry().await.unwrap();
        }
        assert!(soon(&run).await.is_err());
        mend(&lab, "charge");
        run.retry().await.unwrap();
        let keys = soon(&run).await.unwrap();
        assert_eq!(provider.done("before"), (1, 1));
        assert_eq!(keys, ["0/0", "3/1", "3/2"].map(|key| format!("{}/0/{key}", run.id())));
    }

    async fn a_queued_step_that_was_undone_gets_a_new_key(place: Place) {
        let (lab, provider) = lab_and_provider();
        let engine = engine(&place, &lab).await;
        let run = engine.start(reserves_elsewhere_and_buys, ()).await.unwrap();
        assert!(soon(&run).await.is_err());
        assert_eq!((lab.count("refund reserve"), provider.done("reserve")), (1, (1, 1)));
        mend(&lab, "charge");
        run.retry().await.unwrap();
        let keys = soon(&run).await.unwrap();
        assert_eq!(provider.done("reserve"), (2, 2));
        assert_eq!(keys, ["0/0", "1/1", "1/2"].map(|key| format!("{}/0/{key}", run.id())));
    }

    async fn a_step_undone_after_a_late_success_gets_a_new_key_and_a_failed_one_keeps_its_key(place: Place) {
        let (lab, provider) = lab_and_provider();
        let engine = engine(&place, &lab).await;
        let run = engine.start(reserves_beside, ()).await.unwrap();
        // The reservation has begun, and succeeds after the charge has failed.
        soon(async {
            while run.steps().await.unwrap().iter().all(|step| step.status != workflow_runtime::StepStatus::Failed) {
                workflow_harness::pause().await;
            }
        })
        .await;
        lab.open_gate("reserve");
        assert!(soon(&run).await.is_err());
        assert_eq!((lab.count("refund reserve"), provider.done("reserve"), provider.done("charge")), (1, (1, 1), (1, 1)));
        mend(&lab, "charge");
        run.retry().await.unwrap();
        let keys = soon(&run).await.unwrap();
        assert_eq!(provider.done("reserve"), (2, 2), "the reservation was undone");
        assert_eq!(provider.done("charge"), (1, 2), "the charge may have taken effect");
        assert_eq!(keys, ["1/0", "0/1"].map(|key| format!("{}/0/{key}", run.id())));
    }

    async fn a_fork_has_keys_of_its_own(place: Place) {
        for elsewhere in [false, true] {
            let (lab, provider) = lab_and_provider();
            let engine = engine(&place, &lab).await;
            let run = engine.start(buys, elsewhere).await.unwrap();
            assert!(soon(&run).await.is_err());
            run.retry().await.unwrap();
            assert!(soon(&run).await.is_err());
            mend(&lab, "charge");
            let call = run.steps().await.unwrap()[1].event;
            let fork = run.fork(call).await.unwrap();
            let keys = soon(&fork).await.unwrap();
            assert_eq!(provider.done("charge"), (2, 3));
            let step = format!("{}/0/0/1", fork.id());
            assert_eq!(keys[1], step);
            assert!(keys[2].starts_with(fork.id()) && keys[0].starts_with(run.id()), "{keys:?}");
            // A fork of the fork has new keys, too.
            let again = fork.fork(fork.steps().await.unwrap()[1].event).await.unwrap();
            assert_eq!(soon(&again).await.unwrap()[1], format!("{}/0/0/1", again.id()));
            engine.shutdown().await.unwrap();
        }
    }

    async fn retry_of_a_fork_keeps_its_keys(place: Place) {
        let (lab, provider) = lab_and_provider();
        let engine = engine(&place, &lab).await;
        let run = engine.start(buys, false).await.unwrap();
        assert!(soon(&run).await.is_err());
        let fork = run.fork(run.steps().await.unwrap()[1].event).await.unwrap();
        assert!(soon(&fork).await.is_err());
        mend(&lab, "charge");
        fork.retry().await.unwrap();
        assert_eq!(soon(&fork).await.unwrap()[1], format!("{}/0/0/1", fork.id()));
        assert_eq!(provider.done("charge"), (2, 3));
    }
}
