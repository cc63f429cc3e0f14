//! Payloads, concurrent with everything that may come before them.

use futures::StreamExt;
use tokio::join;
use workflow_runtime::{Result, Run, hook, set_state, timeout, workflow};

use super::{Arena, Duration, Status, races, sometime};

const MILLISECONDS: u64 = 5;

#[workflow]
async fn waits_for_so_long(token: String) -> Result<Option<u64>> {
    match timeout(Duration::from_millis(MILLISECONDS), hook::<u64>().token(token)).await {
        Ok(payload) => payload.map(Some),
        Err(_) => Ok(None),
    }
}

#[workflow]
async fn collects(token: String, count: usize) -> Result<Vec<u64>> {
    let payloads: Vec<_> = hook::<u64>().token(token).open().take(count).collect().await;
    payloads.into_iter().collect()
}

/// Opens a token, may drop the hook after a lost race, and then opens the same token again.
#[workflow]
async fn tries_twice(token: String) -> Result<(Option<u64>, Option<u64>)> {
    let first = hook::<u64>().token(token.clone()).open();
    let first = tokio::select! {
        payload = first => Some(payload?),
        other = sometime("other".into()) => other.map(|_| None)?,
    };
    sometime("between".into()).await?;
    let second = match timeout(Duration::from_millis(MILLISECONDS), hook::<u64>().token(token)).await {
        Ok(payload) => Some(payload?),
        Err(_) => None,
    };
    Ok((first, second))
}

/// Takes one payload in each generation. Untaken payloads pass to the next generation.
#[workflow]
async fn goes_on(token: String, mut got: Vec<u64>, count: usize) -> Result<Vec<u64>> {
    let mut mail = hook::<u64>().token(token.clone()).open();
    sometime("before".into()).await?;
    got.push((&mut mail).await?);
    set_state(&got)?;
    if got.len() == count {
        return Ok(got);
    }
    sometime("behind".into()).await?;
    goes_on(token, got, count).continue_as_new().await
}

/// Asserts that each acknowledged payload either was taken or stays in the inbox, and not both. Returns the taken
/// payloads.
async fn assert_carried<T>(arena: &Arena, run: &Run<T>, acknowledged: &[(u64, bool)]) -> Vec<u64> {
    let story = arena.story(run.id()).await;
    let taken: Vec<u64> = run.state().await.unwrap().unwrap_or_default();
    // The last generation may have received payloads without taking them. Unread payloads were not delivered to it.
    let untaken = story.delivered().into_iter().filter(|payload| !taken.contains(payload));
    let mut found: Vec<u64> = untaken.chain(story.unread.clone()).chain(taken.clone()).collect();
    found.sort_unstable();
    let sent: Vec<u64> = acknowledged.iter().filter(|(_, sent)| *sent).map(|(payload, _)| *payload).collect();
    assert_eq!(found, sent, "taken {taken:?}, delivered {:?}, unread {:?}", story.delivered(), story.unread);
    taken
}

races! {
    in 2_000 orders:

    async fn payloads_against_new_generations(arena: Arena) -> ["in order", "in another order"] {
        let run = arena.outside.start(goes_on, ("t".into(), Vec::new(), 3)).id("run").opens("t").await.unwrap();
        let twice = async { join!(arena.send("t", 2, Some("two")), arena.send("t", 2, Some("two"))) };
        let (one, (two, again), three) = join!(arena.send("t", 1, None), twice, arena.send("t", 3, Some("three")));
        // The second delivery may arrive after the end of the run.
        assert!(one && (two || again) && three);
        let taken = assert_carried(&arena, &run, &[(1, true), (2, true), (3, true)]).await;
        assert_eq!(run.await.unwrap(), taken);
        if taken == [1, 2, 3] { "in order" } else { "in another order" }
    }

    async fn payloads_against_new_generations_and_a_cancel(arena: Arena) -> ["completed", "cancelled at first", "cancelled later"] {
        let run = arena.outside.start(goes_on, ("t".into(), Vec::new(), 3)).id("run").opens("t").await.unwrap();
        let sending = async { join!(arena.send("t", 1, None), arena.send("t", 2, Some("two")), arena.send("t", 3, None)) };
        let ((one, two, three), cancelled) = join!(sending, arena.cancel(&run));
        let taken = assert_carried(&arena, &run, &[(1, one), (2, two), (3, three)]).await;
        assert_eq!(run.await.is_err(), cancelled);
        match (cancelled, taken.len()) {
            (false, _) => "completed",
            (true, 0) => "cancelled at first",
            (true, _) => "cancelled later",
        }
    }

    async fn a_hook_against_a_sleep(arena: Arena) -> ["delivered", "unread", "refused"] {
        let run = arena.outside.start(waits_for_so_long, "t".into()).id("run").await.unwrap();
        let (sent, ()) = join!(arena.send("t", 7, None), arena.pass(MILLISECONDS));
        let story = arena.story("run").await;
        let got = run.await.unwrap();
        story.assert_accounts_for(&[(7, sent)]);
        assert_eq!(got, story.delivered().first().copied());
        assert_eq!(story.of("timer").count(), usize::from(got.is_none()));
        match (sent, got) {
            (true, Some(_)) => "delivered",
            (true, None) => "unread",
            (false, _) => "refused",
        }
    }

    async fn a_hook_against_a_cancel(arena: Arena) -> ["completed", "cancelled", "cancelled, one delivered", "cancelled, both sent"] {
        let run = arena.outside.start(collects, ("t".into(), 2)).id("run").await.unwrap();
        let sending = async { join!(arena.send("t", 1, None), arena.send("t", 2, None)) };
        let ((one, two), cancelled) = join!(sending, arena.cancel(&run));
        let story = arena.story("run").await;
        let result = run.await;
        story.assert_accounts_for(&[(1, one), (2, two)]);
        assert_eq!((story.status == Status::Cancelled, result.is_err()), (cancelled, cancelled));
        if let Ok(payloads) = result {
            assert_eq!(payloads, story.delivered());
        }
        match (cancelled, story.delivered().len(), one && two) {
            (false, ..) => "completed",
            (true, 1, _) => "cancelled, one delivered",
            (true, _, true) => "cancelled, both sent",
            (true, ..) => "cancelled",
        }
    }

    async fn two_payloads_at_once(arena: Arena) -> ["in order", "the other way round"] {
        let run = arena.outside.start(collects, ("t".into(), 2)).id("run").opens("t").await.unwrap();
        // One of the payloads has an idempotency key. The token exists from the start.
        let (one, two) = join!(arena.send("t", 1, None), arena.send("t", 2, Some("two")));
        let story = arena.story("run").await;
        assert!(one && two);
        story.assert_accounts_for(&[(1, one), (2, two)]);
        assert_eq!(run.await.unwrap(), story.delivered());
        if story.delivered() == [1, 2] { "in order" } else { "the other way round" }
    }

    async fn two_deliveries_with_one_key_at_once(arena: Arena) -> ["the first", "the second"] {
        let run = arena.outside.start(collects, ("t".into(), 2)).id("run").opens("t").await.unwrap();
        let twice = async { join!(arena.send("t", 1, Some("a")), arena.send("t", 2, Some("a"))) };
        let ((one, two), other) = join!(twice, arena.send("t", 3, Some("b")));
        assert!(one != two, "only one payload of the key is accepted");
        assert!(other, "the run does not end before both keys arrive");
        let story = arena.story("run").await;
        let mut delivered = story.delivered();
        assert_eq!(run.await.unwrap(), delivered);
        assert!(story.unread.is_empty(), "{:?}", story.unread);
        delivered.sort_unstable();
        match delivered[..] {
            [1, 3] => "the first",
            [2, 3] => "the second",
            _ => panic!("{delivered:?}"),
        }
    }

    async fn payloads_to_a_hook_that_lost_its_race(arena: Arena) -> ["unread", "to the second hook", "refused", "to both"] {
        let run = arena.outside.start(tries_twice, "t".into()).id("run").await.unwrap();
        let (one, two, three, ()) = join!(
            arena.send("t", 1, None),
            arena.send("t", 2, Some("two")),
            arena.send("t", 3, None),
            arena.pass(MILLISECONDS),
        );
        let story = arena.story("run").await;
        let got = run.await.unwrap();
        story.assert_accounts_for(&[(1, one), (2, two), (3, three)]);
        let delivered: Vec<u64> = [got.0, got.1].into_iter().flatten().collect();
        assert_eq!(delivered, story.delivered());
        // Each hook received payloads that were sent to it. If the first hook returned a payload, the second one may
        // also return payloads that the first left.
        let hooks: Vec<_> = story.issued("hook").map(|hook| hook["op"].clone()).collect();
        let to = |payload: Option<u64>| {
            let found = story.of("payload").find(|event| event["value"].as_u64() == payload);
            found.map(|event| event["op"].clone())
        };
        assert!(got.0.is_none() || to(got.0).as_ref() == hooks.first());
        let left = got.0.is_some() && to(got.1).as_ref() == hooks.first();
        assert!(got.1.is_none() || left || to(got.1).as_ref() == hooks.get(1));
        match (got, story.unread.is_empty()) {
            ((Some(_), Some(_)), _) => "to both",
            ((None, Some(_)), _) => "to the second hook",
            (_, false) => "unread",
            _ => "refused",
        }
    }
}
