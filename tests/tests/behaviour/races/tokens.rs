//! Many runs that open hooks concurrently.

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use serde_json::Value;
use workflow_runtime::{Code, Result, Run, hook, workflow};

use super::{Arena, BTreeSet, Duration, Story, races};

#[workflow]
async fn takes(token: String) -> Result<u64> {
    hook::<u64>().token(token).await
}

#[workflow]
async fn takes_ten(tokens: Vec<String>) -> Result<Vec<u64>> {
    let hooks: Vec<_> = tokens.into_iter().map(|token| hook::<u64>().token(token).open()).collect();
    futures::future::try_join_all(hooks).await
}

races! {
    in 1_000 orders:

    async fn ten_runs_that_want_one_token(arena: Arena) -> ["run 0", "run 9"] {
        let start = async |number: u32| {
            arena.schedule.turn("start").await;
            arena.outside.start(takes, "t".into()).id(format!("run {number}")).await.unwrap()
        };
        let runs = join_all((0..10).map(start)).await;
        let ends = runs.iter().map(|run| async move { (run.id(), run.await) });
        let mut ends: FuturesUnordered<_> = ends.collect();
        let mut refused = Vec::new();
        while refused.len() < 9 {
            let (id, result) = ends.next().await.unwrap();
            refused.push((id.to_owned(), result.unwrap_err()));
        }
        // The run takes one payload. The other may be too late.
        let (first, second) = futures::join!(arena.send("t", 1, None), arena.send("t", 2, None));
        let (winner, result) = ends.next().await.unwrap();
        let story = Story::read(&arena.place, winner).await;
        story.assert_accounts_for(&[(1, first), (2, second)]);
        assert_eq!(story.delivered(), [result.unwrap()]);
        for (id, error) in &refused {
            assert_eq!((error.code(), error.run_id()), (Code::HookConflict, Some(winner)), "{id}: {error:?}");
            assert_eq!(Story::read(&arena.place, id).await.of("conflict").count(), 1);
        }
        match winner {
            "run 0" => "run 0",
            "run 9" => "run 9",
            _ => "another run",
        }
    }

    async fn ten_hooks_of_one_turn_and_their_payloads(arena: Arena) -> ["before the hooks", "after the hooks", "both"] {
        let token = |number: u32| format!("t{number}");
        let start = async {
            arena.schedule.turn("start").await;
            arena.outside.start(takes_ten, (0..10).map(token).collect::<Vec<_>>()).id("run").await.unwrap()
        };
        let early = std::sync::atomic::AtomicUsize::new(0);
        let send = async |number: u32| {
            arena.schedule.turn("send").await;
            let info = arena.outside.get_hook(&token(number)).await;
            early.fetch_add(usize::from(info.is_err()), std::sync::atomic::Ordering::Relaxed);
            let sending = arena.outside.resume_hook(token(number), &number);
            // The second delivery repeats the key of the first.
            let key = format!("key {number}");
            sending.idempotency_key(&*key).hold_for(Duration::from_secs(1_000_000)).await.unwrap();
            let again = arena.outside.resume_hook(token(number), &number);
            again.idempotency_key(key).hold_for(Duration::from_secs(1_000_000)).await.unwrap();
        };
        let (run, _) = futures::join!(start, join_all((0..10).map(send)));
        assert_eq!(run.await.unwrap(), (0..10).collect::<Vec<u64>>());
        let story = arena.story("run").await;
        let delivered: BTreeSet<_> = story.delivered().into_iter().collect();
        assert_eq!((delivered, story.delivered().len()), ((0..10).collect(), 10));
        match early.into_inner() {
            0 => "after the hooks",
            10 => "before the hooks",
            _ => "both",
        }
    }

    async fn ten_runs_that_create_hooks_at_once(arena: Arena) -> ["all"] {
        let token = |number: u32| format!("t{number}");
        let start = async |number: u32| {
            arena.schedule.turn("start").await;
            arena.outside.start(takes, token(number)).id(format!("run {number}")).opens(token(number)).await.unwrap()
        };
        let send = async |number: u32| {
            while !arena.send(&token(number), number, Some("once")).await {}
        };
        let (runs, _) = futures::join!(join_all((0..10).map(start)), join_all((0..10).map(send)));
        for (number, run) in (0..).zip(runs) {
            let run: Run<Value> = arena.outside.get_run(run.id());
            assert_eq!((&run).await.unwrap(), number);
            let story = Story::read(&arena.place, run.id()).await;
            assert_eq!((story.delivered(), story.unread), (vec![number], vec![]));
        }
        "all"
    }
}
