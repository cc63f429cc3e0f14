//! Operations that are removed, replaced or moved.

use futures_util::future::join;

use super::super::support::*;
use super::{BOTH, BOTH_REVERSED, Change, SHIPS, change, patched};

pub(super) fn removed() -> Vec<Change> {
    vec![
        change(
            "a step is removed",
            BOTH,
            vec![completed(0, ())],
            SHIPS,
            vec![|_| {
                run(async {
                    if !patched("without-audit") {
                        step("shop::audit", 1).await?;
                    }
                    step("shop::ship", 5).await
                })
            }],
        ),
        change(
            "two steps are swapped",
            BOTH,
            vec![completed(0, ())],
            BOTH_REVERSED,
            vec![|args| {
                run(async {
                    // The two orders of the case above.
                    let _ = args;
                    if patched("ship-first") {
                        step("shop::ship", 5).await?;
                        step("shop::audit", 1).await
                    } else {
                        step("shop::audit", 1).await?;
                        step("shop::ship", 5).await
                    }
                })
            }],
        ),
        change(
            "two branches of a join are swapped",
            |_| run(async { join(step("shop::audit", 1), step("shop::ship", 5)).await.1 }),
            vec![],
            |_| run(async { join(step("shop::ship", 5), step("shop::audit", 1)).await.0 }),
            vec![|_| {
                run(async {
                    if patched("ship-first") {
                        join(step("shop::ship", 5), step("shop::audit", 1)).await.0
                    } else {
                        join(step("shop::audit", 1), step("shop::ship", 5)).await.1
                    }
                })
            }],
        ),
        change(
            "a sequence becomes a join",
            BOTH,
            vec![completed(0, ())],
            |_| run(async { join(step("shop::audit", 1), step("shop::ship", 5)).await.1 }),
            vec![|_| {
                run(async {
                    if patched("early-ship") {
                        join(step("shop::audit", 1), step("shop::ship", 5)).await.1
                    } else {
                        step("shop::audit", 1).await?;
                        step("shop::ship", 5).await
                    }
                })
            }],
        ),
        change(
            "a join becomes a sequence",
            |_| run(async { join(step("shop::audit", 1), step("shop::ship", 5)).await.1 }),
            vec![],
            BOTH,
            vec![|_| {
                run(async {
                    if patched("late-ship") {
                        step("shop::audit", 1).await?;
                        step("shop::ship", 5).await
                    } else {
                        join(step("shop::audit", 1), step("shop::ship", 5)).await.1
                    }
                })
            }],
        ),
        change(
            "the last step is removed",
            BOTH,
            vec![completed(0, ())],
            |_| run(step("shop::audit", 1)),
            vec![|_| {
                run(async {
                    let audited = step("shop::audit", 1).await?;
                    if !patched("without-ship") {
                        step("shop::ship", 5).await?;
                    }
                    Ok(audited)
                })
            }],
        ),
    ]
}
