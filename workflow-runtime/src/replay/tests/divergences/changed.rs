//! Operations that are changed: their names, arguments, types and ends.

use std::panic::Location;

use futures_util::future::select;

use super::super::support::*;
use super::{Change, SHIPS, change, patched, renamed, takes_text};

const DROPS: Body = |_| {
    run(async {
        drop(select(step("shop::pay", 1), sleep_until(2_000)).await);
        step("shop::ship", 5).await
    })
};
const KEEPS: Body = |_| {
    run(async {
        let _both = select(step("shop::pay", 1), sleep_until(2_000)).await;
        step("shop::ship", 5).await
    })
};

pub(super) fn changed() -> Vec<Change> {
    vec![
        change(
            "a step is renamed",
            |_| run(step("gone::pay", 5)),
            vec![],
            |_| run(step("shop::charge", 5)),
            vec![|_| run(renamed("shop::charge", &["gone::pay"], 5)), |_| {
                run(async {
                    if patched("charge-for-pay") { step("shop::charge", 5).await } else { step("gone::pay", 5).await }
                })
            }],
        ),
        change(
            "a step gets another value",
            SHIPS,
            vec![],
            |_| run(step("shop::ship", 6)),
            vec![|_| {
                run(async {
                    let argument = if patched("other-ship") { 6 } else { 5 };
                    step("shop::ship", argument).await
                })
            }],
        ),
        change(
            "a step gets another type",
            SHIPS,
            vec![],
            |_| run(takes_text("shop::ship", "5")),
            vec![|_| {
                run(async {
                    if patched("ship-2") { takes_text("shop::ship_2", "5").await } else { step("shop::ship", 5).await }
                })
            }],
        ),
        change(
            "a hook gets another token",
            |_| run(async { Ok(json(open("order-1").next().await)) }),
            vec![],
            |_| run(async { Ok(json(open("order/1").next().await)) }),
            vec![|_| {
                run(async {
                    let token = if patched("other-hook") { "order/1" } else { "order-1" };
                    Ok(json(open(token).next().await))
                })
            }],
        ),
        change(
            "an arm of a select is kept",
            DROPS,
            vec![due(1)],
            KEEPS,
            vec![|_| {
                run(async {
                    let raced = select(step("shop::pay", 1), sleep_until(2_000)).await;
                    let _kept = if patched("keep-0") {
                        Some(raced)
                    } else {
                        drop(raced);
                        None
                    };
                    step("shop::ship", 5).await
                })
            }],
        ),
        change(
            "an arm of a select is dropped",
            KEEPS,
            vec![due(1)],
            DROPS,
            vec![|_| {
                run(async {
                    let raced = select(step("shop::pay", 1), sleep_until(2_000)).await;
                    let _kept = if patched("drop-0") {
                        drop(raced);
                        None
                    } else {
                        Some(raced)
                    };
                    step("shop::ship", 5).await
                })
            }],
        ),
        change(
            "a call of patched is removed",
            |_| {
                run(async {
                    if patched("with-reserve") {
                        step("shop::reserve", 5).await?;
                    }
                    step("shop::ship", 5).await
                })
            },
            vec![],
            |_| {
                run(async {
                    step("shop::reserve", 5).await?;
                    step("shop::ship", 5).await
                })
            },
            vec![|_| {
                run(async {
                    shared().deprecated_patch("with-reserve", Location::caller());
                    step("shop::reserve", 5).await?;
                    step("shop::ship", 5).await
                })
            }],
        ),
        change(
            "a patch is deprecated too early",
            SHIPS,
            vec![],
            |_| {
                run(async {
                    shared().deprecated_patch("with-reserve", Location::caller());
                    step("shop::reserve", 5).await?;
                    step("shop::ship", 5).await
                })
            },
            vec![|_| {
                run(async {
                    if patched("with-reserve") {
                        step("shop::reserve", 5).await?;
                    }
                    step("shop::ship", 5).await
                })
            }],
        ),
        change(
            "the result is another one",
            |_| run(async { undoable("shop::pay", 1, "shop::refund").await.and_then(|_| Err(json("sold out"))) }),
            vec![completed(0, ())],
            |_| run(async { undoable("shop::pay", 1, "shop::refund").await.and_then(|_| Err(json("out of stock"))) }),
            vec![|_| {
                run(async {
                    undoable("shop::pay", 1, "shop::refund").await?;
                    Err(json(if patched("other-end") { "out of stock" } else { "sold out" }))
                })
            }],
        ),
    ]
}
