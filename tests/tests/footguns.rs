//! Foot-guns that no compiler sees, and that their first execution finds: `FOOTGUNS.md` names this file.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::executor::block_on;
use futures::future::join_all;
use rand as dice;
use rand::random;
use workflow_runtime::{Code, Engine, Error, Result, Run, step, workflow};

static EXECUTED: AtomicU32 = AtomicU32::new(0);

#[step]
async fn number(n: u32) -> Result<u32> {
    EXECUTED.fetch_add(1, Ordering::Relaxed);
    Ok(n)
}

#[workflow]
async fn rolls_dice() -> Result<u32> {
    number(dice::random()).await
}

#[workflow]
async fn rolls_imported_dice() -> Result<u32> {
    number(random()).await
}

#[allow(clippy::unnecessary_literal_unwrap, reason = "only the function that is passed on matters")]
#[workflow]
async fn passes_dice_on() -> Result<u32> {
    number(Option::None.unwrap_or_else(dice::random)).await
}

#[workflow]
async fn blocks_on_a_future() -> Result<u32> {
    number(block_on(async { 1 })).await
}

/// What is awaited is in the macro, and not in what it is given.
macro_rules! wait {
    (after $milliseconds:literal) => {
        tokio::time::sleep(Duration::from_millis($milliseconds)).await
    };
}

#[workflow]
async fn awaits_in_a_macro() -> Result<u32> {
    wait!(after 1);
    number(1).await
}

#[workflow]
async fn collects_steps_in_the_order_of_a_map() -> Result<()> {
    let map: HashMap<u32, u32> = (0..100).map(|n| (n, n)).collect();
    let mut calls = Vec::new();
    map.iter().for_each(|(n, _)| calls.push(number(*n)));
    for n in map.keys() {
        calls.push(number(*n));
    }
    join_all(calls).await;
    Ok(())
}

/// The first step is executed if the replay has the same first key: so there are many.
#[workflow]
#[allow(clippy::while_let_on_iterator)]
async fn follows_the_order_of_a_map_by_hand() -> Result<()> {
    let map: HashMap<u32, u32> = (0..100_000).map(|n| (n, n)).collect();
    let mut numbers = map.into_keys();
    while let Some(n) = numbers.next() {
        number(n).await?;
    }
    Ok(())
}

/// What starting the workflow, or the end of its run, says.
async fn refusal<T>(start: impl IntoFuture<Output = Result<Run<T>>>) -> Error
where
    T: serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    match start.await {
        Ok(run) => run.await.unwrap_err(),
        Err(error) => error,
    }
}

#[tokio::test]
async fn foot_guns_that_the_compiler_does_not_see_are_found_at_the_first_execution() {
    let engine = Engine::builder().url("memory:").replay_every_turn().open().await.unwrap();
    macro_rules! refused {
            ($($workflow:ident: $code:ident $text:literal,)*) => {
                $(
                    let error = refusal(engine.start($workflow, ())).await;
                    let text = format!("{error:?}");
                    assert!([Code::Stuck, Code::$code].contains(&error.code()), "{}: {text}", stringify!($workflow));
                    assert!(text.contains($text), "{}: {text}", stringify!($workflow));
                )*
            };
        }
    refused! {
        rolls_dice: Panic "rand::random",
        rolls_imported_dice: Panic "rand::random",
        passes_dice_on: Panic "rand::random",
        blocks_on_a_future: Panic "block_on",
        awaits_in_a_macro: ForeignFuture "not a durable operation",
        collects_steps_in_the_order_of_a_map: Nondeterminism "footguns.rs:",
        follows_the_order_of_a_map_by_hand: Nondeterminism "footguns.rs:",
    }
    assert_eq!(EXECUTED.load(Ordering::Relaxed), 0);
}
